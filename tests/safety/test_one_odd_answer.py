"""One answer of the server that is not true, at every request of a run: none of it is believed at once.

An empty listing, "not found" in the server's own words, "not allowed", or nothing of the
documented shape. A run may end with exit 1 and the reason; the same command must then come to the
end that it would have come to, with no flag that gives up what was there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from h2ogpte_migration.sandbox.faults import Action, FixedReply, reply
from tests.faults.harness import Result

from .lab import Lab, clock, hurried, laboratory

__all__ = ["clock", "hurried"]

pytestmark = pytest.mark.usefixtures("hurried")

C = "/collections/{collection_id}"
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


def _submit_and_verify(lab: Lab) -> Result:
    first = lab.submit()
    second = lab.verify() if lab.database.exists() else first
    return Result(max(first.code, second.code), first.out + second.out, second.err, lab.folder)


MODES: Dict[str, Callable[[Lab], Result]] = {
    "admin": lambda lab: lab.migrate(),
    "owner": lambda lab: lab.migrate(admin=False),
    "verify": _submit_and_verify,
}
Point = Tuple[str, str, str, int]
_counts: Dict[str, Dict[str, int]] = {}


def _points(mode: str, answer: str, folder: Path) -> List[Point]:
    """Every request of a mode that could be answered so."""
    if mode not in _counts:
        with laboratory(folder / f"undisturbed {mode}") as lab:
            result = MODES[mode](lab)
            assert result.code == 0, result.text
            assert not lab.wrong(result)
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
    mode, answer, route, skip = point
    with laboratory(folder) as lab:
        rule = lab.server.faults.add(ANSWERS[answer], route=route, skip=skip)
        result = MODES[mode](lab)
        assert rule.hits
        wrong = lab.wrong(result)
        for _ in range(2):
            if wrong or (result.code == 0 and lab.rows()):
                break
            if not lab.rows() and result.code == 0:
                return f"{point}: nothing was found, and that was called a success\n{result.text}"
            again = lab.verify if mode == "verify" and lab.targets else lab.migrate
            result = again(admin=mode != "owner")
            if result.code and mode == "verify":
                result = lab.migrate()
            wrong = lab.wrong(result)
        if not wrong and result.code:
            wrong = f"it never ends well\n{result.text}"
    return f"{point}: {wrong}" if wrong else ""


def _try_all(points: List[Point], folder: Path) -> None:
    wrong = [text for n, point in enumerate(points) for text in [_try(point, folder / str(n))]]
    wrong = [text for text in wrong if text]
    print(f"odd answers: {len(points)} tried, {len(points) - len(wrong)} ended right")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("answer", ANSWERS)
def test_one_answer_that_is_not_true_ends_nothing(answer: str, tmp_path: Path) -> None:
    points = [point for mode in MODES for point in _points(mode, answer, tmp_path)]
    spread = sorted(points, key=lambda point: hashlib.md5(repr(point).encode()).digest())
    _try_all(spread[: 6 if answer == "empty" else 3], tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_one_answer_that_is_not_true_ends_nothing_wherever_it_is(
    answer: str, mode: str, tmp_path: Path
) -> None:
    _try_all(_points(mode, answer, tmp_path), tmp_path)
