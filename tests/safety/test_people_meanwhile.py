"""People go on working between two steps: with the source, with the target, with accounts.

Whatever they do is theirs, and stays; and what can't be brought to its end is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection, JobKind
from tests.faults.harness import Result

from .lab import (
    CHATS,
    RETRY,
    WAIT,
    Lab,
    clock,
    hurried,
    laboratory,
    names_in,
    rights,
    spread,
    try_all,
)

__all__ = ["clock", "hurried"]

pytestmark = pytest.mark.usefixtures("hurried")


# -- where the collection stands -------------------------------------------------------------
def _created(lab: Lab) -> None:
    lab.world.set_fate(lab.source.id, Fate.REFUSE, times=1)
    lab.migrate()


def _running(lab: Lab) -> None:
    lab.world.set_fate(lab.source.id, Fate.NEVER_END, times=1)
    lab.command("--target-model", "BAAI/bge-m3")


def _submitted(lab: Lab) -> None:
    lab.submit()


def _imported(lab: Lab) -> None:
    lab.world.set_fate(lab.source.id, Fate.REFUSE, times=1, kind=JobKind.MOVE_CONNECTORS)
    lab.migrate()


def _half_moved(lab: Lab) -> None:
    lab.world.set_fate(lab.source.id, Fate.REFUSE, times=1, kind=JobKind.MOVE_CHATS)
    lab.migrate()


STATES: Dict[str, Callable[[Lab], None]] = {
    "created": _created,
    "running": _running,
    "submitted": _submitted,
    "imported": _imported,
    "half moved": _half_moved,
}


# -- what people do ------------------------------------------------------------------------------
def _empty(lab: Lab, collection: Collection) -> None:
    for line in list(collection.documents):
        lab.world.remove_document(collection.id, line.document.id)


def _work(lab: Lab) -> None:
    lab.world.add_document(lab.target.id, "mine.pdf")
    lab.world.add_chat(lab.target.id, "anna", "work")


def _share(lab: Lab) -> None:
    lab.world.add_user("dora")
    lab.target.shares["dora"] = ["read"]


DEEDS: Dict[str, Callable[[Lab], object]] = {
    "source renamed": lambda lab: setattr(lab.source, "name", "Sheets"),
    "source deleted": lambda lab: lab.world.delete_collection(lab.source.id),
    "source given away": lambda lab: lab.world.change_owner(lab.source.id, "bertil"),
    "source archived": lambda lab: setattr(lab.source, "status", "archived"),
    "source emptied": lambda lab: _empty(lab, lab.source),
    "source grows": lambda lab: lab.world.add_document(lab.source.id, "late.pdf"),
    "source gets a connector": lambda lab: lab.world.add_connector(lab.source.id),
    "target renamed": lambda lab: setattr(lab.target, "name", "Our papers"),
    "target deleted": lambda lab: lab.world.delete_collection(lab.target.id),
    "target given away": lambda lab: lab.world.change_owner(lab.target.id, "bertil"),
    "target archived": lambda lab: setattr(lab.target, "status", "archived"),
    "target emptied": lambda lab: _empty(lab, lab.target),
    "target worked in": _work,
    "target shared": _share,
    "target of another model": lambda lab: setattr(lab.target, "model", "intfloat/e5-large-v2"),
    "owner deleted": lambda lab: lab.world.delete_user("anna"),
    "jobs forgotten": lambda lab: lab.forget_jobs(),
}
COMMANDS: Dict[str, Callable[[Lab], Result]] = {
    "migrate": lambda lab: lab.migrate(),
    "all": lambda lab: lab.command("--all-users", "--target-model", "BAAI/bge-m3", WAIT, CHATS),
    "verify": lambda lab: lab.verify(),
    "retry": lambda lab: lab.migrate(RETRY),
}
GONE = ("source deleted", "target deleted")
"""With these went what they held."""
Point = Tuple[str, str, str]
ALL: List[Point] = [
    (state, deed, command) for state in STATES for deed in DEEDS for command in COMMANDS
]


def _is_left_alone(state: str, deed: str) -> bool:
    """What is skipped with the reason, is not in the scope any more, or came after the move."""
    if state == "created":
        return deed in ("source archived", "source deleted")
    if deed == "source gets a connector":
        return state == "half moved"
    # What is somebody else's by now is in the scope of ``--users anna`` no more.
    return deed in ("target emptied", "source given away")


def _sample() -> List[Point]:
    return spread(ALL)[:14]


def _run(point: Point, folder: Path) -> str:
    """What is wrong in the end; empty where nothing is."""
    state, deed, command = point
    with laboratory(folder) as lab:
        lab.begin(STATES[state])
        made = lab.target
        before = (made.username, rights(made))
        DEEDS[deed](lab)
        lab.let_jobs_end()
        results = [COMMANDS[command](lab) for _ in range(2)]
        chats = 3 if deed == "target worked in" else 2
        connectors = 3 if deed == "source gets a connector" else 2
        said = [
            text
            for result in results
            for text in [
                lab.wrong(
                    result,
                    chats=None if deed in GONE else chats,
                    connectors=None if deed in GONE else connectors,
                    targets=2,
                    widely=deed == "target shared",
                    ended=command != "verify" and not _is_left_alone(state, deed),
                )
            ]
            if text
        ]
        if deed == "target worked in" and "mine.pdf" not in names_in(made):
            said.append("what people put into the target is gone")
        if deed == "target shared" and ("user", "dora") not in rights(made):
            said.append("a share of people is gone")
        if deed == "target given away" and before[1] < rights(made):
            said.append("a target of somebody else was shared")
        strangers = [item for item in lab.targets if item.username == "bertil"]
        if [item for item in strangers if item.imported and deed != "target given away"]:
            said.append("imported into another's account")
        return "\n".join(said)


@pytest.mark.parametrize("point", _sample(), ids=lambda point: "-".join(point).replace(" ", "-"))
def test_what_people_do_meanwhile_is_theirs_and_harms_nothing(point: Point, tmp_path: Path) -> None:
    wrong = _run(point, tmp_path)
    assert not wrong, wrong


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("state", STATES)
def test_what_people_do_meanwhile_harms_nothing_in_any_state(state: str, tmp_path: Path) -> None:
    try_all("people meanwhile", [point for point in ALL if point[0] == state], _run, tmp_path)
