"""What people see, as whole screens at 80 and 120 columns, compared with files that were looked at.

``GOLDEN=write pytest tests/golden`` writes the files anew; the change is then in the diff.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import List, Optional

import pytest

from h2ogpte_migration.cli.help import help_text
from h2ogpte_migration.model import Collection, Finding, Job
from h2ogpte_migration.results import (
    OWN_TARGET,
    OutcomeKind,
    Plan,
    Result,
    RunResult,
    not_available,
    skipped,
)
from h2ogpte_migration.states import Position
from h2ogpte_migration.ui import live, plan, summary
from h2ogpte_migration.ui.summary import Following, SummaryOptions
from h2ogpte_migration.ui.tally import Tally
from h2ogpte_migration.ui.text import plural

SCREENS = Path(__file__).with_name("screens")
WIDTHS = pytest.mark.parametrize("width", [80, 120])
M3, LARGE = "BAAI/bge-m3", "BAAI/bge-large-en-v1.5"
GEMMA = "h2oai/embeddinggemma-300m-qat-q8_0-unquantized"
MXBAI = "mixedbread-ai/mxbai-embed-large-v1"
URL = "https://h2ogpte.example.com"
OWNERS = ("jane.doe", "susan.k", "m.oliveira")
TEAMS = ("HR policies", "Contracts", "Field reports", "Sales decks")


def same_as_file(name: str, text: str) -> None:
    path = SCREENS / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


def fits(text: str, width: int) -> None:
    """Nothing but commands to paste is longer than a line."""
    for line in text.splitlines():
        assert len(line) < width or "h2ogpte-migrate -" in line, line


def source(number: int) -> Collection:
    name = f"{TEAMS[number % 4]} {2012 + number // 4}"
    return Collection(
        f"c{number:07}-58cc-4372-a567-0e02b2c3d479",
        name,
        OWNERS[number % 3],
        M3 if number % 2 else LARGE,
        document_count=100 + 37 * number,
    )


def result(number: int, kind: OutcomeKind, **more: object) -> Result:
    one = source(number)
    made = Result(
        kind,
        one.id,
        one.name,
        one.owner,
        one.model,
        target_id=f"d{number:07}-58cc-4372-a567-0e02b2c3d479",
        target_name=f"(Migrated) {one.name} - 20260316_225645",
        target_model=GEMMA if number % 2 else MXBAI,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def organisation() -> RunResult:
    """52 collections of which 8 went wrong, in five ways."""
    rejected = "the import job failed: server rejected the import"
    rows: List[Result] = [
        result(n, OutcomeKind.DONE, earlier=n >= 12, documents=100 + 37 * n if n < 12 else None)
        for n in range(44)
    ]
    rows[3] = replace(
        rows[3],
        moved=(("connectors", 3), ("chats", 12)),
        warnings=("the thumbnail papers.png can't be carried over; upload it again",),
    )
    failed = {"position": Position.FAILED, "needs_attention": True, "cause": "job failed"}
    rows += [result(n, OutcomeKind.FAILED, reason=rejected, **failed) for n in range(44, 48)]
    rows.append(
        result(
            48,
            OutcomeKind.FAILED,
            position=Position.CREATED,
            reason="permissions: POST /collections/{id}/share failed after 6 attempts: no answer",
            hint="Run the same command again; it continues from here.",
            cause="Unavailable POST",
            needs_attention=True,
        )
    )
    for n, missing in ((49, 3), (50, 1)):
        finding = Finding("missing", f"{plural(missing, 'document')} missing", blocking=True)
        held = f"connectors and chats are held back: {finding.text}"
        rows.append(
            result(
                n,
                OutcomeKind.HELD,
                position=Position.HELD,
                reason=held,
                hint="Mend it and run --verify, or --retry-failed for a new target.",
                findings=(finding,),
                needs_attention=True,
            )
        )
    rows.append(not_available("c9999999-58cc-4372-a567-0e02b2c3d479", "no such collection"))
    unmapped = [replace(source(n), model="intfloat/e5-large-v2") for n in range(60, 63)]
    rows += [skipped(one, "its model is not in the mapping", "not mapped") for one in unmapped]
    rows.append(skipped(source(70), "it is a target of this tool", OWN_TARGET))
    return RunResult(
        rows,
        guests=2,
        elapsed_s=221.0,
        peak_jobs=8,
        peak_requests=8,
        seconds_by_step={"create": 21.4, "import": 30.2, "job": 1204.9, "validate": 61.0},
        seconds_by_source={row.source_id: 5.0 + n for n, row in enumerate(rows[:12])},
    )


FOLLOWING = (
    Following("to continue", f"h2ogpte-migrate --url {URL} --admin-key --all-users"),
    Following(
        "to try failed imports afresh",
        f"h2ogpte-migrate --url {URL} --admin-key --all-users --retry-failed",
    ),
)


def summary_text(run: RunResult, width: Optional[int], **more: object) -> str:
    how = SummaryOptions(width=width, following=FOLLOWING, **more)  # type: ignore[arg-type]
    return "\n".join(line.text for line in summary.lines(run, how))


# -- the summary -------------------------------------------------------------------------
@WIDTHS
def test_summary(width: int) -> None:
    text = summary_text(organisation(), width)
    fits(text, width)
    assert len(text.splitlines()) <= 40, "one screen"
    same_as_file(f"summary_{width}", text)


def test_a_group_of_hundreds_stays_ten_lines() -> None:
    rows = [
        result(n, OutcomeKind.FAILED, reason="the import job failed", needs_attention=True)
        for n in range(300)
    ]
    text = summary_text(RunResult(rows), 80)
    assert text.count("(c0000") == 10
    assert "290 more: h2ogpte-migrate --status" in text


def test_what_another_database_migrated_is_one_group_as_a_run_and_as_a_plan_tell_it() -> None:
    why = (
        "another database seems to have migrated it already: use that one; d{0} has the model: {0}"
    )
    rows = [
        not_available(source(n).id, why.format(n), source(n).name, "jane.doe") for n in range(300)
    ]
    how = SummaryOptions(width=80)
    planned_text = "\n".join(line.text for line in plan.lines(RunResult(rows), how))
    for text in (summary_text(RunResult(rows), 80), planned_text):
        assert "Not available: 300: another database seems to have" in text
        assert text.count("(c0000") == 10
        assert "of jane.doe: d7 has the model" in " ".join(text.split())
        assert "290 more: with --details, or in the log" in text


def test_what_failed_alike_is_one_group_now_and_earlier_whatever_is_missing() -> None:
    rows = [
        result(
            n,
            OutcomeKind.FAILED,
            reason="the import job failed: no room left; "
            f"{plural(n, 'document')} missing in the target: a-{n}.pdf, b-{n}.pdf",
            cause="" if n % 2 else "job failed",
            earlier=bool(n % 2),
            hint="--retry-failed makes a new target.",
            needs_attention=True,
        )
        for n in range(1, 8)
    ]
    lines = summary_text(RunResult(rows), 80).splitlines()
    told = " ".join(" ".join(lines).split())
    assert (
        "Failed: 7 collections: the import job failed: no room left. --retry-failed makes" in told
    )
    assert "of jane.doe: 3 documents missing in the target" in told
    assert ".pdf" not in told
    assert len(lines) < 24, "one screen"


def test_numbers_in_a_reason_do_not_make_a_group_of_each() -> None:
    rows = [
        result(n, OutcomeKind.FAILED, reason=f"create: quota of {n} used", needs_attention=True)
        for n in range(1, 4)
    ]
    text = summary_text(RunResult(rows), None)
    assert "Failed: 3 collections: create: quota of # used." in text
    assert "of m.oliveira: create: quota of 2 used" in text


def test_details_name_every_collection() -> None:
    run = organisation()
    brief, long = summary_text(run, 80), summary_text(run, None, details=True)
    assert not all(row.source_id in brief for row in run.results)
    assert all(row.source_id in long for row in run.results)


def test_answers_that_are_not_as_wanted_come_before_those_that_are() -> None:
    rows = [
        result(n, OutcomeKind.DONE, notes=("RAG check passed, 2 document references: Yes.",))
        for n in range(30)
    ]
    rows[25] = replace(rows[25], notes=("RAG check: the answer refers to no document: No.",))
    lines = summary_text(RunResult(rows), None).splitlines()
    told = [number for number, line in enumerate(lines) if "RAG check" in line]
    assert lines[told[0]] == "RAG check: 29 of 30 collections passed."
    assert f"({rows[25].source_id}): RAG check: the answer refers to no document" in lines[told[1]]
    assert "20 more notes: with --details" in lines[told[-1] + 1]


def test_a_collection_that_was_not_asked_does_not_count_among_the_answers() -> None:
    notes = ["passed, 1 document reference: Yes.", ": no answer", "left out: no documents"]
    rows = [
        result(n, OutcomeKind.DONE, notes=(f"RAG check {note}".replace(" :", ":"),))
        for n, note in enumerate(notes)
    ]
    assert "RAG check: 1 of 2 collections passed." in summary_text(RunResult(rows), None)


def test_notes_beyond_ten_stand_in_the_details() -> None:
    run = organisation()
    notes = tuple(f"the question {n} had no answer" for n in range(12))
    run.results[0] = replace(run.results[0], notes=notes)
    brief, long = summary_text(run, 80), summary_text(run, None, details=True)
    assert sum(note in " ".join(brief.split()) for note in notes) == 10
    assert "2 more notes: with --details" in " ".join(brief.split())
    assert all(note in long for note in notes)


@pytest.mark.parametrize("details", [False, True])
def test_what_former_targets_hold_is_told_with_its_command_for_each_of_them(details: bool) -> None:
    command = "h2ogpte-migrate --rollback --move-from d1 --move-to c1"
    run = organisation()
    for number in range(12):
        held = (f"2 chats in the former target d{number}; {command}",)
        run.results[number] = replace(run.results[number], left_behind=held)
    text = summary_text(run, 80, details=details)
    told = [line for line in text.splitlines() if line.startswith("Left behind: ")]
    assert len(told) == 12
    for number, line in enumerate(told):
        assert source(number).id in line
        assert line.endswith(f"d{number}; {command}"), "whole, to be pasted"


def test_interrupted() -> None:
    rows = [result(n, OutcomeKind.DONE) for n in range(6)]
    rows += [result(n, OutcomeKind.INTERRUPTED, position=Position.IMPORTING) for n in range(6, 14)]
    rows += [result(n, OutcomeKind.INTERRUPTED, position=Position.SHARED) for n in range(14, 22)]
    rows += [result(n, OutcomeKind.NOT_STARTED, position=Position.NEW) for n in range(22, 52)]
    text = summary_text(RunResult(rows), 120)
    assert "Interrupted: 8 imports go on at the server, 8 not submitted, 30 not begun;" in text
    assert "NEEDS YOU" not in text


# -- the plan ----------------------------------------------------------------------------
def planned() -> RunResult:
    rows = []
    for n in range(52):
        action = "leave" if n < 12 else "resume" if n < 15 else "create"
        what = Plan(
            action,
            permissions=("user bertil (read)",) * (n % 3),
            documents=100 + 37 * n,
            size_bytes=10**7 * n,
            connectors=n % 2,
            chats=n % 5,
            import_settings=("documents referenced",),
        )
        reason = {"leave": "already migrated", "resume": "shared"}.get(action, "")
        where = Position.SHARED if action == "resume" else Position.NEW
        row = result(n, OutcomeKind.PLANNED, reason=reason, plan=what, position=where)
        rows.append(replace(row, warnings=("the OCR model is auto in the target",) * (n == 20)))
    rows.append(not_available("c9999999", "no such collection"))
    rows += [skipped(source(n), "its model is not in the mapping", "not mapped") for n in (60, 61)]
    return RunResult(rows, guests=1)


@WIDTHS
def test_plan(width: int) -> None:
    how = SummaryOptions(width=width, following=FOLLOWING[:1])
    told = plan.lines(planned(), how, keys_made=3)
    text = "\n".join(line.text for line in told)
    fits(text, width)
    same_as_file(f"plan_{width}", text)


def test_a_plan_with_details_shows_every_collection() -> None:
    told = plan.lines(planned(), SummaryOptions(details=True), with_chats=True)
    text = "\n".join(line.text for line in told)
    assert all(row.source_id in text for row in planned().results)
    assert "Chats stay" not in text
    one_key = plan.lines(planned(), SummaryOptions(), keys_made=1)
    assert any("1 temporary key for the owners was made" in line.text for line in one_key)


# -- the live view -------------------------------------------------------------------------
def watched() -> Tally:
    now = [0.0]
    tally = Tally(lambda: now[0], lambda: 0.0)
    sources = [source(n) for n in range(52)]
    tally.started(sources)
    for n in range(14):
        tally.finished(result(n, OutcomeKind.DONE))
    tally.finished(result(14, OutcomeKind.FAILED))
    for n in range(15, 23):
        now[0] = 60.0 + n
        tally.working(sources[n], "importing")
        share = Job.from_json({"progress": n * 4 if n % 2 else n * 0.03}).progress_fraction
        tally.job(sources[n], Job.from_json({"progress": share}))
    tally.working(sources[23], "moving connectors")
    tally.working(sources[24], "submitting")
    tally.waits_for_slot(sources[24])
    now[0] = 102.0
    return tally


@WIDTHS
def test_live_view(width: int) -> None:
    text = "\n".join(live.view(watched().now(), width, 12, 102.0))
    fits(text, width)
    same_as_file(f"live_{width}", text)


def test_live_view_on_a_narrow_terminal_without_unicode() -> None:
    lines = live.view(watched().now(), 60, 12, 102.0, ascii_only=True)
    text = "\n".join(live.cut(line, 59) for line in lines)
    fits(text, 60)
    assert text.isascii()
    same_as_file("live_60_ascii", text)


# -- the help ------------------------------------------------------------------------------
def test_help_fits_80_columns() -> None:
    text = help_text(80)
    assert max(map(len, text.splitlines())) <= 80
