"""The unmodified client imports and moves; jobs take time and end as their fate wants."""

from __future__ import annotations

import pytest
from h2ogpte.errors import InvalidArgumentError, ObjectNotFoundError

from h2ogpte_migration.sandbox.dispatch import perform
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import JobKind
from h2ogpte_migration.sandbox.world import World


def imported(client, world, source, **how):
    target = client.create_collection("New", "")
    return target, client.import_collection_into_collection(target, source.id, **how)


def names(world, collection_id):
    return sorted((m.document.name, m.status) for m in world.collections[collection_id].documents)


@pytest.fixture
def source(world):
    return world.add_collection(
        "anna",
        "Old",
        documents=["a.pdf", ("b.zip", "agent_only"), ("c.pdf", "failed"), "d.pdf"],
        document_metadata={"k": "v"},
        connectors=2,
        chats=2,
        expiry_date=2e9,
        inactivity_interval=7,
        size_limit=10**6,
    )


def test_import_by_reference_shares_records_and_preserves_what_was_asked(anna, world, source):
    target, job = imported(
        anna,
        world,
        source,
        copy_document=False,
        preserve_document_status=True,
        preserve_metadata=True,
        copy_lifecycle_settings=True,
        skip_reparse=True,
        ocr_model="auto",
    )
    assert (job.completed, job.canceled, job.errors) == (True, False, [])
    assert job.kind == "ImportCollectionIntoCollectionJob"
    assert names(world, target) == names(world, source.id)
    new = world.collections[target]
    assert [m.document for m in new.documents] == [m.document for m in source.documents]
    assert all(m.metadata == {"k": "v"} for m in new.documents)
    assert (new.expiry_date, new.inactivity_interval, new.size_limit) == (2e9, 7, 10**6)
    how = world.import_jobs(source.id)[0].params
    assert (how["skip_reparse"], how["ocr_model"], how["preserve_metadata"]) == (
        True,
        "auto",
        True,
    )
    assert len(source.connectors) == 2


def test_import_by_copy_makes_new_records(anna, world, source):
    target, _ = imported(anna, world, source, copy_document=True)
    new = world.collections[target]
    assert not {m.document.id for m in new.documents} & {m.document.id for m in source.documents}
    assert ("b.zip", "completed") in names(world, target)
    assert all(m.metadata == {} for m in new.documents)
    assert new.expiry_date is None


@pytest.mark.parametrize("doubled", ["same", "new"])
def test_importing_twice_doubles_the_documents(anna, world, source, doubled):
    world.habits.doubled_ids = doubled
    target, _ = imported(anna, world, source, copy_document=False)
    anna.import_collection_into_collection(target, source.id, copy_document=False)
    ids = [m.document.id for m in world.collections[target].documents]
    assert len(ids) == 8
    assert len(set(ids)) == (4 if doubled == "same" else 8)


def test_skipping_the_parser_cannot_be_combined_with_copies(anna, world, source):
    with pytest.raises(InvalidArgumentError):
        imported(anna, world, source, copy_document=True, skip_reparse=True)


@pytest.mark.parametrize(
    ("fate", "completed", "canceled", "errors", "arrived"),
    [
        (Fate.FAIL, True, False, 1, 2),
        (Fate.CANCEL, False, True, 0, 2),
        (Fate.PARTLY_FAIL, True, False, 1, 4),
        (Fate.ERRORS_ONLY, True, False, 1, 4),
        (Fate.LOSE_SOME, True, False, 0, 3),
        (Fate.FAIL_AFTER_ALL, True, False, 1, 4),
    ],
)
def test_fates_of_imports(anna, world, source, fate, completed, canceled, errors, arrived):
    world.set_fate(source.id, fate, times=1)
    target, job = imported(anna, world, source)
    assert (job.completed, job.canceled) == (completed, canceled)
    assert len(job.errors) == errors
    documents = world.collections[target].documents
    assert len(documents) == arrived
    bad = [m.document.name for m in documents if m.status == "failed"]
    assert bad == (["c.pdf"] if arrived > 2 else []) + (
        ["d.pdf"] if fate is Fate.PARTLY_FAIL else []
    )
    assert imported(anna, world, source)[1].errors == []


def test_refused_import_leaves_no_job(anna, world, source):
    world.set_fate(source.id, Fate.REFUSE)
    with pytest.raises(InvalidArgumentError):
        imported(anna, world, source)
    assert world.import_jobs() == []


def test_connectors_and_chats_move_in_opposite_directions_of_the_call(anna, world, source):
    target = anna.create_collection("New", "")
    assert len(anna.list_scheduled_connectors_for_collection(source.id)) == 2
    assert anna.migrate_scheduled_connectors_to_collection(target, source.id).completed
    assert anna.list_scheduled_connectors_for_collection(source.id) == []
    assert len(anna.list_scheduled_connectors_for_collection(target)) == 2
    assert anna.count_chat_sessions_for_collection(source.id) == 2
    assert anna.migrate_chat_sessions_to_collection(source.id, target).completed
    assert anna.count_chat_sessions_for_collection(source.id) == 0
    assert anna.count_chat_sessions_for_collection(target) == 2
    assert anna.migrate_chat_sessions_to_collection(source.id, target).completed


@pytest.mark.parametrize(
    ("fate", "left"), [(Fate.FAIL, 2), (Fate.LOSE_SOME, 1), (Fate.FAIL_AFTER_ALL, 0)]
)
def test_fates_of_moves(anna, world, source, fate, left):
    target = anna.create_collection("New", "")
    world.set_fate(source.id, fate, kind=JobKind.MOVE_CHATS)
    world.set_fate(source.id, fate, kind=JobKind.MOVE_CONNECTORS)
    anna.migrate_chat_sessions_to_collection(source.id, target)
    anna.migrate_scheduled_connectors_to_collection(target, source.id)
    assert len(world.sessions_of(source.id)) == left
    assert len(source.connectors) == left


def test_jobs_are_listed_for_their_user_and_for_admins(anna, admin, world, source):
    imported(anna, world, source)
    world.add_job("bertil")
    assert [j.kind for j in anna.list_jobs()] == ["ImportCollectionIntoCollectionJob"]
    by_user = {u.username: len(u.jobs) for u in admin.list_all_jobs()}
    assert by_user == {"admin": 0, "anna": 1, "bertil": 1}


@pytest.mark.parametrize(("unit", "whole"), [("fraction", 1.0), ("percent", 100.0)])
def test_percentages_have_either_unit(anna, world, source, unit, whole):
    world.habits.percentages = unit
    _, job = imported(anna, world, source)
    assert (job.passed, job.progress, job.failed) == (whole, whole, 0.0)


@pytest.mark.parametrize(
    ("status", "error"), [(404, ObjectNotFoundError), (400, InvalidArgumentError)]
)
def test_unknown_job_is_answered_either_way(anna, admin, world, source, status, error):
    world.habits.unknown_job_status = status
    _, job = imported(anna, world, source)
    with pytest.raises(error):
        admin.get_job(job.id)
    world.forget_job(job.id)
    with pytest.raises(error):
        anna.get_job(job.id)


def test_canceled_job_stops_where_it_is(anna, server, world, source):
    world.times.import_s = 60
    target = anna.create_collection("New", "")
    reply = perform(
        world,
        "POST",
        f"/api/v1/collections/{target}/import_collection_job",
        secret="sk-sandbox-anna",
        body={"source_collection_id": source.id},
    )
    anna.cancel_job(reply.body["id"])
    job = anna.get_job(reply.body["id"])
    assert (job.canceled, job.completed, job.canceled_by) == (True, False, "anna")


class _Clock:
    def __init__(self):
        self.now = 1.7e9

    def __call__(self):
        return self.now


def test_documents_of_a_running_import_appear_one_by_one():
    clock = _Clock()
    world = World(clock=clock)
    world.add_user("anna")
    source = world.add_collection("anna", "Old", documents=10)
    target = world.add_collection("anna", "New", documents=0)
    world.times.import_s = 10

    def ask(method, path, body=None):
        return perform(world, method, "/api/v1" + path, secret="sk-sandbox-anna", body=body).body

    def look():
        listed = ask("GET", f"/collections/{target.id}/documents")
        return [sum(d["status"] == s for d in listed) for s in ("completed", "running")]

    path = f"/collections/{target.id}/import_collection_job"
    job = ask("POST", path, {"source_collection_id": source.id})
    assert job["overall_status"] == "in progress"
    assert look() == [0, 0]
    clock.now += 3.5
    assert look() == [3, 1]
    assert ask("GET", f"/jobs/{job['id']}")["progress"] == pytest.approx(0.35)
    assert world.running_imports() == 1
    clock.now += 60
    assert look() == [10, 0]
    ended = ask("GET", f"/jobs/{job['id']}")
    assert (ended["overall_status"], ended["duration_seconds"]) == ("completed", 10)
    assert world.running_imports() == 0


def test_never_ending_job_does_not_end():
    clock = _Clock()
    world = World(clock=clock)
    world.add_user("anna")
    source = world.add_collection("anna", "Old", documents=10)
    target = world.add_collection("anna", "New", documents=0)
    world.set_fate(source.id, Fate.NEVER_END)
    world.start_import(world.users["anna"], source, target.id, {})
    clock.now += 1e6
    assert world.running_imports() == 1
    assert world.import_jobs()[0].progress == 0.5


def test_ended_jobs_fade_from_listings_and_then_altogether():
    clock = _Clock()
    world = World(clock=clock)
    world.add_user("anna")
    world.habits.hide_ended_jobs_after_s = 10
    world.habits.forget_ended_jobs_after_s = 20
    job = world.add_job("anna", lasts_s=1)

    def ask(path):
        return perform(world, "GET", "/api/v1" + path, secret="sk-sandbox-anna")

    clock.now += 5
    assert len(ask("/jobs").body) == 1
    clock.now += 10
    assert ask("/jobs").body == []
    assert ask(f"/jobs/{job.id}").status == 200
    clock.now += 10
    assert ask(f"/jobs/{job.id}").status == 404
