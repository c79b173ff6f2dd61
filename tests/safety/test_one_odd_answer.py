"""One answer of the server that is not true, at every request of a run: none of it is believed at once.

An empty listing, "not found" in the server's own words, "not allowed", or nothing of the
documented shape. A run may end with exit 1 and the reason; the same command must then come to the
end that it would have come to, with no flag that gives up what was there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from h2ogpte_migration.sandbox.faults import Action, FixedReply, close, reply
from h2ogpte_migration.sandbox.habits import Fate
from tests.faults.harness import Result

from .lab import FORCE, RETRY, Lab, clock, hurried, laboratory, spread, try_all

__all__ = ["clock", "hurried"]

pytestmark = pytest.mark.usefixtures("hurried")

C = "/collections/{collection_id}"
IMPORT = f"POST {C}/import_collection_job"
LISTINGS = (
    "GET /collections",
    "GET /collections/all",
    "GET /users",
    "GET /jobs",
    "GET /admin/api_keys",
    f"GET {C}/documents",
    f"GET {C}/chats",
    f"GET {C}/scheduled_connectors",
    f"GET {C}/permissions",
    f"GET {C}/group_permissions",
    f"GET {C}/public_permissions",
)


def _answer(body: bytes) -> Action:
    return Action(reply=FixedReply(200, body))


ANSWERS: Dict[str, Action] = {
    "empty": _answer(b"[]"),
    "404": reply(404),
    "401": reply(401),
    "403": reply(403),
    "null": _answer(b"null"),
    "object": _answer(b"{}"),
}


def _nothing(_: Lab) -> None:
    pass


def _refused_import(lab: Lab) -> None:
    lab.world.set_fate(lab.source.id, Fate.REFUSE, times=1)
    assert lab.migrate().code == 1


def _lost_answer(lab: Lab) -> None:
    """The import was sent; nobody knows what came of it."""
    lab.server.faults.add(close(after=True), route=IMPORT)
    lab.server.faults.add(reply(502), route="GET /jobs", times=None)
    assert lab.migrate("--retries", "0").code == 1
    lab.server.faults.clear()


def _failed_by_force(lab: Lab) -> None:
    """The first target holds connectors and chats, and the second one failed."""
    lab.migrate()
    lab.world.set_fate(lab.source.id, Fate.FAIL, times=1)
    assert lab.migrate(FORCE).code == 1


@dataclass(frozen=True)
class Mode:
    """What is done before, what is struck, and what brings it to its end after that."""

    act: Callable[[Lab], Result]
    again: Callable[[Lab], Result]
    before: Callable[[Lab], object] = _nothing
    targets: int = 1


MODES: Dict[str, Mode] = {
    "admin": Mode(lambda lab: lab.migrate(), lambda lab: lab.migrate()),
    "owner": Mode(lambda lab: lab.migrate(admin=False), lambda lab: lab.migrate(admin=False)),
    "submit": Mode(lambda lab: lab.submit(), lambda lab: lab.migrate()),
    "verify": Mode(lambda lab: lab.verify(), lambda lab: lab.verify(), Lab.submit),
    "resumed": Mode(lambda lab: lab.migrate(), lambda lab: lab.migrate(), _refused_import),
    "in doubt": Mode(lambda lab: lab.migrate(), lambda lab: lab.migrate(), _lost_answer),
    "forced": Mode(
        lambda lab: lab.migrate(FORCE), lambda lab: lab.migrate(), Lab.migrate, targets=2
    ),
    "retried": Mode(
        lambda lab: lab.migrate(RETRY),
        lambda lab: lab.migrate(RETRY),
        _failed_by_force,
        targets=3,
    ),
}
Point = Tuple[str, str, str, int]
_counts: Dict[str, Dict[str, int]] = {}


def _begin(lab: Lab, mode: str) -> None:
    before = MODES[mode].before
    if before is not _nothing:
        lab.begin(before)


def _points(mode: str, answer: str, folder: Path) -> List[Point]:
    """Every request of a mode that could be answered so."""
    if mode not in _counts:
        with laboratory(folder / f"undisturbed {mode}") as lab:
            _begin(lab, mode)
            result = MODES[mode].act(lab)
            assert result.code == 0, result.text
            _counts[mode] = Counter(request.route for request in lab.server.requests)
    return [
        (mode, answer, route, skip)
        for route, count in sorted(_counts[mode].items())
        if answer != "empty" or route in LISTINGS
        if answer not in ("null", "object") or route.startswith("GET")
        for skip in range(count)
    ]


def _try(point: Point, folder: Path) -> str:
    """What is wrong in the end; empty where nothing is."""
    name, answer, route, skip = point
    mode = MODES[name]
    with laboratory(folder) as lab:
        _begin(lab, name)
        lab.server.faults.add(ANSWERS[answer], route=route, skip=skip)
        result = mode.act(lab)
        if result.code == 0 and not lab.rows():
            return f"nothing was found, and that was called a success\n{result.text}"
        wrong = lab.wrong(result, targets=mode.targets, ended=name != "submit")
        for _ in range(2):
            if not wrong and (result.code or name == "submit"):
                result = mode.again(lab)
                wrong = lab.wrong(result, targets=mode.targets)
        if not wrong and result.code:
            wrong = f"it never ends well\n{result.text}"
    return wrong


@pytest.mark.parametrize("answer", ANSWERS)
def test_one_answer_that_is_not_true_ends_nothing(answer: str, tmp_path: Path) -> None:
    points = [point for mode in MODES for point in _points(mode, answer, tmp_path)]
    try_all("odd answers", spread(points)[: 8 if answer == "empty" else 3], _try, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_one_answer_that_is_not_true_ends_nothing_wherever_it_is(
    answer: str, mode: str, tmp_path: Path
) -> None:
    try_all("odd answers", _points(mode, answer, tmp_path), _try, tmp_path)
