"""Reading long listings page by page from a server whose order may shift meanwhile. Pure.

No listing of the server has a unique order, pages may come shorter than asked for, and rows
come and go while they are read; some may be left out of a page after it was cut. So pages overlap
by a few rows, which shows whether the listing stood still in between; and a page counts as the last
one only when it is shorter than a page that the server has been seen to fill, and is the first, ends
where the listing was said to end, or is followed by one that brings nothing, or little, new.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import Callable, Dict, Generic, Iterator, List, Optional, Set, Tuple, TypeVar

from h2ogpte_migration.errors import BadReply, NotFound, Rejected, ServerError

log = logging.getLogger(__name__)

Row = TypeVar("Row")

PAGE = 500
SAFE_PAGE = 100
"""The contract's default: asked for where the server refuses a longer page."""
OVERLAP = 10
MAX_PASSES = 5
MAX_PASSES_REORDERED = 12
"""The same where rows change places: then only what no reading adds anything to is complete."""
QUIET_PASSES = 3
"""So many readings in a row without anything new, where rows change places."""
MAX_STEPS_BACK = 100
FAR = 1_000_000
"""An offset behind the end of every listing whose first page is not full."""
LIMIT_REFUSED = (400, 422)
SMALLER_PAGES = (SAFE_PAGE, 50, 20, 10)
"""What is asked for, one after the other, where the server refuses longer pages."""


RESTLESS = (
    "rows changed places all the while the server listed them, so that some may not have been "
    "seen; run the same command again"
)
UNMOVED = (
    "the server sends the same page again, whatever the offset, and nothing tells whether the rows of "
    "its first page are all there are"
)
NAMELESS = "the server listed rows without an id, which are left out: what they are can't be told"


class ListingShifted(ServerError):
    """Rows came or went while a listing was read by position: read it again from its start."""


class PageSizes:
    """What one server has shown about the pages of each route; shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._honoured: Dict[str, int] = {}
        self._most: Dict[str, int] = {}

    def limit(self, route: str, wanted: int) -> int:
        """The page size to ask for."""
        with self._lock:
            return min(wanted, self._most.get(route, wanted))

    def honoured(self, route: str) -> int:
        """The longest page that ever came; 0 before the first one."""
        with self._lock:
            return self._honoured.get(route, 0)

    def learn(self, route: str, rows: int) -> None:
        with self._lock:
            self._honoured[route] = max(rows, self._honoured.get(route, 0))

    def refuse(self, route: str, accepted: int) -> None:
        """Remember that longer pages than the accepted one are refused on this route."""
        with self._lock:
            self._most[route] = min(accepted, self._most.get(route, accepted))


@dataclass(frozen=True)
class _Page(Generic[Row]):
    """One page: where it starts, its rows with their ids, and whether it is full."""

    start: int
    rows: List[Row]
    ids: List[str]
    full: bool
    """False where the server is known to fill longer pages than this one."""
    meagre: bool
    """The page is less than half as long as those that the server is known to fill."""
    short: bool
    """The page is so much shorter than asked for that hardly any server caps its pages there."""
    to_come: Optional[int]
    """How many rows should follow, where it was said how many there are."""

    def is_last(self, before: Optional[_Page[Row]], known: int) -> bool:
        """Whether nothing can follow; ``known`` of its rows were on the page before.

        A page that is not full may only lack rows that were left out of it, which a short list is
        not suspected of. Two meagre ones are its end and what came there meanwhile, which is not
        run after.
        """
        if len(self.rows) <= known:
            return True
        if self.to_come == 0:
            return self.short or not self.full
        if self.full or (self.to_come or 0) > 0:
            return False
        return self.short or self.meagre if before is None else before.meagre and self.meagre

    def joins(self, before: Optional[_Page[Row]], tail: List[str]) -> Optional[int]:
        """How many of its first rows are the last ones of the page before; None: it does not join.

        They should be the ``tail``; more where rows had been left out of the page before, as each
        of them was counted in the offset of this one. Then all that follows may be left out as well.
        """
        if before is not None and not before.full:
            if not self.ids:
                return 0
            for place, name in enumerate(before.ids[: len(before.ids) - len(tail)]):
                if (
                    name == self.ids[0]
                    and self.ids[: len(before.ids) - place] == before.ids[place:]
                ):
                    return len(before.ids) - place
        return len(tail) if self.ids[: len(tail)] == tail else None

    def is_again(self, before: Optional[_Page[Row]]) -> bool:
        """Whether it is the page before once more: the server ignores the offset, or as many rows
        came in front of it as were skipped."""
        return before is not None and bool(self.start and before.ids) and self.ids == before.ids

    def tail(self, overlap: int) -> List[str]:
        """The ids that the next page should begin with; fewer on tiny pages, to get ahead."""
        size = min(overlap, len(self.ids) // 2)
        return self.ids[len(self.ids) - size :]


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """A listing that can be read.

    Args:
        fetch: gives the rows from an offset on, at most ``limit``.
        key: a row's id; empty where it has none.
        route: what ``sizes`` remembers page sizes by.
        expected: how many rows were announced elsewhere, if that is known.
        total: asks how many rows there are; None where the server does not tell. Used only where
            it ignores offsets, as is ``backwards``.
        in_another_order: ``fetch`` by another column: rows alike in one may differ in the other.
        backwards: ``fetch`` in the reverse order.
        incomplete: told why, where ``each_once`` may have missed something. Without it, all of it
            is wanted: where that can't be had for sure, it raises ``BadReply`` like ``by_position``.
    """

    fetch: Callable[[int, int], List[Row]]
    key: Callable[[Row], str]
    route: str
    sizes: PageSizes
    limit: int = PAGE
    overlap: int = OVERLAP
    expected: Optional[int] = None
    total: Callable[[], Optional[int]] = lambda: None
    in_another_order: Optional[Callable[[int, int], List[Row]]] = None
    backwards: Optional[Callable[[int, int], List[Row]]] = None
    incomplete: Optional[Callable[[str], None]] = None

    def first(self) -> List[Row]:
        """The first page, of at most ``limit`` rows."""
        return self._fetch(0)[0]

    def by_position(self) -> Iterator[Tuple[int, Row]]:
        """Every row once, with its absolute position; the same id may stand at several.

        Keeps one page in memory.

        Raises:
            ListingShifted: it changed while it was read; what was yielded so far may be wrong.
            BadReply: there may be more than can be read.
        """
        start = 0
        tail: List[str] = []
        before: Optional[_Page[Row]] = None
        while True:
            page = self._page(start)
            again = page.is_again(before)
            whole = self._is_whole(page.ids) if again else None
            if whole:
                return
            if whole is False:
                raise self._unmoved()
            known = page.joins(before, tail)
            if again or known is None:
                raise ListingShifted(
                    "The listing changed while it was read.",
                    route=self.route,
                    hint="It has to be read again.",
                )
            for index in range(known, len(page.rows)):
                yield start + index, page.rows[index]
            if page.is_last(before, known):
                return
            before, tail = page, page.tail(self.overlap)
            start += len(page.rows) - len(tail)

    def each_once(self) -> Iterator[Row]:
        """Every id once. Whatever exists all the while is among them, even if the order shifts.

        A listing that did not stand still is read again until nothing new comes up; where rows
        change places (ties in no fixed order), now and then by another column.
        """
        seen: Set[str] = set()
        passes = quiet = 0
        reordered = nameless = False
        while passes < (MAX_PASSES_REORDERED if reordered else MAX_PASSES):
            run = _Pass(self._ordered_for(passes if reordered else 0))
            fresh = 0
            for name, row in run.rows():
                if name in seen:
                    continue
                seen.add(name)
                fresh += 1
                yield row
            passes += 1
            if run.nameless and not nameless:
                nameless = True
                self._tell(NAMELESS)
            if run.unmoved:
                if self.incomplete is None:
                    raise self._unmoved()
                log.warning("%s: %s", self.route, UNMOVED)
                self._tell(UNMOVED)
                return
            reordered = reordered or run.reordered
            quiet = 0 if fresh else quiet + 1
            if run.steady or quiet >= (QUIET_PASSES if reordered else 1):
                return
        log.warning("%s kept changing while it was read", self.route)
        if reordered:
            self._tell(RESTLESS)

    def _tell(self, why: str) -> None:
        if self.incomplete is not None:
            self.incomplete(why)

    def _unmoved(self) -> BadReply:
        return BadReply(f"{self.route}: {UNMOVED}.", route=self.route)

    def _ordered_for(self, number: int) -> Listing[Row]:
        """The listing for a reading: every second one in another order, if there is one."""
        other = self.in_another_order
        return self if other is None or not number % 2 else replace(self, fetch=other)

    def _is_whole(self, page: List[str]) -> Optional[bool]:
        """Whether a page that came again is all there is; False: may be not.

        None where the offset is heeded, or the listing changed meanwhile.

        Raises:
            BadReply: there is more.
        """
        if not self._ignores_offsets():
            return None
        told = self._witness(page)
        if told is not False:
            # Nothing caps its pages at fewer rows than a screen shows.
            return told or len(page) < SMALLER_PAGES[-1]
        if self._ids(self) != page:
            return None
        raise BadReply(
            f"{self.route}: the server sends the same page again, whatever the offset; "
            f"more than its first {len(page)} rows can't be read.",
            route=self.route,
        )

    def _ignores_offsets(self) -> bool:
        try:
            return bool(self._fetch(FAR)[0])
        except (NotFound, Rejected):
            return False

    def _witness(self, page: List[str]) -> Optional[bool]:
        """Whether some rows are all there are, by what else the server tells; None: it does not."""
        total = self.total() if self.expected is None else self.expected
        if total is not None and total >= len(page):
            return total == len(page)
        if self.backwards is None:
            return None
        last = self._ids(replace(self, fetch=self.backwards))
        if not set(last) <= set(page):
            return False
        # In any other order the server did not heed the one that was asked for.
        return True if last == page[::-1] else None

    def _ids(self, listing: Listing[Row]) -> List[str]:
        return [self.key(row) for row in listing._fetch(0)[0]]

    def _page(self, start: int) -> _Page[Row]:
        honoured = self.sizes.honoured(self.route)
        rows, limit = self._fetch(start)
        filled = min(limit, honoured)
        self.sizes.learn(self.route, len(rows))
        return _Page(
            start,
            rows,
            [self.key(row) for row in rows],
            full=len(rows) >= filled,
            meagre=2 * len(rows) < filled,
            # A server may cap its pages below what was asked for, hardly below its default.
            short=len(rows) < min(limit, SAFE_PAGE),
            to_come=None if self.expected is None else self.expected - start - len(rows),
        )

    def _fetch(self, start: int) -> Tuple[List[Row], int]:
        """A page's rows and the limit that was asked for, which the server may find too big."""
        limit = self.sizes.limit(self.route, self.limit)
        smaller = [size for size in SMALLER_PAGES if size < limit]
        while True:
            try:
                rows = self.fetch(start, limit)
            except NotFound:
                if start != 1:
                    raise
                return [], limit  # after a listing's only row: an offset at its end is refused
            except Rejected as error:
                if error.status in LIMIT_REFUSED and start == 1:
                    return [], limit
                if error.status not in LIMIT_REFUSED or not smaller:
                    raise
                limit = smaller.pop(0)
                continue
            if limit < self.limit:
                self.sizes.refuse(self.route, limit)
            return rows, limit


class _Pass(Generic[Row]):
    """One reading of a listing from its start to its end, which notices shifts.

    A page is connected to what was read before when it holds any row of it: what follows that
    row in today's order is on this page or on a later one. A page that holds none may have been
    overtaken by rows that moved to the front, so the reading steps back until it connects.
    """

    def __init__(self, listing: Listing[Row]) -> None:
        self._listing = listing
        self._known: Dict[str, int] = {}
        self.steady = True
        self.reordered = False
        """Rows changed places. Those that come and go only shift what follows them."""
        self.nameless = False
        """There were rows without an id."""
        self.unmoved = False
        """It ended with the first page once more, and there may be more than that."""

    def rows(self) -> Iterator[Tuple[str, Row]]:
        """The rows that have an id, as (id, row); repeated where pages overlap."""
        start = length = steps_back = 0
        tail: List[str] = []
        before: Optional[_Page[Row]] = None
        while True:
            page = self._listing._page(start)
            if page.is_again(before):
                whole = self._listing._is_whole(page.ids)
                self.steady, self.unmoved = self.steady and whole is not None, whole is False
                return
            known = page.joins(before, tail)
            in_order = known is not None
            earlier, before = before, page
            self.steady = self.steady and in_order
            self.reordered = self.reordered or not (in_order or self._in_sequence(page))
            if self._overtaken(page, in_order) and steps_back < MAX_STEPS_BACK:
                steps_back += 1
                start = max(0, start - max(1, length))
                continue
            for name in filter(None, page.ids):
                self._known[name] = len(self._known)
            yield from self._with_id(page)
            if page.is_last(earlier, known or 0):
                return
            length, tail = len(page.rows), page.tail(self._listing.overlap)
            start += length - len(tail)

    def _overtaken(self, page: _Page[Row], in_order: bool) -> bool:
        return not in_order and page.start > 0 and self._known.keys().isdisjoint(page.ids)

    def _in_sequence(self, page: _Page[Row]) -> bool:
        """Whether the rows that were read before come in the order in which they were read."""
        places = [self._known[name] for name in page.ids if name in self._known]
        return places == sorted(places)

    def _with_id(self, page: _Page[Row]) -> Iterator[Tuple[str, Row]]:
        for name, row in zip(page.ids, page.rows):
            if name:
                yield name, row
            else:
                self.nameless = True
                log.warning("%s: a row without an id is left out", self._listing.route)
