"""Compare a target with its source: read both, hand the differences to ``validation``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, Tuple

from h2ogpte_migration import validation
from h2ogpte_migration.errors import NotFound
from h2ogpte_migration.model import Collection, Finding, Json
from h2ogpte_migration.states import Verdict
from h2ogpte_migration.steps import importing, permissions
from h2ogpte_migration.steps.base import Context
from h2ogpte_migration.steps.listing import listed
from h2ogpte_migration.steps.presence import is_gone
from h2ogpte_migration.tracking.ledger import BASELINE, SOURCE, TARGET, DocumentLedger
from h2ogpte_migration.tracking.store import Store


@dataclass(frozen=True)
class ValidationResult:
    """What a validation came to. ``documents`` is how many the target holds."""

    verdict: str
    findings: Tuple[Finding, ...]
    late_documents: int
    pending_documents: int
    documents: int

    def has(self, *codes: str) -> bool:
        """Whether one of these findings was made."""
        return any(finding.code in codes for finding in self.findings)


def run(context: Context, store: Store) -> ValidationResult:
    """Validate afresh. A blocking finding is confirmed by a second listing.

    Raises ``NotFound`` where the target may be gone.
    """
    target = context.gateway.collection(context.target_id)
    ledger = DocumentLedger(by_name=context.by_name)
    try:
        tallies, documents = _compare(context, store, ledger, target)
        if any(finding.blocking for finding in validation.document_findings(tallies)):
            tallies, documents = _compare(context, store, ledger, target)
    finally:
        ledger.close()
    findings = validation.document_findings(tallies)
    findings += validation.model_findings(target, context.attempt.model)
    findings += _carried(context, target)
    return ValidationResult(
        verdict=_verdict(findings, tallies.pending[0]),
        findings=tuple(findings),
        late_documents=tallies.late[0],
        pending_documents=tallies.pending[0],
        documents=documents,
    )


def _verdict(findings: List[Finding], pending: int) -> str:
    if any(finding.blocking for finding in findings):
        return Verdict.HELD
    return Verdict.UNSETTLED if pending else Verdict.CLEAN


def _compare(
    context: Context, store: Store, ledger: DocumentLedger, target: Collection
) -> Tuple[validation.DocumentTallies, int]:
    gateway = context.gateway
    count = listed(
        gateway,
        context.target_id,
        lambda rows: ledger.fill(TARGET, rows),
        target.document_count,
    )
    importing.fill_baseline(context, store, ledger)
    try:
        # No number to expect: people may have added to it or deleted from it meanwhile.
        listed(gateway, context.source_id, lambda rows: ledger.fill(SOURCE, rows))
    except NotFound:
        if not is_gone(gateway, context.source_id):
            raise
        # Nothing is left to compare with: what was there at submission decides alone.
        context.source_gone = True
        ledger.copy(BASELINE, SOURCE)
    ledger.settle_pending_baseline()
    tallies = validation.DocumentTallies(
        missing=ledger.missing(),
        duplicated=ledger.duplicated(),
        newly_bad=ledger.newly_bad(),
        bad_before=ledger.bad_before(),
        late=ledger.late(),
        pending=ledger.pending(),
    )
    return tallies, count


def _carried(context: Context, target: Collection) -> List[Finding]:
    """What else should have arrived; differences are warnings."""
    facts = context.attempt.source_facts
    findings = validation.carried_findings(facts, target, _metadata(context, facts, target))
    wanted = context.attempt.permissions
    if wanted is None or wanted.empty:
        return findings
    have = permissions.read_or_none(
        lambda: permissions.read(
            context.gateway,
            context.target_id,
            context.owner,
            is_public=target.is_public,
        )
    )
    return findings + validation.permission_findings(wanted, have)


def _metadata(context: Context, facts: Json | None, target: Collection) -> Json | None:
    """The target's metadata, asked for only where the source had any."""
    if not facts or not facts.get("metadata"):
        return None
    shown = target.get("metadata_dict")
    if isinstance(shown, dict) and shown:
        return shown
    read: Callable[[str], Json] = context.gateway.metadata
    try:
        return read(context.target_id)
    except NotFound:
        return {}
