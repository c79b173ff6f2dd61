"""What a check of a server found: the form that screen and reports are made from. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Dict, Iterable, List, Optional, Tuple

from h2ogpte_migration.assumptions import ASSUMPTIONS, BY_HABIT, Assumption
from h2ogpte_migration.errors import ExitCode


class Judgement(str, Enum):
    """Whether an assumption holds at a server."""

    HOLDS = "holds"
    DIFFERS = "differs"
    UNKNOWN = "could not tell"


@dataclass(frozen=True)
class Observation:
    """One assumption, and what was seen of it."""

    assumption: Assumption
    verdict: Judgement
    seen: str = ""


class Notes:
    """What was seen of assumptions so far; what was seen to differ once differs."""

    def __init__(self) -> None:
        self._seen: Dict[str, Observation] = {}

    def note(self, habit: str, holds: Optional[bool], seen: str = "") -> None:
        """Something was seen of an assumption; None: nothing that tells."""
        known = self._seen.get(habit)
        if holds is None or (known is not None and known.verdict == Judgement.DIFFERS):
            return
        verdict = Judgement.HOLDS if holds else Judgement.DIFFERS
        self._seen[habit] = Observation(BY_HABIT[habit], verdict, seen)

    def observations(self) -> Tuple[Observation, ...]:
        """The whole table in its order."""
        return tuple(
            self._seen.get(row.habit, Observation(row, Judgement.UNKNOWN)) for row in ASSUMPTIONS
        )


@dataclass(frozen=True)
class Compared:
    """One thing of the source, and whether it is the same in the target."""

    what: str
    source: str
    target: str

    @property
    def same(self) -> bool:
        return self.source == self.target


@dataclass
class ServerCheck:
    """A check of a server.

    Args:
        written_at: UTC, ISO 8601.
        versions: what is running, by what it is.
        key: whose key it was, and of which kind.
        worked: whether the pipeline went through, and everything arrived.
        reason: why not.
        latency_s: the median of some small requests; None if there were none.
        document_s: seconds of the import per document.
        key_life_time: how long a temporary key was allowed to live; empty where none was made.
        left: what is still at the server.
        remarks: what else there is to say.
    """

    server: str
    written_at: str
    key: str
    versions: Dict[str, str]
    source_model: str
    target_model: str
    worked: bool = False
    reason: str = "it did not come to the migration"
    latency_s: Optional[float] = None
    elapsed_s: float = 0.0
    document_s: Optional[float] = None
    key_life_time: str = ""
    steps_s: Dict[str, float] = field(default_factory=dict)
    compared: List[Compared] = field(default_factory=list)
    observations: Tuple[Observation, ...] = ()
    left: List[str] = field(default_factory=list)
    remarks: List[str] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """0 where the pipeline worked through and nothing is left behind."""
        return ExitCode.OK if self.worked and not self.left else ExitCode.ATTENTION

    def of(self, verdict: Judgement) -> List[Observation]:
        """The observations of one verdict, in the table's order."""
        return [one for one in self.observations if one.verdict == verdict]

    @property
    def different(self) -> List[Compared]:
        """What did not arrive as it was."""
        return [one for one in self.compared if not one.same]


def counts(check: ServerCheck, verdicts: Iterable[Judgement] = Judgement) -> Dict[str, int]:
    """How many assumptions there are of each verdict."""
    return {verdict.value: len(check.of(verdict)) for verdict in verdicts}
