"""What the machine believes about the organisation, and what must hold whatever happens."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, Iterator, List, Set, Tuple

from h2ogpte_migration.sandbox.model import Collection
from tests.crash.lab import Trial, small_organisation
from tests.crash.modes import SCOPE, WAIT

STEPS = (
    "collection_created",
    "permissions_copied",
    "import_submitted",
    "import_completed",
    "connectors_migrated",
    "chats_migrated",
)
MIGRATED = "(Migrated) "


class Organisation:
    """One world with its history, seen from outside: the server's records and the database."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.world = trial.world
        self.sources: Dict[str, Dict[str, Any]] = {
            one.id: self._portrait(one) for one in self.world.collections.values()
        }
        self.moving: Set[str] = set(self._all_that_moves())
        self.steps_of: Dict[int, Tuple[int, ...]] = {}
        self.known_attempts: Set[int] = set()

    # -- what people at the server do
    def add_collection(self, name: str) -> None:
        added = self.world.add_collection("anna", name, documents=2, connectors=1, chats=1)
        self.sources[added.id] = self._portrait(added)
        self.moving = set(self._all_that_moves())

    def add_document(self, source_id: str, name: str) -> None:
        self.world.add_document(source_id, name)
        self.sources[source_id] = self._portrait(self.world.collections[source_id])

    def add_chat(self, source_id: str, name: str) -> None:
        self.world.add_chat(source_id, self.world.collections[source_id].username, name)
        self.moving = set(self._all_that_moves())

    def delete(self, collection_id: str) -> None:
        self.world.wait_until_idle()
        with self.world.lock:
            self.world.drop_collection(collection_id)
        self.sources.pop(collection_id, None)
        self.moving = set(self._all_that_moves())

    def targets(self) -> List[Collection]:
        return [c for c in self.world.collections.values() if c.name.startswith(MIGRATED)]

    # -- what must hold
    def check(self) -> None:
        """Everything that holds after each step, with no command running."""
        assert set(self._all_that_moves()) >= self.moving, self._said(
            "connectors or chats are lost"
        )
        for source_id, before in self.sources.items():
            now = self._portrait(self.world.collections[source_id])
            assert now == before, self._said(f"a source has changed: {before} {now}")
        if self.trial.database.exists() and self._tables():
            self._check_records()

    def _check_records(self) -> None:
        self._history_is_complete()
        self._steps_only_go_on()
        self._given_up_targets_hold_nothing()
        self._keys_are_on_record()
        for row in self.trial.rows(
            "SELECT a.target_id FROM attempts a JOIN validations v ON v.attempt_id = a.id "
            "WHERE a.fate = 'live' AND v.verdict = 'clean'"
        ):
            target = self.world.collections.get(row["target_id"])
            if target is not None:
                assert not doubled(target), self._said(f"documents twice in {target.name}")

    def _history_is_complete(self) -> None:
        attempts = self.trial.rows("SELECT id, owner, target_name, target_id FROM attempts")
        ids = {row["target_id"] for row in attempts}
        names = {(row["owner"], row["target_name"]) for row in attempts}
        for target in self.targets():
            known = target.id in ids or (target.username, target.name) in names
            assert known, self._said(f"nobody knows {target.name}")
        numbers = {row["id"] for row in attempts}
        assert numbers >= self.known_attempts, self._said("history was forgotten")
        self.known_attempts = numbers

    def _steps_only_go_on(self) -> None:
        for row in self.trial.rows(
            "SELECT a.id, a.target_id AS attempt_target, m.* FROM collection_migrations m "
            "JOIN attempts a ON a.source_id = m.old_collection_id AND a.fate = 'live'"
        ):
            assert row["attempt_target"] == row["new_collection_id"], self._said(str(row))
            steps = tuple(int(row[step]) for step in STEPS)
            before = self.steps_of.get(row["id"], steps)
            assert all(a <= b for a, b in zip(before, steps)), self._said(f"{before} {steps}")
            self.steps_of[row["id"]] = steps

    def _given_up_targets_hold_nothing(self) -> None:
        for row in self.trial.rows("SELECT target_id FROM attempts WHERE fate = 'abandoned'"):
            target = self.world.collections.get(row["target_id"])
            if target is not None:
                assert not target.connectors, self._said("connectors on an abandoned target")
                assert not self.world.sessions_of(target.id), self._said("chats on one")

    def _keys_are_on_record(self) -> None:
        names = {
            r["name"] for r in self.trial.rows("SELECT name FROM temp_keys WHERE state != 'gone'")
        }
        for key in self.world.alive_keys():
            assert key.name == "default" or key.name in names, self._said(f"{key.name} is left")

    def check_the_end(self) -> None:
        """After everything was recovered: each source has what it should, in one target."""
        self.check()
        # Only what nobody deleted or added behind the tool's back can be asked for.
        for row in self.trial.rows("SELECT * FROM collection_migrations"):
            source = self.world.collections.get(row["old_collection_id"])
            target = self.world.collections.get(row["new_collection_id"] or "")
            if source is None or target is None:
                continue
            assert row["job_status"] == "completed", self._said(str(row))
            assert not doubled(target), self._said("documents twice")
            if row["chats_migrated"]:
                assert not source.connectors, self._said("connectors were left behind")
        assert not self.trial.rows("SELECT 1 FROM temp_keys WHERE state != 'gone'"), self._said(
            "keys"
        )
        assert not self.trial.rows("SELECT 1 FROM test_chats WHERE state != 'gone'"), self._said(
            "chats"
        )
        assert not self._loose_test_chats(), self._said("a test chat is left")
        in_doubt = "SELECT 1 FROM intents i JOIN attempts a ON a.id = i.attempt_id WHERE i.state = 'open' AND a.fate = 'live'"
        gone = {
            r["old_collection_id"] for r in self.trial.rows("SELECT * FROM collection_migrations")
        }
        if gone <= set(self.world.collections):
            assert not self.trial.rows(in_doubt), self._said("something is still in doubt")

    # -- helpers
    def _tables(self) -> bool:
        return bool(self.trial.rows("SELECT 1 FROM sqlite_master WHERE name = 'marks'"))

    def _said(self, what: str) -> str:
        return f"{what}\n{self.trial.story()}"

    @staticmethod
    def _portrait(collection: Collection) -> Dict[str, Any]:
        return {
            "name": collection.name,
            "model": collection.embedding_model,
            "settings": collection.settings,
            "documents": [(m.document.id, m.status) for m in collection.documents],
            "shares": collection.shares,
        }

    def _all_that_moves(self) -> Iterator[str]:
        for collection in self.world.collections.values():
            yield from (connector.id for connector in collection.connectors)
            for session in self.world.sessions_of(collection.id):
                if session.name and session.name.startswith("chat "):
                    yield session.id

    def _loose_test_chats(self) -> List[str]:
        return [
            session.id
            for session in self.world.sessions.values()
            if not (session.name and session.name.startswith("chat "))
        ]


def doubled(collection: Collection) -> List[str]:
    """Names of documents that a collection holds twice."""
    names = Counter(m.document.name for m in collection.documents)
    return [name for name, count in names.items() if count > 1]


__all__ = ["SCOPE", "WAIT", "Organisation", "doubled", "small_organisation"]
