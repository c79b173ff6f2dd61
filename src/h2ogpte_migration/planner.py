"""From a position and what was asked for to what is done now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional

from h2ogpte_migration.model import ImportOptions
from h2ogpte_migration.retrieval import RetrievalCheck
from h2ogpte_migration.states import BEFORE_IMPORT, Position


class Action(Enum):
    """What a run does with a collection."""

    BEGIN = "begin a fresh target"
    CONTINUE = "continue where it stands"
    LEAVE = "leave it as it is"


@dataclass(frozen=True)
class Policy:
    """What a run was asked for, as far as one collection is concerned.

    ``verify`` runs begin and submit nothing, but what they had to restart themselves.
    ``look_again`` asks of finished ones whether their targets still exist. ``retrieval`` asks,
    of finished ones too, whether documents are found.
    """

    import_options: ImportOptions
    verify: bool = False
    wait: bool = False
    migrate_chats: bool = False
    retry_failed: bool = False
    force: bool = False
    ignore_validation: bool = False
    look_again: bool = False
    rollback: bool = False
    verify_query: Optional[str] = None
    query_timeout_s: float = 300.0
    retrieval: Optional[RetrievalCheck] = None

    @property
    def forced_start(self) -> Optional[str]:
        """The kind of marker that keeps fresh starts of this run from being made twice."""
        if self.force:
            return "force"
        return "retry" if self.retry_failed else None

    @property
    def changes_course(self) -> bool:
        """Whether it asks for what no run does that merely goes on with a collection."""
        return self.forced_start is not None or self.rollback or self.ignore_validation


@dataclass(frozen=True)
class Decision:
    """An action and the words for it; ``hint`` is what people may do."""

    action: Action
    reason: str = ""
    needs_attention: bool = False
    hint: str = ""


_CONTINUE = Decision(Action.CONTINUE)
_FAILED_EARLIER = Decision(
    Action.LEAVE, "its import failed", True, "--retry-failed makes a new target."
)


def decide(
    position: Position, policy: Policy, *, started: bool, restarted: bool, due: bool
) -> Decision:
    """What to do with a collection at ``position``.

    Args:
        started: this forced or retried work was begun already, by a run that did not end.
        restarted: the live attempt was begun by the tool itself, in place of an abandoned one.
        due: there is a step to do, of those that were asked for.
    """
    forced = policy.force and not policy.verify and not started
    if position == Position.INCONSISTENT and not forced:
        return Decision(
            Action.LEAVE,
            "its record holds a combination that cannot arise; nothing was done. "
            "--force-remigrate makes a new target",
            True,
        )
    if policy.rollback:
        return _decide_rollback(position)
    if position in _ROLLED_BACK and (started or policy.verify or not policy.force):
        return _ROLLED_BACK[position]
    if policy.verify:
        return _decide_verify(position, restarted)
    if forced and position != Position.NEW:
        return Decision(Action.BEGIN, "forced")
    if policy.retry_failed and not started and position in (Position.FAILED, Position.HELD):
        return Decision(Action.BEGIN, "retried")
    return _decide_migrate(position, policy, due)


_ROLLED_BACK = {
    Position.ROLLING_BACK: Decision(
        Action.LEAVE, "its rollback was interrupted; --rollback goes on with it", True
    ),
    Position.ROLLED_BACK: Decision(
        Action.LEAVE, "it was rolled back; --force-remigrate migrates it anew"
    ),
}


def _decide_rollback(position: Position) -> Decision:
    if position == Position.FAILED:
        return _FAILED_EARLIER  # what it had moved may have gone with its target
    if position in (Position.NEW, *BEFORE_IMPORT, Position.IMPORTING):
        return Decision(Action.LEAVE, "nothing was moved to its target, which is not imported yet")
    if position == Position.ROLLED_BACK:
        return Decision(Action.LEAVE, "it was rolled back before")
    return _CONTINUE


def _decide_migrate(position: Position, policy: Policy, due: bool) -> Decision:
    if position == Position.NEW:
        return Decision(Action.BEGIN)
    if position == Position.FAILED:
        return _FAILED_EARLIER
    if position in (Position.CONNECTED, Position.FINISHED) and not due:
        return Decision(Action.LEAVE, "already migrated")
    if position == Position.IMPORTING and not policy.wait:
        return Decision(Action.LEAVE, "its import is running; --verify looks after it")
    return _CONTINUE


def _decide_verify(position: Position, restarted: bool) -> Decision:
    if position == Position.FAILED:
        return _FAILED_EARLIER
    if position == Position.NEW or (
        position in BEFORE_IMPORT and position != Position.SUBMITTING and not restarted
    ):
        return Decision(
            Action.LEAVE,
            "its migration was interrupted before the import; run the migration command again",
            True,
        )
    return _CONTINUE
