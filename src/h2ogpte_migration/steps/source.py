"""What the source carries: read once a run, compared with later."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Callable, List

from h2ogpte_migration.errors import BadReply, NotFound, Rejected, StepFailed, Unavailable
from h2ogpte_migration.migration import Carried, Migration
from h2ogpte_migration.model import Collection, Json, parse_time
from h2ogpte_migration.steps.presence import SourceGone, is_gone

SETTINGS, CHAT_SETTINGS, METADATA = "collection settings", "chat settings", "collection metadata"
"""What may be unreadable by itself."""

log = logging.getLogger(__name__)


def carried(migration: Migration) -> Carried:
    """What the source carries, from the server when first needed.

    Raises:
        SourceGone: there is nothing to migrate any more.
    """
    if migration.carried is None:
        migration.carried = _read(migration)
    return migration.carried


def _read(migration: Migration) -> Carried:
    gateway, source_id = migration.gateway, migration.source_id
    try:
        collection = gateway.collection(source_id)
    except NotFound as error:
        if is_gone(gateway, migration.clock, source_id):
            raise SourceGone from error
        collection = gateway.collection(source_id)
    if collection.out_of_use:
        raise StepFailed(
            f"the source is {collection.out_of_use}",
            "Take it out of the archive first, or leave it there.",
            "Source out of use",
        )
    unread: List[str] = []

    def told(what: str, read: Callable[[str], Json]) -> Json:
        try:
            return read(source_id)
        except NotFound:
            return {}
        except (Rejected, Unavailable, BadReply) as error:
            gateway.collection(source_id)  # the server is down, and not just this: raises that
            log.warning("the %s can't be read: %s", what, error.message)
            unread.append(what)
            return {}

    metadata = collection.get("metadata_dict")
    if not isinstance(metadata, dict) or not metadata:
        # The record of a collection may leave its metadata out; only this call says so.
        metadata = told(METADATA, gateway.metadata)
    return Carried(
        collection=collection,
        settings=told(SETTINGS, gateway.settings),
        chat_settings=told(CHAT_SETTINGS, gateway.chat_settings),
        metadata=metadata,
        unread=tuple(unread),
    )


def lifecycle_warnings(collection: Collection, now: datetime) -> List[str]:
    """What the lifecycle settings, which are copied along, may do to the target at once."""
    warnings: List[str] = []
    expiry = parse_time(collection.get("expiry_date"))
    if expiry is not None and expiry < now:
        warnings.append(
            f"the expiry date {collection.get('expiry_date')} is in the past: the server may "
            "refuse it, or archive or delete the target"
        )
    size, limit = collection.get("document_size"), collection.get("size_limit")
    if isinstance(size, int) and isinstance(limit, int) and 0 < limit < size:
        warnings.append(
            f"the documents ({size} bytes) exceed the size limit of {limit}: the server may "
            "refuse the import, or further documents"
        )
    return warnings


def facts(source: Carried) -> Json:
    """What validation compares the target with later."""
    collection = source.collection
    return {
        "expiry_date": collection.get("expiry_date"),
        "inactivity_interval": collection.get("inactivity_interval"),
        "size_limit": collection.get("size_limit"),
        "rag_type": collection.get("rag_type"),
        "metadata": source.metadata,
        # Not compared: for reports.
        "documents": collection.document_count,
        "size_bytes": collection.get("document_size"),
        "chat_settings": source.chat_settings,
    }
