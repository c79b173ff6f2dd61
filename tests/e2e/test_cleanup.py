"""``--cleanup``: only what is spare, only after it was listed and agreed to."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from typing import Any, Callable, Dict, List

import pytest

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.world import World
from tests.e2e.prepared import migrated, once
from tests.support.earlier import by_this_tool, by_version_1_2_0
from tests.support.terminal import MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)
CLEANUP, YES, FORCE, RETRY, CHATS = (
    "--cleanup",
    "--yes",
    "--force-remigrate",
    "--retry-failed",
    "--migrate-chats",
)


def replaced(operator: Operator) -> tuple[Collection, Collection, Collection]:
    """A source, its former target, and the one in use."""

    def commands() -> List[Collection]:
        source = by_this_tool(operator, "finished")
        former = operator.target_of(source.id)
        operator.admin(*SCOPE, FORCE, WAIT, CHATS)
        return [source, former, operator.target_of(source.id)]

    source, former, current = once("replaced", operator.server, operator.db, commands)
    return source, former, current


def fates(operator: Operator) -> Dict[str, str]:
    return {row["target_id"]: row["fate"] for row in operator.sql("SELECT * FROM attempts")}


def test_a_replaced_target_is_deleted_and_stays_on_record(operator: Operator, world: World) -> None:
    source, former, current = replaced(operator)
    said = operator.admin(CLEANUP, YES)
    assert former.id in said.out
    assert former.id not in world.collections
    assert {source.id, current.id} <= set(world.collections)
    assert fates(operator) == {former.id: "deleted", current.id: "live"}
    assert "0 former targets to delete" in operator.admin(CLEANUP, YES).out


def test_a_failed_target_is_deleted(operator: Operator, world: World) -> None:
    source = migrated(operator, "failed")
    target = operator.target_of(source.id)
    operator.admin(CLEANUP, YES)
    assert target.id not in world.collections
    operator.admin(*SCOPE, RETRY, WAIT)
    assert operator.row(source.id)["import_completed"] == 1


def test_a_target_that_was_rolled_back_is_deleted_and_its_source_left_alone(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    target = operator.target_of(source.id)
    operator.admin("--rollback")
    operator.admin(CLEANUP, YES)
    assert target.id not in world.collections
    operator.server.forget_requests()
    operator.admin(*SCOPE, WAIT)
    operator.admin("--verify")
    assert operator.changes() == {}
    operator.admin(*SCOPE, FORCE, WAIT)
    assert operator.target_of(source.id).id in world.collections


@pytest.mark.parametrize("why", ["1 document found nowhere else", "its source is gone"])
def test_a_target_that_was_rolled_back_does_not_speak_for_itself(
    operator: Operator, world: World, why: str
) -> None:
    source = migrated(operator)
    target = operator.target_of(source.id)
    operator.admin("--rollback")
    if why == "its source is gone":
        world.delete_collection(source.id)
    else:
        world.add_document(target.id, "only here.txt")
    said = operator.admin(CLEANUP, YES, code=None)
    assert why in said.out
    assert target.id in world.collections


def test_a_newer_version_of_a_copied_document_is_found_nowhere_else(
    operator: Operator, world: World
) -> None:
    source = world.add_collection("anna", "Alpha", documents=2)
    operator.admin(*SCOPE, "--copy-document", WAIT)
    former = operator.target_of(source.id)
    operator.admin(*SCOPE, "--copy-document", FORCE, WAIT)
    former.documents[0].document.size += 1
    said = operator.admin(CLEANUP, YES)
    assert "1 document found nowhere else" in said.out
    assert former.id in world.collections


def test_without_anybody_to_ask_nothing_is_looked_at(operator: Operator, world: World) -> None:
    _, former, _ = replaced(operator)
    operator.server.forget_requests()
    before = operator.db.read_bytes()
    said = operator.admin(CLEANUP, code=2)
    assert "--yes" in said.text
    assert former.id in world.collections
    assert not operator.server.requests
    assert operator.db.read_bytes() == before


def test_a_dry_run_only_looks(operator: Operator, world: World) -> None:
    _, former, _ = replaced(operator)
    before = operator.db.read_bytes()
    said = operator.admin(CLEANUP, "--dry-run")
    assert f"({former.id})" in said.out
    assert former.id in world.collections
    assert operator.db.read_bytes() == before


def _chat(world: World, former: Collection, source: Collection) -> None:
    world.add_chat(former.id, "anna", "a question")


def _connector(world: World, former: Collection, source: Collection) -> None:
    world.add_connector(former.id)


def _document(world: World, former: Collection, source: Collection) -> None:
    world.add_document(former.id, "only here.txt")


def _renamed(world: World, former: Collection, source: Collection) -> None:
    former.name = "Anna's own"


def _given_away(world: World, former: Collection, source: Collection) -> None:
    world.change_owner(former.id, "bertil")


KEPT: Dict[str, Callable[[World, Collection, Collection], Any]] = {
    "still holds 1 chat": _chat,
    "still holds 1 connector": _connector,
    "1 document found nowhere else": _document,
    "renamed to": _renamed,
    "": _given_away,
}


@pytest.mark.parametrize("why", KEPT)
def test_what_somebody_needs_is_kept(operator: Operator, world: World, why: str) -> None:
    source, former, _ = replaced(operator)
    KEPT[why](world, former, source)
    said = operator.admin(CLEANUP, YES)
    assert why in said.out
    assert "Kept: " in said.out
    assert former.id in world.collections
    assert fates(operator)[former.id] == "superseded"


def test_a_target_is_kept_whose_import_still_runs(operator: Operator, world: World) -> None:
    source = migrated(operator, "importing")
    target = operator.target_of(source.id)
    world.set_fate(source.id, Fate.SUCCEED)
    operator.admin(*SCOPE, FORCE, WAIT)
    said = operator.admin(CLEANUP, YES)
    assert "is still running" in said.out
    assert target.id in world.collections


def test_a_target_is_kept_whose_source_is_gone(operator: Operator, world: World) -> None:
    source = migrated(operator, "failed")
    target = operator.target_of(source.id)
    world.add_document(target.id, "a.txt")
    world.delete_collection(source.id)
    said = operator.admin(CLEANUP, YES, code=None)
    assert "its source is gone" in said.out
    assert target.id in world.collections


def test_what_version_1_2_0_left_is_no_candidate_while_in_use(
    operator: Operator, world: World
) -> None:
    source = by_version_1_2_0(operator, "finished")
    operator.admin(CLEANUP, YES)
    assert operator.target_of(source.id).id in world.collections


def test_one_that_somebody_deleted_is_noted(operator: Operator, world: World) -> None:
    _, former, _ = replaced(operator)
    world.delete_collection(former.id)
    operator.admin(CLEANUP, YES)
    assert fates(operator)[former.id] == "vanished"


def test_a_target_is_kept_that_an_assistant_of_people_answers_from(
    operator: Operator, world: World
) -> None:
    _, former, _ = replaced(operator)
    world.add_assistant("anna", "librarian", former.id)
    said = operator.admin(CLEANUP, YES)
    assert "1 assistant connected to the old collection" in said.out
    assert former.id in world.collections


# -- the question -------------------------------------------------------------------------------
def asked(operator: Operator, answer: bytes, *more: str) -> tuple[int, str]:
    """Answer the question at a terminal; returns the exit code and what was shown."""
    master, slave = pty.openpty()
    words = [sys.executable, "-m", "h2ogpte_migration", "--url", operator.server.url, *more]
    env = {**os.environ, "H2OGPTE_ADMIN_KEY": operator.server.admin_key}
    with subprocess.Popen(
        [*words, "--admin-key", CLEANUP],
        cwd=operator.folder,
        env=env,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its terminal from now on
    ) as process:
        os.close(slave)
        shown, answered = b"", False
        with suppress(OSError):  # how a terminal tells that nobody is there any more
            while True:
                shown += os.read(master, 4096)
                if b"Type yes:" in shown and not answered:
                    answered = bool(os.write(master, answer))
        code = process.wait(10)
    os.close(master)
    return code, shown.decode()


@pytest.mark.parametrize(
    ("answer", "code"), [(b"yes\n", 0), (b"no\n", 0), (b"\x03", 130)], ids=["yes", "no", "ctrl-c"]
)
def test_who_is_asked_sees_what_about_and_may_leave_by_ctrl_c(
    operator: Operator, world: World, answer: bytes, code: int
) -> None:
    _, former, _ = replaced(operator)
    ended, shown = asked(operator, answer, "--quiet")
    assert ended == code, shown
    assert f"To delete: {former.name} ({former.id})" in " ".join(shown.split())
    deleted = answer.startswith(b"yes")
    assert (former.id not in world.collections) == deleted
    assert ("Nothing was deleted." in shown) != deleted
    assert not [key for key in world.alive_keys() if key.name.startswith("h2ogpte-migrate")]
