"""Two listings of documents compared, by id where they are referenced, by name where copied."""

from __future__ import annotations

import random
from dataclasses import fields
from typing import Any, Iterator, List, Sequence, Tuple

import pytest

from h2ogpte_migration.model import Document
from h2ogpte_migration.tracking.documents import BASELINE, SOURCE, TARGET, DocumentComparison
from h2ogpte_migration.validation import DocumentTallies

Row = Tuple[str, ...]  # id, name, status: name and status may be left out


def documents(rows: Sequence[Row]) -> List[Document]:
    return [
        Document(
            row[0],
            row[1] if len(row) > 1 else f"{row[0]}.pdf",
            row[2] if len(row) > 2 else "completed",
            index,
        )
        for index, row in enumerate(rows)
    ]


TALLIES = tuple(item.name for item in fields(DocumentTallies))


def tallies(
    by_name: bool, baseline: Sequence[Row], source: Sequence[Row], target: Sequence[Row]
) -> dict:  # type: ignore[type-arg]
    ledger = DocumentComparison(by_name=by_name)
    try:
        ledger.fill(BASELINE, documents(baseline))
        ledger.fill(SOURCE, documents(source))
        ledger.fill(TARGET, documents(target))
        ledger.settle_pending_baseline()
        counted = {name: getattr(ledger, name)() for name in TALLIES}
    finally:
        ledger.close()
    for number, names in counted.values():
        assert bool(number) == bool(names), "a number comes with names"
    return {name: tally[0] for name, tally in counted.items() if tally[0]}


AB: List[Row] = [("a",), ("b",)]


@pytest.mark.parametrize(
    ("baseline", "source", "target", "expected"),
    [
        pytest.param([], [], [], {}, id="nothing at all"),
        pytest.param(AB, AB, AB, {}, id="all arrived"),
        pytest.param(AB, AB, [("b",), ("a",)], {}, id="in another order"),
        pytest.param(AB, AB, [("a",)], {"missing": 1}, id="one missing"),
        pytest.param(AB, AB, [], {"missing": 2}, id="none arrived"),
        pytest.param(AB, [("a",)], [("a",)], {}, id="deleted at the source since"),
        pytest.param(AB, [("a",)], AB, {}, id="deleted at the source after it arrived"),
        pytest.param(AB, [], AB, {}, id="the source is gone, all arrived"),
        pytest.param(AB, [], [], {}, id="the source is gone, nothing tells of a loss"),
        pytest.param(AB, [*AB, ("c",)], AB, {"late": 1}, id="added to the source since"),
        pytest.param(AB, [*AB, ("c",)], [*AB, ("c",)], {}, id="added, and arrived"),
        pytest.param(AB, AB, [*AB, ("a",)], {"duplicated": 1}, id="the same id at two places"),
        pytest.param(AB, AB, [*AB, *AB], {"duplicated": 2}, id="everything at two places"),
        pytest.param(
            AB,
            AB,
            [*AB, ("x", "a.pdf"), ("y", "b.pdf")],
            {"duplicated": 2},
            id="a second import brought new ids of the same names",
        ),
        pytest.param(AB, AB, [*AB, ("x", "x.pdf")], {}, id="the owner uploaded one to the target"),
        pytest.param(
            [("a", "n"), ("b", "n")],
            [("a", "n"), ("b", "n")],
            [("a", "n"), ("b", "n")],
            {},
            id="two documents of one name are two documents",
        ),
        pytest.param(
            [("a", "n"), ("b", "n")],
            [("a", "n"), ("b", "n")],
            [("a", "n"), ("a", "n")],
            {"missing": 1, "duplicated": 1},
            id="of two of one name, one came twice and one not",
        ),
        pytest.param(
            AB, AB, [("a", "a.pdf", "failed"), ("b",)], {"newly_bad": 1}, id="failed in the target"
        ),
        pytest.param(
            AB, AB, [("a", "a.pdf", "novel"), ("b",)], {"newly_bad": 1}, id="an unknown status"
        ),
        pytest.param(
            AB, AB, [("a", "a.pdf", "agent_only"), ("b",)], {}, id="agent only is good enough"
        ),
        pytest.param(
            AB, AB, [("a", "a.pdf", "queued"), ("b",)], {"pending": 1}, id="still in the queue"
        ),
        pytest.param(
            [("a", "a.pdf", "failed")],
            [("a", "a.pdf", "failed")],
            [("a", "a.pdf", "failed")],
            {"bad_before": 1},
            id="bad to begin with",
        ),
        pytest.param(
            [("a", "a.pdf", "failed")],
            [("a", "a.pdf", "failed")],
            [],
            {"bad_before": 1, "missing": 1},
            id="bad to begin with, and missing",
        ),
        pytest.param(
            [("a", "a.pdf", "queued")],
            [("a", "a.pdf", "failed")],
            [("a", "a.pdf", "failed")],
            {"bad_before": 1},
            id="in work at submission, failed since",
        ),
        pytest.param(
            [("a", "a.pdf", "running")],
            [("a", "a.pdf")],
            [("a", "a.pdf", "failed")],
            {"newly_bad": 1},
            id="in work at submission, good since, and failed in the target",
        ),
        pytest.param(
            [("a", "a.pdf", "running")],
            [("a", "a.pdf")],
            [("a", "a.pdf", "running")],
            {"pending": 1},
            id="in work at submission, good since, and in work in the target",
        ),
        pytest.param(
            [("a", "a.pdf", "running")],
            [("a", "a.pdf", "running")],
            [("a", "a.pdf", "failed")],
            {"failed_first": 1},
            id="failed in the target, still in work in the source",
        ),
        pytest.param(
            [("a", "a.pdf", "running")],
            [],
            [("a", "a.pdf", "failed")],
            {},
            id="failed in the target, and deleted in the source before it ended there",
        ),
        pytest.param(
            AB,
            [*AB, ("c",)],
            [*AB, ("c", "c.pdf", "failed")],
            {"newly_bad": 1},
            id="added since, and failed in the target",
        ),
        pytest.param(
            AB,
            [*AB, ("c",)],
            [*AB, ("c", "c.pdf", "running")],
            {"pending": 1},
            id="added since, and in work in the target",
        ),
        pytest.param(
            AB,
            [*AB, ("c", "c.pdf", "failed")],
            [*AB, ("c", "c.pdf", "failed")],
            {},
            id="added since, and failed on both sides",
        ),
        pytest.param(
            [("a", "a.pdf", "queued")],
            [("a", "a.pdf", "queued")],
            [("a", "a.pdf", "queued")],
            {"pending_in_both": 1},
            id="in work everywhere: no fault of the import",
        ),
        pytest.param(
            [("a", "a.pdf", "failed")],
            [("a", "a.pdf", "failed")],
            [("a", "a.pdf", "queued")],
            {"bad_before": 1},
            id="bad before, being tried again",
        ),
    ],
)
def test_documents_that_are_referenced_are_compared_by_id(
    baseline: List[Row], source: List[Row], target: List[Row], expected: object
) -> None:
    assert tallies(False, baseline, source, target) == expected


COPIED: List[Row] = [("x", "a.pdf"), ("y", "b.pdf")]


@pytest.mark.parametrize(
    ("baseline", "source", "target", "expected"),
    [
        pytest.param([], [], [], {}, id="nothing at all"),
        pytest.param(AB, AB, COPIED, {}, id="all arrived under new ids"),
        pytest.param(AB, AB, COPIED[:1], {"missing": 1}, id="one missing"),
        pytest.param(AB, AB, [*COPIED, *COPIED], {"duplicated": 2}, id="everything twice"),
        pytest.param(AB, AB, [*COPIED, ("z", "a.pdf")], {"duplicated": 1}, id="one twice"),
        pytest.param(AB, AB[:1], COPIED, {}, id="deleted at the source after it arrived"),
        pytest.param(AB, AB[:1], COPIED[:1], {}, id="deleted at the source since"),
        pytest.param(AB, [], COPIED, {}, id="the source is gone"),
        pytest.param(AB, [*AB, ("c",)], COPIED, {"late": 1}, id="added to the source since"),
        pytest.param(AB, AB, [*COPIED, ("z", "z.pdf")], {}, id="uploaded to the target"),
        pytest.param(
            [("a", "n"), ("b", "n")],
            [("a", "n"), ("b", "n")],
            [("x", "n"), ("y", "n")],
            {},
            id="two of one name, both there",
        ),
        pytest.param(
            [("a", "n"), ("b", "n")],
            [("a", "n"), ("b", "n")],
            [("x", "n")],
            {"missing": 1},
            id="two of one name, one there",
        ),
        pytest.param(
            [("a", "n"), ("b", "n")],
            [("a", "n"), ("b", "n")],
            [("x", "n"), ("y", "n"), ("z", "n")],
            {"duplicated": 1},
            id="two of one name, three there",
        ),
        pytest.param(
            [("a", "n"), ("b", "n")],
            [("a", "n")],
            [("x", "n")],
            {},
            id="two of one name, one deleted since",
        ),
        pytest.param(
            [("a", "n")],
            [("a", "n"), ("b", "n")],
            [("x", "n")],
            {"late": 1},
            id="one of the same name added since",
        ),
        pytest.param(
            AB, AB, [("x", "a.pdf", "failed"), COPIED[1]], {"newly_bad": 1}, id="failed as a copy"
        ),
        pytest.param(
            [("a", "n"), ("b", "n", "failed")],
            [("a", "n"), ("b", "n", "failed")],
            [("x", "n"), ("y", "n", "failed")],
            {"bad_before": 1},
            id="of two of one name, the same one is bad as before",
        ),
        pytest.param(
            [("a", "n"), ("b", "n", "failed")],
            [("a", "n"), ("b", "n", "failed")],
            [("x", "n", "failed"), ("y", "n", "failed")],
            {"bad_before": 1, "newly_bad": 1},
            id="of two of one name, now both are bad",
        ),
        pytest.param(
            [("a", "n"), ("b", "n", "queued")],
            [("a", "n"), ("b", "n", "queued")],
            [("x", "n"), ("y", "n", "queued")],
            {"pending_in_both": 1},
            id="of two of one name, the same one is stuck as before",
        ),
        pytest.param(
            [("a", "n"), ("b", "n", "queued")],
            [("a", "n"), ("b", "n", "queued")],
            [("x", "n"), ("y", "n", "failed")],
            {"failed_first": 1},
            id="of two of one name, one failed in the target and is still queued in the source",
        ),
        pytest.param(
            [("a", "n")],
            [("a", "n"), ("b", "n", "failed")],
            [("x", "n", "failed")],
            {"late": 1, "newly_bad": 1},
            id="a bad one of the same name added since excuses nothing",
        ),
        pytest.param(
            AB, AB, [("x", "a.pdf", "running"), COPIED[1]], {"pending": 1}, id="copy in work"
        ),
    ],
)
def test_documents_that_are_copied_are_compared_by_name(
    baseline: List[Row], source: List[Row], target: List[Row], expected: object
) -> None:
    assert tallies(True, baseline, source, target) == expected


def test_findings_name_the_documents_and_their_state() -> None:
    ledger = DocumentComparison(by_name=False)
    ledger.fill(BASELINE, documents([("a", "Report.pdf"), ("b", "Plan.pdf")]))
    ledger.fill(SOURCE, documents([("a", "Report.pdf"), ("b", "Plan.pdf")]))
    ledger.fill(TARGET, documents([("a", "Report.pdf", "failed")]))
    assert ledger.newly_bad() == (1, ["Report.pdf (failed)"])
    assert ledger.missing() == (1, ["Plan.pdf"])
    ledger.close()


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("status", ["failed", "running"])
def test_of_a_source_that_is_gone_what_was_in_work_tells_nothing(
    by_name: bool, status: str
) -> None:
    ledger = DocumentComparison(by_name=by_name)
    ledger.fill(BASELINE, documents([("a", "a.pdf", "running"), ("b",)]))
    ledger.copy(BASELINE, SOURCE)
    ledger.fill(TARGET, documents([("a", "a.pdf", status)]))
    ledger.settle_pending_baseline()
    told = {name: getattr(ledger, name)()[0] for name in TALLIES}
    assert {name: number for name, number in told.items() if number} == {"missing": 1}
    ledger.close()


@pytest.mark.parametrize("by_name", [False, True])
def test_of_many_only_a_few_are_named_and_all_are_counted(by_name: bool) -> None:
    ledger = DocumentComparison(by_name=by_name)
    rows = documents([(str(number),) for number in range(12)])
    ledger.fill(BASELINE, rows)
    ledger.fill(SOURCE, rows)
    number, names = ledger.missing()
    assert (number, len(names)) == (12, 5)
    ledger.close()


@pytest.mark.parametrize(
    ("by_name", "left", "right", "same"),
    [
        (False, AB, AB, True),
        (False, AB, COPIED, False),
        (True, AB, COPIED, True),
        (False, [], [], True),
        (False, AB, [], False),
        (False, [], AB, False),
        (False, AB, [*AB, ("c",)], False),
        (False, AB, [*AB, ("a",)], False),
        (True, [("a", "n"), ("b", "n")], [("x", "n")], False),
        (True, [("a", "n"), ("b", "n")], [("x", "n"), ("y", "n")], True),
    ],
)
def test_two_sides_are_the_same_where_each_holds_every_document_as_often(
    by_name: bool, left: List[Row], right: List[Row], same: bool
) -> None:
    ledger = DocumentComparison(by_name=by_name)
    ledger.fill(BASELINE, documents(left))
    ledger.fill(TARGET, documents(right))
    assert ledger.same(BASELINE, TARGET) is same
    ledger.close()


def test_a_side_is_replaced_when_filled_again_and_the_others_stay() -> None:
    ledger = DocumentComparison(by_name=False)
    assert ledger.fill(SOURCE, documents(AB)) == 2
    assert ledger.fill(TARGET, documents(AB)) == 2
    assert ledger.fill(TARGET, documents([("c",)])) == 1
    assert (ledger.count(SOURCE), ledger.count(TARGET), ledger.count(BASELINE)) == (2, 1, 0)
    ledger.copy(TARGET, SOURCE)
    assert ledger.same(SOURCE, TARGET)
    ledger.close()


def test_a_listing_that_broke_off_is_filled_anew_from_its_start() -> None:
    def breaks_off() -> Iterator[Document]:
        yield from documents([("old",)])
        raise RuntimeError("rows shifted")

    ledger = DocumentComparison(by_name=False)
    with pytest.raises(RuntimeError):
        ledger.fill(TARGET, breaks_off())
    assert ledger.fill(TARGET, documents(AB)) == 2
    assert ledger.count(TARGET) == 2
    ledger.fill(BASELINE, documents(AB))
    assert ledger.same(BASELINE, TARGET)
    ledger.close()


def test_names_with_quotes_blanks_and_other_scripts_are_only_names() -> None:
    odd: List[Row] = [
        ("1", "it's; DROP TABLE"),
        ("2", ""),
        ("3", "％ 文書.pdf"),
        ("4", "a\nb\x00c"),
    ]
    assert tallies(True, odd, odd, odd) == {}
    assert tallies(True, odd, odd, odd[:1]) == {"missing": 3}


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("few_names", [False, True])
@pytest.mark.parametrize("status", ["completed", "queued"])
def test_the_work_grows_with_the_documents_and_not_with_their_square(
    by_name: bool, few_names: bool, status: str
) -> None:
    few, many = (work_per_document(by_name, few_names, status, size) for size in (200, 1000))
    assert many < 1.5 * few


def work_per_document(by_name: bool, few_names: bool, status: str, size: int) -> float:
    """Hundreds of SQLite's steps, for a comparison in which all is asked for."""
    # Names repeat in real collections.
    rows = [(str(n), f"scan-{n % 5 if few_names else n}.pdf") for n in range(size)]
    ledger = DocumentComparison(by_name=by_name)
    steps: List[None] = []
    ledger._db.set_progress_handler(lambda: steps.append(None), 100)
    ledger.fill(BASELINE, documents([(*row, status) for row in rows]))
    ledger.fill(SOURCE, documents(rows))
    ledger.fill(TARGET, documents(rows[1:]))
    ledger.settle_pending_baseline()
    assert {name for name in TALLIES if getattr(ledger, name)()[0]} == {"missing"}
    ledger.close()
    return len(steps) / size


@pytest.mark.parametrize("by_name", [False, True])
def test_the_one_look_that_tells_that_nothing_differs_overlooks_nothing(
    by_name: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, seen = random.Random(13), set()
    real = DocumentComparison._all_alike
    for _ in range(200):
        plain = [(one, f"{one}.pdf", "completed") for one in "abc"]
        sides: List[List[Row]] = [list(plain), list(plain), list(plain)]
        for _ in range(chance.randrange(3)):
            rows = sides[chance.randrange(3)]
            number = chance.randrange(len(rows))
            ident, name, status = rows[number]
            others = ("agent_only", "failed", "queued")
            rows[number] = chance.choice(
                [
                    ("x", name, status),
                    (ident, "x.pdf", status),
                    rows[0],
                    *((ident, name, other) for other in others),
                ]
            )
        told = answers(by_name, sides)
        seen.add(any(any(answer) for answer in told))
        monkeypatch.setattr(DocumentComparison, "_all_alike", lambda ledger: real(ledger) and False)
        assert answers(by_name, sides) == told
        monkeypatch.setattr(DocumentComparison, "_all_alike", real)
    assert seen == {False, True}


def answers(by_name: bool, sides: List[List[Row]]) -> List[Any]:
    """All that a comparison is asked for."""
    ledger = DocumentComparison(by_name=by_name)
    try:
        for side, rows in zip((BASELINE, SOURCE, TARGET), sides):
            ledger.fill(side, documents(rows))
        ledger.settle_pending_baseline()
        others = ("foreign", "deleted", "other_mode")
        found = [getattr(ledger, name)() for name in (*TALLIES, *others)]
        return [*found, [ledger.missing_bad()], [] if by_name else ledger.late_ids()]
    finally:
        ledger.close()


# -- paired by name -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((1, 1, 1), {}),
        ((1, 1, 0), {"missing": 1}),
        ((2, 2, 1), {"missing": 1}),
        ((2, 1, 1), {}),  # one was deleted at the source
        ((2, 1, 0), {"missing": 1}),
        ((1, 2, 0), {"missing": 1, "late": 1}),
        ((1, 2, 1), {"late": 1}),
        ((1, 2, 2), {}),
        ((1, 3, 2), {"late": 1}),
        ((0, 1, 0), {"late": 1}),
        ((0, 1, 1), {}),
        ((0, 0, 1), {}),  # somebody's own
        ((0, 0, 3), {}),
        ((1, 1, 2), {"duplicated": 1}),
        ((1, 1, 3), {"duplicated": 2}),
        ((2, 2, 4), {"duplicated": 2}),
        ((1, 0, 2), {"duplicated": 1}),
        ((1, 2, 3), {"duplicated": 1}),
        ((2, 1, 3), {"duplicated": 1}),
        ((0, 1, 2), {"duplicated": 1}),
        ((1, 0, 1), {}),
        ((1, 0, 0), {}),
    ],
)
def test_by_name_it_is_counted(counts: Tuple[int, int, int], expected: Any) -> None:
    """How often a name stands in baseline, source and target, there under ids of its own."""
    sides = [[(f"{side}{n}", "n.pdf") for n in range(count)] for side, count in zip("sst", counts)]
    assert tallies(True, *sides) == expected


def test_a_newer_version_of_a_copied_document_came_late() -> None:
    """Its name is that of the old one, which arrived."""
    old, new, copy = [("s1", "n.pdf")], [("s2", "n.pdf")], [("t1", "n.pdf")]
    assert tallies(True, old, new, copy) == {"late": 1}
    assert tallies(True, old, new, [*copy, ("t2", "n.pdf")]) == {}, "somebody brought it"


@pytest.mark.parametrize(
    ("counts", "foreign", "deleted"),
    [((1, 1, 1), 0, 0), ((0, 0, 2), 2, 0), ((0, 1, 1), 0, 0), ((1, 0, 1), 0, 0), ((3, 1, 2), 0, 1)],
)
def test_by_name_what_is_somebodys_and_what_is_gone(
    counts: Tuple[int, int, int], foreign: int, deleted: int
) -> None:
    ledger = DocumentComparison(by_name=True)
    for side, count in zip((BASELINE, SOURCE, TARGET), counts):
        ledger.fill(side, documents([(f"{side}{n}", "n.pdf") for n in range(count)]))
    assert (ledger.foreign()[0], ledger.deleted()[0]) == (foreign, deleted)
    assert ledger.missing_bad() == 0
    ledger.close()


@pytest.mark.parametrize(
    ("baseline", "target", "expected"),
    [
        (["completed"], ["failed"], {"newly_bad": 1}),
        (["completed", "failed"], ["completed", "failed"], {"bad_before": 1}),
        (["completed", "failed"], ["failed", "failed"], {"bad_before": 1, "newly_bad": 1}),
        (["failed", "failed"], ["failed", "failed"], {"bad_before": 2}),
        (["completed", "completed"], ["failed", "failed"], {"newly_bad": 2}),
        (["completed"], ["queued"], {"pending": 1}),
    ],
)
def test_by_name_as_many_may_be_bad_as_were_bad_before(
    baseline: List[str], target: List[str], expected: Any
) -> None:
    rows = [
        [(f"{s}{n}", "n.pdf", status) for n, status in enumerate(side)]
        for s, side in (("b", baseline), ("b", baseline), ("t", target))
    ]
    assert tallies(True, *rows) == expected
