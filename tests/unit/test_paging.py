"""Listings that are read page by page while they shift, come short, or end at a page's end."""

from __future__ import annotations

import itertools
import logging
import random
from dataclasses import replace
from typing import Any, Callable, List, Optional, Tuple

import pytest
from tests.support.each import each

from h2ogpte_migration.errors import BadReply, NotFound, Rejected, Unavailable
from h2ogpte_migration.gateway.paging import (
    NAMELESS,
    PAGE,
    RESTLESS,
    SAFE_PAGE,
    UNMOVED,
    Listing,
    ListingShifted,
    PageSizes,
)


class World:
    """A server's listing: what is in it, how long its pages get, and what changes meanwhile."""

    def __init__(self, rows: List[str], cap: int = 10_000, refuses_above: int = 10_000) -> None:
        self.rows = list(rows)
        self.cap = cap
        self.refuses_above = refuses_above
        self.asked: List[tuple] = []
        self.before: Callable[[int], None] = lambda call: None

    def fetch(self, offset: int, limit: int) -> List[str]:
        self.before(len(self.asked))
        self.asked.append((offset, limit))
        if limit > self.refuses_above:
            raise Rejected("limit too large", status=422)
        return self.rows[offset : offset + min(limit, self.cap)]

    def listing(
        self,
        limit: int = 50,
        overlap: int = 5,
        expected: Optional[int] = None,
        sizes: Optional[PageSizes] = None,
    ) -> Listing[str]:
        return Listing(
            self.fetch,
            key=lambda row: "" if row.startswith("?") else row,
            route="GET /rows",
            sizes=sizes or PageSizes(),
            limit=limit,
            overlap=overlap,
            expected=expected,
        )


def names(count: int) -> List[str]:
    return [f"row{number:05d}" for number in range(count)]


def known_size(rows: int) -> PageSizes:
    sizes = PageSizes()
    sizes.learn("GET /rows", rows)
    return sizes


BOTH = pytest.mark.parametrize(
    "read",
    [
        lambda listing: list(listing.each_once()),
        lambda listing: [row for _, row in listing.by_position()],
    ],
    ids=["once", "position"],
)


# -- a listing that stands still -----------------------------------------------------------
@BOTH
def test_every_row_comes_once_and_in_order(read):
    def all_come(case: Tuple[int, int]) -> None:
        count, cap = case
        assert read(World(names(count), cap=cap).listing()) == names(count)

    counts = [0, 1, 2, 3, 5, 6, 10, 49, 50, 51, 95, 96, 100, 140, 250]
    each(itertools.product(counts, [1, 2, 3, 5, 7, 50, 10_000]), all_come)


@BOTH
def test_one_request_per_page_when_the_page_size_is_known(read):
    world = World(names(120))
    read(world.listing(sizes=known_size(50), expected=120))
    assert world.asked == [(0, 50), (45, 50), (90, 50)]


@BOTH
@pytest.mark.parametrize("sizes", [PageSizes(), known_size(50)], ids=["first", "known"])
def test_a_last_page_that_nothing_announced_costs_one_more_request_in_a_long_listing(
    read, sizes: PageSizes
):
    world = World(names(120))
    read(world.listing(sizes=sizes))
    assert world.asked == [(0, 50), (45, 50), (90, 50), (115, 50)]


@BOTH
def test_no_offset_behind_the_last_row_is_asked_for_once_the_page_size_is_known(read):
    def none_is_refused(case: Tuple[int, int]) -> None:
        count, status = case
        world = World(names(count))

        def fetch(offset: int, limit: int) -> List[str]:
            if offset >= count:
                raise (NotFound if status == 404 else Rejected)("no such page", status=status)
            return world.fetch(offset, limit)

        assert read(replace(world.listing(sizes=known_size(50)), fetch=fetch)) == names(count)

    each(itertools.product([1, 2, 30, 50, 51, 75, 95, 120], [400, 404, 422]), none_is_refused)


# -- pages that rows are left out of ---------------------------------------------------------
def with_gaps(*gaps: range, count: int = 1700, **more: Any) -> Tuple[Listing[str], List[str]]:
    """A server that cuts its pages first, and then leaves out what may not be seen."""
    rows = names(count)
    hidden = {rows[place] for gap in gaps for place in gap}
    listing = replace(World(rows).listing(limit=500, overlap=10), **more)

    def fetch(offset: int, limit: int) -> List[str]:
        return [row for row in rows[offset : offset + limit] if row not in hidden]

    return replace(listing, fetch=fetch), [row for row in rows if row not in hidden]


GAPS = pytest.mark.parametrize(
    "gaps",
    [
        (range(600, 640),),
        (range(3, 4), range(600, 640)),
        (range(600, 640), range(1100, 1101), range(1500, 1540)),
        (range(200), range(500, 740), range(1000, 1240)),
    ],
)


@GAPS
def test_a_page_that_lacks_rows_in_the_middle_is_not_the_last(gaps: tuple):
    told: List[str] = []
    listing, visible = with_gaps(*gaps, incomplete=told.append)
    assert sorted(listing.each_once()) == visible
    assert told == []


@pytest.mark.parametrize("gaps", [(range(600, 640),), (range(600, 640), range(1500, 1540))])
def test_a_page_that_lacks_rows_is_no_end_where_positions_count(gaps: tuple):
    listing, visible = with_gaps(*gaps)
    assert [row for _, row in listing.by_position()] == visible


@pytest.mark.parametrize("gaps", [(range(3, 4),), (range(200), range(500, 740))])
def test_a_first_page_that_lacks_rows_looks_like_a_shift_where_positions_count(gaps: tuple):
    with pytest.raises(ListingShifted):
        list(with_gaps(*gaps)[0].by_position())


@BOTH
@pytest.mark.parametrize("expected", [None, 1700])
def test_a_first_page_that_lacks_rows_is_not_the_last(read, expected: Optional[int]):
    listing, visible = with_gaps(range(3, 4), sizes=known_size(500), expected=expected)
    assert read(listing) == visible


@BOTH
def test_pages_that_lack_most_rows_are_not_the_last_where_more_were_announced(read):
    listing, visible = with_gaps(range(520, 980), expected=1700)
    assert read(listing) == visible


@BOTH
def test_a_last_page_that_lacks_a_row_costs_one_request_more(read):
    listing, visible = with_gaps(range(1650, 1651), expected=1700)
    asked = []

    def fetch(offset: int, limit: int) -> List[str]:
        asked.append(offset)
        return listing.fetch(offset, limit)

    assert read(replace(listing, fetch=fetch)) == visible
    assert len(asked) == 5


def test_known_rows_in_other_places_are_a_shift_and_no_end_where_positions_count():
    world = World(names(300))

    def change(call: int) -> None:
        if call == 1:
            world.rows[295:] = []
            world.rows[:0] = [f"new{n}" for n in range(5)]

    world.before = change
    with pytest.raises(ListingShifted):
        list(world.listing(limit=500, overlap=10, sizes=known_size(500)).by_position())


@BOTH
def test_where_all_that_follows_a_page_is_left_out_that_is_the_end(read):
    listing, visible = with_gaps(range(3, 60), range(430, 500), count=500, sizes=known_size(500))
    assert read(listing) == visible


@BOTH
@pytest.mark.parametrize("new", [1, 4])
def test_rows_that_come_at_the_end_all_the_while_are_not_run_after(read, new: int):
    world = World(names(170))

    def arrive(call: int) -> None:
        world.rows.extend(f"new{call}-{n}" for n in range(new if call < 40 else 0))

    world.before = arrive
    assert set(names(170)) <= set(read(world.listing()))
    assert len(world.asked) == 6


@BOTH
def test_a_full_last_page_costs_one_more_request(read):
    world = World(names(95))
    read(world.listing())
    assert world.asked == [(0, 50), (45, 50), (90, 50)]


@BOTH
def test_a_first_short_page_is_no_proof_of_the_end(read):
    world = World(names(250), cap=20)
    assert read(world.listing()) == names(250)


@BOTH
def test_a_page_size_seen_before_ends_a_short_listing_at_once(read):
    sizes = PageSizes()
    read(World(names(120)).listing(sizes=sizes))
    world = World(names(7))
    read(world.listing(sizes=sizes))
    assert len(world.asked) == 1


@BOTH
def test_the_announced_number_ends_a_short_page(read):
    world = World(names(30))
    assert read(world.listing(expected=30)) == names(30)
    assert len(world.asked) == 1


@BOTH
@pytest.mark.parametrize("expected", [28, 30, 0, 50])
def test_a_wrong_announcement_loses_nothing(read, expected: int):
    assert read(World(names(130), cap=29).listing(expected=expected)) == names(130)


@BOTH
def test_the_announced_number_does_not_end_a_full_page(read):
    # It was counted earlier: one more may have come since, and only a short page shows that.
    world = World(names(51))
    assert read(world.listing(expected=50)) == names(51)


@BOTH
def test_a_refused_page_size_falls_back_and_is_remembered(read):
    sizes = PageSizes()
    world = World(names(250), refuses_above=100)
    assert read(world.listing(limit=PAGE, sizes=sizes)) == names(250)
    assert [limit for _, limit in world.asked] == [500, 100, 100, 100, 100]
    world.asked.clear()
    read(world.listing(limit=PAGE, sizes=sizes))
    assert {limit for _, limit in world.asked} == {SAFE_PAGE}


@BOTH
def test_a_size_refused_later_does_not_make_full_pages_look_short(read):
    world = World(names(1300))

    def refuse_from_now_on(call: int) -> None:
        if call == 1:
            world.refuses_above = 100

    world.before = refuse_from_now_on
    assert read(world.listing(limit=500)) == names(1300)


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_for_another_reason_stays_one_and_is_not_remembered(status: int):
    sizes = PageSizes()

    def fetch(offset: int, limit: int) -> List[str]:
        raise Rejected("bad filter", status=status)

    with pytest.raises(Rejected):
        list(Listing(fetch, key=str, route="r", sizes=sizes).each_once())
    assert sizes.limit("r", 500) == 500


@pytest.mark.parametrize("error", [Rejected("no", status=403), Unavailable("down", status=503)])
def test_other_errors_pass_through(error: Exception):
    asked = []

    def fetch(offset: int, limit: int) -> List[str]:
        asked.append(limit)
        raise error

    with pytest.raises(type(error)):
        list(Listing(fetch, key=str, route="r", sizes=PageSizes()).each_once())
    assert asked == [500]


def test_page_sizes_are_kept_by_route():
    sizes = PageSizes()
    sizes.learn("a", 500)
    sizes.learn("a", 20)
    sizes.refuse("b", SAFE_PAGE)
    assert (sizes.honoured("a"), sizes.honoured("b")) == (500, 0)
    assert (sizes.limit("a", 500), sizes.limit("b", 500), sizes.limit("b", 50)) == (500, 100, 50)


# -- by position ---------------------------------------------------------------------------
def test_the_same_row_at_two_positions_comes_twice():
    rows = [*names(60), *names(60)]
    read = list(World(rows).listing().by_position())
    assert read == list(enumerate(rows))


@pytest.mark.parametrize("change", ["insert", "delete"])
def test_a_shift_is_noticed(change: str):
    def is_noticed(case: Tuple[int, int]) -> None:
        where, how_many = case
        world = World(names(240))

        def shift(call: int) -> None:
            if call == 1 and change == "insert":
                world.rows[where:where] = [f"new{number}" for number in range(how_many)]
            elif call == 1:
                del world.rows[where : where + how_many]

        world.before = shift
        with pytest.raises(ListingShifted):
            list(world.listing().by_position())

    each(itertools.product([0, 20, 44, 45, 47], [1, 4, 5, 6, 48, 200]), is_noticed)


def test_rows_that_come_behind_are_read_too():
    world = World(names(100))
    world.before = lambda call: world.rows.append("late") if call == 1 else None
    assert [row for _, row in world.listing().by_position()] == [*names(100), "late"]


def test_rows_without_an_id_keep_their_position():
    rows = ["?", "a", "?", "b"]
    assert list(World(rows).listing().by_position()) == list(enumerate(rows))


# -- each once -----------------------------------------------------------------------------
def test_the_same_row_at_two_positions_comes_once():
    rows = ["a", "b", "a", "c", "b"]
    assert list(World(rows).listing().each_once()) == ["a", "b", "c"]


def test_rows_without_an_id_are_left_out_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert list(World(["a", "?", "b"]).listing(expected=3).each_once()) == ["a", "b"]
    assert caplog.messages == ["GET /rows: a row without an id is left out"]


def test_rows_that_vanish_in_front_hide_none():
    def none_is_hidden(case: Tuple[int, int]) -> None:
        gone, when = case
        world = World(names(300))

        def vanish(call: int) -> None:
            if call == when:
                del world.rows[:gone]

        world.before = vanish
        read = list(world.listing().each_once())
        assert set(names(300)[gone:]) <= set(read)
        assert len(read) == len(set(read))

    each(itertools.product([1, 5, 6, 45, 50, 120, 199], [1, 2, 3]), none_is_hidden)


def test_rows_that_come_in_front_hide_none():
    def none_is_hidden(new: int) -> None:
        world = World(names(200))

        def arrive(call: int) -> None:
            if call == 2:
                world.rows[:0] = [f"new{number}" for number in range(new)]

        world.before = arrive
        read = list(world.listing().each_once())
        assert set(names(200)) <= set(read)
        # What came meanwhile is found as well: the listing is read once more.
        assert set(world.rows) == set(read)
        assert len(read) == len(set(read))

    each([1, 5, 6, 45, 50, 120, 300], none_is_hidden)


def test_rows_that_vanish_in_front_cost_a_step_back_of_one_page():
    world = World(names(500))

    def vanish(call: int) -> None:
        if call == 5:
            del world.rows[:6]

    world.before = vanish
    assert set(world.listing().each_once()) == set(names(500))
    first_reading = [offset for offset, _ in world.asked[:9]]
    assert first_reading == [0, 45, 90, 135, 180, 225, 175, 220, 265]


def test_rows_that_flicker_in_front_hide_none():
    # The same rows are gone whenever the second page is read, and back for the next reading.
    world = World(names(300))
    ended = True

    def flicker(call: int) -> None:
        nonlocal ended
        if ended:
            world.rows = names(300)
        elif world.asked[-1][0] == 0:
            world.rows = names(300)[60:]
        ended = bool(world.asked) and world.asked[-1][0] >= 200

    world.before = flicker
    assert set(names(300)[60:]) <= set(world.listing().each_once())


def test_a_listing_whose_rows_change_places_without_news_is_read_four_times():
    world = World(names(60))

    def swap(call: int) -> None:
        if call % 3 == 1:  # of three requests a reading
            world.rows[36], world.rows[37] = world.rows[37], world.rows[36]

    world.before = swap
    assert set(world.listing(limit=40).each_once()) == set(names(60))
    assert len(world.asked) == 12


def test_a_listing_that_shifts_without_news_is_read_twice_at_most():
    world = World(names(60))

    def come_and_go(call: int) -> None:
        world.rows = names(60) if call % 3 else names(60)[1:]  # three requests a reading

    world.before = come_and_go
    assert set(names(60)[1:]) <= set(world.listing(limit=40).each_once())
    assert len(world.asked) == 6


def test_everything_vanishing_ends_the_reading():
    world = World(names(200))
    world.before = lambda call: world.rows.clear() if call == 2 else None
    assert len(list(world.listing().each_once())) < 200


def test_whatever_exists_throughout_is_read_while_all_around_it_changes():
    each(range(40), what_lasts_is_read, name="seed {}".format)


def what_lasts_is_read(seed: int) -> None:
    chance = random.Random(seed)
    lasting = set(names(400)[::3])
    world = World(names(400), cap=chance.choice([20, 35, 10_000]))
    fresh = itertools.count()

    def change(call: int) -> None:
        for _ in range(chance.randrange(30)):
            if chance.random() < 0.5:
                world.rows.append(f"row{chance.randrange(400):05d}-{next(fresh)}")
            else:
                victim = chance.choice(world.rows)
                if victim not in lasting:
                    world.rows.remove(victim)
        world.rows.sort()

    world.before = lambda call: change(call) if chance.random() < 0.5 else None
    read = list(world.listing(limit=40).each_once())
    assert lasting <= set(read)
    assert len(read) == len(set(read))


def test_names_that_are_all_equal_come_in_another_order_each_time():
    # Sorted by a column in which all are equal: every request sees its own order.
    chance = random.Random(7)
    world = World(names(60))
    world.before = lambda call: chance.shuffle(world.rows)
    assert set(world.listing(limit=40).each_once()) == set(names(60))


def alike(seed: int) -> Tuple[World, Callable[[int, int], List[str]], List[str]]:
    """600 rows, sorted by three names: each request sees those that are alike in its own order."""
    chance = random.Random(seed)
    rows = [f"{number % 3}-{number:03d}" for number in range(600)]
    world = World(rows, cap=100)

    def shuffle(_: int) -> None:
        chance.shuffle(world.rows)
        world.rows.sort(key=lambda row: row[0])

    world.before = shuffle
    return world, lambda offset, limit: rows[offset : offset + min(limit, 100)], rows


def test_rows_that_are_alike_and_change_places_are_all_found_in_another_order():
    def all_are_found(seed: int) -> None:
        world, by_time, rows = alike(seed)
        listing = replace(world.listing(limit=500), in_another_order=by_time)
        assert set(listing.each_once()) == set(rows)

    each(range(20), all_are_found, name="seed {}".format)


def test_where_rows_change_places_for_ever_that_is_told():
    chance = random.Random(7)
    world = World(names(300), cap=100)

    def change(call: int) -> None:
        world.rows.append(f"new{call}")
        chance.shuffle(world.rows)

    world.before = change
    told: List[str] = []
    listing = replace(world.listing(limit=500), incomplete=told.append)
    assert set(names(300)) <= set(listing.each_once())
    assert told == [RESTLESS]


def test_rows_without_an_id_are_left_out_and_told_once():
    world = World(["a", "", "b", ""])
    told: List[str] = []
    listing = replace(world.listing(limit=2, overlap=1), incomplete=told.append)
    assert list(listing.each_once()) == ["a", "b"]
    assert told == [NAMELESS]


def test_a_listing_that_never_stands_still_is_given_up_on(caplog: pytest.LogCaptureFixture):
    world = World(names(100))
    fresh = itertools.count()
    world.before = lambda call: world.rows.insert(0, f"new{next(fresh)}")
    with caplog.at_level(logging.WARNING):
        read = list(world.listing(limit=40).each_once())
    assert set(names(100)) <= set(read)
    assert caplog.messages == ["GET /rows kept changing while it was read"]
    assert len(world.asked) < 30


def test_of_20_000_rows_that_come_and_go_what_exists_throughout_is_never_skipped():
    """Rows vanish and appear in front of the reader all the while, on each of 200 pages."""
    chance = random.Random(7)
    rows = [{"id": f"stays-{number}"} for number in range(20_000)]
    listing = list(rows)

    def fetch(offset: int, limit: int) -> List[Any]:
        page = listing[offset : offset + limit]
        where = chance.randrange(0, max(1, offset))
        if chance.random() < 0.5:
            listing[where:where] = [{"id": f"new-{offset}-{n}"} for n in range(chance.randrange(9))]
        else:
            new = list(range(where, min(where + 50, len(listing))))
            for place in reversed(new):
                if listing[place]["id"].startswith("new-"):
                    del listing[place]
        return page

    how = {"key": lambda row: row["id"], "route": "GET /x", "sizes": PageSizes()}
    read = Listing(fetch=fetch, limit=100, **how)
    found = [row["id"] for row in read.each_once()]
    assert len(found) == len(set(found)), "nothing comes twice"
    assert {row["id"] for row in rows} <= set(found)


# -- pages that were overtaken -------------------------------------------------------------
def test_a_page_that_holds_a_known_row_is_no_reason_to_step_back() -> None:
    """Something moved to the front, and pushed the rest down by less than the overlap."""
    world = World(names(90))

    def push(call: int) -> None:
        if call == 1:
            world.rows.insert(0, world.rows.pop(80))

    world.before = push
    assert sorted(world.listing(sizes=known_size(50)).each_once()) == names(90)
    first_pass = [start for start, _ in world.asked[:2]]
    assert first_pass == [0, 45], "read on, and not back"


def test_a_page_without_a_known_row_is_read_again_from_further_ahead() -> None:
    """So many rows vanished from the front that a whole page was passed over."""
    world = World(names(200))

    def pull(call: int) -> None:
        if call == 1:
            del world.rows[:50]

    world.before = pull
    assert {*names(200)[50:]} <= {*world.listing(sizes=known_size(50)).each_once()}
    assert [start for start, _ in world.asked[:3]] == [0, 45, 0]


def test_the_front_is_as_far_back_as_it_goes() -> None:
    """All that was known is gone: the front is read once more, not again and again."""
    world = World(names(60))

    def replace(call: int) -> None:
        if call == 1:
            world.rows = [f"new{number}" for number in range(60)]

    world.before = replace
    found = [*world.listing(sizes=known_size(50)).each_once()]
    assert {row for row in found if row.startswith("new")} == set(world.rows)
    assert [start for start, _ in world.asked[:4]] == [0, 45, 0, 45]


# -- a server that ignores offsets ---------------------------------------------------------
def unmoved(cap: int, count: int, **more: Any) -> Listing[str]:
    """Every page is the first one, and pages are capped without a word."""
    rows = names(count)
    listing = World(rows).listing(limit=500)
    return replace(listing, fetch=lambda _, limit: rows[: min(limit, cap)], **more)


def backwards(cap: int, count: int) -> Callable[[int, int], List[str]]:
    return lambda _, limit: names(count)[::-1][: min(limit, cap)]


def no_request(*_: Any) -> Any:
    pytest.fail("a request that no normal server needs")


@BOTH
def test_without_offsets_a_witness_tells_that_the_first_page_is_all(read):
    def is_all(count: int) -> None:
        for witness in (
            {"expected": count, "total": no_request},
            {"total": lambda: count, "backwards": no_request},
            {"total": lambda: count - 1, "backwards": backwards(count, count)},
        ):
            assert read(unmoved(count, count, **witness)) == names(count)

    each([1, 9, 10, 50, 99], is_all)


@BOTH
def test_without_offsets_a_witness_tells_that_there_is_more_than_the_first_page(read):
    def there_is_more(cap: int) -> None:
        for witness in (
            {"expected": cap + 1},
            {"total": lambda: cap + 1},
            {"backwards": backwards(cap, cap + 1)},
        ):
            with pytest.raises(BadReply, match=f"more than its first {cap} rows can't be read"):
                read(unmoved(cap, cap + 1, **witness))

    each([9, 10, 50, 99], there_is_more)


@pytest.mark.parametrize("order", [lambda rows: rows, lambda rows: [*rows[1:], rows[0]]])
def test_without_offsets_and_without_a_witness_it_is_told_that_rows_may_be_missing(order: Any):
    told: List[str] = []
    silent = {"backwards": lambda *_: order(names(10)), "incomplete": told.append}
    assert list(unmoved(10, 500, **silent).each_once()) == names(10)
    assert told == [UNMOVED]


@BOTH
def test_without_offsets_and_without_a_witness_who_wants_all_rows_gets_an_error(read):
    with pytest.raises(BadReply, match="whether the rows of its first page are all"):
        read(unmoved(10, 500))


def test_nobody_caps_pages_at_a_few_rows():
    listing = unmoved(9, 9, incomplete=no_request)
    assert list(listing.each_once()) == names(9)
    assert len(list(listing.by_position())) == 9


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_rows_that_come_in_front_do_not_look_like_a_server_without_offsets(count: int):
    """As many as were skipped: the second page is the first one once more."""

    def world() -> Listing[str]:
        world = World(names(count), cap=count)

        def others_add(call: int) -> None:
            if call == 1:
                world.rows = [
                    f"new{n}" for n in range(max(1, count - min(5, count // 2)))
                ] + world.rows

        world.before = others_add
        return replace(world.listing(), total=no_request, backwards=no_request)

    assert set(names(count)) < set(world().each_once())
    with pytest.raises(ListingShifted):
        list(world().by_position())


@pytest.mark.parametrize("total", [21, 200])
def test_a_listing_that_changes_and_ignores_offsets_is_not_read_for_ever(total: int):
    world = World(names(20))
    world.before = lambda call: world.rows.insert(0, "new") if call == 1 else None
    listing = replace(
        world.listing(limit=500),
        fetch=lambda _, limit: world.fetch(0, limit),
        total=lambda: total,
    )
    if total == 200:
        with pytest.raises(BadReply):
            list(listing.each_once())
    else:
        assert set(listing.each_once()) >= set(names(20))
    assert len(world.asked) < 40


@BOTH
def test_a_server_that_heeds_offsets_is_asked_for_no_witness(read):
    world = World(names(50))
    listing = replace(world.listing(limit=500), total=no_request, backwards=no_request)
    assert read(listing) == names(50)
    assert len(world.asked) == 2
