"""``--dry-run``: what a migration would do. Reads only, but for keys that expire by themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Optional

from h2ogpte_migration import pipeline
from h2ogpte_migration.errors import NotFound
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Collection, Json, SourceId
from h2ogpte_migration.planner import Action
from h2ogpte_migration.results import OutcomeKind, Plan, Result, RunResult
from h2ogpte_migration.run import closing
from h2ogpte_migration.run.discovery import discover
from h2ogpte_migration.run.preview import preview
from h2ogpte_migration.run.scope import Selected
from h2ogpte_migration.run.session import Session, import_options, target_models_exist
from h2ogpte_migration.states import Position
from h2ogpte_migration.steps import permissions, settings
from h2ogpte_migration.steps.moves import CHATS_PAGE
from h2ogpte_migration.steps.rights import read_rights
from h2ogpte_migration.steps.source import lifecycle_warnings
from h2ogpte_migration.ui.text import plural
from h2ogpte_migration.validation import LIFECYCLE_FIELDS


def run(session: Session) -> int:
    """Look at everything that the migration would work on; returns the exit code."""
    found = discover(session)
    target_models_exist(session, {item.model for item in found.selected})
    planned = preview(
        session,
        found.selected,
        lambda item: _look(session, item),
        lambda item: _planned(session, item, Plan("")),
    )
    result = RunResult([*planned, *found.left_out, *found.missing], guests=found.scope.guests)
    return closing.tell_plan(session, result)


def _look(session: Session, item: Selected) -> Result:
    source = item.collection
    gateway = session.credentials.gateway_for(source.owner)
    details = gateway.collection(source.id)
    shown = read_rights(
        gateway, session.clock, source.id, source.owner, is_public=details.is_public
    )
    lifecycle = tuple(
        f"{name}: {details.get(name)}"
        for name in LIFECYCLE_FIELDS
        if details.get(name) not in (None, "")
    )
    size = details.get("document_size")
    planned = _planned(
        session,
        item,
        Plan(
            "",
            permissions=tuple(permissions.describe(shown.rights)),
            lifecycle=lifecycle,
            import_settings=tuple(_import_settings(session)),
            documents=details.document_count,
            size_bytes=size if isinstance(size, int) else None,
            connectors=_count(gateway, source.id),
            chats=details.get("sessions_count"),
        ),
    )
    how = import_options(session.options)
    ocr = {} if how.skip_reparse else _settings(gateway, source.id)
    unread = [
        f"the {item.what} can't be read, and so would not be copied: {item.why}"
        for item in shown.unread.values()
    ]
    warnings = [*unread, *_what_to_think_of(session, gateway, details, ocr)]
    return replace(planned, warnings=tuple(warnings))


def _what_to_think_of(
    session: Session, gateway: Gateway, details: Collection, source_settings: Json
) -> List[str]:
    """What will not be carried over, and what will still point at the old collection."""
    how = import_options(session.options)
    return [
        *settings.what_stays(details, source_settings, how),
        *lifecycle_warnings(details, session.clock.utc()),
        *_archived_chats(gateway, details),
        *session.shared.pointers(gateway, details.id, how.copy_document, True),
    ]


def _archived_chats(gateway: Gateway, details: Collection) -> List[str]:
    """Chats that are counted and not listed: a full page of a listing does not tell."""
    counted = details.get("sessions_count")
    if not isinstance(counted, int) or not counted > 0:
        return []
    try:
        listed = len(gateway.chats(details.id, limit=CHATS_PAGE))
    except NotFound:
        return []
    hidden = counted - listed
    if listed >= CHATS_PAGE or hidden <= 0:
        return []
    return [f"{plural(hidden, 'chat')} counted, but not listed: archived ones stay with the source"]


def _settings(gateway: Gateway, collection_id: str) -> Json:
    try:
        return gateway.settings(collection_id)
    except NotFound:
        return {}


def _count(gateway: Gateway, collection_id: str) -> Optional[int]:
    try:
        return len(gateway.connectors(collection_id))
    except NotFound:
        return None


def _import_settings(session: Session) -> List[str]:
    how = import_options(session.options)
    return [
        "documents copied" if how.copy_document else "documents referenced",
        "chunks embedded again without parsing"
        if how.skip_reparse
        else f"OCR model {how.ocr_model}",
        "document status, metadata and lifecycle settings preserved",
    ]


def _planned(session: Session, item: Selected, seen: Plan) -> Result:
    """What the migration would do, from what is on record."""
    source = item.collection
    source_id = SourceId(source.id)
    tracked = session.tracking.store.load(source_id)
    where = tracked.position if tracked else Position.NEW
    runs, policy = session.tracking.runs, session.policy()
    decided = pipeline.decision(runs, source_id, tracked, policy, item.model)
    action = {Action.LEAVE: "leave", Action.BEGIN: "create", Action.CONTINUE: "resume"}
    reason = where.value if decided.action == Action.CONTINUE else decided.reason
    return Result(
        OutcomeKind.PLANNED,
        source.id,
        source.name,
        source.owner,
        source.model,
        target_id=tracked.record.target_id if tracked else None,
        target_model=item.model,
        position=where,
        reason=reason,
        hint=decided.hint,
        plan=replace(seen, action=action[decided.action]),
    )
