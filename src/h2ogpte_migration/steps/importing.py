"""Submit the import job, and find out whether one was submitted already."""

from __future__ import annotations

from datetime import datetime
from typing import List, Optional

from h2ogpte_migration.errors import NotFound
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Job, JobId, JobKind
from h2ogpte_migration.steps.base import Absent, Ambiguous, Context, Existing, FoundImport
from h2ogpte_migration.steps.listing import listed
from h2ogpte_migration.steps.presence import is_gone
from h2ogpte_migration.tracking.ledger import BASELINE, TARGET, DocumentLedger
from h2ogpte_migration.tracking.store import Store


def run(context: Context) -> JobId:
    """Submit the import. Raises ``OutcomeUnknown`` where ``find`` has to look, and
    ``NotFound`` where source or target may be gone."""
    context.before_write()
    return context.gateway.submit_import(
        source=context.source_id, target=context.target_id, how=context.how
    )


def find(context: Context, store: Store) -> Existing:
    """Gather the evidence: the owner's import jobs that nobody claims, and the documents.

    Only jobs that the server made after the target count, by the server's own times.
    Raises ``NotFound`` where the target may be gone.
    """
    jobs = _unclaimed_jobs(context.gateway, context.attempt.target_created_at, store)
    if len(jobs) == 1:
        return FoundImport(jobs[0].id)
    if jobs:
        return Ambiguous(f"{len(jobs)} import jobs of this owner are nobody's")
    return _by_documents(context, store)


def _unclaimed_jobs(gateway: Gateway, since: Optional[datetime], store: Store) -> List[Job]:
    return [
        job
        for job in gateway.jobs()
        if job.kind == JobKind.IMPORT
        and _not_before(job, since)
        and not store.job_is_claimed(job.id)
    ]


def _not_before(job: Job, since: Optional[datetime]) -> bool:
    if since is None or job.created_at is None:
        return True
    # Whole seconds: one of the two times may be cut to them.
    return job.created_at.replace(microsecond=0) >= since.replace(microsecond=0)


def _by_documents(context: Context, store: Store) -> Existing:
    """No job is left to tell: the target's own documents do."""
    ledger = DocumentLedger(by_name=context.by_name)
    try:
        arrived = listed(context.gateway, context.target_id, lambda rows: ledger.fill(TARGET, rows))
        if not arrived:
            return Absent()
        fill_baseline(context, store, ledger)
        if ledger.same(BASELINE, TARGET):
            return FoundImport(None)
    finally:
        ledger.close()
    return Ambiguous("the target holds documents of an import whose job is not known")


def fill_baseline(context: Context, store: Store, ledger: DocumentLedger) -> None:
    """The documents at submission; for a row of 1.2.0, which kept none, those of today."""
    if store.has_baseline(context.attempt):
        ledger.fill(BASELINE, store.baseline(context.attempt))
        return
    try:
        listed(context.gateway, context.source_id, lambda rows: ledger.fill(BASELINE, rows))
    except NotFound:
        if not is_gone(context.gateway, context.source_id):
            raise
        # The source is gone and nothing tells what it held: what arrived is what there is.
        ledger.copy(TARGET, BASELINE)
