"""Which end-to-end tests say something else at a server that is otherwise, and why.

Everything that is not here holds under every habit.
"""

from __future__ import annotations

import re
from typing import Dict, Sequence, Tuple

OTHERWISE: Dict[str, Tuple[Tuple[str, str], ...]] = {}
"""By the beginning of a habit's setting: patterns of tests, each with the reason."""


def reason_to_leave_out(test: str, habits: Sequence[str]) -> str:
    """Why a test does not hold under these habits; empty where it does."""
    for habit in habits:
        for beginning, tests in OTHERWISE.items():
            if habit.startswith(beginning):
                for pattern, reason in tests:
                    if re.search(pattern, test):
                        return f"{habit}: {reason}"
    return ""
