"""Time by step: waiting for a slot is spent in no step, and the server's time is the job's."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, List

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.model import Collection
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.run import scheduler
from h2ogpte_migration.run.scheduler import Limits, Scheduler
from h2ogpte_migration.ui.progress import Progress


class Stub:
    """A migration whose turns take as long as it says, by a clock of its own."""

    def __init__(self, name: str, clock: List[float], jobs_seconds: float) -> None:
        self.source = Collection(name, name, "anna", "old")
        self.clock = clock
        self.jobs_seconds = jobs_seconds
        self.running = False

    def result(self, kind: OutcomeKind, **more: Any) -> Result:
        return Result(kind, self.source.id, self.source.name, self.source.owner, **more)

    def advance(self) -> Result:
        if self.running:
            self.clock[0] += self.jobs_seconds
            self.job_ended()
            return self.result(OutcomeKind.DONE)
        self.on_step("import")
        self.clock[0] += 1
        if not self.may_submit():
            return self.result(OutcomeKind.WAITING_FOR_SLOT)
        self.running = True
        return self.result(OutcomeKind.RUNNING)

    def drop_details(self) -> None:
        """Nothing was read."""

    may_submit: Any
    job_ended: Any
    on_step: Any


def test_waiting_for_a_slot_is_time_in_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(patience, "poll_delay", lambda *_: 0.0)
    stubs: List[Any] = [Stub("a", clock, 50.0), Stub("b", clock, 7.0)]
    parked = []
    progress = Progress()
    monkeypatch.setattr(progress, "waits_for_slot", lambda source: parked.append(source.id))
    ran = Scheduler(
        Limits(workers=1, jobs=1, begun=2, max_failures=0),
        progress,
        lambda _owner: None,
        threading.Event(),
        advance=lambda one: one.advance(),
        release=lambda _one: None,
    ).run(stubs, set())
    assert [row.kind for row in ran.results] == [OutcomeKind.DONE] * 2
    assert parked == ["b"]
    assert ran.seconds_by_step["import"] == 3.0, "two turns of b, one of a"
    assert ran.seconds_by_step["job"] == 58.0, "b took a turn of one second while a imported"
