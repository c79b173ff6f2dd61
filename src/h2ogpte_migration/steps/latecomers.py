"""Documents that came into the source after the import had begun: brought into the target.

Connectors go on feeding the source until they are moved, so what they brought meanwhile has to
follow first.
"""

from __future__ import annotations

import logging
from typing import List, Sequence, Set

from h2ogpte_migration import patience
from h2ogpte_migration.errors import NotFound, OutcomeUnknown, Rejected
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.sending import in_doubt, record_send, seconds_since
from h2ogpte_migration.states import StepName

log = logging.getLogger(__name__)


def await_unanswered(migration: Migration) -> None:
    """A dead run may have sent some without an answer: let them show before the comparison."""
    if in_doubt(migration, StepName.LATECOMERS) is None:
        return
    pause_s = patience.VISIBLE_WITHIN_S - seconds_since(migration, StepName.LATECOMERS)
    if pause_s > 0:
        migration.clock.sleep(pause_s)
    migration.tracking.store.record_absent(migration.lease, migration.attempt, StepName.LATECOMERS)
    migration.reload()


def bring(migration: Migration, ids: Sequence[str], tried: Set[str]) -> List[str]:
    """Put documents of the source into the target by reference, each at most once.

    Whether they arrived is for the next comparison to say.

    Args:
        tried: what this run has sent already; what is sent now is added.

    Returns what the server said against it.
    """
    fresh = [document_id for document_id in ids if document_id not in tried]
    if not fresh:
        return []
    record_send(migration, StepName.LATECOMERS)
    refusals: List[str] = []
    unanswered = False
    for document_id in fresh:
        migration.before_write()
        tried.add(document_id)
        try:
            migration.gateway.insert_document(migration.target_id, document_id)
        except OutcomeUnknown as error:
            unanswered = True
            refusals.append(error.message)
        except (Rejected, NotFound) as error:
            refusals.append(error.message)
    log.info("brought %d documents that came late", len(fresh) - len(refusals))
    if not unanswered:
        # All was answered: nothing has to be waited for, should this run die now.
        migration.tracking.store.record_absent(
            migration.lease, migration.attempt, StepName.LATECOMERS
        )
    return refusals
