"""What may not show yet is looked for once more when it must: a look to a slow server takes long."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, Iterator, List

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import NotFound
from h2ogpte_migration.model import TargetId
from h2ogpte_migration.steps import ragcheck
from h2ogpte_migration.steps.job import _stands_still as stands_still
from h2ogpte_migration.steps.presence import is_gone
from h2ogpte_migration.tracking.records import TestChat

SHOWS_S = 0.9 * patience.VISIBLE_WITHIN_S
"""When it shows, which is just in time."""


MADE_AT = datetime(2026, 1, 2, tzinfo=timezone.utc)


class SlowServer(Clock):
    """Time that passes by itself in pauses and looks only, and a thing that shows late."""

    def __init__(self, look_s: float) -> None:
        super().__init__(threading.Event())
        self.look_s = look_s
        self.at_s = 0.0
        self.looks: List[float] = []

    def now(self) -> float:
        return self.at_s

    def pause(self, seconds: float) -> None:
        self.at_s += seconds

    def look(self, *_: Any) -> List[Any]:
        """What the server says is how things were when it was asked."""
        self.looks.append(self.at_s)
        shows = self.at_s >= SHOWS_S
        self.at_s += self.look_s
        if not shows:
            raise NotFound("not there", status=404)
        return []

    def own_collections(self) -> Iterator[Any]:
        return iter([])

    collection = chat_messages = look

    def delete_chat(self, session_id: str) -> bool:
        try:
            self.look()
        except NotFound:
            return False
        return True

    def server_time(self) -> datetime:
        return MADE_AT


@pytest.fixture(params=[0.0, 0.3, 0.6], ids="a look takes {} of the time".format)
def server(request: pytest.FixtureRequest) -> Any:
    return SlowServer(request.param * patience.VISIBLE_WITHIN_S)


def test_a_collection_that_was_just_made(server: Any) -> None:
    assert not is_gone(server, server, "c1", within_s=patience.VISIBLE_WITHIN_S)


def test_a_chat_that_was_just_opened(server: Any) -> None:
    migration: Any = SimpleNamespace(clock=server, gateway=server)
    assert ragcheck._shows(migration, "s1")


def test_a_test_chat_that_a_dead_run_left_a_moment_ago(server: Any) -> None:
    chat = TestChat(1, 1, TargetId("t1"), "anna", (), "s1", MADE_AT)
    gone: List[int] = []
    leftovers: Any = SimpleNamespace(record_test_chat_gone=gone.append)
    assert ragcheck.sweep(server, leftovers, [chat], server) == []
    assert server.looks[-1] >= SHOWS_S, "it was there by the last look, and is deleted"
    assert gone == [1]


def test_a_test_chat_of_another_owner_is_not_looked_for_with_this_ones_key(server: Any) -> None:
    """What their key does not see is there all the same."""
    chats = [
        TestChat(n, 1, TargetId("t1"), owner, (), "s1", MADE_AT)
        for n, owner in enumerate(("bob", "anna"))
    ]
    gone: List[int] = []
    migration: Any = SimpleNamespace(
        gateway=server,
        clock=server,
        source_id="c1",
        is_owners=lambda name: name == "anna",
        tracking=SimpleNamespace(
            leftovers=SimpleNamespace(
                test_chats_left=lambda _: chats, record_test_chat_gone=gone.append
            )
        ),
    )
    assert ragcheck.sweep_of(migration) == []
    assert gone == [1]


def test_an_import_job_stands_still_by_the_servers_clock_not_by_ours() -> None:
    ours = iter((MADE_AT, MADE_AT + timedelta(days=1)))
    servers = iter((MADE_AT, MADE_AT + timedelta(seconds=5)))
    migration: Any = SimpleNamespace(
        seen=SimpleNamespace(job_changed=None),
        attempt=None,
        tracking=SimpleNamespace(store=SimpleNamespace(job_watched=lambda _: None)),
        clock=SimpleNamespace(utc=lambda: next(ours)),
        gateway=SimpleNamespace(server_time=lambda: next(servers)),
    )
    job: Any = SimpleNamespace(standing="running 1 of 3")
    assert [stands_still(migration, job) for _ in range(2)] == [0.0, 5.0]
