"""Ask a migrated collection a question, to see that it answers from its documents.

Informational only: whatever goes wrong is told and holds nothing back. The test chat is on
record before it is opened and deleted in any case; what a dead run left is found again.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Iterable, List, Optional, Tuple

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import (
    Interrupted,
    LeaseLost,
    NotFound,
    OutcomeUnknown,
    OwnerGone,
    ServerError,
)
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Json, SourceId, TargetId, parse_time
from h2ogpte_migration.results import RAG_LEFT_OUT, RAG_PASSED, Result
from h2ogpte_migration.tracking.leftovers import Leftovers
from h2ogpte_migration.tracking.records import TestChat
from h2ogpte_migration.ui.text import plural, safe

PREVIEW_LENGTH = 200
PAGE = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RagResult:
    """What the check came to, in words for people."""

    ok: bool
    text: str


def run(migration: Migration) -> Optional[Result]:
    """Ask the target, once a run; whatever goes wrong is told and holds nothing back."""
    migration.notes += sweep_of(migration)
    try:
        result = _run(migration) if _holds_documents(migration) else None
    except ServerError as error:
        result = RagResult(False, f"RAG check failed: {error.message}")
    if result is None:
        migration.notes.append(f"{RAG_LEFT_OUT}: the collection has no documents")
        return None
    log.log(logging.INFO if result.ok else logging.WARNING, "%s", result.text)
    migration.notes.append(result.text)
    return None


def _holds_documents(migration: Migration) -> bool:
    if migration.seen.documents is not None:
        return migration.seen.documents > 0
    return next(iter(migration.gateway.documents(migration.target_id)), None) is not None


def _run(migration: Migration) -> RagResult:
    """Open a test chat on the target, ask, judge the references, delete the chat."""
    gateway, leftovers = migration.gateway, migration.tracking.leftovers
    source_id, target_id = migration.source_id, migration.target_id
    question = migration.policy.verify_query or ""
    known = [str(chat.get("id")) for chat in gateway.chats(target_id, limit=PAGE)]
    number = leftovers.record_test_chat(
        source_id, target_id, migration.attempt.owner, known, question, gateway.server_time()
    )
    try:
        session_id = gateway.create_chat(target_id)
    except OutcomeUnknown as error:
        # It may open late: "none there" counts only after a while. If the run is stopped
        # meanwhile, the record stays, and the next run looks.
        migration.clock.sleep(patience.second_look(error.timed_out))
        migration.notes += sweep_of(migration, unanswered_s=0.0)
        return RagResult(False, f"RAG check: the test chat could not be opened: {error.message}")
    except (ServerError, Interrupted, LeaseLost):
        leftovers.record_test_chat_gone(number)  # all of these say that nothing was sent
        raise
    hidden = True
    try:
        leftovers.record_test_chat_id(number, session_id)
        hidden = not _shows(migration, session_id)
        if hidden:
            return RagResult(False, f"RAG check: the test chat {session_id} did not show in time")
        return _ask(gateway, session_id, target_id, question, migration.policy.query_timeout_s)
    finally:
        # What does not show yet can't be deleted: it stays on record for the next sweep.
        if not hidden:
            with suppress(ServerError):
                _delete(gateway, session_id)
                leftovers.record_test_chat_gone(number)


def _shows(migration: Migration, session_id: str) -> bool:
    """Wait until a new chat can be found: before, it would swallow the question, and outlive us."""
    clock = migration.clock
    deadline, pause_s = clock.now() + patience.VISIBLE_WITHIN_S, patience.EMPTY_LOOK_S
    while True:
        looked_at = clock.now()
        try:
            migration.gateway.chat_messages(session_id)
        except NotFound:
            if looked_at >= deadline:
                return False
        except ServerError:
            return True  # it can't be told; asking will tell
        else:
            return True
        clock.sleep(pause_s)
        pause_s = min(2 * pause_s, patience.SECOND_LOOK_S)


def _ask(
    gateway: Gateway, session_id: str, target_id: TargetId, question: str, timeout_s: float
) -> RagResult:
    answer = gateway.ask(session_id, question, timeout_s)
    references = gateway.references(answer.message_id)
    own = [item for item in references if item.collection_id in (None, target_id)]
    preview = safe(answer.text, PREVIEW_LENGTH)
    if not references:
        return RagResult(False, f"RAG check: the answer refers to no document: {preview}")
    if len(own) < len(references):
        foreign = len(references) - len(own)
        return RagResult(
            False,
            f"RAG check: {foreign} of {len(references)} references are not to the new "
            f"collection: {preview}",
        )
    return RagResult(True, f"{RAG_PASSED}, {plural(len(own), 'document reference')}: {preview}")


def sweep_of(migration: Migration, *, unanswered_s: Optional[float] = None) -> List[str]:
    """Delete the test chats of a migration that this run or a dead one left; see ``sweep``."""
    gateway, leftovers = migration.gateway, migration.tracking.leftovers
    left, clock = leftovers.test_chats_left(migration.source_id), migration.clock
    chats = [chat for chat in left if migration.is_owners(chat.owner)]
    return sweep(gateway, leftovers, chats, clock, unanswered_s=unanswered_s)


def give_up(migration: Migration) -> None:
    """Delete them, right before other chats move, and forget those that could not be found.

    Afterwards an unanswered one can't be told from a moved chat, which must not be deleted.
    """
    doubts = sweep_of(migration)
    for text in (*doubts, *forget(migration.tracking.leftovers, migration.source_id)):
        migration.warn(text)


def sweep(
    gateway: Gateway,
    leftovers: Leftovers,
    chats: Iterable[TestChat],
    clock: Clock,
    *,
    unanswered_s: Optional[float] = None,
) -> List[str]:
    """Delete test chats that this run or a dead one left, with the key of the owner of all of them.

    One that was opened a moment ago may not show yet: it is looked for until it would have, by the
    server's own clock. Returns what people may have to look at.

    Args:
        unanswered_s: how old one has to be that no answer told of, before it counts as never made.

    Raises:
        Interrupted: the user asked to stop; what may yet show stays on record.
    """
    doubts: List[str] = []
    if unanswered_s is None:
        unanswered_s = patience.SECOND_LOOK_AFTER_TIMEOUT_S
    for chat in chats:
        within_s = patience.VISIBLE_WITHIN_S if chat.session_id else unanswered_s
        shows_by = clock.now() + within_s - _age_s(gateway, chat)
        try:
            looked_at = clock.now()  # a look may take long, and says how it was when it began
            while not _remove(gateway, chat, doubts) and looked_at < shows_by:
                wait_s = max(0.0, shows_by - clock.now())
                log.info("a test chat may not show yet: looking again for up to %.0f s", wait_s)
                clock.sleep(min(patience.SECOND_LOOK_S, wait_s))
                looked_at = clock.now()
        except OwnerGone:
            log.info("a test chat went with the account of %s", chat.owner)
        except ServerError:
            continue
        leftovers.record_test_chat_gone(chat.id)
    return doubts


def _age_s(gateway: Gateway, chat: TestChat) -> float:
    """For how long it may have been there, by the server's clock; long enough where that does not tell.

    Otherwise each chat on record would be waited for with every server that dates no reply.
    """
    now = gateway.server_time()
    if now is None or chat.asked_at is None:
        return math.inf
    return max(0.0, (now - chat.asked_at).total_seconds())


def _remove(gateway: Gateway, chat: TestChat, doubts: List[str]) -> bool:
    """Delete it; whether nothing is left to do: else it is not there, or does not show yet.

    Chats that may be it, or somebody's, are left alone: ``doubts`` names them.
    """
    session_id = chat.session_id
    if session_id is None:
        try:
            found = _find(gateway, chat)
        except NotFound:
            return True  # the target is gone, and its chats with it
        session_id = found.ours
        doubts += [
            f"the chat {one} on {chat.target_id} may be a test chat of this tool, and may be "
            "somebody's: it was left alone"
            for one in found.doubtful
        ]
        if found.doubtful:
            return True
    return session_id is not None and _delete(gateway, session_id)


def _delete(gateway: Gateway, session_id: str) -> bool:
    deleted = gateway.delete_chat(session_id)
    if deleted:
        log.info("deleted the test chat %s", session_id)
    return deleted


def forget(leftovers: Leftovers, source_id: SourceId) -> List[str]:
    """Strike off the record what no answer told of; returns what people may have to look at."""
    doubts: List[str] = []
    for chat in leftovers.test_chats_left(source_id):
        if chat.session_id is None:
            doubts.append(f"a test chat on {chat.target_id} was never found; look for an empty one")
            leftovers.record_test_chat_gone(chat.id)
    return doubts


@dataclass(frozen=True)
class _Found:
    """A session that is ours beyond doubt, and those that may be."""

    ours: Optional[str] = None
    doubtful: Tuple[str, ...] = ()


def _find(gateway: Gateway, chat: TestChat) -> _Found:
    """The session that was opened without an answer.

    It is ours if it is new, empty, as we never came to ask in it, and was opened within seconds
    of our request by the server's clock. The owner may have opened one then, too: of two,
    none is.
    """
    empty = [
        session
        for session in gateway.chats(chat.target_id, limit=PAGE)
        if str(session.get("id")) not in chat.known_sessions
        and session.get("username") in (None, "", chat.owner)
        and not gateway.chat_messages(str(session.get("id")))
    ]
    ids = tuple(str(session.get("id")) for session in empty)
    in_time = [str(session.get("id")) for session in empty if _opened_then(session, chat.asked_at)]
    if len(in_time) == 1 and len(chat.known_sessions) < PAGE:
        return _Found(in_time[0])
    # Of more than a page, what seems new may be an old one.
    return _Found(doubtful=ids)


def _opened_then(session: Json, asked_at: Optional[datetime]) -> bool:
    opened_at = parse_time(session.get("created_at") or session.get("updated_at"))
    if asked_at is None or opened_at is None:
        return False
    # The server's time was seen in whole seconds.
    earliest = asked_at - timedelta(seconds=1)
    return earliest <= opened_at <= asked_at + timedelta(seconds=1 + patience.OUR_CHAT_WITHIN_S)
