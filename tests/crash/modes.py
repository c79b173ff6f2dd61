"""The ways in which the command is used, each with its documented recovery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.world import World
from tests.crash.lab import MODEL, Trial, small_organisation

SCOPE = ("--all-users", "--target-model", MODEL)
WAIT = ("--wait-for-completion", "--migrate-chats")
VERIFY = ("--verify", "--migrate-chats")
QUESTION = ("--verify-query", "What is it about?")
PATIENCE = 20


Preparation = Callable[[Trial], None]


def _nothing(trial: Trial) -> None:
    """Begin with what there is."""


@dataclass(frozen=True)
class Mode:
    """A command that is disturbed, what came before it, and what follows.

    Args:
        words: the command that is disturbed; the recovery begins with the same one.
        prepare: what was done before, undisturbed.
        verify: what follows until nothing is left to do, where the command does not wait.
        user: whose key is given; an admin's by default.
    """

    name: str
    words: Tuple[str, ...]
    prepare: Preparation = _nothing
    verify: Tuple[str, ...] = ()
    user: Optional[str] = None
    notes: bool = False

    def world(self) -> World:
        return small_organisation(notes=self.notes)

    @property
    def forced(self) -> bool:
        """Whether running it again, once it has ended, does everything anew."""
        return "--force-remigrate" in self.words

    def args(self, trial: Trial) -> List[str]:
        return trial.args(*self.words, user=self.user)

    def finish(self, trial: Trial) -> None:
        """In parallel mode: verify until nothing is running."""
        if not self.verify:
            return
        for _ in range(PATIENCE):
            trial.world.wait_until_idle()
            result = trial.run(trial.args(*self.verify, user=self.user))
            if result.code != 0 or not _unfinished(trial):
                return
        raise AssertionError(f"never done\n{trial.story()}")


def _unfinished(trial: Trial) -> bool:
    return bool(
        trial.rows(
            "SELECT 1 FROM collection_migrations WHERE NOT (chats_migrated AND connectors_migrated)"
        )
    )


def _ran(trial: Trial, words: Sequence[str], code: int) -> None:
    result = trial.run(trial.args(*words))
    assert result.code == code, trial.story()
    trial.world.wait_until_idle()


def _failed_before(trial: Trial) -> None:
    for name in ("Papers", "Contracts"):
        trial.world.set_fate(trial.world.find(name).id, Fate.FAIL, times=1)
    _ran(trial, (*SCOPE, *WAIT), 1)


def _migrated_before(trial: Trial) -> None:
    _ran(trial, (*SCOPE, *WAIT), 0)


def _submitted_before(trial: Trial) -> None:
    _ran(trial, SCOPE, 0)


MODES = (
    Mode("wait", (*SCOPE, *WAIT)),
    Mode("concurrent", (*SCOPE, *WAIT, "--max-concurrent-jobs", "3"), notes=True),
    Mode("parallel", SCOPE, verify=VERIFY, notes=True),
    Mode("verify", (*VERIFY, *QUESTION), prepare=_submitted_before, verify=VERIFY, notes=True),
    Mode("self-service", ("--target-model", MODEL, *WAIT), user="anna"),
    Mode("query", (*SCOPE, *WAIT, *QUESTION)),
    Mode("retry", (*SCOPE, *WAIT, "--retry-failed"), prepare=_failed_before),
    Mode("force", (*SCOPE, *WAIT, "--force-remigrate"), prepare=_migrated_before),
    Mode(
        "force-parallel",
        (*SCOPE, "--force-remigrate"),
        prepare=_migrated_before,
        verify=VERIFY,
    ),
    Mode("rollback", ("--rollback",), prepare=_migrated_before, notes=True),
    Mode(
        "check-server",
        ("--check-server", "--target-model", MODEL),
        # Its own record lies beside the tracking database, which it must not touch.
        prepare=_migrated_before,
    ),
)
