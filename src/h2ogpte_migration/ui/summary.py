"""The end of a run in words: where everything went, what needs attention, what to type next."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence

from h2ogpte_migration.errors import ExitCode
from h2ogpte_migration.pipeline import Ending, Outcome
from h2ogpte_migration.runners.preview import Preview, PreviewResult
from h2ogpte_migration.runners.session import RunSummary
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.text import plural, safe

_WELL = (Ending.DONE, Ending.RUNNING, Ending.UNSETTLED)
_LISTED_SKIPS = 20
_WORDS = {
    Ending.HELD: "Held",
    Ending.LEFT: "Not finished",
    Ending.UNSETTLED: "Not settled",
    Ending.ELSEWHERE: "Taken over",
}


def exit_code(summary: RunSummary) -> ExitCode:
    """0 where all that was asked for is done or running as it should, else 1."""
    result = summary.result
    bad = any(outcome.attention for outcome in result.outcomes)
    stopped = any(outcome.ending == Ending.STOPPED for outcome in result.outcomes)
    if bad or stopped or summary.missing or result.not_started or result.breaker:
        return ExitCode.ATTENTION
    return ExitCode.OK


def tell(console: Console, summary: RunSummary, warnings: Mapping[str, Sequence[str]]) -> None:
    """Print the summary.

    Args:
        warnings: kept warnings by source id.
    """
    result = summary.result
    _tell_mapping(console, result.outcomes)
    _tell_elsewhere(console, result.outcomes)
    _tell_skipped(console, summary)
    _tell_attention(console, summary, warnings)
    _tell_counts(console, summary)


def _tell_mapping(console: Console, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.ending in _WELL and outcome.target_id:
            state = "" if outcome.ending == Ending.DONE else f" [{outcome.ending.value}]"
            reason = f" - {outcome.reason}" if outcome.reason else ""
            console.info(
                f"{safe(outcome.source_name)} ({outcome.source_id}) -> "
                f"{safe(outcome.target_name)} ({outcome.target_id}){state}{reason}"
            )
        for note in outcome.notes:
            console.info(f"  {safe(outcome.source_name)}: {note}")


def _tell_elsewhere(console: Console, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.ending == Ending.ELSEWHERE or (
            outcome.ending == Ending.LEFT and not outcome.attention
        ):
            console.info(f"Left alone: {_named(outcome)}: {outcome.reason}")


def _tell_skipped(console: Console, summary: RunSummary) -> None:
    for collection_id, name, reason in summary.skipped[:_LISTED_SKIPS]:
        console.info(f"Skipped: {safe(name)} ({collection_id}): {reason}")
    if len(summary.skipped) > _LISTED_SKIPS:
        more = len(summary.skipped) - _LISTED_SKIPS
        console.info(f"Skipped: {more} more; the log names them all.")


def _tell_attention(
    console: Console, summary: RunSummary, warnings: Mapping[str, Sequence[str]]
) -> None:
    for outcome in summary.result.outcomes:
        for text in warnings.get(outcome.source_id, ()):
            console.attention(f"Warning: {_named(outcome)}: {text}")
    for what, reason in summary.missing:
        console.attention(f"Not available: {safe(what)}: {reason}")
    for outcome in summary.result.outcomes:
        if outcome.attention:
            hint = f" {outcome.hint}" if outcome.hint else ""
            word = _WORDS.get(outcome.ending, "Failed")
            console.attention(f"{word}: {_named(outcome)}: {outcome.reason.rstrip('.')}.{hint}")
    if summary.result.breaker:
        console.attention(f"Stopped early: {summary.result.breaker}")
    if summary.result.not_started:
        number = plural(len(summary.result.not_started), "collection")
        console.attention(f"Not started: {number}; run the same command again.")


def _named(outcome: Outcome) -> str:
    return f"{safe(outcome.source_name)} ({outcome.source_id})"


def _tell_counts(console: Console, summary: RunSummary) -> None:
    counts: Dict[str, int] = {}
    for outcome in summary.result.outcomes:
        counts[outcome.ending.value] = counts.get(outcome.ending.value, 0) + 1
    parts = [f"{number} {ending}" for ending, number in sorted(counts.items())]
    parts += [f"{len(summary.skipped)} skipped"] if summary.skipped else []
    parts += [f"{len(summary.missing)} not available"] if summary.missing else []
    console.info(f"Summary: {', '.join(parts) if parts else 'nothing to do'}.")
    _tell_times(console, summary)


def _tell_times(console: Console, summary: RunSummary) -> None:
    result = summary.result
    if result.seconds_by_step:
        spent = ", ".join(
            f"{step} {seconds:.1f} s" for step, seconds in result.seconds_by_step.items()
        )
        console.info(
            f"Time by step: {spent}; at most {plural(result.peak_jobs, 'import')} at once."
        )
    if len(result.seconds_by_source) > 1:
        slowest = sorted(result.seconds_by_source.items(), key=lambda item: -item[1])[:3]
        names: Dict[str, str] = {
            outcome.source_id: outcome.source_name for outcome in result.outcomes
        }
        words = ", ".join(
            f"{safe(names.get(key) or key, 60)} {took:.1f} s" for key, took in slowest
        )
        console.info(f"Slowest: {words}.")


# -- previews ----------------------------------------------------------------------------
def preview_exit_code(result: PreviewResult) -> ExitCode:
    """1 where something that was asked for is not there or can't be read."""
    bad = result.found.missing or any(preview.problem for preview in result.previews)
    return ExitCode.ATTENTION if bad else ExitCode.OK


def tell_preview(console: Console, result: PreviewResult) -> None:
    """Print what would happen."""
    for preview in result.previews:
        for line in _preview_lines(preview):
            console.info(line)
    for item in result.found.skipped[:_LISTED_SKIPS]:
        console.info(
            f"Would skip: {safe(item.collection.name)} ({item.collection.id}): {item.reason}"
        )
    if len(result.found.skipped) > _LISTED_SKIPS:
        console.info(
            f"Would skip: {len(result.found.skipped) - _LISTED_SKIPS} more; the log names them all."
        )
    for missing in result.found.missing:
        console.attention(f"Not available: {safe(missing.what)}: {missing.reason}")
    for preview in result.previews:
        if preview.problem:
            console.attention(
                f"Can't be read: {safe(preview.source_name)} ({preview.source_id}): {preview.problem}"
            )
    count = plural(len(result.previews), "collection")
    console.info(
        f"Dry run: {count} looked at, {len(result.found.skipped)} skipped. Nothing was changed."
    )


def _preview_lines(preview: Preview) -> List[str]:
    return [
        f"{safe(preview.source_name)} ({preview.source_id}) of {safe(preview.owner)}: {preview.action}",
        f"  model: {safe(preview.source_model)} -> {safe(preview.target_model)}",
        f"  documents: {_number(preview.documents)}, connectors: {_number(preview.connectors)}, "
        f"chats: {_number(preview.chats)}",
        f"  permissions: {'; '.join(map(safe, preview.permissions)) or 'private'}",
        f"  lifecycle: {'; '.join(map(safe, preview.lifecycle)) or 'none'}",
        f"  import: {'; '.join(preview.import_settings)}",
    ]


def _number(count: object) -> str:
    return "?" if count is None else str(count)
