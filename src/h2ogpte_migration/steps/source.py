"""What the source carries: read once a run, compared with later."""

from __future__ import annotations

from typing import Callable

from h2ogpte_migration.errors import NotFound
from h2ogpte_migration.migration import Carried, Migration
from h2ogpte_migration.model import Json
from h2ogpte_migration.steps.presence import SourceGone, is_gone


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
    metadata = collection.get("metadata_dict")
    if not isinstance(metadata, dict) or not metadata:
        # The record of a collection may leave its metadata out; only this call says so.
        metadata = _or_empty(gateway.metadata, source_id)
    return Carried(
        collection=collection,
        settings=_or_empty(gateway.settings, source_id),
        chat_settings=_or_empty(gateway.chat_settings, source_id),
        metadata=metadata,
    )


def _or_empty(read: Callable[[str], Json], collection_id: str) -> Json:
    try:
        return read(collection_id)
    except NotFound:
        return {}


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
        "size_bytes": collection.get("collection_size"),
    }
