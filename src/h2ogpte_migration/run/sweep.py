"""What dead runs left at the server: temporary keys and test chats. Deleted before anything else."""

from __future__ import annotations

import logging

from h2ogpte_migration.errors import ServerError
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.steps import ragcheck

log = logging.getLogger(__name__)


def sweep_leftovers(session: Session) -> None:
    """Delete keys and test chats on record that no living run uses."""
    session.credentials.sweep()
    leftovers = session.tracking.leftovers
    for source_id in leftovers.sources_with_test_chats():
        owners = {chat.owner for chat in leftovers.test_chats_left(source_id)}
        for owner in owners:
            if session.admin or owner == session.identity.username:
                try:
                    gateway = session.credentials.gateway_for(owner)
                    ragcheck.sweep(gateway, leftovers, source_id)
                except ServerError as error:
                    log.warning("test chats of %s could not be deleted: %s", source_id, error)
