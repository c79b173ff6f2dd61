"""What the tool assumes of a server where the contract is silent: one table, a row for each habit.

A habit is a switch of the sandbox, which makes the assumption wrong there; ``--check-server`` tells
which ones hold at a real server. Pure.
"""

from __future__ import annotations

from typing import Dict, Tuple

from h2ogpte_migration.assumptions import answers, deeds
from h2ogpte_migration.assumptions.row import Assumption, Settings

__all__ = ["ASSUMPTIONS", "BY_HABIT", "Assumption", "Settings"]

#: Every assumption, in the order of the habits.
ASSUMPTIONS: Tuple[Assumption, ...] = (
    *answers.WHAT_THE_SERVER_IS,
    *answers.PAGING,
    *answers.RECORDS,
    *answers.VISIBILITY,
    *answers.FORMS,
    *deeds.REFUSALS,
    *deeds.ANSWERS,
    *deeds.COLLECTIONS,
    *deeds.DOCUMENTS,
    *deeds.SESSIONS,
)

#: The rows by habit.
BY_HABIT: Dict[str, Assumption] = {row.habit: row for row in ASSUMPTIONS}
