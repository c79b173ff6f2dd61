"""``--dry-run``: what a migration would do. Reads only, but for keys that expire by themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import List, Optional, Tuple

from h2ogpte_migration.errors import NotFound, ServerError
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.planner import Action, plan
from h2ogpte_migration.runners.migrate import Found, discover, note_skipped
from h2ogpte_migration.runners.scope import Selected
from h2ogpte_migration.runners.session import Session, import_options, target_models_exist
from h2ogpte_migration.states import Position
from h2ogpte_migration.steps import permissions
from h2ogpte_migration.tracking.records import Attempt, Tracked
from h2ogpte_migration.validation import LIFECYCLE_FIELDS


@dataclass(frozen=True)
class Preview:
    """What would happen to one collection."""

    source_id: str
    source_name: str
    owner: str
    source_model: str
    target_model: str
    action: str
    documents: Optional[int]
    connectors: Optional[int]
    chats: Optional[int]
    permissions: Tuple[str, ...]
    lifecycle: Tuple[str, ...]
    import_settings: Tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class PreviewResult:
    """All of a preview."""

    previews: Tuple[Preview, ...]
    found: Found


def run(session: Session) -> PreviewResult:
    """Look at everything that the migration would work on."""
    found = discover(session, session.store)
    target_models_exist(session, {item.model for item in found.selected})
    note_skipped(found)
    workers = session.options.max_concurrent_requests
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="preview")
    try:
        previews = tuple(pool.map(lambda item: _guarded(session, item), found.selected))
    finally:
        pool.shutdown(wait=False)
    return PreviewResult(previews, found)


def _guarded(session: Session, item: Selected) -> Preview:
    session.waiter.check()
    try:
        return _look(session, item)
    except ServerError as error:
        return _preview(session, item, problem=error.message)


def _look(session: Session, item: Selected) -> Preview:
    source = item.collection
    gateway = session.credentials.gateway_for(source.owner)
    details = gateway.collection(source.id)
    rights = permissions.read(gateway, source.id, source.owner, is_public=details.is_public)
    lifecycle = tuple(
        f"{name}: {details.get(name)}"
        for name in LIFECYCLE_FIELDS
        if details.get(name) not in (None, "")
    )
    return _preview(
        session,
        item,
        documents=details.document_count,
        connectors=_count(gateway, source.id),
        chats=details.get("sessions_count"),
        rights=tuple(permissions.describe(rights)),
        lifecycle=lifecycle,
    )


def _count(gateway: Gateway, collection_id: str) -> Optional[int]:
    try:
        return len(gateway.connectors(collection_id))
    except NotFound:
        return None


def _preview(
    session: Session,
    item: Selected,
    *,
    documents: Optional[int] = None,
    connectors: Optional[int] = None,
    chats: Optional[int] = None,
    rights: Tuple[str, ...] = (),
    lifecycle: Tuple[str, ...] = (),
    problem: str = "",
) -> Preview:
    source = item.collection
    return Preview(
        source_id=source.id,
        source_name=source.name,
        owner=source.owner,
        source_model=source.model,
        target_model=item.model,
        action=_action(session, source.id),
        documents=documents,
        connectors=connectors,
        chats=chats,
        permissions=rights,
        lifecycle=lifecycle,
        import_settings=tuple(_import_settings(session)),
        problem=problem,
    )


def _import_settings(session: Session) -> List[str]:
    how = import_options(session.options)
    return [
        "documents copied" if how.copy_document else "documents referenced",
        "chunks embedded again without parsing"
        if how.skip_reparse
        else f"OCR model {how.ocr_model}",
        "document status, metadata and lifecycle settings preserved",
    ]


def _action(session: Session, source_id: str) -> str:
    """What the migration would do, from what is on record."""
    tracked = session.store.load(SourceId(source_id)) if session.store else None
    where = _position(tracked)
    policy = session.policy(verify=False)
    mark = policy.mark
    marked = bool(mark and session.runs and session.runs.is_marked(SourceId(source_id), mark))
    restarted = bool(tracked and tracked.attempt and tracked.attempt.origin == Attempt.RESTART)
    decided = plan(where, policy, marked=marked, restarted=restarted)
    if decided.action == Action.LEAVE:
        return f"skip: {decided.reason}"
    if decided.action == Action.BEGIN:
        return f"migrate again ({decided.reason})" if decided.reason else "migrate"
    return f"resume ({where.value})"


def _position(tracked: Optional[Tracked]) -> Position:
    return tracked.position if tracked else Position.NEW
