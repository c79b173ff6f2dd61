"""What comes late, and what is left to do when a run failed or was killed in between."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Iterator, Optional, Tuple

import pytest

from h2ogpte_migration.model import SourceId
from h2ogpte_migration.sandbox.faults import Action, FixedReply, call, reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.states import StepName
from h2ogpte_migration.tracking.leases import Leases
from tests.faults.harness import M3

from .lab import CHATS, FORCE, VERIFY, WAIT, Lab, clock, hurried, laboratory

__all__ = ["clock", "hurried"]

MXBAI = "mixedbread-ai/mxbai-embed-large-v1"
MOVE_CONNECTORS = "POST /collections/{collection_id}/migrate_scheduled_connectors"
MOVE_CHATS = "POST /collections/{collection_id}/migrate_chat_sessions_job"

pytestmark = pytest.mark.usefixtures("clock", "hurried")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with laboratory(tmp_path) as made:
        yield made


def late(lab: Lab) -> bool:
    """Whether the late document is in the target in use."""
    target = lab.current()
    return target is not None and any(m.document.name == "late.pdf" for m in target.documents)


def held_by(lab: Lab, command: str) -> None:
    """Another command works on the source: its process is the parent of this one, which lives."""
    lab.sql(
        "INSERT INTO runs (started_at, heartbeat_at, host, machine, pid, process_start, folder, "
        "version, command) SELECT started_at, heartbeat_at, host, machine, ?, '', folder, version, "
        "? FROM runs LIMIT 1",
        os.getppid(),
        command,
    )
    lab.sql("INSERT INTO leases SELECT ?, max(id), '2026' FROM runs", lab.source.id)


def test_chats_of_a_former_target_that_could_not_be_brought_over_are_still_to_do(lab: Lab) -> None:
    lab.migrated()
    lab.submit(FORCE)
    first = lab.targets[0]
    lab.server.faults.add(reply(403), route=MOVE_CHATS, times=None)
    assert lab.verify().code == 1
    status = lab.command("--status", "--check")
    assert status.code == 1, status.text
    lab.server.faults.clear()
    assert lab.verify().code == 0
    assert lab.chats_of(first.id) == 0
    assert lab.command("--status", "--check").code == 0


@pytest.mark.parametrize("how", ["import failed", "creation refused", "still importing"])
def test_what_a_former_target_holds_is_named_with_the_way_to_its_source_by_a_rollback(
    lab: Lab, how: str
) -> None:
    """Of a target that is not imported nothing comes back: what the one before holds is wanted back."""
    lab.migrated()
    first = lab.targets[0]
    if how == "creation refused":
        lab.server.faults.add(reply(400), route="POST /collections", times=None)
    else:
        lab.world.set_fate(lab.source.id, Fate.FAIL if how == "import failed" else Fate.NEVER_END)
    if how == "still importing":
        assert lab.command("--target-model", M3, CHATS, FORCE).code == 0
    else:
        assert lab.migrate(FORCE).code == 1
    lab.server.faults.clear()
    result = lab.command("--rollback")
    assert "--retry-failed" not in result.text.partition("Next:")[2]
    assert result.code == 1
    (line,) = [each for each in result.text.splitlines() if "to bring it over:" in each]
    assert line.endswith(
        f"--move-connectors --move-chats --from {first.id} --to {lab.source.id} "
        "--db-path migration_tracking.db"
    )


def test_a_document_that_came_after_a_clean_validation_is_late_and_not_missing(lab: Lab) -> None:
    lab.submitted()
    lab.server.faults.add(reply(403), route=MOVE_CONNECTORS, times=None)
    assert lab.verify().code == 1
    lab.server.faults.clear()
    lab.world.add_document(lab.source.id, "late.pdf")
    result = lab.verify()
    assert result.code == 0, result.text
    assert late(lab)


def test_what_a_connector_brings_until_it_is_moved_follows_it(lab: Lab) -> None:
    def bring() -> None:
        lab.world.add_document(lab.source.id, "late.pdf")

    lab.server.faults.add(call(bring), route=MOVE_CONNECTORS)
    result = lab.migrate()
    assert result.code == 0, result.text
    assert late(lab)
    assert "1 late document brought into the target" in result.text


def test_what_comes_that_late_and_is_of_no_use_is_told(lab: Lab) -> None:
    def bring() -> None:
        lab.world.add_document(lab.source.id, "late.pdf")

    def spoil() -> None:
        for member in lab.target.documents:
            if member.document.name == "late.pdf":
                member.status = "failed"

    lab.server.faults.add(call(bring), route=MOVE_CONNECTORS)
    documents = "GET /collections/{collection_id}/documents"
    lab.server.faults.add(call(spoil), route=documents, when=lambda _: late(lab), times=None)
    result = lab.migrate()
    assert result.code == 0, result.text
    said = " ".join(result.text.split())
    assert "was brought, and is not usable in the target: late.pdf" in said


def test_what_comes_that_late_and_can_only_be_copied_is_told(lab: Lab) -> None:
    def bring() -> None:
        lab.world.add_document(lab.source.id, "late.pdf")

    lab.server.faults.add(call(bring), route=MOVE_CONNECTORS)
    result = lab.migrate("--copy-document")
    assert "1 document came into the source while its connectors were moved" in result.text
    assert not late(lab)


LISTED = "GET /collections/{collection_id}/chats"


def hide_chats_of(lab: Lab, collection: Collection) -> None:
    """Its listing lags; the server counts them all the same."""
    lab.server.faults.add(
        Action(reply=FixedReply(200, b"[]")),
        route=LISTED,
        when=lambda request: collection.id in request.path,
        times=None,
    )


def test_chats_that_are_counted_and_not_listed_come_back_with_a_rollback(lab: Lab) -> None:
    lab.migrated()
    hide_chats_of(lab, lab.target)
    assert lab.command("--rollback").code == 0
    assert lab.chats_of(lab.source.id) == 2


def test_chats_of_a_former_target_that_are_counted_and_not_listed_are_brought_over(
    lab: Lab,
) -> None:
    lab.migrated()
    first = lab.target
    hide_chats_of(lab, first)
    assert lab.migrate(FORCE).code == 0
    assert lab.chats_of(first.id) == 0


def test_chats_do_not_stay_in_the_middle_of_a_chain_whose_end_has_moved_its_own(lab: Lab) -> None:
    assert lab.command("--target-model", M3, WAIT).code == 0
    middle = lab.target
    onwards = ("--source-model", M3, "--target-model", "BAAI/bge-large-en-v1.5", "--all-users")
    assert lab.command(*onwards, WAIT, CHATS).code == 0
    result = lab.verify()
    assert result.code == 1
    assert f"its target {middle.id} was itself migrated on" in result.text
    assert "--move-chats --from" in result.text
    assert lab.chats_of(middle.id) == 0


@pytest.mark.parametrize("links", [1, 2])
def test_a_forced_first_link_of_a_chain_names_what_its_later_links_hold(
    lab: Lab, links: int
) -> None:
    lab.migrated()
    middle = lab.target
    for model in ("BAAI/bge-large-en-v1.5", "intfloat/e5-large-v2")[:links]:
        onwards = ("--collections", lab.targets[-1].id, "--target-model", model)
        assert lab.command(*onwards, WAIT, CHATS).code == 0
    last = lab.targets[-1]
    result = lab.command("--collections", lab.source.id, "--target-model", M3, FORCE, WAIT, CHATS)
    assert result.code == 0, result.text
    told = " ".join(result.text.split())
    assert f"{last.id}, to which the former target {middle.id} was migrated on, holds" in told
    assert "holds 2 connectors, 2 chats" in told
    words = f"--move-connectors --move-chats --from {last.id} --to {lab.targets[-1].id}"
    assert words in told
    assert (len(last.connectors), lab.chats_of(last.id)) == (2, 2)


def test_a_forced_run_after_a_rollback_forces(lab: Lab) -> None:
    lab.migrated()
    lab.server.faults.add(reply(403), route=MOVE_CONNECTORS, times=None)
    assert lab.migrate(FORCE).code == 1
    lab.server.faults.clear()
    assert lab.command("--rollback").code == 0
    before = len(lab.targets)
    assert lab.migrate(FORCE, CHATS).code == 0
    assert len(lab.targets) == before + 1


RECALL = ("--verify-retrieval", "3", "--min-recall", "1.0")


@pytest.mark.parametrize(
    ("holder", "asked", "neglected"),
    [
        ("", (), False),
        ("", (CHATS,), True),
        (CHATS, (CHATS,), False),
        ("", RECALL, True),
        (" ".join(RECALL), RECALL, False),
        ("", ("--verify-query", "Who?"), True),
        ("--verify-query What?", ("--verify-query", "Who?"), True),
    ],
)
def test_what_another_command_holds_is_not_well_where_more_is_asked_for_than_that_one_does(
    lab: Lab, holder: str, asked: Tuple[str, ...], neglected: bool
) -> None:
    lab.command("--target-model", M3, WAIT)
    held_by(lab, f"h2ogpte-migrate --verify {holder}")
    result = lab.command(VERIFY, "--collections", lab.source.id, *asked)
    assert "works on it" in result.text
    assert result.code == neglected, result.text
    following = [line for line in result.text.splitlines() if line.startswith("Next")]
    assert len(following) == neglected
    assert all(f"--collections {lab.source.id}" in line for line in following)
    assert all(word in line for line in following for word in asked)


@pytest.mark.parametrize(
    ("holder", "code"),
    [("--target-model M", 0), ("--target-model M --wait-for-completion", 1), ("--verify", 1)],
)
def test_a_verification_asks_nothing_of_a_migration_that_only_submits(
    lab: Lab, holder: str, code: int
) -> None:
    lab.world.times.import_s = 1e5
    lab.command("--target-model", M3)
    held_by(lab, f"h2ogpte-migrate {holder}")
    result = lab.verify()
    assert "works on it" in result.text
    assert result.code == code, result.text


def test_chats_that_were_moved_are_not_asked_for_of_who_holds_the_collection(lab: Lab) -> None:
    only = ("--collections", lab.source.id)
    for how, code in (((), 0), ((FORCE,), 1)):  # a former target may hold some
        lab.migrate(*only, *how)
        held_by(lab, "h2ogpte-migrate --verify")
        result = lab.verify(*only)
        assert "works on it" in result.text
        assert result.code == code, result.text
        lab.sql("DELETE FROM leases")


@pytest.mark.promise("force.not-twice")
def test_a_forced_run_that_was_killed_is_none_that_wants_another_model(lab: Lab) -> None:
    lab.migrated()
    words = ("--collections", lab.source.id, "--target-model", MXBAI, WAIT, CHATS, FORCE)
    killed = ("INSERT INTO marks VALUES (?, 'force', 1)", lab.source.id)
    lab.sql(*killed)
    assert "migrate again (forced)" in lab.command(*words, "--dry-run").text
    unreadable = f"/collections/{lab.source.id}"
    lab.server.faults.add(
        reply(400), when=lambda asked: asked.path.endswith(unreadable), times=None
    )
    refused = lab.command(*words)
    lab.server.faults.clear()
    (following,) = [line for line in refused.text.splitlines() if line.startswith("Next")]
    assert FORCE in following, "it was not begun"
    assert "force it alone" in refused.text
    lab.sql(*killed)
    result = lab.command(*words)
    assert lab.wrong(result, targets=2) == ""
    target = lab.current()
    assert (result.code, target and target.embedding_model) == (0, MXBAI)


def test_a_forced_run_whose_source_is_gone_leaves_the_finished_migration_finished(
    lab: Lab,
) -> None:
    lab.migrated()
    lab.server.faults.add(
        call(lambda: lab.world.delete_collection(lab.source.id)), route="POST /admin/api_keys"
    )
    assert lab.migrate(FORCE).code == 1
    assert (lab.row()["job_status"], lab.row()["connectors_migrated"]) == ("completed", 1)
    assert "1 done" in lab.command("--status").text


def test_a_rollback_that_was_interrupted_is_open_for_a_verification(lab: Lab) -> None:
    lab.migrated()
    lab.server.faults.add(reply(403), route=MOVE_CHATS, times=None)
    assert lab.command("--rollback").code == 1
    lab.server.faults.clear()
    result = lab.verify()
    assert result.code == 1
    assert "--rollback" in result.text
    assert lab.command("--rollback").code == 0
    assert lab.verify().code == 0


def test_a_newer_version_of_a_document_that_was_copied_holds_the_connectors(lab: Lab) -> None:
    lab.submitted("--copy-document")
    old = lab.source.documents[0].document
    lab.world.remove_document(lab.source.id, old.id)
    lab.world.add_document(lab.source.id, old.name)
    result = lab.verify()
    assert result.code == 1
    assert "1 document added to the source after the import began" in result.text


def test_nothing_is_moved_into_a_target_that_people_archived(lab: Lab) -> None:
    lab.submitted()
    lab.target.status = "archived"
    result = lab.verify()
    assert result.code == 1
    assert "Take it out of the archive" in result.text
    assert lab.target.connectors == []
    lab.target.status = "active"
    assert lab.verify().code == 0


def test_no_new_target_is_advised_where_source_and_target_are_gone(lab: Lab) -> None:
    lab.migrated()
    for collection in (lab.target, lab.source):
        lab.world.delete_collection(collection.id)
    result = lab.verify("--collections", lab.source.id)
    assert result.code == 1
    assert "there is nothing left to migrate" in result.text
    assert "makes a new target" not in result.text


@pytest.mark.parametrize("status", [400, 404, 422])
def test_an_offset_behind_the_only_row_may_be_refused(lab: Lab, status: int) -> None:
    lab.server.faults.add(
        reply(status),
        when=lambda asked: asked.query.get("offset") == "1" and len(lab.world.collections) == 1,
        times=None,
    )
    result = lab.migrate()
    assert result.code == 0, result.text


def list_what_is_there_and_nothing_new(lab: Lab) -> None:
    lab.world.habits.documents_listed_after_s = 3600.0
    for collection in lab.world.collections.values():
        for member in collection.documents:
            member.added_at -= 7200.0


def test_a_document_that_the_source_counts_and_does_not_list_is_told_of(lab: Lab) -> None:
    lab.submitted()
    list_what_is_there_and_nothing_new(lab)
    lab.world.add_document(lab.source.id, "late.pdf")
    result = lab.verify()
    assert "the source counts more documents than it lists" in result.text


@pytest.mark.parametrize("whose", ["its own source", "another owner's"])
def test_a_forced_run_leaves_an_unfit_target_of_the_row_alone(lab: Lab, whose: str) -> None:
    lab.migrated()
    other = lab.source.id
    if whose == "another owner's":
        other = lab.world.add_collection("bertil", "Hers", M3).id
    lab.sql("UPDATE collection_migrations SET new_collection_id = ?", other)
    assert lab.verify("--collections", lab.source.id).code == 1
    result = lab.migrate(FORCE)
    assert result.code == 0, result.text
    assert lab.row()["new_collection_id"] not in (other, None)
    assert len(lab.world.collections[lab.row()["new_collection_id"]].connectors) > 0


def test_a_plain_run_notices_that_the_target_of_a_finished_migration_is_gone(lab: Lab) -> None:
    lab.migrated()
    lab.world.delete_collection(lab.target.id)
    result = lab.migrate()
    assert result.code == 1
    assert "the target was deleted after the end" in result.text
    assert lab.migrate("--retry-failed").code == 0
    assert lab.target.documents


# -- what may not be deleted -----------------------------------------------------------------
def replaced(lab: Lab) -> Collection:
    """A former target that nobody needs any more."""
    lab.replaced()
    return lab.targets[0]


def test_a_former_target_is_listed_once_to_tell_whether_it_may_be_deleted(lab: Lab) -> None:
    former = replaced(lab)
    lab.server.forget_requests()
    assert "1 former target to delete" in lab.command("--cleanup", "--dry-run").text
    listings = [
        request
        for request in lab.server.requests
        if request.route == "GET /collections/{collection_id}/documents"
        and former.id in request.path
        and request.query.get("offset", "0") == "0"
    ]
    assert len(listings) == 2, "whether there is any, and which"


def test_a_document_that_a_former_target_counts_and_does_not_list_yet_is_not_deleted(
    lab: Lab,
) -> None:
    former = replaced(lab)
    list_what_is_there_and_nothing_new(lab)
    lab.world.add_document(former.id, "only-here.pdf")
    result = lab.command("--cleanup", "--yes")
    assert "it counts 1 document more than it lists" in result.text
    assert former.id in lab.world.collections


@pytest.mark.parametrize("meanwhile", ["begun afresh", "cleaned up"])
def test_what_became_of_a_former_target_since_it_was_listed_is_not_written_over(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    lab.migrated()
    lab.command("--rollback")
    rolled_back, claim = lab.target, Leases.claim

    def late(leases: Leases, source_id: SourceId) -> object:
        """Another command had the lease just before."""
        if meanwhile == "cleaned up":
            del lab.world.collections[rolled_back.id]
            lab.sql("UPDATE attempts SET fate = 'deleted'")
        else:
            lab.sql("UPDATE attempts SET fate = 'superseded'")
            lab.sql("UPDATE collection_migrations SET new_collection_id = NULL")
        return claim(leases, source_id)

    monkeypatch.setattr(Leases, "claim", late)
    result = lab.command("--cleanup", "--yes")
    assert result.code == 0, result.text
    assert rolled_back.id not in lab.world.collections
    assert [row["fate"] for row in lab.sql("SELECT fate FROM attempts")] == ["deleted"]
    by_step = "SELECT 1 FROM checkpoints WHERE step = ?"
    assert lab.sql(by_step, StepName.TARGET_DELETED) == []


def test_a_former_target_is_kept_while_any_job_may_write_to_it(lab: Lab) -> None:
    former = replaced(lab)
    lab.world.add_job("anna", "CrawlJob", lasts_s=3600)
    result = lab.command("--cleanup", "--yes")
    assert "a job of its owner is running (CrawlJob" in result.text
    assert former.id in lab.world.collections


def test_targets_that_vanish_as_soon_as_they_are_made_are_not_made_without_end(lab: Lab) -> None:
    made = []

    def vanish() -> None:
        for target in lab.targets:
            made.append(target.id)
            lab.world.delete_collection(target.id)

    lab.server.faults.add(
        call(vanish),
        when=lambda request: request.route != "POST /collections" and len(made) < 20,
        times=None,
    )
    result = lab.migrate("--retries", "1")
    assert result.code == 1
    assert len(made) <= 4


# -- a former target that its owner may not see any more ------------------------------------
def refuse(lab: Lab, former: Collection, status: int, times: Optional[int] = None) -> None:
    """The server does not show what a collection holds."""
    for noun in ("scheduled_connectors", "chats"):
        lab.server.faults.add(
            reply(status),
            route=f"GET /collections/{{collection_id}}/{noun}",
            when=lambda request: former.id in request.path,
            times=times,
        )


def two_former(lab: Lab) -> Tuple[Collection, Collection]:
    """Both hold a connector and a chat; a further target is to be made."""
    lab.replaced()
    first, second = lab.targets
    first.connectors.append(second.connectors.pop())
    lab.world.sessions_of(second.id)[0].collection_id = first.id
    return first, second


def held(lab: Lab, collection: Optional[Collection]) -> Tuple[int, int]:
    assert collection is not None
    return len(collection.connectors), lab.chats_of(collection.id)


@pytest.mark.parametrize("status", [401, 403])
def test_a_former_target_that_may_not_be_seen_holds_up_neither_a_run_nor_another_one(
    lab: Lab, status: int
) -> None:
    first, second = two_former(lab)
    refuse(lab, first, status)
    forced = lab.migrate(FORCE)
    third = lab.current()
    assert forced.code == 0, forced.text
    assert (held(lab, first), held(lab, second), held(lab, third)) == ((1, 1), (0, 0), (1, 1))
    assert third is not None
    for noun in ("connectors", "chats"):
        assert f"--move-{noun} --from {first.id} --to {third.id}" in forced.text
    status_page = lab.command("--status", "--all", "--check")
    assert status_page.code == 0, "nothing is open for ever"
    assert f"--from {first.id} --to {third.id}" in " ".join(status_page.text.split())
    assert lab.verify().code == 0


@pytest.mark.parametrize("status", [401, 403])
def test_a_rollback_brings_what_may_be_seen_and_is_open_until_all_of_it_came(
    lab: Lab, status: int
) -> None:
    first, _ = two_former(lab)
    refuse(lab, first, status)
    for _ in range(2):
        result = lab.command("--rollback")
        assert result.code == 1
        assert f"see or empty the former target {first.id}" in " ".join(result.text.split())
        assert held(lab, lab.source) == (1, 1)
        assert lab.command("--status", "--check").code == 1
    lab.server.faults.clear()
    assert lab.command("--rollback").code == 0
    assert held(lab, lab.source) == (2, 2)
    assert lab.command("--status", "--check").code == 0


def test_a_former_target_that_is_refused_once_is_looked_into_again(lab: Lab) -> None:
    first, _ = two_former(lab)
    refuse(lab, first, 403, times=1)
    assert lab.migrate(FORCE).code == 0
    assert held(lab, lab.current()) == (2, 2)


@pytest.mark.parametrize("words", [(FORCE,), ("--rollback",)])
def test_a_former_target_whose_move_is_refused_holds_up_no_other_and_is_still_to_do(
    lab: Lab, words: Tuple[str, ...]
) -> None:
    first, second = two_former(lab)
    for route in ("migrate_scheduled_connectors", "migrate_chat_sessions_job"):
        lab.server.faults.add(
            reply(403),
            route=f"POST /collections/{{collection_id}}/{route}",
            when=lambda request: first.id in f"{request.path}{request.query}{request.body}",
            times=None,
        )
    act = lab.migrate if FORCE in words else lab.command
    assert act(*words).code == 1
    assert held(lab, first) == (1, 1)
    assert held(lab, second) == (0, 0)
    lab.server.faults.clear()
    assert (lab.verify() if FORCE in words else lab.command(*words)).code == 0
    assert held(lab, lab.current() if FORCE in words else lab.source) == (2, 2)


def test_a_rollback_that_is_repeated_counts_what_stays_once(lab: Lab) -> None:
    first, _ = two_former(lab)
    lab.server.faults.add(
        reply(403),
        route=MOVE_CONNECTORS,
        when=lambda asked: first.id in f"{asked.path} {asked.body}",
        times=None,
    )
    booked = set()
    for _ in range(3):
        lab.command("--rollback")
        rows = lab.sql("SELECT counts FROM intents WHERE step = 'connectors back' ORDER BY id")
        counts = json.loads(rows[-1]["counts"])
        booked.add((counts["source"], counts.get("stay")))
    assert booked == {(2, 1)}
    lab.server.faults.clear()
    assert lab.command("--rollback").code == 0
    assert held(lab, lab.source) == (2, 2)
