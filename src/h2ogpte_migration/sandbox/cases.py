"""The table of assumptions as single changes of a sandbox, for tests that try every switch alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, List, Tuple

from h2ogpte_migration.assumptions import ASSUMPTIONS, Assumption, Settings

from .habits import Habits


@dataclass(frozen=True)
class Case:
    """One way in which a server differs from what is assumed."""

    assumption: Assumption
    settings: Settings

    @property
    def words(self) -> List[str]:
        """The settings as the command line takes them, ``NAME=VALUE`` each."""
        return [f"{habit}={value}" for habit, value in self.settings.items()]

    @property
    def name(self) -> str:
        """The settings as the id of a test."""
        return "+".join(self.words)

    def apply(self, habits: Habits) -> None:
        """Change the habits so that the server behaves like this."""
        for habit, value in self.settings.items():
            setattr(habits, habit, value)


def cases_of(row: Assumption) -> List[Case]:
    """Return the single cases of a row."""
    return [Case(row, {row.habit: value, **row.along}) for value in row.values]


#: Every way in which a single habit may differ, with the habits that go along.
CASES: Tuple[Case, ...] = tuple(each for row in ASSUMPTIONS for each in cases_of(row))


def case(name: str) -> Case:
    """Return the case of that name.

    Raises:
        KeyError: if there is none.
    """
    return {known.name: known for known in CASES}[name]


def default_of(row: Assumption) -> Any:
    """Return the value of the switch that is as assumed."""
    return getattr(Habits(), row.habit)


def describe() -> str:
    """Return the table as text for people."""
    lines: List[str] = []
    for row in ASSUMPTIONS:
        lines += [
            f"{row.habit} = {default_of(row)!r}",
            f"  assumed    {row.assumed}",
            f"  otherwise  {row.otherwise}",
            f"  operations {row.operations}",
        ]
        lines += ["  to try     " + " ".join(each.words) for each in cases_of(row)]
        lines.append(f"  the tool   {row.then}")
        lines += [f"  shown by   tests/{test}" for test in row.shown_by]
        lines.append("")
    return "\n".join(lines)


def habit_names() -> List[str]:
    """Return the names of all habits."""
    return [known.name for known in dataclasses.fields(Habits)]
