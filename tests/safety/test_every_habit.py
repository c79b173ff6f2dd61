"""Each switch of the sandbox alone: everything arrives, once, or what comes instead is named here.

One rich migration under every value that the table of assumptions gives: waiting, with permissions,
connectors, chats, metadata, a question to each and a look for its documents. Then the same command
again, which has nothing to do. By default the first value of each switch is tried, several at once
where that leaves to see what each is to bring; ``-m slow`` tries every value alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.assumptions import ASSUMPTIONS
from h2ogpte_migration.sandbox.cases import CASES, Case
from h2ogpte_migration.sandbox.habits import Habits
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from ..faults.harness import (
    JumpingClock,
    Result,
    admin_waits,
    difference,
    run,
    serving,
    settled,
    small_world,
)

TESTS = Path(__file__).parents[1]
AT_ONCE = 10
"""How many switches one run is under where it ends well under each of them alone."""
FASTER = 100
"""Delays of the server are shorter here by this, as the tool's patience is."""

_PAPERS = r"/collections/anna/(\(Migrated\) )?Papers"
_ANNAS = r"/collections/anna/"
_ANY_TARGET = r"/collections/\w+/\(Migrated\) "
_TARGET_IN_LOWER_CASE = r"/collections/\w+/\([Mm]igrated\) "


@dataclass(frozen=True)
class Outcome:
    """How a run ends under a switch.

    Args:
        code: of both runs.
        differs: where the world may be another one than without the switch, as a pattern.
        says: what the summary or the status says about it.
    """

    code: int = 0
    differs: str = "(?!)"
    says: str = ""

    @property
    def goes_with_others(self) -> bool:
        """Whether one can see under it what other switches bring."""
        return self.code == 0 and self.differs not in (_ANY_TARGET, _TARGET_IN_LOWER_CASE)


AS_USUAL = Outcome()
_QUOTA = Outcome(1, _ANNAS, "a quota of anna is used up")
_NO_KEYS = Outcome(1, "/collections/(anna|bertil)/", "--api-key-expiry")
_CUT = Outcome(differs=_ANY_TARGET)
_HELD = Outcome(1, _PAPERS, "1 document missing in the target: c.pdf")

OUTCOMES: Dict[str, Outcome] = {
    "server_version=1.6.40": Outcome(1, "", "is older than 1.6.57"),
    "server_version=9.0.0": Outcome(says="is newer than what this tool was made for"),
    "refusals_name_settings": Outcome(
        differs=_ANY_TARGET + r".*/settings/ocr_model", says="differ from the source's: ocr_model"
    ),
    "key_lifetime_cap_days=0.5": _NO_KEYS,
    "key_lifetime_cap_days=0.02": _NO_KEYS,
    "key_refusal_status": _NO_KEYS,
    "collections_per_user": _QUOTA,
    "quota_status": _QUOTA,
    "broken_operations=get_collection_group_permissions": Outcome(
        differs=_PAPERS + "/0/group_shares", says="group shares could not be read"
    ),
    "broken_operations=get_collection_permissions": Outcome(
        # Public without a list of rights means all of them: a target stays private then.
        differs=_ANY_TARGET + ".*/(shares|is_public|public_permissions)",
        says="public rights could not be read, and so not copied",
    ),
    "broken_operations=get_collection_settings": Outcome(
        differs=_ANY_TARGET + ".*settings/", says="settings could not be read, and so not copied"
    ),
    "empty_listings=list_documents_for_collection": Outcome(1, "", "nothing was imported"),
    "empty_listings=list_documents_for_collection:": AS_USUAL,
    "import_flags_ignored=preserve_metadata": Outcome(
        differs=_PAPERS + "/0/documents", says="3 documents with other metadata in the target"
    ),
    "import_flags_ignored=preserve_document_status": Outcome(
        differs=_PAPERS + "/0/documents", says="1 document with another ingest mode in the target"
    ),
    "import_flags_ignored=copy_lifecycle_settings": Outcome(
        differs=_PAPERS + "/0/(inactivity_interval|size_limit)",
        says="inactivity_interval is not set in the target, 90 in the source",
    ),
    "archived_chats_move": Outcome(differs=_PAPERS + "/0/chats"),
    "server_defaults=forced": Outcome(
        differs=_ANY_TARGET + ".*/settings/guardrails_settings",
        says="differ from the source's: guardrails_settings",
    ),
    "vex_encryption_ignored": Outcome(1, _PAPERS, "vex_encryption is not set in the target"),
    "names_normalised=lower": Outcome(differs=_TARGET_IN_LOWER_CASE),
    "name_limit": _CUT,
    "long_names": _CUT,
    "broken_index=empty": Outcome(says="Not found any more in Papers"),
    "bad_documents_arrive": _HELD,
    "failed_job_brings_rest": _HELD,
}
"""By the name of a case, or its beginning. What is not here ends as usual."""


def outcome_of(case: Case) -> Outcome:
    """The outcome under the longest name that fits."""
    fitting = [name for name in OUTCOMES if case.name.startswith(name)]
    return OUTCOMES[max(fitting, key=len)] if fitting else AS_USUAL


def _first_values() -> List[Case]:
    """The first value of each switch."""
    seen: Dict[str, Case] = {}
    return [case for case in CASES if seen.setdefault(case.assumption.habit, case) is case]


def _alone() -> List[Any]:
    """All cases; by default those that do not go with others."""
    firsts = _first_values()
    return [
        pytest.param(
            case,
            id=case.name,
            marks=pytest.mark.slow
            if case not in firsts or outcome_of(case).goes_with_others
            else (),
        )
        for case in CASES
    ]


def _together() -> List[Any]:
    """The other first values, ``AT_ONCE`` in a run: neighbours of the table apart."""
    others = [case for case in _first_values() if outcome_of(case).goes_with_others]
    runs: List[List[Case]] = [[] for _ in range(-(-len(others) // AT_ONCE))]
    for number, case in enumerate(others):
        taken = [run for run in runs if any(set(case.settings) & set(one.settings) for one in run)]
        free = [run for run in runs if run not in taken]
        fewest = min(len(run) for run in free)
        at = number % len(runs)
        next(run for run in runs[at:] + runs[:at] if run in free and len(run) == fewest).append(
            case
        )
    return [pytest.param(run, id=" ".join(case.name for case in run)) for run in runs]


def rich_world() -> World:
    """Everything that a switch may be about."""
    world = small_world()
    (papers,) = [c for c in world.collections.values() if c.name == "Papers"]
    world.archive_chat(world.sessions_of(papers.id)[0].id)
    return world


@pytest.fixture(autouse=True)
def short(clock: JumpingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands still is given up after a moment."""
    monkeypatch.setattr(patience, "STALE_JOB_S", 0.3)
    monkeypatch.setattr(patience, "MOVE_SETTLED_S", 0.1)


_usual: Dict[str, Dict[str, Any]] = {}


def _migrate(server: SandboxServer, folder: Path) -> Result:
    more = ("--verify-query", "What is it about?", "--query-timeout", "2", "--retries", "2")
    return admin_waits(server, folder, *more, "--verify-retrieval", "2")


def usual(folder: Path) -> Dict[str, Any]:
    """The end of the same run without any switch; run once per process."""
    if "end" not in _usual:
        with serving(rich_world()) as server:
            result = _migrate(server, folder / "usual")
            _usual["end"] = settled(server.world)
        assert result.code == 0, result.text
        assert result.text.count("RAG check passed") == 3
        assert "Retrieval: 5 of 5 documents found" in result.text
    return _usual["end"]


@pytest.mark.parametrize("case", _alone())
def test_a_migration_ends_well_under_each_habit_alone(case: Case, tmp_path: Path) -> None:
    _ends_well([case], tmp_path)


@pytest.mark.parametrize("cases", _together())
def test_a_migration_ends_well_under_several_habits_at_once(
    cases: List[Case], tmp_path: Path
) -> None:
    _ends_well(cases, tmp_path)


def _ends_well(cases: List[Case], folder: Path) -> None:
    expected = [outcome_of(case) for case in cases]
    code = max(outcome.code for outcome in expected)
    settings = {name: value for case in cases for name, value in case.settings.items()}
    wanted, odd = usual(folder), folder / "odd"
    with serving(rich_world()) as server:
        for name, value in settings.items():
            setattr(
                server.world.habits, name, value / FASTER if name.endswith("_after_s") else value
            )
        first = _migrate(server, odd)
        before = len(server.requests)
        again = _migrate(server, odd)
        for name in settings:
            setattr(server.world.habits, name, getattr(Habits(), name))
        wrong = [
            line
            for line in difference(wanted, settled(server.world))
            if not any(re.match(outcome.differs, line) for outcome in expected)
        ]
        repeated = [r.route for r in server.requests[before:] if r.mutating and _does_work(r.route)]
    assert (first.code, again.code) == (code,) * 2, first.text + again.text
    assert not wrong, wrong
    assert not repeated or code, repeated
    told = first.text + run(odd, "--status").text
    words = " ".join(told.split())
    assert [outcome.says for outcome in expected if outcome.says not in words] == [], told
    assert "Traceback" not in told + first.log


def _does_work(route: str) -> bool:
    """Keys and test chats come and go with every run; searches are sent, and change nothing."""
    kept = re.match(r"\w+ /chats|.*(/chunks/match|/encode_chunks_for_retrieval)$", route)
    return "/api_keys" not in route and not kept


# -- the table ---------------------------------------------------------------------------
def test_every_switch_has_words_and_a_test_that_exists() -> None:
    texts: Dict[str, str] = {}
    for row in ASSUMPTIONS:
        assert row.then, f"{row.habit}: what does the tool do then?"
        assert row.shown_by, f"{row.habit}: which test shows it?"
        for name in row.shown_by:
            path, _, function = name.partition("::")
            if path not in texts:
                texts[path] = (TESTS / path).read_text(encoding="utf-8")
            assert f"def {function}(" in texts[path], f"{row.habit}: {name}"


def test_outcomes_are_about_cases() -> None:
    unknown = [name for name in OUTCOMES if not any(c.name.startswith(name) for c in CASES)]
    assert unknown == []
