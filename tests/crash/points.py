"""Instants at which a command dies, and who kills it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import List

from h2ogpte_migration.sandbox.faults import call
from tests.crash.lab import Plan, Trial
from tests.support.command import Running

KILLED = -9


@dataclass(frozen=True)
class Point:
    """An instant at which the command dies."""

    what: str  # "request" or "commit"
    number: int
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.what} {self.number}"

    def plan(self, base: Plan) -> Plan:
        if self.what == "request":
            return base
        if self.after:
            return replace(base, die_after_commit=self.number)
        return replace(base, die_before_commit=self.number)


class Executioner:
    """Kills a command at one of its requests: before the server does the work, or after it."""

    def __init__(self, trial: Trial, point: Point) -> None:
        self._victim: List[Running] = []
        self._there = threading.Event()
        if point.what == "request":
            trial.server.faults.add(
                call(self._strike, after=point.after, drop=True),
                mutating=True,
                skip=point.number - 1,
            )

    def take(self, victim: Running) -> None:
        self._victim.append(victim)
        self._there.set()

    def _strike(self) -> None:
        assert self._there.wait(10)
        self._victim[0].kill()
