"""What a check of the server found, in words: the table first, what it comes to last."""

from __future__ import annotations

from typing import List

from h2ogpte_migration.checked import Judgement, Observation, ServerCheck, counts
from h2ogpte_migration.ui.summary import Line
from h2ogpte_migration.ui.text import safe

_WIDEST = max(len(verdict.value) for verdict in Judgement)


def lines(check: ServerCheck, next_step: str) -> List[Line]:
    """All of it; ``next_step`` is what to do about what is left."""
    told = [Line("Assumptions about the server, where its contract is silent:")]
    for verdict in (Judgement.UNKNOWN, Judgement.HOLDS, Judgement.DIFFERS):
        told += [_observation(one) for one in check.of(verdict)]
    number = counts(check)
    words = (
        f"Assumptions: {number[Judgement.HOLDS.value]} hold, {number[Judgement.DIFFERS.value]} differ, "
        f"{number[Judgement.UNKNOWN.value]} could not be told."
    )
    told += [Line(words), *_measured(check), *_outcome(check)]
    for what in check.left:
        told.append(Line(f"Still at the server: {what}.", attention=True))
    if next_step:
        told.append(Line(next_step, attention=True))
    return told


def _observation(one: Observation) -> Line:
    row, differs = one.assumption, one.verdict == Judgement.DIFFERS
    seen = f" ({safe(one.seen)})" if one.seen else ""
    text = f"  {one.verdict.value:{_WIDEST}}  {row.assumed}{seen}"
    if one.verdict != Judgement.HOLDS:
        text += f"; otherwise {row.otherwise}: the tool {row.then}"
    return Line(text, attention=differs)


def _measured(check: ServerCheck) -> List[Line]:
    versions = ", ".join(f"{what} {safe(number)}" for what, number in check.versions.items())
    told = [Line(f"Versions: {versions}. Key: {safe(check.key)}.")]
    times = []
    if check.latency_s is not None:
        times.append(f"{check.latency_s * 1000:.0f} ms for a small request (median)")
    if check.document_s is not None:
        times.append(f"{check.document_s:.1f} s of import for a document")
    times.append(f"{check.elapsed_s:.0f} s in all")
    told.append(Line(f"Measured: {', '.join(times)}."))
    if check.key_life_time:
        told.append(Line(f"Temporary keys may live for {safe(check.key_life_time)}."))
    return told


def _outcome(check: ServerCheck) -> List[Line]:
    told = [Line(f"Note: {safe(remark)}", attention=True) for remark in check.remarks]
    told += [
        Line(
            f"Not the same in the target: {one.what}: {safe(one.source, 120)} became "
            f"{safe(one.target, 120)}",
            attention=True,
        )
        for one in check.different
    ]
    way = f"from {safe(check.source_model)} to {safe(check.target_model)}"
    if check.worked:
        told.append(Line(f"The migration works here: a scratch collection went {way}."))
    else:
        text = f"The migration did not work here ({way}): {safe(check.reason, 500)}"
        told.append(Line(text, attention=True))
    if not check.left:
        told.append(Line("Nothing of the check is left at the server."))
    return told
