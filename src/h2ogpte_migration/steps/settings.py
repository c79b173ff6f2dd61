"""Give the target what can't be given at creation; all of it may be repeated.

What can't be carried over becomes a kept warning, never a reason to start over.
"""

from __future__ import annotations

from typing import Callable, Optional

from h2ogpte_migration import patience
from h2ogpte_migration.errors import NotFound, Rejected
from h2ogpte_migration.migration import Carried, Migration
from h2ogpte_migration.model import Collection
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import TargetFate
from h2ogpte_migration.steps.create import target_settings, workspace_warning
from h2ogpte_migration.steps.presence import is_gone, read_when_visible, when_visible
from h2ogpte_migration.steps.source import carried


def run(migration: Migration) -> Optional[Result]:
    """Bring the target's settings up to the source's."""
    try:
        _bring_up(migration)
    except NotFound:
        migration.restart(TargetFate.VANISHED, "the target was deleted")
        return None
    store, attempt = migration.tracking.store, migration.attempt
    store.finish_settings(migration.lease, attempt, migration.take_warnings())
    return None


def _bring_up(migration: Migration) -> None:
    """Raises ``NotFound`` where the target is gone."""
    target = migration.created
    if target is None:
        # Adopted, or interrupted in between: what its creation was given may not be there.
        target = read_when_visible(
            migration.gateway, migration.clock, migration.target_id, patience.VISIBLE_WITHIN_S
        )
        if migration.attempt.target_created_at is None and target.created_at is not None:
            store = migration.tracking.store
            store.record_target_time(migration.lease, migration.attempt, target.created_at)
        _send_settings(migration, carried(migration))
    _send_the_rest(migration, carried(migration), target)


def _send_settings(migration: Migration, source: Carried) -> None:
    gateway, target_id = migration.gateway, migration.target_id
    settings = target_settings(migration, source)
    _carry(migration, "collection settings", lambda: gateway.set_settings(target_id, settings))
    if source.chat_settings:
        _carry(
            migration,
            "chat settings",
            lambda: gateway.set_chat_settings(target_id, source.chat_settings),
        )


def _send_the_rest(migration: Migration, source: Carried, target: Collection) -> None:
    """What ``target`` shows already is not sent again."""
    gateway, target_id, collection = migration.gateway, migration.target_id, source.collection
    rag_type = collection.get("rag_type")
    if rag_type and target.get("rag_type") != rag_type:
        _carry(migration, f"rag_type {rag_type}", lambda: gateway.set_rag_type(target_id, rag_type))
    if source.metadata:
        _carry(
            migration,
            "collection metadata",
            lambda: gateway.set_metadata(target_id, source.metadata),
        )
    template = collection.get("prompt_template_id")
    if template and target.get("prompt_template_id") != template:
        _carry(
            migration,
            f"prompt template {template}",
            lambda: gateway.set_prompt_template(target_id, template),
        )
    if collection.get("exempt_from_chat_expiry") is True:
        _carry(
            migration,
            "exemption from chat expiry",
            lambda: gateway.set_chat_expiry_exemption(target_id, True),
        )
    _warn_of_what_stays(migration, source, target)


def _warn_of_what_stays(migration: Migration, source: Carried, target: Collection) -> None:
    collection = source.collection
    if collection.get("thumbnail"):
        migration.warn(
            f"the thumbnail {collection.get('thumbnail')} can't be carried over; upload it again"
        )
    had, wanted = source.settings.get("ocr_model"), migration.how.ocr_model
    if had and wanted is not None and had != wanted and not migration.how.skip_reparse:
        migration.warn(
            f"the OCR model is {wanted} in the target, it was {had} in the source (--ocr-model)"
        )
    workspace, got = collection.get("workspace"), target.get("workspace")
    if workspace and got and workspace != got:
        # Whoever was told of the refusal may have died since; and some servers say nothing.
        migration.warn(workspace_warning(workspace))


def _carry(migration: Migration, what: str, send: Callable[[], None]) -> None:
    """Send one thing; a refusal becomes a warning, as the rest must arrive all the same."""
    migration.before_write()
    try:
        when_visible(migration, send)
    except Rejected as error:
        migration.warn(f"the {what} could not be carried over: {error.message}")
    except NotFound as error:
        within_s = migration.freshness()
        if is_gone(migration.gateway, migration.clock, migration.target_id, within_s=within_s):
            raise
        migration.warn(f"the {what} could not be carried over: {error.message}")
