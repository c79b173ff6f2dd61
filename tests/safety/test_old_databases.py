"""A database from a backup, at every position, against a server that is further on.

Whatever was done since is not on record. It is found, or the collection is left with both facts
named; never is anything imported twice, made twice, lost, or called done that is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.states import Position
from tests.faults.harness import Result

from .lab import (
    POSITIONS,
    RETRY,
    Lab,
    clock,
    hurried,
    laboratory,
    names_in,
    recorded,
    spread,
    try_all,
)

__all__ = ["clock", "hurried"]

pytestmark = pytest.mark.usefixtures("hurried")


def _a_day_later(lab: Lab) -> None:
    lab.forget_jobs()


def _people_added_a_document(lab: Lab) -> None:
    lab.world.add_document(lab.target.id, "mine.pdf")
    lab.forget_jobs()


def _people_removed_a_document(lab: Lab) -> None:
    lab.world.remove_document(lab.target.id, lab.target.documents[0].document.id)
    lab.forget_jobs()


def _people_chat(lab: Lab) -> None:
    lab.world.add_chat(lab.target.id, "anna", "work")


def _people_renamed_it(lab: Lab) -> None:
    lab.target.name = "Our papers"


def _people_deleted_it(lab: Lab) -> None:
    lab.world.delete_collection(lab.target.id)


def _rights_were_withdrawn(lab: Lab) -> None:
    lab.source.shares.clear()
    lab.source.group_shares.clear()
    lab.source.is_public, lab.source.public_permissions = False, None


def _source_was_deleted(lab: Lab) -> None:
    lab.world.delete_collection(lab.source.id)


SINCE: Dict[str, Callable[[Lab], None]] = {
    "nothing": lambda _: None,
    "a day": _a_day_later,
    "document added": _people_added_a_document,
    "document removed": _people_removed_a_document,
    "chat added": _people_chat,
    "renamed": _people_renamed_it,
    "deleted": _people_deleted_it,
    "rights withdrawn": _rights_were_withdrawn,
    "source deleted": _source_was_deleted,
}
COMMANDS: Dict[str, Callable[[Lab], Result]] = {
    "migrate": lambda lab: lab.migrate(),
    "retry": lambda lab: lab.migrate(RETRY),
    "verify": lambda lab: lab.verify(),
}
Point = Tuple[Position, str, str]


def _is_tellable(position: Position, since: str) -> bool:
    """Whether there is anything to tell it by, and anything left to do about it."""
    if since == "deleted":
        return False  # with it went what it held; see the test of its own
    if since == "renamed":
        return position not in (Position.NEW, Position.CREATING)
    if since == "rights withdrawn":
        # Looked at right before the import, and at validation; not for ever.
        return position not in (Position.NEW, Position.CONNECTED, Position.FINISHED)
    if since == "document removed":
        return position not in (Position.CONNECTED, Position.FINISHED)
    return not (since == "source deleted" and position == Position.NEW)


ALL: List[Point] = [
    (position, since, command)
    for position in POSITIONS
    for since in SINCE
    for command in COMMANDS
    if _is_tellable(position, since)
]


def _sample() -> List[Point]:
    """Two of each position, and whatever was once wrong."""
    chosen = [
        (Position.CREATING, "nothing", "migrate"),
        (Position.CREATING, "document added", "migrate"),
        (Position.CONFIGURING, "rights withdrawn", "migrate"),
        (Position.VALIDATED, "document removed", "verify"),
        (Position.VALIDATED, "rights withdrawn", "verify"),
    ]
    for position in POSITIONS:
        chosen += [point for point in spread(ALL) if point[0] == position][:2]
    return list(dict.fromkeys(chosen))


def _name(value: object) -> str:
    return str(getattr(value, "value", value)).replace(" ", "-")


def _migrated(lab: Lab) -> None:
    with recorded(lab):
        done = lab.migrate()
    assert done.code == 0, done.text
    assert {*lab.snapshots, Position.NEW} == set(POSITIONS)


def _submitted(lab: Lab) -> None:
    with recorded(lab):
        lab.submit()


def _under_way(lab: Lab) -> None:
    lab.world.set_fate(lab.source.id, Fate.NEVER_END, times=1)
    with recorded(lab):
        lab.command("--target-model", "BAAI/bge-m3")


def _run(point: Point, folder: Path) -> str:
    """What is wrong in the end; empty where nothing is."""
    position, since, command = point
    with laboratory(folder) as lab:
        lab.begin(_migrated)
        SINCE[since](lab)
        lab.put_back(position)
        result = COMMANDS[command](lab)
        before_import = position in POSITIONS[: POSITIONS.index(Position.SUBMITTING)]
        # A verification leaves alone what was interrupted before the import.
        widely = since == "rights withdrawn" and command == "verify" and before_import
        return lab.wrong(result, chats=3 if since == "chat added" else 2, widely=widely)


@pytest.mark.parametrize("point", _sample(), ids=lambda point: "-".join(map(_name, point)))
def test_a_database_from_a_backup_does_no_harm(point: Point, tmp_path: Path) -> None:
    wrong = _run(point, tmp_path)
    assert not wrong, wrong


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("since", SINCE)
def test_databases_from_backups_do_no_harm_wherever_they_stand(since: str, tmp_path: Path) -> None:
    try_all("old databases", [point for point in ALL if point[1] == since], _run, tmp_path)


@pytest.mark.parametrize("position", [Position.CONFIGURING, Position.SHARED, Position.CONNECTED])
def test_a_target_that_was_deleted_meanwhile_costs_no_second_one_but_afresh(
    position: Position, tmp_path: Path
) -> None:
    with laboratory(tmp_path) as lab:
        lab.begin(_migrated)
        _people_deleted_it(lab)
        lab.put_back(position)
        result = lab.migrate()
        if position == Position.CONNECTED:
            assert result.code == 1
            assert "deleted" in result.text
            assert lab.targets == []
        else:
            assert result.code == 0, result.text
            assert names_in(lab.target) == names_in(lab.source)


@pytest.mark.parametrize("position", [Position.CREATING, Position.CONFIGURING, Position.SHARED])
def test_an_import_that_a_backup_does_not_know_and_that_still_runs_is_adopted(
    position: Position, tmp_path: Path
) -> None:
    with laboratory(tmp_path) as lab:
        lab.begin(_under_way)
        (job,) = lab.world.import_jobs()
        assert job.running
        lab.put_back(position)
        lab.command("--target-model", "BAAI/bge-m3")
        assert lab.world.import_jobs() == [job], "no second import into the same target"
        job.fate, job.duration_s = Fate.SUCCEED, 0.0
        lab.world.wait_until_idle()
        result = lab.migrate()
        assert result.code == 0, result.text
        assert not lab.wrong(result)


def test_two_unknown_imports_under_way_are_waited_out(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        lab.begin(_submitted)
        made = lab.target
        made.documents.clear()
        lab.put_back(Position.SHARED)
        anna = lab.world.users["anna"]
        for name in ("One", "Two"):
            other = lab.world.add_collection("anna", name)
            lab.world.set_fate(other.id, Fate.NEVER_END, times=1)
            lab.world.start_import(
                anna, other, lab.world.add_collection("anna", f"To {name}").id, {}
            )
        lab.forget_jobs_that_ended()
        result = lab.command("--collections", lab.source.id, "--target-model", "BAAI/bge-m3")
        assert result.code == 1
        assert "2 import jobs of anna" in result.text
        assert made.documents == []


@pytest.mark.parametrize("running", [False, True])
def test_of_several_unknown_imports_the_documents_tell_once_they_have_ended(
    tmp_path: Path, running: bool
) -> None:
    with laboratory(tmp_path) as lab:
        lab.begin(_submitted)
        anna, made = lab.world.users["anna"], lab.target
        other = lab.world.add_collection("anna", "One")
        lab.world.set_fate(other.id, Fate.NEVER_END if running else Fate.SUCCEED, times=1)
        to = lab.world.add_collection("anna", "To One")
        lab.world.start_import(anna, other, to.id, {})
        ours, job = lab.world.import_jobs()
        if running:
            ours.fate, ours.duration_s = Fate.NEVER_END, 9e9
        lab.put_back(Position.SUBMITTING)
        words = ["--collections", lab.source.id, "--target-model", "BAAI/bge-m3"]
        if running:
            result = lab.command(*words)
            assert (result.code, lab.targets) == (1, [made, other, to]), result.text
            assert "2 import jobs of anna" in result.text
            for each in (ours, job):
                each.fate, each.duration_s = Fate.SUCCEED, 0.0
        lab.world.wait_until_idle()
        result = lab.command(*words, "--wait-for-completion")
        assert result.code == 0, result.text
        assert lab.targets == [made, other, to]
        assert names_in(made) == names_in(lab.source)


def test_a_target_that_changed_hands_is_not_imported_into(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        lab.begin(_submitted)
        made = lab.target
        made.documents.clear()
        lab.forget_jobs()
        lab.world.change_owner(made.id, "bertil")
        lab.world.collections[made.id].shares = {"anna": ["read", "write"]}
        lab.put_back(Position.SHARED)
        result = lab.migrate()
        assert result.code == 1, result.text
        assert "inconsistent" in result.text
        assert "bertil" in result.text
        assert made.documents == []


def test_an_empty_listing_of_a_filled_target_is_not_believed(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        lab.begin(_submitted)
        before = names_in(lab.target)
        lab.forget_jobs()
        lab.put_back(Position.SHARED)
        lab.world.habits.empty_listings = "list_documents_for_collection"
        result = lab.migrate()
        assert result.code == 1
        assert "lists none" in result.text
        lab.world.habits.empty_listings = ""
        assert names_in(lab.target) == before
