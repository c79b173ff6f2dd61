"""A job that another collection of the same owner is just submitting is not up for adoption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import List

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.sandbox.faults import call, close, reply
from h2ogpte_migration.sandbox.model import JobKind
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from h2ogpte_migration.tracking import runs
from h2ogpte_migration.tracking.leases import Leases
from h2ogpte_migration.tracking.runs import Runs
from tests.safety.test_record_and_past import QUICK, names_in
from tests.support.earlier import let_jobs_end
from tests.support.terminal import MAPPED, Operator

from .lab import LARGE, M3, Lab, hurried, laboratory

__all__ = ["hurried"]

IMPORT = "POST /collections/{collection_id}/import_collection_job"


def test_the_unanswered_import_of_one_collection_is_not_adopted_by_another(
    operator: Operator, server: SandboxServer, world: World
) -> None:
    world.times.import_s = 30.0
    first = world.add_collection("anna", "A, with a target", documents=["a.pdf"])
    second = world.add_collection("anna", "B, submitted", documents=["b.pdf"])
    one_by_one = (MAPPED, "--max-concurrent-requests", "1", "--retries", "0")
    # The target of the first one is made and no more; the import of the other is unanswered.
    server.faults.add(reply(400), route=IMPORT)
    operator.admin("--collections", first.id, *one_by_one, env=QUICK, code=1)
    server.faults.add(close(after=True), route=IMPORT)
    server.faults.add(reply(503), route="GET /jobs", times=None)
    operator.admin("--collections", second.id, *one_by_one, env=QUICK, code=1)
    server.faults.clear()
    assert len(world.import_jobs(second.id)) == 1
    assert world.import_jobs(first.id) == []

    operator.admin("--collections", first.id, *one_by_one, env=QUICK)
    operator.admin("--users", "anna", *one_by_one, env=QUICK)
    let_jobs_end(world)
    operator.admin("--verify", env=QUICK)
    for source in (first, second):
        targets = world.targets_of(source.name)
        assert len(targets) == 1, "nothing was given up"
        assert names_in(targets[0]) == names_in(source)


def test_a_target_that_appears_after_its_second_creation_goes_into_the_history(
    operator: Operator, server: SandboxServer, world: World
) -> None:
    source = world.add_collection("anna", "Papers", documents=["a.pdf"])
    server.faults.add(reply(502), route="POST /collections")

    def appear() -> None:
        (target,) = world.targets_of("Papers")
        world.add_collection("anna", target.name, target.embedding_model, documents=0)

    server.faults.add(call(appear), route=IMPORT)
    said = operator.admin("--users", "anna", MAPPED, env=QUICK).out
    assert "migrated twice" not in said
    let_jobs_end(world)
    operator.admin("--verify", env=QUICK)
    assert names_in(operator.target_of(source.id)) == ["a.pdf"]
    twin = next(
        item for item in world.targets_of("Papers") if item.id != operator.target_of(source.id).id
    )
    operator.admin("--cleanup", "--yes", env=QUICK)
    assert twin.id not in world.collections


def people_import(lab: Lab, number: int) -> None:
    """An import of the owner's own that this database knows nothing of, and that takes long."""
    world = lab.world
    source, target = (world.add_collection("anna", f"{name} {number}") for name in "AB")
    with world.lock:
        ids = {"source_id": source.id, "target_id": target.id}
        world.start_job(JobKind.IMPORT.value, world.users["anna"], 1e6, **ids)


@pytest.mark.usefixtures("hurried")
def test_a_look_for_an_import_does_not_count_as_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "MOST_SENDS", 2)
    with laboratory(tmp_path) as lab:
        lab.server.faults.add(reply(403), route=IMPORT)
        only = ("--collections", lab.source.id)
        lab.migrate(*only)
        for number in (1, 2):
            people_import(lab, number)
        for _ in range(patience.MOST_SENDS + 1):
            result = lab.migrate(*only)
            assert "2 import jobs of anna that this database does not know" in result.text
        lab.let_jobs_end()
        result = lab.migrate(*only)
        assert result.code == 0, result.text
        assert lab.sql("SELECT sum(sends) AS sent FROM intents WHERE step = 'import'") == [
            {"sent": 1}
        ]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("imported_by_people", [0, 1])
def test_an_import_that_its_own_process_books_in_the_last_moment_stays_booked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported_by_people: int
) -> None:
    """It is in doubt when another process reads of it, and settled once that has the lease."""
    with laboratory(tmp_path) as lab:
        lab.world.times.import_s = 1e5
        lab.command("--collections", lab.source.id, "--target-model", M3)
        booked, claim = lab.row(), Leases.claim
        assert booked["import_submitted"] == 1
        lab.sql("UPDATE intents SET state = 'open' WHERE step = 'import'")
        lab.sql("UPDATE collection_migrations SET import_submitted = 0, job_id = NULL")
        for number in range(imported_by_people):
            people_import(lab, number)
        taken: List[str] = []

        def late(leases: Leases, source_id: SourceId) -> object:
            taken.append(source_id)
            if source_id == lab.source.id:
                lab.sql("UPDATE intents SET state = 'done' WHERE step = 'import'")
                lab.sql(
                    "UPDATE collection_migrations SET import_submitted = 1, job_id = ?",
                    booked["job_id"],
                )
            return claim(leases, source_id)

        monkeypatch.setattr(Leases, "claim", late)
        other = lab.world.add_collection("anna", "Other", documents=["o.pdf"])
        result = lab.command("--collections", other.id, "--target-model", M3)
        assert lab.source.id in taken, "the import of the other one was in the way"
        assert result.code == 0, result.text
        assert lab.rows()[0] == booked


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("listed_late", [False, True])
def test_a_target_that_people_fill_while_it_waits_for_its_slot_is_not_imported_into(
    tmp_path: Path, listed_late: bool
) -> None:
    with laboratory(tmp_path) as lab:
        world = lab.world
        world.times.import_s = 1e6
        more = [world.add_collection("anna", name, LARGE, documents=["a.pdf"]) for name in "XY"]
        filled: List[str] = []

        def people() -> None:
            begun = {job.target_id for job in world.jobs.values()}
            shared = {row["new_collection_id"] for row in lab.rows() if row["permissions_copied"]}
            waiting = [place for place in shared if place not in begun]
            if filled or len(begun) < 2 or not waiting:
                return
            world.habits.documents_listed_after_s = 0.3 if listed_late else 0.0
            world.add_document(waiting[0], "a.pdf")
            filled.append(waiting[0])
            world.times.import_s = 0.0
            for job in world.jobs.values():
                job.duration_s = 0.0

        lab.server.faults.add(call(people), route="GET /jobs/{job_id}", times=None)
        result = lab.migrate("--copy-document", "--max-concurrent-jobs", "2")
        (theirs,) = (world.collections[place] for place in filled)
        assert names_in(theirs) == ["a.pdf"]
        assert not theirs.imported
        if listed_late:
            assert "counts 1 documents" in result.text
            return
        assert result.code == 0, result.text
        assert "put documents into it while it waited" in lab.last_log
        for source in (lab.source, *more):
            (target,) = (item for item in world.targets_of(source.name) if item is not theirs)
            assert names_in(target) == names_in(source)


# -- a computer that slept -------------------------------------------------------------------
WRITES = (
    "POST /collections",
    "PATCH /collections/{collection_id}",
    "PUT /collections/{collection_id}/metadata",
    "PUT /collections/{collection_id}/permissions/{username}",
    IMPORT,
    "POST /collections/{collection_id}/migrate_scheduled_connectors",
    "POST /collections/{collection_id}/migrate_chat_sessions_job",
)


@pytest.mark.usefixtures("hurried")
def test_what_waits_to_be_sent_again_is_not_once_another_process_has_the_collection(
    tmp_path: Path,
) -> None:
    """A run is asleep while it waits, and another machine takes over what seems to be left."""
    with laboratory(tmp_path) as lab:

        def take_over() -> None:
            lab.sql("UPDATE leases SET run_id = run_id + 1000")

        for route in WRITES:
            lab.server.forget_requests()
            slowed = replace(reply(429, retry_after=0.01), call=take_over)
            lab.server.faults.add(slowed, route=route)
            said = lab.migrate()
            assert said.code == 1, route
            assert "Another process took over" in said.text, route
            assert lab.server.counts().get(route) == 1, route
        assert not lab.wrong(lab.migrate())


def test_a_run_that_was_silent_shows_that_it_lives_before_it_changes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on no other machine takes over; for the others a sign a minute will do."""
    beats: List[str] = []
    with laboratory(tmp_path) as lab:
        monkeypatch.setattr(Runs, "heartbeat", lambda runs: beats.append("beat"))
        assert lab.migrate().code == 0
        assert beats == []
        monkeypatch.setattr(runs, "LONGEST_SILENCE_S", -1.0)
        assert lab.migrate("--force-remigrate").code == 0
        assert beats
