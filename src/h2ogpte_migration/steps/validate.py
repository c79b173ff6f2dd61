"""Compare the target with its source; what blocks holds connectors and chats back.

Reads both sides and hands the differences to ``validation``.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass, replace
from typing import AbstractSet, List, Optional, Set, Tuple

from h2ogpte_migration import patience, validation
from h2ogpte_migration.errors import NotFound, StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, Finding
from h2ogpte_migration.results import SOURCE_DELETED, OutcomeKind, Result
from h2ogpte_migration.retrieval import FINDING
from h2ogpte_migration.sending import seconds_since
from h2ogpte_migration.states import StepName, TargetState, Verdict
from h2ogpte_migration.steps import (
    arrived,
    importing,
    late_shares,
    latecomers,
    ragcheck,
    retrieval,
)
from h2ogpte_migration.steps.create import note_late_duplicates
from h2ogpte_migration.steps.presence import end_of_chain, is_gone, read_documents
from h2ogpte_migration.tracking.documents import BASELINE, SOURCE, TARGET, DocumentComparison
from h2ogpte_migration.ui.text import plural, safe
from h2ogpte_migration.validation import DUPLICATED, FAILED_FIRST, LATE, MISSING

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """What a validation came to.

    Args:
        documents: how many the target holds.
        documents_before: how many the source held at submission.
    """

    verdict: str
    findings: Tuple[Finding, ...]
    late_documents: int
    pending_documents: int
    documents: int
    documents_before: int
    foreign_documents: int = 0
    lost: bool = False
    """Whether there are blocking findings beyond documents that were never usable."""
    late_ids: Tuple[str, ...] = ()
    """The ids of late documents, where they are referenced."""

    def has(self, *codes: str) -> bool:
        """Whether one of these findings was made."""
        return any(finding.code in codes for finding in self.findings)


def run(migration: Migration) -> Optional[Result]:
    """Validate afresh; blocking findings hold connectors and chats back."""
    for doubt in ragcheck.sweep_of(migration):
        migration.warn(doubt)
    try:
        still_shared = late_shares.follow(migration)
        latecomers.await_unanswered(migration)
        found = _with_latecomers(migration, compare_all(migration))
        found = _held_by(found, still_shared, retrieval.kept_finding(migration))
    except NotFound as error:
        return failed_if_gone(migration, error)
    migration.seen.checked_at = migration.clock.now()
    note_late_duplicates(migration)
    held = found.verdict == Verdict.HELD
    if held and may_be_ours_twice(migration, found):
        migration.restart(TargetState.ABANDONED, blocking_words(found.findings))
        return None
    policy = migration.policy
    ignored = held and policy.ignore_validation
    migration.tracking.store.record_validation(
        migration.lease,
        migration.attempt,
        found.verdict,
        found.findings,
        found.late_documents,
        ignored=ignored,
        documents=(found.documents_before, found.documents),
    )
    if found.verdict == Verdict.PENDING:
        return pending(migration, found)
    return _held(migration, found) if held and not ignored else None


def bring_the_last(migration: Migration) -> None:
    """What connectors brought into the source until they were moved follows them."""
    tried: Set[str] = set()
    number, ids, bad = _late_by_now(migration, tried)
    if not number:
        return
    refusals = latecomers.bring(migration, ids, tried)
    for _ in range(patience.SENDS_PER_RUN if tried else 0):
        if not number:
            break
        migration.clock.sleep(patience.SECOND_LOOK_S)
        number, ids, bad = _late_by_now(migration, tried)
    if bad:
        migration.warn(
            "what came into the source while its connectors were moved was brought, and is not "
            f"usable in the target: {', '.join(bad)}"
        )
    if number:
        why = f": {refusals[0]}" if refusals else ""
        migration.warn(
            f"{plural(number, 'document')} came into the source while its connectors were moved, "
            f"and stayed there{why}"
        )
    else:
        migration.notes.append(f"{plural(len(tried), 'late document')} brought into the target")


def _late_by_now(migration: Migration, tried: AbstractSet[str]) -> Tuple[int, List[str], List[str]]:
    """How many documents came late by now, and their ids, where they are referenced.

    And which of those that were brought are not usable.
    """
    target = migration.gateway.collection(migration.target_id)
    with closing(DocumentComparison(by_name=migration.by_name)) as comparison:
        _compare(migration, comparison, target)
        late_ids = [] if migration.by_name else comparison.late_ids()
        return comparison.late()[0], late_ids, comparison.unusable(tried)


def _with_latecomers(migration: Migration, found: Comparison) -> Comparison:
    """Bring what came late, and compare again; what can't be brought holds connectors back."""
    if not found.late_documents or found.verdict == Verdict.HELD:
        return found
    tried: Set[str] = set()
    refusals: List[str] = []
    for _ in range(patience.SENDS_PER_RUN):
        refusals += latecomers.bring(migration, found.late_ids, tried)
        if not tried:
            break  # copies can't be told apart, so none is brought
        found = compare_all(migration, awaited=tried)
        if not set(found.late_ids) - tried:
            break
    if tried and not found.late_documents:
        migration.notes.append(f"{plural(len(tried), 'late document')} brought into the target")
        return found
    why = refusals[0] if refusals else ""
    return replace(
        found,
        verdict=Verdict.HELD,
        findings=tuple(_blocking_if_late(finding, why) for finding in found.findings),
    )


def _held_by(found: Comparison, *others: Optional[Finding]) -> Comparison:
    """With what else holds back: a share that stays, what a check of the retrieval missed."""
    blocking = tuple(finding for finding in others if finding is not None)
    if not blocking:
        return found
    return replace(found, verdict=Verdict.HELD, findings=(*found.findings, *blocking))


def _blocking_if_late(finding: Finding, why: str) -> Finding:
    if finding.code != LATE:
        return finding
    text = f"{finding.text} ({safe(why)})" if why else finding.text
    return replace(finding, text=text, blocking=True)


def failed_if_gone(migration: Migration, error: NotFound) -> Result:
    """A 404 after the import: failed for good if it is the target that is gone.

    Raises:
        StepFailed: the target is there, and something else was not found; or the end of a chain
            stands for it.
    """
    source_id, target_id = migration.source_id, migration.target_id
    if not is_gone(migration.gateway, migration.clock, target_id):
        raise StepFailed(error.message) from error
    end = end_of_chain(migration)
    if end:
        way_out = ("--move-connectors", "--move-chats", "--from", source_id, "--to", end)
        raise StepFailed(
            f"its target {target_id} was deleted, after it was migrated on to {end}",
            f"What is left in the source goes there by: {' '.join(way_out)}",
            "migrated on",
            way_out,
        ) from error
    return migration.import_failed("the target was deleted after the import", "target deleted")


def may_be_ours_twice(migration: Migration, found: Comparison) -> bool:
    """Whether what is wrong comes from a submission that was never answered, and nothing else.

    An adopted job that brought nothing was another import's; one that brought a part was ours,
    and would bring no more another time. What people work in already is not given up.
    """
    attempt = migration.attempt
    sent_again = migration.tracking.store.sends(attempt, StepName.IMPORT) > 1
    another_job = attempt.adopted and found.has(MISSING) and not found.documents
    twice = (attempt.adopted or sent_again) and found.has(DUPLICATED)
    if not (another_job or twice) or found.foreign_documents:
        return False
    used = importing.people_work_there(migration)
    if used:
        log.warning("the target is not given up, as it holds %s", used)
    return not used


def pending(migration: Migration, found: Comparison) -> Result:
    """Documents are still being worked on: nothing is settled yet."""
    migration.reload()
    return migration.result(
        OutcomeKind.DOCUMENTS_PENDING,
        step=StepName.VALIDATE,
        reason=f"{plural(found.pending_documents, 'document')} still being worked on",
    )


def _what_helps(migration: Migration) -> str:
    """Advice that does not name what was just tried."""
    policy = migration.policy
    ways = ["Mend it and run --verify" + (" again" if policy.verify else "")]
    afresh = not (policy.retry_failed or migration.source_gone)
    ways += ["--retry-failed for a new target"] if afresh else []
    ways += [] if policy.ignore_validation else ["--verify --ignore-validation to accept it"]
    return f"{', or '.join(ways)}."


def _held(migration: Migration, found: Comparison) -> Result:
    reason = blocking_words(found.findings)
    log.error("held back: %s", reason)
    migration.reload()
    return migration.result(
        OutcomeKind.HELD,
        step=StepName.VALIDATE,
        reason=f"connectors and chats are held back: {reason}",
        hint=retrieval.WAYS_OUT if found.has(FINDING) else _what_helps(migration),
        cause=SOURCE_DELETED if migration.source_gone else "",
        needs_attention=True,
        findings=found.findings,
    )


def blocking_words(findings: Tuple[Finding, ...]) -> str:
    """The blocking findings in words; empty where there is none."""
    return "; ".join(str(finding) for finding in findings if finding.blocking)


# -- the comparison ----------------------------------------------------------------------
def compare_all(migration: Migration, awaited: AbstractSet[str] = frozenset()) -> Comparison:
    """Compare everything. A blocking finding is confirmed by a second listing, after a pause.

    Args:
        awaited: documents that were put into the target just now, and may show late.

    Raises ``NotFound`` where the target may be gone.
    """
    with closing(DocumentComparison(by_name=migration.by_name)) as comparison:
        target, tallies, hidden = _looked_at(migration, comparison, awaited)
        _check_source(migration, comparison)
        documents, before = comparison.count(TARGET), comparison.count(BASELINE)
        foreign = comparison.foreign()[0]
        never_usable = tallies.missing[0] and tallies.missing[0] == comparison.missing_bad()
        late_ids = () if migration.by_name else tuple(comparison.late_ids())
        others = arrived.findings(migration, target, comparison)
    migration.seen.documents = documents
    findings = validation.document_findings(tallies)
    working = tallies.pending[0]
    if _was_submitted_lately(migration):
        working += tallies.pending_in_both[0]
    else:
        findings += validation.stuck_findings(tallies.pending_in_both)
    no_loss = {FAILED_FIRST} | ({MISSING} if never_usable else set())
    lost = any(finding.blocking and finding.code not in no_loss for finding in findings)
    findings += validation.model_findings(target, migration.attempt.model)
    findings += others
    if hidden:
        findings.append(validation.HIDDEN)
    return Comparison(
        verdict=_verdict(findings, working),
        findings=tuple(findings),
        late_documents=tallies.late[0],
        pending_documents=working,
        documents=documents,
        documents_before=before,
        foreign_documents=foreign,
        lost=lost,
        late_ids=late_ids,
    )


def _looked_at(
    migration: Migration, comparison: DocumentComparison, awaited: AbstractSet[str]
) -> Tuple[Collection, validation.DocumentTallies, bool]:
    """Compare, and what is in doubt once more after a pause.

    Returns the target, what differs, and whether the source counts more than it lists.
    """
    target = migration.gateway.collection(migration.target_id)
    if target.out_of_use:
        raise StepFailed(
            f"the target {target.id} is {target.out_of_use}",
            "Take it out of the archive, then run --verify.",
            "Target out of use",
        )
    tallies = _compare(migration, comparison, target)
    hidden = _counted(migration) > comparison.count(SOURCE)
    pause_s, waited_s = patience.SECOND_LOOK_S, 0.0
    while (
        (hidden and not waited_s)
        or _is_doubtful(comparison, tallies)
        or awaited & set(comparison.late_ids())
    ):
        if waited_s and not _lists_too_few(comparison, target, waited_s):
            break
        migration.clock.sleep(pause_s)
        waited_s, pause_s = waited_s + pause_s, 2 * pause_s
        target = migration.gateway.collection(migration.target_id)
        tallies = _compare(migration, comparison, target)
    hidden = hidden and _counted(migration, now=True) > comparison.count(SOURCE)
    return target, tallies, hidden


def _is_doubtful(comparison: DocumentComparison, tallies: validation.DocumentTallies) -> bool:
    """Whether something blocks, or a listing shows less than was seen before."""
    if any(finding.blocking for finding in validation.document_findings(tallies)):
        return True
    emptied = comparison.count(BASELINE) and not comparison.count(SOURCE)
    return bool(emptied or comparison.deleted()[0])


def _lists_too_few(comparison: DocumentComparison, target: Collection, waited_s: float) -> bool:
    """Whether the target counts more documents than it lists, and may list them in a while."""
    counted = target.document_count or 0
    return counted > comparison.count(TARGET) and waited_s < patience.VISIBLE_WITHIN_S


def _counted(migration: Migration, *, now: bool = False) -> int:
    """How many documents the source counts, or counted when its owner's collections were listed."""
    if migration.source_gone:
        return 0
    counts = migration.overview and migration.overview.collection(migration.source_id)
    if now or not counts:
        counts = migration.gateway.collection(migration.source_id)
    return counts.document_count or 0


def _check_source(migration: Migration, comparison: DocumentComparison) -> None:
    """What neither side lists was deleted, unless the source says that it lists too few.

    Raises:
        StepFailed: its count contradicts its listing.
    """
    if migration.source_gone or not comparison.deleted()[0]:
        return
    counted = _counted(migration, now=True)
    shown = comparison.count(SOURCE)
    if counted > shown and not migration.policy.ignore_validation:
        raise StepFailed(
            f"the source counts {counted} documents and lists {shown}, and documents of it are "
            "not in the target",
            "Run --verify later; with --ignore-validation the listing counts.",
            "listing and count differ",
        )


def _was_submitted_lately(migration: Migration) -> bool:
    """Whether what its source was being given then may still be worked on there."""
    sent = any(intent.step == StepName.IMPORT for intent in migration.record.intents)
    return sent and seconds_since(migration, StepName.IMPORT) < patience.WORKED_ON_ALIKE_S


def _verdict(findings: List[Finding], pending_documents: int) -> str:
    if any(finding.blocking for finding in findings):
        return Verdict.HELD
    return Verdict.PENDING if pending_documents else Verdict.CLEAN


def _compare(
    migration: Migration, comparison: DocumentComparison, target: Collection
) -> validation.DocumentTallies:
    gateway = migration.gateway
    read_documents(
        gateway,
        migration.target_id,
        lambda rows: comparison.fill(TARGET, rows),
        target.document_count,
    )
    importing.fill_baseline(migration, comparison)
    try:
        # A number of long ago tells nothing: people add documents, and delete some.
        counts = migration.overview and migration.overview.collection(migration.source_id)
        read_documents(
            gateway,
            migration.source_id,
            lambda rows: comparison.fill(SOURCE, rows),
            counts.document_count if counts else None,
        )
    except NotFound:
        if not is_gone(gateway, migration.clock, migration.source_id):
            raise
        # Nothing is left to compare with: what was there at submission decides alone.
        migration.source_gone = True
        comparison.copy(BASELINE, SOURCE)
    comparison.settle_pending_baseline()
    return validation.DocumentTallies(
        missing=comparison.missing(),
        duplicated=comparison.duplicated(),
        newly_bad=comparison.newly_bad(),
        failed_first=comparison.failed_first(),
        bad_before=comparison.bad_before(),
        late=comparison.late(),
        pending=comparison.pending(),
        pending_in_both=comparison.pending_in_both(),
    )
