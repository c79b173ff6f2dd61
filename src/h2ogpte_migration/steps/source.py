"""What the source carries: read once a run, compared with later."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Callable, List, Optional

from h2ogpte_migration import patience
from h2ogpte_migration.errors import (
    BadReply,
    NotFound,
    Rejected,
    ServerError,
    StepFailed,
    Unavailable,
)
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
    shown = collection.get("metadata_dict")
    parts = [
        _Part(SETTINGS, partial(gateway.settings, source_id)),
        _Part(CHAT_SETTINGS, partial(gateway.chat_settings, source_id)),
        # The record of a collection may leave its metadata out; only this call says so.
        _Part(
            METADATA, partial(gateway.metadata, source_id), shown if isinstance(shown, dict) else {}
        ),
    ]
    for part in parts:
        part.look()
    if any(part.doubtful for part in parts):
        migration.clock.sleep(patience.EMPTY_LOOK_S)
    for part in parts:
        part.look()
    refused = [part for part in parts if part.refusal is not None]
    if refused:
        gateway.collection(source_id)  # the server is down, and not just this: raises that
    for part in refused:
        log.warning("the %s can't be read: %s", part.name, part.refusal)
    return Carried(
        collection=collection,
        settings=parts[0].value,
        chat_settings=parts[1].value,
        metadata=parts[2].value,
        unread=tuple(part.name for part in refused),
    )


@dataclass
class _Part:
    """What may be unreadable by itself. That there is none counts after a second look."""

    name: str
    read: Callable[[], Json]
    value: Json = field(default_factory=dict)
    refusal: Optional[ServerError] = None
    tired: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether another look may bring more."""
        return not self.value and not self.tired

    def look(self) -> None:
        """Ask for it, unless it is known by now; no record of it is none at all."""
        if not self.doubtful:
            return
        self.refusal = None
        try:
            self.value = self.read()
        except NotFound:
            pass
        except Rejected as error:
            self.refusal = error
        except (Unavailable, BadReply) as error:
            # It was tried again and again already.
            self.refusal, self.tired = error, True


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
