"""Somebody else writes the row: people with ``sqlite3``, or version 1.2.0, between two of our runs.

At each state of a collection each column is set to what it should not hold. The row is a claim:
it is taken up where server and history agree with it, and else left with both facts named.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from h2ogpte_migration.model import SourceId
from h2ogpte_migration.sandbox.faults import call
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection, JobKind
from h2ogpte_migration.tracking.leases import Leases
from tests.faults.harness import LARGE, M3, Result
from tests.support.earlier import IMPORT

from .lab import Lab, clock, hurried, laboratory, names_in, spread, try_all

__all__ = ["clock", "hurried"]

pytestmark = pytest.mark.usefixtures("hurried")


# -- where the collection stands -------------------------------------------------------------
def _created(lab: Lab) -> None:
    lab.world.set_fate(lab.source.id, Fate.REFUSE, times=1)
    lab.migrate()


def _submitted(lab: Lab) -> None:
    lab.submit()


def _failed(lab: Lab) -> None:
    lab.world.set_fate(lab.source.id, Fate.FAIL, times=1)
    lab.migrate()


def _imported(lab: Lab) -> None:
    lab.world.set_fate(lab.source.id, Fate.REFUSE, times=1, kind=JobKind.MOVE_CONNECTORS)
    lab.migrate()


def _finished(lab: Lab) -> None:
    assert lab.migrate().code == 0


STATES: Dict[str, Callable[[Lab], None]] = {
    "created": _created,
    "submitted": _submitted,
    "failed": _failed,
    "imported": _imported,
    "finished": _finished,
}


# -- what is written into the row ------------------------------------------------------------
def _set(column: str, value: object) -> Callable[[Lab], None]:
    return lambda lab: _write(lab, column, value)


def _write(lab: Lab, column: str, value: object) -> None:
    lab.sql(f"UPDATE collection_migrations SET {column} = ?", value)


def _the_source_itself(lab: Lab) -> None:
    _write(lab, "new_collection_id", lab.source.id)


def _another_empty_one(lab: Lab) -> None:
    other = lab.world.add_collection("anna", "Mine", M3, documents=0)
    _write(lab, "new_collection_id", other.id)


def _another_full_one(lab: Lab) -> None:
    other = lab.world.add_collection("anna", "Mine", M3, documents=["x.pdf", "y.pdf"])
    _write(lab, "new_collection_id", other.id)


def _somebody_elses(lab: Lab) -> None:
    other = lab.world.add_collection("bertil", "Theirs", M3, documents=0)
    _write(lab, "new_collection_id", other.id)


def _the_target_of_another_source(lab: Lab) -> None:
    other = lab.world.add_collection("anna", "Other", LARGE, documents=["o.pdf"])
    lab.command("--collections", other.id, "--target-model", M3, "--wait-for-completion")
    (row,) = lab.sql("SELECT * FROM collection_migrations WHERE old_collection_id = ?", other.id)
    lab.sql(
        "UPDATE collection_migrations SET new_collection_id = ? WHERE old_collection_id = ?",
        row["new_collection_id"],
        lab.source.id,
    )


def _deleted(lab: Lab) -> None:
    lab.sql("DELETE FROM collection_migrations")


EDITS: Dict[str, Callable[[Lab], None]] = {
    "no target": _set("new_collection_id", None),
    "an empty target": _set("new_collection_id", ""),
    "a target that is none": _set("new_collection_id", "nonsense"),
    "the source as target": _the_source_itself,
    "another empty target": _another_empty_one,
    "another full target": _another_full_one,
    "a target of somebody else": _somebody_elses,
    "a target of another source": _the_target_of_another_source,
    "no job": _set("job_id", None),
    "a job that is none": _set("job_id", "nonsense"),
    "no status": _set("job_status", None),
    "pending": _set("job_status", "pending"),
    "running": _set("job_status", "running"),
    "completed": _set("job_status", "completed"),
    "failed": _set("job_status", "failed"),
    "a status that is none": _set("job_status", "tired"),
    "not created": _set("collection_created", 0),
    "not shared": _set("permissions_copied", 0),
    "not submitted": _set("import_submitted", 0),
    "submitted": _set("import_submitted", 1),
    "not imported": _set("import_completed", 0),
    "imported": _set("import_completed", 1),
    "connectors not moved": _set("connectors_migrated", 0),
    "chats not moved": _set("chats_migrated", 0),
    "chats moved": _set("chats_migrated", 1),
    "another owner": _set("username", "bertil"),
    "no owner": _set("username", None),
    "another owner id": _set("user_id", "nonsense"),
    "no owner id": _set("user_id", None),
    "another model": _set("new_model", "intfloat/e5-large-v2"),
    "no row": _deleted,
}


# -- version 1.2.0 -----------------------------------------------------------------------------
def _by_1_2_0(lab: Lab, flags: Tuple[int, ...], *, imports: bool, moves: bool) -> None:
    """Its ``--force-remigrate``, which overwrites the row, as far as it got."""
    world = lab.world
    world.wait_until_idle()
    theirs = world.add_collection("anna", "(Migrated) Papers - 20260101_000000", M3, documents=0)
    for name in ("settings", "chat_settings", "metadata", "rag_type", "is_public"):
        setattr(theirs, name, copy.deepcopy(getattr(lab.source, name)))
    for name in ("shares", "group_shares", "public_permissions"):
        setattr(theirs, name, copy.deepcopy(getattr(lab.source, name)))
    job_id = None
    if imports:
        job_id = world.start_import(world.users["anna"], lab.source, theirs.id, dict(IMPORT)).id
        world.wait_until_idle()
    if moves:
        theirs.connectors, lab.source.connectors = lab.source.connectors, []
    columns = [
        "collection_created",
        "permissions_copied",
        "import_submitted",
        "import_completed",
        "connectors_migrated",
        "chats_migrated",
    ]
    lab.sql(
        "INSERT OR REPLACE INTO collection_migrations (old_collection_id, old_collection_name, "
        "new_collection_id, new_collection_name, old_model, new_model, job_id, job_status, "
        f"user_id, username, created_at, {', '.join(columns)}) "
        "VALUES (?, 'Papers', ?, ?, ?, ?, ?, ?, ?, 'anna', '2026-01-01 00:00:00', "
        "?, ?, ?, ?, ?, ?)",
        lab.source.id,
        theirs.id,
        theirs.name,
        LARGE,
        M3,
        job_id,
        "completed" if flags[3] else "submitted" if job_id else "pending",
        world.users["anna"].id,
        *flags,
    )


EDITS.update(
    {
        "1.2.0 created": lambda lab: _by_1_2_0(lab, (1, 1, 0, 0, 0, 0), imports=False, moves=False),
        "1.2.0 submitted": lambda lab: _by_1_2_0(
            lab, (1, 1, 1, 0, 0, 0), imports=True, moves=False
        ),
        "1.2.0 died in submission": lambda lab: _by_1_2_0(
            lab, (1, 1, 0, 0, 0, 0), imports=True, moves=False
        ),
        "1.2.0 imported": lambda lab: _by_1_2_0(lab, (1, 1, 1, 1, 0, 0), imports=True, moves=False),
        "1.2.0 moved connectors": lambda lab: _by_1_2_0(
            lab, (1, 1, 1, 1, 1, 0), imports=True, moves=True
        ),
    }
)
COMMANDS: Dict[str, Callable[[Lab], Result]] = {
    "migrate": lambda lab: lab.migrate(),
    "verify": lambda lab: lab.verify(),
}
Point = Tuple[str, str, str]
ALL: List[Point] = [
    (state, edit, command) for state in STATES for edit in EDITS for command in COMMANDS
]


def _sample() -> List[Point]:
    return spread(ALL)[:12]


def _run(point: Point, folder: Path) -> str:
    """What is wrong in the end; empty where nothing is."""
    state, edit, command = point
    with laboratory(folder) as lab:
        lab.begin(STATES[state])
        EDITS[edit](lab)
        before = {item.id: names_in(item) for item in _strangers(lab)}
        result = COMMANDS[command](lab)
        changed = [
            f"documents of {item.name} became {names_in(item)}"
            for item in _strangers(lab)
            # An empty one that the row names on purpose may be what it says.
            if names_in(item) != before.get(item.id, []) and edit != "another empty target"
        ]
        ended = command == "migrate" and not edit.startswith(
            ("chats moved", "a target", "another empty")
        )
        wrong = lab.wrong(result, targets=4, ended=ended and _one_row(lab))
        return "\n".join([*changed, wrong]).strip()


def _one_row(lab: Lab) -> bool:
    return len(lab.rows()) == 1


def _strangers(lab: Lab) -> List[Collection]:
    """What people made; a target that the row names by mistake is among them."""
    return [item for item in lab.targets if item.name in ("Mine", "Theirs", "Other")]


@pytest.mark.parametrize("point", _sample(), ids="-".join)
def test_what_others_wrote_into_the_row_does_no_harm(point: Point, tmp_path: Path) -> None:
    wrong = _run(point, tmp_path)
    assert not wrong, wrong


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("state", STATES)
def test_what_others_wrote_into_the_row_does_no_harm_in_any_state(
    state: str, tmp_path: Path
) -> None:
    try_all("edited rows", [point for point in ALL if point[0] == state], _run, tmp_path)


def test_what_is_written_between_the_look_at_a_row_and_its_lease_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have had the lease in that moment, and have gone on with it."""
    with laboratory(tmp_path) as lab:
        lab.submitted()
        lab.let_jobs_end()
        claim = Leases.claim

        def late(leases: Leases, source_id: SourceId) -> object:
            lab.sql("UPDATE collection_migrations SET job_status = 'failed', error = 'by another'")
            return claim(leases, source_id)

        monkeypatch.setattr(Leases, "claim", late)
        asked = len(lab.server.requests)
        result = lab.verify()
        assert "by another" in result.text
        of_the_owner = [
            item for item in list(lab.server.requests)[asked:] if item.username == "anna"
        ]
        assert of_the_owner == []


def test_what_is_written_while_an_import_is_waited_for_is_seen_at_the_next_poll(
    tmp_path: Path,
) -> None:
    with laboratory(tmp_path) as lab:
        lab.world.times.import_s = 60.0
        polls: List[int] = []

        def edit() -> None:
            polls.append(len(polls))
            if len(polls) == 3:
                lab.sql("DELETE FROM collection_migrations")

        lab.server.faults.add(call(edit), route="GET /jobs/{job_id}", times=None)
        result = lab.migrate()
    assert "its row was deleted meanwhile" in result.text
    assert len(polls) == 3, "no poll after the row was gone"


# -- a row that names what can't be its target -----------------------------------------------
THIRD = "intfloat/e5-large-v2"


def _of_another_model(lab: Lab) -> Collection:
    other = lab.world.add_collection("anna", "Mine", LARGE, documents=["x.pdf"], connectors=1)
    _write(lab, "new_collection_id", other.id)
    return other


@pytest.mark.parametrize("history", ["kept", "lost"])
def test_what_cannot_be_the_target_that_its_row_names_is_a_collection_like_any_other(
    tmp_path: Path, history: str
) -> None:
    with laboratory(tmp_path) as lab:
        _finished(lab)
        target = lab.target
        if history == "lost":
            for table in ("attempts", "intents", "checkpoints", "baseline", "jobs", "validations"):
                lab.sql(f"DELETE FROM {table}")
            target.name = "Something else"
        other = _of_another_model(lab)
        result = lab.command("--all-users", "--target-model", M3, "--wait-for-completion")
        assert result.code == 1
        assert f"inconsistent: the row names the target {other.id}, which" in result.text
        assert "stands for it" not in result.text
        (row,) = lab.sql(
            "SELECT * FROM collection_migrations WHERE old_collection_id = ?", other.id
        )
        assert row["connectors_migrated"]
        assert len(target.connectors) == 2


def test_what_belongs_to_somebody_else_does_not_stand_for_a_source(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        _finished(lab)
        _somebody_elses(lab)
        result = lab.command("--all-users", "--target-model", THIRD, "--wait-for-completion")
        assert "Not available: Papers" in result.text
        assert "stands for it" not in result.text


def test_the_target_of_another_source_stays_that_ones_whatever_a_row_says(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        _finished(lab)
        _the_target_of_another_source(lab)
        (theirs,) = [item for item in lab.targets if "(Migrated) Other - " in item.name]
        edited = "SELECT * FROM collection_migrations WHERE old_collection_id = ?"
        lab.sql(f"INSERT OR REPLACE INTO collection_migrations {edited}", lab.source.id)
        result = lab.command("--target-model", THIRD, "--wait-for-completion")
        assert "Not available: Papers" in result.text
        assert "Not available: Other" not in result.text
        assert lab.sql(edited, theirs.id), "migrated on, in place of its source"


# -- what version 1.2.0 may have imported ------------------------------------------------------
def _by_reference(lab: Lab, target: Collection) -> None:
    target.documents = list(lab.source.documents)


def _as_copies(lab: Lab, target: Collection) -> None:
    for line in lab.source.documents:
        lab.world.add_document(target.id, line.document.name)


def _by_somebody(lab: Lab, target: Collection) -> None:
    _as_copies(lab, target)
    target.documents[0].document.size += 1


def _left_by_version_1_2_0(lab: Lab, import_it: Callable[[Lab, Collection], None]) -> Collection:
    """A target that it made, with documents in it, and no trace of an import."""
    _created(lab)
    for table in ("attempts", "intents", "checkpoints", "baseline", "jobs"):
        lab.sql(f"DELETE FROM {table}")
    import_it(lab, lab.target)
    return lab.target


@pytest.mark.parametrize("command", ["migrate", "verify"])
@pytest.mark.parametrize("import_it", [_by_reference, _as_copies])
def test_what_version_1_2_0_imported_without_a_trace_is_taken_up(
    tmp_path: Path, import_it: Callable[[Lab, Collection], None], command: str
) -> None:
    with laboratory(tmp_path) as lab:
        target = _left_by_version_1_2_0(lab, import_it)
        result = lab.migrate("--copy-document") if command == "migrate" else lab.verify()
        assert result.code == 0, result.text
        assert lab.target is target
        assert len(target.connectors) == 2


@pytest.mark.parametrize("command", ["migrate", "verify"])
def test_somebodys_files_of_the_sources_names_are_not_taken_for_an_import(
    tmp_path: Path, command: str
) -> None:
    with laboratory(tmp_path) as lab:
        target = _left_by_version_1_2_0(lab, _by_somebody)
        for _ in range(2):
            result = lab.migrate("--copy-document") if command == "migrate" else lab.verify()
            assert result.code == 1, result.text
            assert "1 document of it has a name of the source's and another size" in result.text
            assert lab.target is target
        assert not lab.row()["import_completed"]
        assert len(lab.source.connectors) == 2
        result = lab.migrate("--copy-document", "--force-remigrate")
        assert result.code == 0, result.text
        assert len(lab.targets[-1].connectors) == 2
        assert len(target.documents) == 3
