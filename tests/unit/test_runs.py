"""Who works where: runs, leases, forced starts, and what a run has to tidy up."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Iterator, List, Set

import pytest

from h2ogpte_migration.errors import ExitCode, ToolError
from h2ogpte_migration.model import Collection, ImportOptions, SourceId, TargetId
from h2ogpte_migration.tracking import Database, Tracking
from h2ogpte_migration.tracking.leases import Lease
from h2ogpte_migration.tracking.records import Attempt, RunInfo
from h2ogpte_migration.tracking.store import NewAttempt

C1 = SourceId("c1")
T1 = TargetId("t1")

OTHER_PROCESS = """
import sys
from pathlib import Path
from h2ogpte_migration.tracking import Database, Tracking
run = Tracking(Database.to_write(Path(sys.argv[1])))
print(run.runs.begin("1", "other"), flush=True)
lease = run.leases.claim("c1")
run.leftovers.record_key("key-made", "anna")
run.leftovers.record_key_id("key-made", "k1")
run.leftovers.record_key("key-lost", "anna")
number = run.leftovers.record_test_chat("c1", "t1", "anna", ["s1"], "What?")
print("holds", flush=True)
if sys.stdin.readline() == "end\\n":
    run.runs.end(0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database lies."""
    return tmp_path / "tracking.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """Return a new database."""
    database = Database.to_write(path)
    yield database
    database.close()


@pytest.fixture
def run(database: Database) -> Tracking:
    """Return a run that has begun."""
    return begun(database)


COMMAND = "h2ogpte-migrate --all-users"


def begun(database: Database) -> Tracking:
    run = Tracking(database)
    run.runs.begin("1.3", COMMAND)
    return run


class Other:
    """A process that holds ``c1``, two temporary keys and a test chat."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.run_id = int(self.process.stdout.readline())
        assert self.process.stdout.readline() == "holds\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        self.process.communicate("end\n")


@pytest.fixture
def other(path: Path, database: Database) -> Iterator[Other]:
    """Return a living process that works with the same database."""
    other = Other(path)
    yield other
    other.kill()


def age(database: Database, run_id: int, **values: object) -> None:
    """Change what is on record about a run, as if another machine had written it."""
    columns = ", ".join(f"{column} = :{column}" for column in values)
    with database.transaction() as db:
        db.execute(f"UPDATE runs SET {columns} WHERE id = :id", {**values, "id": run_id})


def move_elsewhere(database: Database, run_id: int, silent: timedelta) -> None:
    beat = (datetime.now(timezone.utc) - silent).isoformat(timespec="seconds")
    age(database, run_id, host="build-7", machine="build-7|m|b|n", heartbeat_at=beat)


# -- leases --------------------------------------------------------------------------------
def test_a_source_is_held_until_it_is_given_back(run: Tracking) -> None:
    lease = run.leases.claim(C1)
    assert lease == Lease(C1, run.runs.run_id)
    assert isinstance(lease, Lease)
    assert run.leases.still_holds(lease)
    holder = run.leases.holder(C1)
    assert holder is not None
    assert (holder.id, holder.pid, holder.host) == (
        run.runs.run_id,
        os.getpid(),
        socket.gethostname(),
    )
    run.leases.release(lease)
    assert not run.leases.still_holds(lease)
    assert run.leases.holder(C1) is None


def test_the_same_run_may_claim_again(run: Tracking) -> None:
    assert run.leases.claim(C1) == run.leases.claim(C1)


def test_two_runs_of_one_process_do_not_share_a_source(database: Database, run: Tracking) -> None:
    second = begun(database)
    run.leases.claim(C1)
    assert isinstance(second.leases.claim(C1), RunInfo)
    assert isinstance(second.leases.claim(SourceId("c2")), Lease)


def test_a_living_holder_is_never_displaced(
    database: Database, run: Tracking, other: Other
) -> None:
    # However long it has given no sign of life: it is this host's process, and it is there.
    age(database, other.run_id, heartbeat_at="2001-01-01T00:00:00+00:00")
    for _ in range(3):
        claimed = run.leases.claim(C1)
        assert isinstance(claimed, RunInfo)
        assert (claimed.id, claimed.pid) == (other.run_id, other.process.pid)
    assert str(other.process.pid) in str(claimed)
    assert socket.gethostname() in str(claimed)
    holder = run.leases.holder(C1)
    assert holder is not None
    assert holder.id == other.run_id


def test_a_killed_holder_is_replaced_at_once(run: Tracking, other: Other) -> None:
    other.kill()
    assert run.leases.holder(C1) is None
    assert run.leases.claim(C1) == Lease(C1, run.runs.run_id)


def test_a_holder_that_ended_left_nothing_behind(run: Tracking, other: Other) -> None:
    other.end()
    assert run.leases.holder(C1) is None
    assert run.leases.claim(C1) == Lease(C1, run.runs.run_id)


def test_the_pid_alone_is_no_holder(database: Database, run: Tracking, other: Other) -> None:
    """The pid is in use, but by a process that started at another time."""
    age(database, other.run_id, process_start="1")
    assert isinstance(run.leases.claim(C1), Lease)


def test_a_lease_that_went_to_another_run_is_no_longer_held(
    database: Database, run: Tracking, other: Other
) -> None:
    other.kill()
    lost = Lease(C1, other.run_id)
    assert run.leases.still_holds(lost)
    run.leases.claim(C1)
    assert not run.leases.still_holds(lost)
    run.leases.release(lost)
    assert run.leases.holder(C1) is not None, "giving back what one does not hold changes nothing"


# -- runs of other machines ----------------------------------------------------------------
@pytest.mark.parametrize("silent", [timedelta(0), timedelta(minutes=14)])
def test_a_run_of_another_machine_that_may_live_stops_this_one_by_name(
    database: Database, run: Tracking, silent: timedelta
) -> None:
    move_elsewhere(database, run.runs.run_id, silent)
    with pytest.raises(ToolError, match="build-7") as refused:
        Tracking(database).runs.begin("1.3", "again")
    assert refused.value.exit_code == ExitCode.ATTENTION
    assert refused.value.hint
    assert len(run.runs.last()) == 1


def test_a_run_of_another_machine_that_is_silent_for_long_stops_nobody(
    database: Database, run: Tracking
) -> None:
    run.leases.claim(C1)
    run.leftovers.record_key("a", "anna")
    move_elsewhere(database, run.runs.run_id, timedelta(minutes=16))
    later = begun(database)
    assert later.leases.holder(C1) is None
    assert isinstance(later.leases.claim(C1), Lease)
    # It may live, whatever a clock says: its keys are told of, and deleted only once the server
    # shows that they are over (credentials).
    assert names(later) == ["a"]


def test_a_run_of_another_machine_that_ended_stops_nobody(
    database: Database, run: Tracking
) -> None:
    run.runs.end(0)
    move_elsewhere(database, run.runs.run_id, timedelta(0))
    begun(database)


def test_a_heartbeat_is_what_others_go_by(database: Database, run: Tracking) -> None:
    move_elsewhere(database, run.runs.run_id, timedelta(minutes=16))
    run.runs.heartbeat()
    with pytest.raises(ToolError, match="build-7"):
        Tracking(database).runs.begin("1.3", "again")


def test_a_heartbeat_that_cannot_be_read_counts_as_none(database: Database, run: Tracking) -> None:
    move_elsewhere(database, run.runs.run_id, timedelta(0))
    age(database, run.runs.run_id, heartbeat_at="soon")
    begun(database)


def test_a_living_run_of_this_host_does_not_stop_another_one(run: Tracking, path: Path) -> None:
    other = Database.to_write(path)
    assert begun(other).runs.run_id != run.runs.run_id
    other.close()


# -- the log of runs -----------------------------------------------------------------------
def test_runs_are_logged_with_what_became_of_them(database: Database, run: Tracking) -> None:
    run.leases.claim(C1)
    run.runs.end(1)
    begun(database)
    newest, oldest = run.runs.last()
    assert newest.id > oldest.id
    assert (newest.ended_at, newest.exit_code) == (None, None)
    assert (oldest.exit_code, oldest.command, oldest.version) == (
        1,
        "h2ogpte-migrate --all-users",
        "1.3",
    )
    assert oldest.ended_at is not None
    assert oldest.ended_at.endswith("+00:00")
    assert [info.id for info in run.runs.last(1)] == [newest.id]


def test_a_run_that_ended_holds_nothing(database: Database, run: Tracking) -> None:
    lease = run.leases.claim(C1)
    assert isinstance(lease, Lease)
    run.runs.end(0)
    assert not run.leases.still_holds(lease)
    assert run.leases.holder(C1) is None
    assert isinstance(begun(database).leases.claim(C1), Lease)


def test_a_run_that_nobody_knows_is_dead(database: Database, run: Tracking) -> None:
    run.leftovers.record_key("a", "anna")
    with database.transaction() as db:
        db.execute("UPDATE temp_keys SET run_id = 4711")
    assert names(run) == ["a"], "and its keys are swept"


# -- what a run is asked for -----------------------------------------------------------------------
ASKED = "h2ogpte-migrate --verify --migrate-chats --verify-query 'Who, and why?' --min-recall 0.9"


@pytest.mark.parametrize(
    ("theirs", "beyond"),
    [
        (ASKED, set()),
        (f"{ASKED} --verify-retrieval 5 --quiet", set()),
        ("h2ogpte-migrate --verify", {"--migrate-chats", "--verify-query", "--min-recall"}),
        (ASKED.replace("0.9", "0.5"), {"--min-recall"}),
        (ASKED.replace("Who", "--min-recall"), {"--verify-query"}),
        (ASKED.replace("--verify-query ", "--verify-query="), set()),
        ("h2ogpte-migrate --move-chats", {"--migrate-chats", "--verify-query", "--min-recall"}),
        (r"h2ogpte-migrate --migrate-chats --db-path $'it\'s'", {"--verify-query", "--min-recall"}),
    ],
)
def test_what_a_run_asks_for_beyond_another_one(
    database: Database, run: Tracking, theirs: str, beyond: Set[str]
) -> None:
    mine = Tracking(database)
    mine.runs.begin("1.3", ASKED)
    other = Tracking(database)
    other.runs.begin("1.3", theirs)
    (last,) = run.runs.last(1)
    assert mine.runs.asks_beyond(last) == beyond


# -- forced starts ---------------------------------------------------------------------------------
def begin(run: Tracking, start: str) -> None:
    lease = run.leases.claim(C1)
    assert isinstance(lease, Lease)
    new = NewAttempt(
        Collection("c1", "n", "anna", "old"), None, "new", ImportOptions(), Attempt.RUN
    )
    run.store.begin_attempt(lease, new, lambda taken: f"target {len(taken)}", start)


def test_forced_work_counts_as_started_until_its_run_came_to_its_end(
    database: Database, run: Tracking
) -> None:
    assert not run.runs.has_started(C1, "force", "new")
    begin(run, "force")
    assert run.runs.has_started(C1, "force", "new")
    assert not run.runs.has_started(C1, "retry", "new")
    assert not run.runs.has_started(SourceId("c2"), "force", "new")
    run.runs.end(130)
    again = begun(database)
    assert again.runs.has_started(C1, "force", "new"), "an interrupted run's start outlives it"
    assert again.runs.is_beginning_afresh(COMMAND)
    assert not again.runs.is_beginning_afresh("h2ogpte-migrate --collections c2"), "another's"
    again.runs.end_starts([SourceId("c2")])
    assert again.runs.has_started(C1, "force", "new")
    again.runs.end_starts([C1])
    assert again.runs.has_started(C1, "force", "new"), (
        "a run that dies before its end has not ended"
    )
    again.runs.end(0)
    assert not begun(database).runs.has_started(C1, "force", "new")
    assert not again.runs.is_beginning_afresh(COMMAND)


def test_the_last_kind_of_start_counts(database: Database, run: Tracking) -> None:
    begin(run, "retry")
    begin(run, "force")
    assert run.runs.has_started(C1, "force", "new")
    assert not run.runs.has_started(C1, "retry", "new")


def test_a_start_to_another_model_was_another_demand(database: Database, run: Tracking) -> None:
    begin(run, "force")
    beside = begun(database)
    assert not beside.runs.has_started(C1, "force", "newer")
    assert beside.runs.has_started(C1, "force", ""), "which model is wanted is not known"
    run.runs.end_starts([C1])
    run.runs.end(0)
    assert not beside.runs.has_started(C1, "force", "newer"), "nor once it came to its end"


def test_the_same_forced_command_in_two_terminals_forces_once(
    database: Database, run: Tracking
) -> None:
    beside = begun(database)
    begin(run, "force")
    assert beside.runs.has_started(C1, "force", "new")
    run.runs.end_starts([C1])
    run.runs.end(0)
    assert beside.runs.has_started(C1, "force", "new"), (
        "done already, for the demand that both fulfil"
    )
    assert not beside.runs.has_started(C1, "retry", "new")
    beside.runs.end_starts([C1])
    beside.runs.end(0)
    assert not begun(database).runs.has_started(C1, "force", "new"), "a later demand is another one"


def marks(database: Database) -> List[str]:
    return [row["kind"] for row in database.rows("SELECT kind FROM marks ORDER BY source_id")]


def test_what_ended_is_kept_for_runs_beside_it_alone(database: Database, run: Tracking) -> None:
    beside = begun(database)
    begin(run, "force")
    run.runs.end_starts([C1])
    run.runs.end(0)
    assert marks(database) == ["force (ended)"]
    later = begun(database)
    assert marks(database) == ["force (ended)"], "somebody beside it still cares"
    assert beside.runs.has_started(C1, "force", "new")
    assert not later.runs.has_started(C1, "force", "new"), "begun after it ended: another demand"
    later.runs.end(0)
    beside.runs.end(0)
    begun(database)
    assert marks(database) == []


def test_only_what_came_to_its_end_is_ended(database: Database, run: Tracking) -> None:
    begin(run, "force")
    run.runs.end_starts([SourceId("c2")])
    run.runs.end(0)
    assert marks(database) == ["force"]
    assert begun(database).runs.has_started(C1, "force", "new")


def test_what_is_begun_beside_a_run_is_not_ended_by_it(database: Database, run: Tracking) -> None:
    beside = begun(database)
    begin(beside, "force")
    run.runs.end_starts([C1])
    run.runs.end(0)
    assert marks(database) == ["force"], "it lives, and has not come to its end"
    assert beside.runs.has_started(C1, "force", "new")
    beside.runs.end_starts([C1])
    beside.runs.end(0)
    assert marks(database) == [], "nobody is beside it any more"


def test_an_ended_start_is_not_ended_twice(database: Database, run: Tracking) -> None:
    beside = begun(database)
    begin(run, "force")
    run.runs.end_starts([C1])
    run.runs.end(0)
    begun(database)
    beside.runs.end_starts([C1])
    beside.runs.end(0)
    assert marks(database) == ["force (ended)"]


def test_a_start_that_ended_before_a_run_is_none_of_its_demand(
    database: Database, run: Tracking
) -> None:
    """However long a third one keeps the marker alive."""
    third = begun(database)
    begin(run, "force")
    run.runs.end_starts([C1])
    run.runs.end(0)
    for _ in range(2):
        later = begun(database)
        assert not later.runs.has_started(C1, "force", "new")
        later.runs.end(0)
    assert third.runs.has_started(C1, "force", "new")


# -- temporary keys and test chats ---------------------------------------------------------
def names(run: Tracking) -> List[str]:
    return [key.name for key in run.leftovers.keys_left()]


def test_keys_are_left_until_they_are_gone(run: Tracking) -> None:
    run.leftovers.record_key("a", "anna")
    run.leftovers.record_key("b", "bertil")
    run.leftovers.record_key_id("b", "id-b")
    assert [(key.name, key.username, key.key_id) for key in run.leftovers.keys_left()] == [
        ("a", "anna", None),
        ("b", "bertil", "id-b"),
    ]
    run.leftovers.record_key_gone("a")
    assert names(run) == ["b"]
    run.leftovers.record_key_gone("b")
    assert names(run) == []


def test_a_key_name_is_given_out_once(run: Tracking) -> None:
    run.leftovers.record_key("a", "anna")
    with pytest.raises(sqlite3.IntegrityError):
        run.leftovers.record_key("a", "anna")


def test_only_dead_runs_keys_and_chats_are_tidied_up(run: Tracking, other: Other) -> None:
    run.leftovers.record_key("own", "anna")
    assert names(run) == ["own"], "what a living run uses is not touched"
    assert run.leftovers.test_chats_left(C1) == []
    assert run.leftovers.sources_with_test_chats() == [C1]
    other.kill()
    assert sorted(names(run)) == ["key-lost", "key-made", "own"]
    (chat,) = run.leftovers.test_chats_left(C1)
    assert (chat.target_id, chat.owner, chat.known_sessions, chat.session_id) == (
        T1,
        "anna",
        ("s1",),
        None,
    )


def test_test_chats_are_left_until_they_are_gone(run: Tracking) -> None:
    number = run.leftovers.record_test_chat(C1, T1, "anna", [], "What?")
    run.leftovers.record_test_chat_id(number, "s7")
    (chat,) = run.leftovers.test_chats_left(C1)
    assert (chat.id, chat.session_id) == (number, "s7")
    assert run.leftovers.test_chats_left(SourceId("c2")) == []
    run.leftovers.record_test_chat_gone(number)
    assert run.leftovers.test_chats_left(C1) == []
    assert run.leftovers.sources_with_test_chats() == []


# -- the server ----------------------------------------------------------------------------
def test_a_database_is_bound_to_its_first_server(run: Tracking) -> None:
    assert run.runs.bound_server() is None
    run.runs.bind_server("https://one", rebind=False)
    run.runs.bind_server("https://one", rebind=False)
    with pytest.raises(ToolError) as refused:
        run.runs.bind_server("https://two", rebind=False)
    assert refused.value.exit_code == ExitCode.USAGE
    assert "https://one" in refused.value.message
    assert "https://two" in refused.value.message
    assert "--rebind-server" in refused.value.hint
    assert run.runs.bound_server() == "https://one"
    run.runs.bind_server("https://two", rebind=True)
    assert run.runs.bound_server() == "https://two"
