"""The end of a run in words: where everything went, what needs attention."""

from __future__ import annotations

from typing import Dict, List, Sequence

from h2ogpte_migration.results import OutcomeKind, Plan, Result, RunResult
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.text import plural, safe

_LISTED_SKIPS = 20
_WORDS = {
    OutcomeKind.HELD: "Held",
    OutcomeKind.LEFT: "Not finished",
    OutcomeKind.DOCUMENTS_PENDING: "Not settled",
    OutcomeKind.LEASED_ELSEWHERE: "Taken over",
}


def tell(console: Console, result: RunResult) -> None:
    """Print the summary."""
    rows = [
        row
        for row in result.results
        if row.kind not in (OutcomeKind.SKIPPED, OutcomeKind.NOT_AVAILABLE, OutcomeKind.NOT_STARTED)
    ]
    _tell_mapping(console, rows)
    _tell_elsewhere(console, rows)
    _tell_skipped(console, result, "Skipped")
    _tell_attention(console, result, rows)
    _tell_counts(console, result, rows)


def _tell_mapping(console: Console, rows: Sequence[Result]) -> None:
    for row in rows:
        if row.well and row.target_id:
            state = "" if row.kind == OutcomeKind.DONE else f" [{row.kind.value}]"
            reason = f" - {row.reason}" if row.reason else ""
            console.info(
                f"{safe(row.source_name)} ({row.source_id}) -> "
                f"{safe(row.target_name)} ({row.target_id}){state}{reason}"
            )
        for note in row.notes:
            console.info(f"  {safe(row.source_name)}: {note}")


def _tell_elsewhere(console: Console, rows: Sequence[Result]) -> None:
    for row in rows:
        if row.kind == OutcomeKind.LEASED_ELSEWHERE or (
            row.kind == OutcomeKind.LEFT and not row.needs_attention
        ):
            console.info(f"Left alone: {_named(row)}: {row.reason}")


def _tell_skipped(console: Console, result: RunResult, word: str) -> None:
    skips = result.of(OutcomeKind.SKIPPED)
    for row in skips[:_LISTED_SKIPS]:
        console.info(f"{word}: {_named(row)}: {row.reason}")
    if len(skips) > _LISTED_SKIPS:
        console.info(f"{word}: {len(skips) - _LISTED_SKIPS} more; the log names them all.")


def _tell_attention(console: Console, result: RunResult, rows: Sequence[Result]) -> None:
    for row in rows:
        for text in row.warnings:
            console.attention(f"Warning: {_named(row)}: {text}")
        for text in row.left_behind:
            console.attention(f"Left behind: {_named(row)}: {text}")
    for row in result.of(OutcomeKind.NOT_AVAILABLE):
        console.attention(f"Not available: {safe(row.source_id)}: {row.reason}")
    for row in rows:
        if row.needs_attention:
            hint = f" {row.hint}" if row.hint else ""
            word = _WORDS.get(row.kind, "Failed")
            console.attention(f"{word}: {_named(row)}: {row.reason.rstrip('.')}.{hint}")
    for text in result.remarks:
        console.attention(f"Attention: {text}")
    if result.breaker:
        console.attention(f"Stopped early: {result.breaker}")
    not_started = result.of(OutcomeKind.NOT_STARTED)
    if not_started:
        number = plural(len(not_started), "collection")
        console.attention(f"Not started: {number}; run the same command again.")


def _named(row: Result) -> str:
    return f"{safe(row.source_name)} ({row.source_id})"


def _tell_counts(console: Console, result: RunResult, rows: Sequence[Result]) -> None:
    counts: Dict[str, int] = {}
    for row in rows:
        counts[row.kind.value] = counts.get(row.kind.value, 0) + 1
    parts = [f"{number} {kind}" for kind, number in sorted(counts.items())]
    skips, missing = result.of(OutcomeKind.SKIPPED), result.of(OutcomeKind.NOT_AVAILABLE)
    parts += [f"{len(skips)} skipped"] if skips else []
    parts += [f"{len(missing)} not available"] if missing else []
    console.info(f"Summary: {', '.join(parts) if parts else 'nothing to do'}.")
    _tell_times(console, result)


def _tell_times(console: Console, result: RunResult) -> None:
    if result.seconds_by_step:
        spent = ", ".join(
            f"{step} {seconds:.1f} s" for step, seconds in result.seconds_by_step.items()
        )
        console.info(
            f"Time by step: {spent}; at most {plural(result.peak_jobs, 'import')} at once."
        )
    if len(result.seconds_by_source) > 1:
        slowest = sorted(result.seconds_by_source.items(), key=lambda item: -item[1])[:3]
        names = {row.source_id: row.source_name for row in result.results}
        words = ", ".join(
            f"{safe(names.get(key) or key, 60)} {took:.1f} s" for key, took in slowest
        )
        console.info(f"Slowest: {words}.")


# -- plans -------------------------------------------------------------------------------
def tell_plan(console: Console, result: RunResult) -> None:
    """Print what would happen."""
    planned = result.of(OutcomeKind.PLANNED)
    for row in planned:
        for line in _plan_lines(row, row.plan or Plan("")):
            console.info(line)
    _tell_skipped(console, result, "Would skip")
    for row in result.of(OutcomeKind.NOT_AVAILABLE):
        name = _named(row) if row.source_name else safe(row.source_id)
        word = "Can't be read" if row.source_name else "Not available"
        console.attention(f"{word}: {name}: {row.reason}")
    console.info(
        f"Dry run: {plural(len(planned), 'collection')} looked at, "
        f"{len(result.of(OutcomeKind.SKIPPED))} skipped. Nothing was changed."
    )


def _plan_lines(row: Result, plan: Plan) -> List[str]:
    return [
        f"{_named(row)} of {safe(row.owner)}: {_action(row, plan)}",
        f"  model: {safe(row.source_model)} -> {safe(row.target_model)}",
        f"  documents: {_number(plan.documents)}, connectors: {_number(plan.connectors)}, "
        f"chats: {_number(plan.chats)}",
        f"  permissions: {'; '.join(map(safe, plan.permissions)) or 'private'}",
        f"  lifecycle: {'; '.join(map(safe, plan.lifecycle)) or 'none'}",
        f"  import: {'; '.join(plan.import_settings)}",
    ]


def _action(row: Result, plan: Plan) -> str:
    if plan.action == "leave":
        return f"skip: {row.reason}"
    if plan.action == "create":
        return f"migrate again ({row.reason})" if row.reason else "migrate"
    return f"resume ({row.reason})"


def _number(count: object) -> str:
    return "?" if count is None else str(count)
