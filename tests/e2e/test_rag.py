"""The question to each migrated collection."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from h2ogpte_migration.sandbox.habits import ChatFate, Fate
from h2ogpte_migration.sandbox.world import World
from tests.support.terminal import M3, MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)
ASK = ("--verify-query", "What is our refund policy?")
OPEN, DELETE = "POST /chats", "DELETE /chats/{session_id}"


def no_test_chat_is_left(operator: Operator) -> bool:
    """Whether the server holds no chat but those that people opened."""
    return not any("refund" in str(m.content) for _, m in operator.world.messages.values()) and (
        operator.server.counts().get(OPEN, 0) == operator.server.counts().get(DELETE, 0)
    )


@pytest.mark.promise("rag.asks-and-deletes", "rag.shows-the-answer")
@pytest.mark.parametrize(
    ("mode", "fork"),
    [
        pytest.param("sequential", True, id="sequential"),
        pytest.param("verify", True, id="verify"),
        # With the whole client imported, as users' runs do; both modes ask by the same step.
        pytest.param("verify", False, id="verify, fresh process"),
    ],
)
def test_the_answer_is_shown_and_the_chat_deleted(
    operator: Operator, world: World, tmp_path: Path, mode: str, fork: bool
) -> None:
    source = world.add_collection("anna", "Alpha", M3, documents=3, connectors=1)
    if mode == "verify":
        operator.admin(*SCOPE)
        world.wait_until_idle()
        # A fresh process need not search for garbage in all that it imports: it takes a third.
        (tmp_path / "sitecustomize.py").write_text("import gc\n\ngc.disable()\n")
        path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        env = {} if fork else {"PYTHONPATH": path}
        said = operator.admin("--verify", *ASK, fork=fork, env=env).out
    else:
        said = operator.admin(*SCOPE, WAIT, *ASK, fork=fork).out
    assert "3 document references: I found 3 passages" in said
    assert "I found 3 passages" in operator.log
    assert operator.server.counts()[OPEN] == 1
    assert no_test_chat_is_left(operator)
    assert len(operator.target_of(source.id).connectors) == 1


@pytest.mark.promise("rag.informational", "rag.deletes-in-any-case")
@pytest.mark.parametrize("fate", [f for f in ChatFate if f is not ChatFate.ANSWER])
def test_trouble_with_the_answer_holds_nothing_back(
    operator: Operator, world: World, fate: ChatFate
) -> None:
    source = world.add_collection("anna", "Alpha", M3, connectors=1, chats=1)
    world.add_collection("bertil", "Beta", M3)
    world.set_chat_fate(fate)
    said = operator.admin(*SCOPE, WAIT, "--migrate-chats", *ASK, "--query-timeout", "1").out
    assert "RAG check" in said
    assert "passed" not in said
    target = operator.target_of(source.id)
    assert (len(target.connectors), len(world.sessions_of(target.id))) == (1, 1)
    assert no_test_chat_is_left(operator)


@pytest.mark.promise("rag.not-for-empty")
def test_an_empty_collection_is_not_asked(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3, documents=0)
    said = operator.admin(*SCOPE, WAIT, *ASK).out
    assert OPEN not in operator.server.counts()
    assert "no documents" in said


@pytest.mark.promise("rag.completed-only")
def test_what_failed_is_not_asked(operator: Operator, world: World) -> None:
    bad = world.add_collection("anna", "Alpha", M3)
    world.set_fate(bad.id, Fate.FAIL)
    operator.admin(*SCOPE, WAIT, *ASK, code=1)
    assert OPEN not in operator.server.counts()


@pytest.mark.promise("rag.every-collection")
def test_every_collection_is_asked_the_same(operator: Operator, world: World) -> None:
    for number in range(3):
        world.add_collection("anna", f"Number {number}", M3)
    said = operator.admin(*SCOPE, WAIT, *ASK).out
    assert said.count("RAG check passed") == 3
    assert operator.server.counts()[OPEN] == 3
    # Named ones can be asked once more when all is done.
    one = operator.rows()[0]["old_collection_id"]
    said = operator.admin("--verify", "--collections", one, *ASK).out
    assert said.count("RAG check passed") == 1
    assert no_test_chat_is_left(operator)


@pytest.mark.promise("rag.needs-verify-or-wait")
def test_a_parallel_run_can_not_ask(operator: Operator, world: World) -> None:
    said = operator.admin(*SCOPE, *ASK, code=2)
    assert "--verify-query needs --verify or --wait-for-completion" in said.err


def test_a_question_that_nobody_is_asked_is_told(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3)
    operator.admin(*SCOPE, WAIT)
    assert "name finished collections with --collections" in operator.admin("--verify", *ASK).out
    said = operator.admin("--verify", *ASK, "--collections", source.id).out
    assert f"Alpha ({source.id}): RAG check passed" in said
