"""What holds connectors and chats back, what does not, and the ways out."""

from __future__ import annotations

import json
import re
from typing import List, Tuple

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.sandbox.faults import call
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection, JobKind
from h2ogpte_migration.sandbox.world import World
from tests.e2e.prepared import once
from tests.support.earlier import loaded_source
from tests.support.terminal import LARGE, M3, MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)
CHATS = "--migrate-chats"
VERIFY = "--verify"
DOCUMENTS = "GET /collections/{collection_id}/documents"

both_modes = pytest.mark.parametrize("mode", [(), (WAIT,)], ids=["parallel", "sequential"])


@pytest.fixture
def source(world: World) -> Collection:
    """Return a collection with two documents, connectors and chats."""
    return loaded_source(world)


def run(operator: Operator, mode: Tuple[str, ...], code: int) -> str:
    """Migrate with chats in one mode, to the point where validation has been done."""
    if mode:
        return operator.admin(*SCOPE, *mode, CHATS, code=code).out
    operator.admin(*SCOPE)
    operator.world.wait_until_idle()
    return operator.admin(VERIFY, CHATS, code=code).out


def unmoved(world: World, source: Collection) -> bool:
    """Whether connectors and chats are where they were."""
    return len(source.connectors) == 2 and len(world.sessions_of(source.id)) == 2


def moved(operator: Operator, source: Collection) -> bool:
    """Whether connectors and chats are in the target."""
    target = operator.target_of(source.id)
    return len(target.connectors) == 2 and len(operator.world.sessions_of(target.id)) == 2


def submitted(operator: Operator, source: Collection) -> List[Collection]:
    """Source and target of an import that has ended, and that nobody validated yet."""

    def commands() -> List[Collection]:
        operator.admin(*SCOPE)
        operator.world.wait_until_idle()
        return [source, operator.target_of(source.id)]

    return once("submitted", operator.server, operator.db, commands)


# -- imports that do not succeed -----------------------------------------------------------
@pytest.mark.promise("failed-import.moves-nothing")
@both_modes
@pytest.mark.parametrize("fate", [Fate.FAIL, Fate.CANCEL, Fate.PARTLY_FAIL])
def test_an_import_that_does_not_succeed_moves_nothing(
    operator: Operator, world: World, source: Collection, mode: Tuple[str, ...], fate: Fate
) -> None:
    world.set_fate(source.id, fate)
    said = run(operator, mode, code=1)
    assert unmoved(world, source)
    assert f"Failed: Alpha ({source.id})" in said
    assert "--retry-failed" in said
    row = operator.row(source.id)
    assert row["job_status"] == "failed"
    assert row["error"]
    assert (row["import_completed"], row["connectors_migrated"], row["chats_migrated"]) == (0, 0, 0)


@pytest.mark.promise("failed-import.moves-nothing")
@both_modes
def test_a_refused_import_moves_nothing(
    operator: Operator, world: World, source: Collection, mode: Tuple[str, ...]
) -> None:
    world.set_fate(source.id, Fate.REFUSE, times=1)
    said = operator.admin(*SCOPE, *mode, CHATS, code=1).out
    assert unmoved(world, source)
    assert "The job was refused" in said
    operator.admin(*SCOPE, WAIT, CHATS)
    assert moved(operator, source)
    assert len(world.targets_of("Alpha")) == 1


@pytest.mark.promise("failed-import.moves-nothing")
@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_refused_creation_leaves_nothing(
    operator: Operator, world: World, source: Collection, status: int
) -> None:
    from h2ogpte_migration.sandbox.faults import reply

    rule = operator.server.faults.add(reply(status), route="POST /collections", times=None)
    operator.admin(*SCOPE, WAIT, CHATS, code=1)
    assert unmoved(world, source)
    assert world.targets_of("Alpha") == []
    rule.times = 0
    operator.admin(*SCOPE, WAIT, CHATS)
    assert moved(operator, source)


@pytest.mark.promise("errors-but-complete.is-completed")
@both_modes
def test_errors_where_nothing_is_amiss_are_a_kept_warning(
    operator: Operator, world: World, source: Collection, mode: Tuple[str, ...]
) -> None:
    world.set_fate(source.id, Fate.ERRORS_ONLY)
    said = run(operator, mode, code=0)
    assert moved(operator, source)
    assert "completed with errors" in said
    assert "completed with errors" in operator.plain("--status").out


# -- held ----------------------------------------------------------------------------------
@pytest.mark.promise("held.missing", "held.says-what-fits")
@both_modes
def test_missing_documents_hold_back(
    operator: Operator, world: World, source: Collection, mode: Tuple[str, ...]
) -> None:
    world.set_fate(source.id, Fate.LOSE_SOME)
    said = run(operator, mode, code=1)
    assert unmoved(world, source)
    assert f"Held: Alpha ({source.id})" in said
    assert "1 document missing in the target" in said
    for way in (VERIFY, "--retry-failed", "--ignore-validation"):
        assert way in said
    assert "held" in operator.plain("--status").out
    assert operator.row(source.id)["import_completed"] == 1


@pytest.mark.promise("held.copied-by-name")
def test_copies_are_compared_by_name(operator: Operator, world: World, source: Collection) -> None:
    world.set_fate(source.id, Fate.LOSE_SOME, times=1)
    operator.admin(*SCOPE, WAIT, CHATS, "--copy-document", code=1)
    assert unmoved(world, source)
    operator.admin(*SCOPE, WAIT, CHATS, "--copy-document", "--retry-failed")
    assert moved(operator, source)


@pytest.mark.promise("held.duplicated")
def test_doubled_documents_hold_back(operator: Operator, world: World, source: Collection) -> None:
    source, target = submitted(operator, source)
    target.documents.append(target.documents[0])
    said = operator.admin(VERIFY, CHATS, code=1).out
    assert unmoved(world, source)
    assert "1 document more than once" in said


@pytest.mark.promise("held.newly-bad")
def test_documents_that_went_bad_hold_back(
    operator: Operator, world: World, source: Collection
) -> None:
    source, target = submitted(operator, source)
    world.set_document_status(target.id, target.documents[0].document.id, "failed")
    said = operator.admin(VERIFY, CHATS, code=1).out
    assert unmoved(world, source)
    assert "1 document not usable in the target" in said


@pytest.mark.promise("held.wrong-model")
def test_a_wrong_model_holds_back(operator: Operator, world: World, source: Collection) -> None:
    source, target = submitted(operator, source)
    target.embedding_model = LARGE
    said = operator.admin(VERIFY, CHATS, code=1).out
    assert unmoved(world, source)
    assert LARGE in said


@pytest.mark.promise("held.bad-before-is-no-fault")
@both_modes
def test_what_was_bad_before_holds_nothing_back(
    operator: Operator, world: World, mode: Tuple[str, ...]
) -> None:
    files = ["good.pdf", ("bad.pdf", "failed"), ("note", "agent_only")]
    source = world.add_collection("anna", "Alpha", M3, documents=files, connectors=2, chats=2)
    said = run(operator, mode, code=0)
    assert moved(operator, source)
    assert "1 document not usable in the source to begin with" in said


# -- out of it -----------------------------------------------------------------------------
@pytest.fixture
def held_source(operator: Operator, world: World, source: Collection) -> Collection:
    """Return the collection, held back because a document is missing."""

    def commands() -> List[Collection]:
        world.set_fate(source.id, Fate.LOSE_SOME, times=1)
        operator.admin(*SCOPE, WAIT, CHATS, code=1)
        return [source]

    (held,) = once("held", operator.server, operator.db, commands)
    return held


@pytest.mark.promise("held.clean-verify-frees")
def test_a_clean_validation_frees(
    operator: Operator, world: World, held_source: Collection
) -> None:
    target = operator.target_of(held_source.id)
    have = {m.document.id for m in target.documents}
    operator.admin(VERIFY, CHATS, code=1)
    target.documents += [m for m in held_source.documents if m.document.id not in have]
    operator.admin(VERIFY, CHATS)
    assert moved(operator, held_source)
    assert operator.target_of(held_source.id) is target


@pytest.mark.promise("held.clean-verify-frees")
def test_a_document_that_left_the_source_is_not_missing(
    operator: Operator, world: World, held_source: Collection
) -> None:
    target = operator.target_of(held_source.id)
    have = {m.document.id for m in target.documents}
    for membership in list(held_source.documents):
        if membership.document.id not in have:
            world.remove_document(held_source.id, membership.document.id)
    operator.admin(VERIFY, CHATS)
    assert moved(operator, held_source)


@pytest.mark.promise("held.ignored")
@pytest.mark.parametrize("words", [(VERIFY,), (*SCOPE, WAIT)], ids=["verify", "sequential"])
def test_validation_can_be_ignored_on_record(
    operator: Operator, world: World, held_source: Collection, words: Tuple[str, ...]
) -> None:
    operator.admin(*words, CHATS, "--ignore-validation")
    assert moved(operator, held_source)
    (row,) = operator.sql("SELECT ignored, verdict FROM validations ORDER BY attempt_id DESC")
    assert (row["ignored"], row["verdict"]) == (1, "held")


@pytest.mark.promise("held.retried", "retry.counts-held")
def test_held_counts_as_failed_for_a_retry(
    operator: Operator, world: World, held_source: Collection
) -> None:
    first = operator.target_of(held_source.id)
    operator.admin(*SCOPE, WAIT, CHATS, "--retry-failed")
    assert operator.target_of(held_source.id) is not first
    assert moved(operator, held_source)


@pytest.mark.promise("held.plain-rerun-stays")
def test_the_same_command_again_stays_held(
    operator: Operator, world: World, held_source: Collection
) -> None:
    said = operator.admin(*SCOPE, WAIT, CHATS, code=1).out
    assert unmoved(world, held_source)
    assert "Held: Alpha" in said
    assert len(world.targets_of("Alpha")) == 1


# -- told, without holding back --------------------------------------------------------------
@pytest.mark.promise("validation.late-documents")
def test_late_documents_are_brought_into_the_target_and_told(
    operator: Operator, world: World, source: Collection
) -> None:
    source, _ = submitted(operator, source)
    late = world.add_document(source.id, "late.pdf")
    said = operator.admin(VERIFY, CHATS).out
    assert moved(operator, source)
    assert late.id in {line.document.id for line in operator.target_of(source.id).documents}
    assert "1 late document brought into the target" in said


@pytest.mark.promise("validation.unsettled-waits")
def test_documents_in_the_works_are_waited_for(
    operator: Operator, world: World, source: Collection
) -> None:
    source, target = submitted(operator, source)
    document = target.documents[0].document.id
    world.set_document_status(target.id, document, "queued")
    said = operator.admin(VERIFY, CHATS).out
    assert unmoved(world, source)
    assert "still being worked on" in said
    world.set_document_status(target.id, document, "completed")
    operator.admin(VERIFY, CHATS)
    assert moved(operator, source)


@pytest.mark.parametrize("when", ["in work at submission", "late"])
def test_a_document_that_fails_in_the_target_alone_holds_back_whenever_it_came(
    operator: Operator, world: World, source: Collection, when: str
) -> None:
    document = source.documents[0].document.id
    if when == "late":
        source, _ = submitted(operator, source)
        document = world.add_document(source.id, "late.pdf").id
        fails = call(
            lambda: world.set_document_status(operator.target_of(source.id).id, document, "failed")
        )
        operator.server.faults.add(fails, route=DOCUMENTS, times=None)
    else:
        world.set_document_status(source.id, document, "running")
        source, target = submitted(operator, source)
        world.set_document_status(target.id, document, "failed")
    said = operator.admin(VERIFY, CHATS, code=1).out
    assert "1 document not usable in the target" in said
    assert ("still being worked on in the source" in said) == (when != "late")
    assert unmoved(world, source)
    operator.server.faults.clear()
    world.set_document_status(source.id, document, "completed")
    world.set_document_status(operator.target_of(source.id).id, document, "completed")
    operator.admin(VERIFY, CHATS)
    assert moved(operator, source)


def test_what_is_stuck_in_the_source_as_well_is_waited_for_a_while_and_told(
    operator: Operator, world: World, source: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = source.documents[0].document.id
    world.set_document_status(source.id, document, "running")
    source, target = submitted(operator, source)
    world.set_document_status(target.id, document, "running")
    assert "1 document still being worked on" in operator.admin(VERIFY, CHATS).out
    assert unmoved(world, source)
    monkeypatch.setattr(patience, "WORKED_ON_ALIKE_S", 0.0)
    said = operator.admin(VERIFY, CHATS).out
    assert moved(operator, source)
    assert "1 document still being worked on, in the source as well" in said


@pytest.mark.promise("validation.lifecycle-warned", "validation.settings-warned")
def test_lifecycle_metadata_and_rights_that_differ_are_warnings(
    operator: Operator, world: World
) -> None:
    source = world.add_collection(
        "anna",
        "Alpha",
        M3,
        connectors=2,
        chats=2,
        inactivity_interval=30,
        size_limit=10**9,
        rag_type="rag+",
        metadata={"a": 1},
        public=["read"],
        shares={"bertil": ["read"]},
    )
    source, target = submitted(operator, source)
    target.inactivity_interval, target.size_limit, target.rag_type = 90, None, "hyde1"
    target.metadata, target.is_public, target.shares = {}, False, {}
    said = operator.admin(VERIFY, CHATS).out
    assert moved(operator, source)
    status = operator.plain("--status").out
    for words in ("inactivity_interval", "size_limit", "rag_type", "metadata", "private", "user"):
        assert words in said
        assert words in status


@pytest.mark.promise("vanished.target")
def test_a_target_that_was_deleted_after_its_import(
    operator: Operator, world: World, source: Collection
) -> None:
    source, target = submitted(operator, source)
    world.delete_collection(target.id)
    operator.admin(VERIFY, CHATS, code=1)
    assert unmoved(world, source)
    assert operator.row(source.id)["job_status"] == "failed"
    operator.admin(*SCOPE, WAIT, CHATS, "--retry-failed")
    assert moved(operator, source)


@pytest.mark.promise("vanished.source")
def test_a_source_that_was_deleted_after_submission(
    operator: Operator, world: World, source: Collection
) -> None:
    source, target = submitted(operator, source)
    world.delete_collection(source.id)
    operator.admin(VERIFY, CHATS)
    assert operator.row(source.id)["job_status"] == "completed"
    assert len(target.documents) == 2


def test_what_is_held_without_a_source_is_not_to_be_migrated_afresh(
    operator: Operator, world: World, source: Collection
) -> None:
    source, target = submitted(operator, source)
    target.documents.pop()
    world.delete_collection(source.id)
    said = operator.admin(VERIFY, code=1).text
    assert "1 document missing" in said
    assert "--verify --ignore-validation" in said
    assert "--retry-failed" not in said


@pytest.mark.parametrize(
    ("kind", "again"),
    [(JobKind.MOVE_CONNECTORS, (VERIFY,)), (JobKind.MOVE_CHATS, (*SCOPE, WAIT))],
    ids=["connectors", "chats"],
)
def test_what_went_with_a_source_before_it_moved_is_told_and_does_not_count_as_moved(
    operator: Operator, world: World, source: Collection, kind: str, again: Tuple[str, ...]
) -> None:
    world.set_fate(source.id, Fate.REFUSE, kind=kind)
    operator.admin(*SCOPE, WAIT, CHATS, code=1)
    world.delete_collection(source.id)
    said = " ".join(operator.admin(*again, CHATS).text.split())
    noun = "connector" if kind == JobKind.MOVE_CONNECTORS else "chat"
    assert re.search(
        rf"\d+ {noun}s? that the source held did not arrive in the target: it was deleted", said
    )
    moved_of = operator.sql(
        "SELECT counts FROM intents WHERE counts IS NOT NULL AND state = 'done'"
    )
    target = operator.target_of(source.id)
    came = sum(json.loads(row["counts"])["source"] for row in moved_of)
    assert came == len(target.connectors) + len(world.sessions_of(target.id)) < 4
    operator.plain("--status", "--check")


@pytest.mark.parametrize("kind", [JobKind.MOVE_CONNECTORS, JobKind.MOVE_CHATS])
def test_what_people_delete_while_it_moves_is_told_and_does_not_count_as_moved(
    operator: Operator, world: World, source: Collection, kind: str
) -> None:
    def delete() -> None:
        if kind == JobKind.MOVE_CONNECTORS:
            source.connectors.pop()
        else:
            del world.sessions[world.sessions_of(source.id)[0].id]

    step = "scheduled_connectors" if kind == JobKind.MOVE_CONNECTORS else "chat_sessions_job"
    operator.server.faults.add(
        call(delete), route=f"POST /collections/{{collection_id}}/migrate_{step}"
    )
    said = " ".join(operator.admin(*SCOPE, WAIT, CHATS).text.split())
    noun = "connector" if kind == JobKind.MOVE_CONNECTORS else "chat"
    assert f"1 {noun} that the source held did not arrive in the target: people may" in said
    assert f"1 {noun}" in said.partition("Migrated now:")[2]
    assert "did not arrive" in operator.plain("--status").out


@pytest.mark.promise("vanished.job")
def test_a_job_whose_record_is_gone(operator: Operator, world: World, source: Collection) -> None:
    source, _ = submitted(operator, source)
    world.forget_job(world.import_jobs(source.id)[0].id)
    said = operator.admin(VERIFY, CHATS).out
    assert moved(operator, source)
    assert "no record of the job" in said
