"""Ask a migrated collection a question, to see that it answers from its documents.

Informational only: whatever goes wrong is told and holds nothing back. The test chat is on
record before it is opened and deleted in any case; what a dead run left is found again.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Callable, List, Optional

from h2ogpte_migration.errors import NotFound, OutcomeUnknown, ServerError
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import SourceId, TargetId
from h2ogpte_migration.tracking.records import TestChat
from h2ogpte_migration.tracking.runs import Runs
from h2ogpte_migration.ui.text import safe

PREVIEW_LENGTH = 200
PAGE = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RagResult:
    """What the check came to, in words for people."""

    ok: bool
    text: str


def run(
    gateway: Gateway,
    runs: Runs,
    *,
    source_id: SourceId,
    target_id: TargetId,
    owner: str,
    question: str,
    timeout_s: float,
    pause: Callable[[bool], None],
) -> RagResult:
    """Open a test chat on the target, ask, judge the references, delete the chat.

    Args:
        pause: waits until what brought no answer has come to effect, if it ever does; told
            whether that was a time-out.
    """
    try:
        known = [str(chat.get("id")) for chat in gateway.chats(target_id, limit=PAGE)]
        number = runs.record_test_chat(source_id, target_id, owner, known, question)
        try:
            session_id = gateway.create_chat(target_id)
        except OutcomeUnknown as error:
            # It may open late: "none there" counts only after a while. If the run is stopped
            # meanwhile, the record stays, and the next run looks.
            pause(error.timed_out)
            sweep(gateway, runs, source_id)
            return RagResult(
                False, f"RAG check: the test chat could not be opened: {error.message}"
            )
        except ServerError:
            runs.record_test_chat_gone(number)
            raise
        try:
            runs.record_test_chat_id(number, session_id)
            return _ask(gateway, session_id, target_id, question, timeout_s)
        finally:
            sweep(gateway, runs, source_id)
    except ServerError as error:
        return RagResult(False, f"RAG check failed: {error.message}")


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
    return RagResult(True, f"RAG check passed, {len(own)} document reference(s): {preview}")


def sweep(gateway: Gateway, runs: Runs, source_id: SourceId) -> None:
    """Delete the test chats of a source that this run or a dead one left."""
    for chat in runs.test_chats_left(source_id):
        with suppress(ServerError):
            _remove(gateway, runs, chat)


def _remove(gateway: Gateway, runs: Runs, chat: TestChat) -> None:
    try:
        session_id: Optional[str] = chat.session_id or _find(gateway, chat)
    except NotFound:
        runs.record_test_chat_gone(chat.id)  # the target is gone, and its chats with it
        return
    if session_id is not None:
        gateway.delete_chat(session_id)
        log.info("deleted the test chat %s", session_id)
    runs.record_test_chat_gone(chat.id)


def give_up(runs: Runs, source_id: SourceId) -> None:
    """Forget test chats that could not be found: right before other chats move to the target.

    Afterwards an unanswered one can't be told from a moved chat, which must not be deleted.
    """
    for chat in runs.test_chats_left(source_id):
        if chat.session_id is None:
            log.warning("a test chat on %s was never found; look for an empty one", chat.target_id)
            runs.record_test_chat_gone(chat.id)


def _find(gateway: Gateway, chat: TestChat) -> Optional[str]:
    """The session that was opened without an answer: new, and with nothing but our question."""
    ours: List[str] = []
    if len(chat.known_sessions) >= PAGE:
        return None  # there were more than are known: what seems new may be an old one
    for session in gateway.chats(chat.target_id, limit=PAGE):
        session_id = str(session.get("id"))
        if session_id in chat.known_sessions or session.get("username") not in (
            None,
            "",
            chat.owner,
        ):
            continue
        texts = [
            str(message.get("content", ""))
            for message in gateway.chat_messages(session_id)
            if not message.get("reply_to")
        ]
        if texts in ([], [chat.question]):
            ours.append(session_id)
    # More than one that fits: somebody's own empty session may be among them. Leave them.
    return ours[0] if len(ours) == 1 else None
