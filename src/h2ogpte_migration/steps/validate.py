"""Compare the target with its source; what blocks holds connectors and chats back.

Reads both sides and hands the differences to ``validation``.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from typing import List, Optional, Tuple

from h2ogpte_migration import patience, validation
from h2ogpte_migration.errors import NotFound, ServerError, StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, Finding, Json
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.states import StepName, TargetFate, Verdict
from h2ogpte_migration.steps import importing, permissions, ragcheck
from h2ogpte_migration.steps.create import note_late_duplicates
from h2ogpte_migration.steps.presence import is_gone, listed
from h2ogpte_migration.tracking.documents import BASELINE, SOURCE, TARGET, DocumentComparison
from h2ogpte_migration.ui.text import plural
from h2ogpte_migration.validation import DUPLICATED, MISSING

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
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

    def has(self, *codes: str) -> bool:
        """Whether one of these findings was made."""
        return any(finding.code in codes for finding in self.findings)


def run(migration: Migration) -> Optional[Result]:
    """Validate afresh; blocking findings hold connectors and chats back."""
    ragcheck.sweep(migration.gateway, migration.tracking.leftovers, migration.source_id)
    try:
        permissions.shrink(migration)
        found = compare_all(migration)
    except NotFound as error:
        return failed_if_gone(migration, error)
    migration.seen_at = migration.clock.now()
    note_late_duplicates(migration)
    held = found.verdict == Verdict.HELD
    if held and may_be_ours_twice(migration, found):
        migration.restart(TargetFate.ABANDONED, blocking_words(found.findings))
        return None
    ignored = held and migration.policy.ignore_validation
    migration.tracking.store.record_validation(
        migration.lease,
        migration.attempt,
        found.verdict,
        found.findings,
        found.late_documents,
        ignored=ignored,
        documents=(found.documents_before, found.documents),
    )
    if found.verdict == Verdict.UNSETTLED:
        return pending(migration, found)
    return _held(migration, found) if held and not ignored else None


def failed_if_gone(migration: Migration, error: NotFound) -> Result:
    """A 404 after the import: failed for good if it is the target that is gone.

    Raises:
        StepFailed: the target is there, and something else was not found.
    """
    if not is_gone(migration.gateway, migration.clock, migration.target_id):
        raise StepFailed(error.message) from error
    return migration.import_failed("the target was deleted after the import", "target deleted")


def may_be_ours_twice(migration: Migration, found: Compared) -> bool:
    """Whether what is wrong may come from a submission that was never answered."""
    attempt = migration.attempt
    if attempt.adopted and found.has(MISSING, DUPLICATED):
        return True
    sends = migration.tracking.store.sends(attempt, StepName.IMPORT)
    return found.has(DUPLICATED) and sends > 1


def pending(migration: Migration, found: Compared) -> Result:
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
    ways += [] if policy.retry_failed else ["--retry-failed for a new target"]
    ways += [] if policy.ignore_validation else ["--verify --ignore-validation to accept it"]
    return f"{', or '.join(ways)}."


def _held(migration: Migration, found: Compared) -> Result:
    reason = blocking_words(found.findings)
    log.error("held back: %s", reason)
    migration.reload()
    return migration.result(
        OutcomeKind.HELD,
        step=StepName.VALIDATE,
        reason=f"connectors and chats are held back: {reason}",
        hint=_what_helps(migration),
        needs_attention=True,
        findings=found.findings,
    )


def blocking_words(findings: Tuple[Finding, ...]) -> str:
    """The blocking findings in words; empty where there is none."""
    return "; ".join(str(finding) for finding in findings if finding.blocking)


# -- the comparison ----------------------------------------------------------------------
def compare_all(migration: Migration) -> Compared:
    """Compare everything. A blocking finding is confirmed by a second listing, after a pause.

    Raises ``NotFound`` where the target may be gone.
    """
    target = migration.gateway.collection(migration.target_id)
    with closing(DocumentComparison(by_name=migration.by_name)) as comparison:
        tallies = _compare(migration, comparison, target)
        if any(finding.blocking for finding in validation.document_findings(tallies)):
            migration.clock.sleep(patience.SECOND_LOOK_S)
            target = migration.gateway.collection(migration.target_id)
            tallies = _compare(migration, comparison, target)
        documents, before = comparison.count(TARGET), comparison.count(BASELINE)
    migration.documents = documents
    findings = validation.document_findings(tallies)
    findings += validation.model_findings(target, migration.attempt.model)
    findings += _carried(migration, target)
    return Compared(
        verdict=_verdict(findings, tallies.pending[0]),
        findings=tuple(findings),
        late_documents=tallies.late[0],
        pending_documents=tallies.pending[0],
        documents=documents,
        documents_before=before,
    )


def _verdict(findings: List[Finding], pending_documents: int) -> str:
    if any(finding.blocking for finding in findings):
        return Verdict.HELD
    return Verdict.UNSETTLED if pending_documents else Verdict.CLEAN


def _compare(
    migration: Migration, comparison: DocumentComparison, target: Collection
) -> validation.DocumentTallies:
    gateway = migration.gateway
    listed(
        gateway,
        migration.target_id,
        lambda rows: comparison.fill(TARGET, rows),
        target.document_count,
    )
    importing.fill_baseline(migration, comparison)
    try:
        # No number to expect: people may have added to it or deleted from it meanwhile.
        listed(gateway, migration.source_id, lambda rows: comparison.fill(SOURCE, rows))
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
        bad_before=comparison.bad_before(),
        late=comparison.late(),
        pending=comparison.pending(),
    )


def _carried(migration: Migration, target: Collection) -> List[Finding]:
    """What else should have arrived; differences are warnings."""
    facts = migration.attempt.source_facts
    findings = validation.carried_findings(facts, target, _metadata(migration, facts, target))
    wanted = migration.attempt.permissions
    if wanted is None or wanted.empty:
        return findings
    try:
        have = permissions.read(
            migration.gateway, migration.target_id, migration.owner, is_public=target.is_public
        )
    except ServerError:
        return findings  # the server does not tell; they are compared, no more
    return findings + validation.permission_findings(wanted, have)


def _metadata(migration: Migration, facts: Optional[Json], target: Collection) -> Optional[Json]:
    """The target's metadata, asked for only where the source had any."""
    if not facts or not facts.get("metadata"):
        return None
    shown = target.get("metadata_dict")
    if isinstance(shown, dict) and shown:
        return shown
    try:
        return migration.gateway.metadata(migration.target_id)
    except NotFound:
        return {}
