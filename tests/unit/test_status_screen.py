"""The screen of ``--status``, compared with what stands in ``screens``.

To accept a change: delete the file and run the test twice; look at it before it is committed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from h2ogpte_migration.results import OutcomeKind, Recorded, Result
from h2ogpte_migration.ui import status
from h2ogpte_migration.ui.cells import fit, pad, width

SCREENS = Path(__file__).with_name("screens")
NOW = datetime(2026, 3, 16, 20, 17, tzinfo=timezone.utc)
NEEDS = [
    Result(
        OutcomeKind.FAILED,
        f"id-{number}",
        name,
        owner,
        reason=reason,
        recorded=Recorded(since=since),
    )
    for number, (name, owner, reason, since) in enumerate(
        [
            ("Sales decks 2018", "jane.doe", "3 documents not ingested", "2026-03-16T18:10:00Z"),
            (
                "Field reports of all regions and years since 1998, second part",
                "maria.oliveira@corp.example.com",
                "import: the server rejected the import of the collection, because one of its "
                "documents is larger than what the embedding model can take at one time",
                "2026-03-14T18:10:00Z",
            ),
            ("契約書 2024 \u202egpj", "m.oliveira", "job canceled", ""),
        ]
    )
]
VIEW = status.View(
    server="https://h2ogpte.example.com",
    database="migration_tracking.db",
    scope="",
    now=NOW,
    recorded_at="2026-03-16T20:15:00+00:00",
    last_run="last run: interrupted 20:15 UTC",
    counts={OutcomeKind.DONE: 45, OutcomeKind.FAILED: 6, OutcomeKind.HELD: 1},
    owners={"jane.doe": (10, 1), "m.oliveira": (35, 6)},
    models={
        "h2oai/embeddinggemma-300m-qat-q8_0-unquantized": (29, 5),
        "mixedbread-ai/mxbai-embed-large-v1": (16, 2),
    },
    needs=NEEDS,
    needs_count=7,
    warnings=["Alpha: the thumbnail a.png can't be carried over"],
    warnings_count=1,
    following="h2ogpte-migrate --url https://h2ogpte.example.com --admin-key --all-users "
    "--use-model-mappings --retry-failed",
)


def drawn(view: status.View, columns: int, *, ascii_only: bool = False) -> str:
    return "\n".join(status.lines(view, columns, ascii_only=ascii_only)) + "\n"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_screen_is_the_golden_one(columns: int) -> None:
    golden = SCREENS / f"status_{columns}.txt"
    if not golden.exists():
        golden.write_text(drawn(VIEW, columns), encoding="utf-8")
        pytest.fail(f"{golden.name} was missing, and is made now: look at it")
    assert drawn(VIEW, columns) == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [60, 72, 80, 100, 120, 140])
def test_nothing_but_the_command_is_wider_than_the_terminal(columns: int) -> None:
    for line in drawn(replace(VIEW, following=""), columns).splitlines():
        assert width(line) <= columns


def test_an_alphabet_without_blocks_gets_plain_characters() -> None:
    text = drawn(replace(VIEW, needs=NEEDS[:1]), 80, ascii_only=True)
    assert text.isascii()
    assert "[####################....] 45 of 52 migrated (86%)" in text


def test_all_done_needs_nobody() -> None:
    counts = {OutcomeKind.DONE: 52}
    view = replace(VIEW, counts=counts, needs=[], needs_count=0, warnings_count=0, following="")
    text = drawn(replace(view, warnings=[]), 80)
    assert "52 of 52 migrated (100%)" in text
    assert "52 done  0 failed  0 held  0 importing" in text
    assert "NEEDS YOU" not in text
    assert "Next" not in text


def test_almost_all_is_not_all() -> None:
    counts = {OutcomeKind.DONE: 999, OutcomeKind.HELD: 1}
    assert "(99%)" in drawn(replace(VIEW, counts=counts), 80)


@pytest.mark.parametrize("columns", [60, 80])
def test_ids_come_out_whole(columns: int) -> None:
    old, new = "a" * 36, "b" * 36
    row = Result(OutcomeKind.DONE, old, "Alpha", "anna", target_id=new)
    text = drawn(replace(VIEW, listed=[row]), columns)
    assert old in text
    assert f"-> {new}" in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-03-16T20:16:30Z", "just now"),
        ("2026-03-16T20:15:00Z", "2 min ago"),
        ("2026-03-16T18:10:00Z", "2 h ago"),
        ("2026-03-13T18:10:00Z", "3 d ago"),
        ("", ""),
    ],
)
def test_ages(text: str, told: str) -> None:
    assert status.age(text, NOW) == told


@pytest.mark.parametrize("places", range(1, 12))
def test_text_is_cut_to_its_places(places: int) -> None:
    for text in ("short", "much longer than that", "契約書契約書", "e\u0301e\u0301e\u0301"):
        assert width(fit(text, places)) <= places
        assert width(pad(text, places)) == places
        assert (fit(text, places) == text) == (width(text) <= places)
