"""Are documents found in the new index: looked for, compared, told, and held back where asked."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from h2ogpte_migration.sandbox.faults import (
    Action,
    FixedReply,
    close,
    html_page,
    invalid_json,
    reply,
)
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.passages import chunks_of, text_of
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.e2e.prepared import once
from tests.faults.harness import LARGE, M3, Result, run
from tests.support.terminal import MAPPED, WAIT, Operator

ADMIN = "sk-sandbox-admin"
LOOK = "--verify-retrieval"
GATE = (LOOK, "3", "--min-recall", "0.9")
CHUNKS = "GET /documents/{document_id}/chunks"
ENCODE = "POST /embedding_models/{model_id}/encode_chunks_for_retrieval"
MATCH = "POST /collections/{collection_id}/chunks/match"
FEW = (LOOK, "4")
HELD = "connectors and chats are held back"

pytestmark = pytest.mark.usefixtures("clock")


class Desk:
    """Somebody who runs commands in one folder."""

    def __init__(self, server: SandboxServer, folder: Path) -> None:
        self.server, self.folder = server, folder

    def run(self, *words: str, code: int = 0) -> Result:
        """Run with the admin's key."""
        found = run(self.folder, "--url", self.server.url, "--admin-key", ADMIN, *words)
        assert found.code == code, found.text
        return found

    def migrate(self, *words: str, code: int = 0) -> Result:
        return self.run("--users", "anna", MAPPED, WAIT, *words, code=code)

    def migrated(self, source: Collection, *words: str, code: int = 0) -> Collection:
        """Begin with what that left of a source; see ``prepared.once``."""

        def commands() -> List[Collection]:
            self.migrate(*words, code=code)
            return [source]

        database = self.folder / "migration_tracking.db"
        (found,) = once(("retrieval", words), self.server, database, commands)
        return found

    def sql(self, query: str) -> List[Dict[str, Any]]:
        with closing(sqlite3.connect(self.folder / "migration_tracking.db")) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    def checked(self) -> Dict[str, Any]:
        (row,) = self.sql("SELECT * FROM retrievals")
        return row

    def target(self, source: Collection) -> Collection:
        query = f"SELECT new_collection_id AS id FROM collection_migrations WHERE old_collection_id = '{source.id}'"
        return self.server.world.collections[self.sql(query)[0]["id"]]

    def report(self) -> Dict[str, Any]:
        (line,) = json.loads((self.folder / "r.json").read_text())["collections"]
        return dict(line)

    def counts(self) -> Dict[str, int]:
        return {route: self.server.counts().get(route, 0) for route in (CHUNKS, ENCODE, MATCH)}


@pytest.fixture
def desk(server: SandboxServer, tmp_path: Path) -> Desk:
    return Desk(server, tmp_path)


@pytest.fixture
def source(world: World) -> Collection:
    return world.add_collection("anna", "Papers", M3, documents=12, connectors=1, chats=2)


@pytest.mark.promise("retrieval.compares")
# -- looking -----------------------------------------------------------------------------
def test_all_is_found_and_told_everywhere(desk: Desk, source: Collection) -> None:
    said = desk.migrate(LOOK, "--report", "r.json").text
    assert (
        "Retrieval: 10 of 10 documents found in 1 new collection, and 10 of 10 in the old" in said
    )
    assert len(desk.target(source).connectors) == 1
    row = desk.checked()
    assert (row["documents"], row["found"], row["old_found"], row["lost"]) == (10, 10, 10, 0)
    assert (row["recall_at_1"], row["recall_at_10"], row["mrr"]) == (1.0, 1.0, 1.0)
    line = desk.report()
    assert (line["looked_for"], line["found"], line["found_before"], line["mrr"]) == (10, 10, 10, 1)
    assert "10 of 10 documents found" in " ".join(run(desk.folder, "--status").text.split())


@pytest.mark.promise("retrieval.cost")
def test_it_costs_two_requests_at_most_for_each_document_and_index(
    desk: Desk, source: Collection
) -> None:
    desk.migrate(LOOK, "5")
    assert desk.counts() == {CHUNKS: 5, ENCODE: 2, MATCH: 10}


def test_no_text_of_a_document_gets_into_log_or_record(desk: Desk, source: Collection) -> None:
    log = desk.migrate(LOOK, "12", "--log-level", "debug", "--report", "r.json").log
    words = next(chunks_of(source)).text.split()
    passage = " ".join(words[15:20])
    kept = (desk.folder / "migration_tracking.db").read_bytes()
    assert passage not in log + (desk.folder / "r.json").read_text()
    assert passage.encode() not in kept


@pytest.mark.promise("retrieval.names-what-is-lost")
@pytest.mark.parametrize("broken", ["empty", "garbage"])
def test_a_broken_index_is_told_with_the_names_and_holds_nothing_back(
    desk: Desk, world: World, source: Collection, broken: str
) -> None:
    world.habits.broken_index = broken
    said = desk.migrate(LOOK, "10", "--report", "r.html").text
    assert "Not found any more in Papers" in said
    assert ".pdf" in said
    assert len(desk.target(source).connectors) == 1
    row = desk.checked()
    assert row["found"] < row["old_found"] == 10
    assert row["lost"] == 10 - row["found"]
    assert "Not found any more" in (desk.folder / "r.html").read_text()
    assert "not found any more" in " ".join(run(desk.folder, "--status", "--all").text.split())


@pytest.mark.promise("retrieval.finished-ones")
def test_finished_ones_are_looked_at_by_verify_and_by_the_check_alone(
    desk: Desk, world: World, source: Collection
) -> None:
    source = desk.migrated(source, "--migrate-chats")
    assert "To verify: 0 collections" in desk.run("--verify").text
    assert "3 of 3 documents found" in desk.run("--verify", LOOK, "3").text
    before = desk.server.counts(mutating=True)
    world.habits.broken_index = "empty"
    said = desk.run(LOOK, "3", "--users", "anna").text
    assert "0 of 3 documents found in 1 new collection, and 3 of 3 in the old" in said
    allowed = {ENCODE, MATCH}
    after = desk.server.counts(mutating=True)
    assert {
        route for route in after if after[route] != before.get(route) and "api_key" not in route
    } <= allowed


def test_the_check_alone_leaves_alone_what_is_not_finished(desk: Desk, source: Collection) -> None:
    desk.run("--users", "anna", MAPPED)
    desk.server.world.wait_until_idle()
    assert "To verify: 0 collections" in desk.run(LOOK).text
    said = desk.run(LOOK, "--collections", source.id, code=1).text
    assert "its migration is not finished: --verify looks after it" in said
    assert desk.target(source).connectors == []


def test_a_migration_that_waits_looks_at_what_was_finished_before(
    desk: Desk, source: Collection
) -> None:
    source = desk.migrated(source)
    assert "3 of 3 documents found" in desk.migrate(LOOK, "3").text


def test_the_same_documents_are_looked_for_again(desk: Desk, source: Collection) -> None:
    desk.migrate(LOOK, "3")
    seed, asked = desk.checked()["seed"], _asked(desk)
    desk.server.requests.clear()
    desk.run("--verify", LOOK, "3")
    assert desk.checked()["seed"] == seed
    assert _asked(desk) == asked


def _asked(desk: Desk) -> List[str]:
    return [request.path for request in desk.server.requests if request.route == CHUNKS]


def test_copies_are_found_by_their_names(desk: Desk, source: Collection) -> None:
    said = desk.migrate(LOOK, "3", "--copy-document").text
    assert "3 of 3 documents found in 1 new collection, and 3 of 3 in the old" in said
    ids = {m.document.id for m in source.documents}
    assert ids.isdisjoint(m.document.id for m in desk.target(source).documents)
    asked = [request for request in desk.server.requests if request.route == CHUNKS]
    assert len(asked) == 3, "each by its own id in the source"
    assert {(request.query["collection_id"], request.status) for request in asked} == {
        (source.id, 200)
    }


def test_documents_without_text_are_not_counted(desk: Desk, world: World) -> None:
    states = [(f"agent {number}.txt", "agent_only") for number in range(4)]
    world.add_collection("anna", "Agents", M3, documents=[*states, ("report.pdf", "completed")])
    world.add_collection("anna", "Nothing but agents", M3, documents=states)
    world.add_collection("anna", "Empty", M3, documents=0)
    said = desk.migrate(*GATE).text
    assert "1 of 1 documents found in 3 new collections" in said


def test_a_document_with_huge_and_empty_chunks_is_found(desk: Desk, world: World) -> None:
    source = world.add_collection("anna", "Odd", M3, documents=["long.txt", "blank.txt", "q.txt"])
    long, blank, _ = (m.document for m in source.documents)
    long.text, blank.text = "x" * 300_000, " \n "
    said = desk.migrate(LOOK, "3").text
    assert "2 of 2 documents found in 1 new collection" in said


@pytest.mark.promise("retrieval.old-model-gone")
# -- the old index -----------------------------------------------------------------------
def test_without_the_old_model_there_are_new_numbers_only(
    desk: Desk, world: World, source: Collection
) -> None:
    del world.models[M3]
    said = desk.migrate(LOOK, "3").text
    assert "3 of 3 documents found (the server does not encode with the old model any more)" in said
    assert desk.checked()["old_documents"] is None


def test_without_the_old_collection_the_new_one_is_looked_at(
    desk: Desk, world: World, source: Collection
) -> None:
    source = desk.migrated(source)
    del world.collections[source.id]
    said = desk.run(LOOK, "3").text
    assert "3 of 3 documents found (the old collection can't be searched any more)" in said


# -- a server that does not do it --------------------------------------------------------


def answered(value: Any) -> Action:
    """Answer 200 with this JSON."""
    return Action(reply=FixedReply(200, json.dumps(value).encode()))


SHAPES: Dict[str, Action] = {
    "a 401": reply(401),
    "a 403": reply(403),
    "a 404": reply(404),
    "a 405": reply(405),
    "a 500": reply(500),
    "a 501": reply(501),
    "a page": html_page(),
    "broken JSON": invalid_json(),
    "no answer": close(),
    "an object": answered({"result": []}),
    "null": answered(None),
    "rows of another shape": answered([7, None, "x", {"odd": [1]}, [["1"]]]),
}


QUICK = (
    ("a 401", CHUNKS),
    ("a 404", ENCODE),
    ("a 405", MATCH),
    ("a 500", CHUNKS),
    ("a 501", ENCODE),
    ("a page", MATCH),
    ("null", ENCODE),
    ("rows of another shape", MATCH),
)
"""What is tried by default; ``-m slow`` tries every shape at every route."""


def shapes() -> Iterator[Any]:
    for shape in SHAPES:
        for route in (CHUNKS, ENCODE, MATCH):
            marks = [] if (shape, route) in QUICK else [pytest.mark.slow]
            yield pytest.param(shape, route, marks=marks, id=f"{shape} to {route}")


@pytest.mark.promise("retrieval.never-fails")
@pytest.mark.parametrize(("shape", "route"), shapes())
def test_a_server_without_it_is_told_once_and_the_migration_goes_on(
    desk: Desk, source: Collection, shape: str, route: str
) -> None:
    desk.server.faults.add(SHAPES[shape], route=route, times=None)
    said = desk.migrate(*FEW, "--migrate-chats", "--retries", "1").text
    assert "Retrieval: 1 could not be checked" in said
    assert len(desk.target(source).connectors) == 1
    kept = desk.sql("SELECT text FROM warnings WHERE step = 'retrieval'")
    assert len(kept) == 1
    # Once it works, nothing is left of the warning.
    desk.server.faults.clear()
    assert "4 of 4 documents found" in desk.run("--verify", *FEW).text
    assert desk.sql("SELECT text FROM warnings WHERE step = 'retrieval'") == []


def test_what_does_not_answer_is_not_asked_for_every_collection(desk: Desk, world: World) -> None:
    for number in range(8):
        world.add_collection("anna", f"Number {number}", M3)
    desk.server.faults.add(reply(500), route=ENCODE, times=None)
    said = desk.migrate(LOOK, "--retries", "2").text
    assert "8 could not be checked" in said
    assert desk.counts()[ENCODE] <= 3 * 4


@pytest.mark.parametrize(
    "habit",
    [
        {"missing_operations": "encode_chunks_for_retrieval,list_document_chunks"},
        {"foreign_404": "match_collection_chunks", "foreign_404_shape": "html"},
        {"page_cap": 7, "shuffle_ties": True},
        {"restless": "repeat", "listings_are_sparse": True},
    ],
    ids=str,
)
def test_whatever_the_habits_of_the_server_the_migration_ends_well(
    desk: Desk, world: World, source: Collection, habit: Dict[str, Any]
) -> None:
    for name, value in habit.items():
        setattr(world.habits, name, value)
    said = desk.migrate(*FEW, "--migrate-chats", "--retries", "1")
    assert "Retrieval: " in said.text
    target = desk.target(source)
    assert (len(target.connectors), len(world.sessions_of(target.id))) == (1, 2)


@pytest.mark.promise("retrieval.min-recall")
# -- holding back ------------------------------------------------------------------------
def test_below_the_least_share_everything_is_held_back_until_it_is_found(
    desk: Desk, world: World, source: Collection
) -> None:
    world.habits.broken_index = "empty"
    said = desk.migrate(*GATE, "--migrate-chats", code=1).text
    assert f"{HELD}: 0 of 3 documents are found in the new index" in said
    assert "--verify --ignore-validation to accept it" in said
    target = desk.target(source)
    assert held(desk)
    assert (target.connectors, world.sessions_of(target.id)) == ([], [])
    # A run that does not look takes nobody's word for it, cron least of all.
    assert HELD in desk.run("--verify", "--migrate-chats", code=1).text
    assert HELD in desk.migrate("--migrate-chats", code=1).text
    # One that looks, and asks for no share, keeps to the one that was asked for.
    assert HELD in desk.run("--verify", LOOK, "3", "--migrate-chats", code=1).text
    assert held(desk)
    assert target.connectors == []
    world.habits.broken_index = ""
    desk.run("--verify", *GATE, "--migrate-chats")
    assert not held(desk)
    assert (len(target.connectors), len(world.sessions_of(target.id))) == (1, 2)


def held(desk: Desk) -> bool:
    status = json.loads(run(desk.folder, "--status", "--json").out)
    return bool(status["counts"]["held"])


@pytest.mark.promise("retrieval.accepted")
def test_people_may_accept_what_is_not_found(desk: Desk, world: World, source: Collection) -> None:
    world.habits.broken_index = "garbage"
    source = desk.migrated(source, *GATE, code=1)
    desk.run("--verify", "--ignore-validation")
    assert len(desk.target(source).connectors) == 1
    assert not held(desk)


def test_accepted_at_once_nothing_is_held_back_and_a_warning_is_kept(
    desk: Desk, world: World, source: Collection
) -> None:
    world.habits.broken_index = "empty"
    said = desk.migrate(*GATE, "--ignore-validation").text
    assert "(accepted)" in said
    assert len(desk.target(source).connectors) == 1
    assert desk.checked()["accepted"] == 1


def test_a_fresh_target_is_another_way_out(desk: Desk, world: World, source: Collection) -> None:
    world.habits.broken_index = "empty"
    source = desk.migrated(source, *GATE, code=1)
    world.habits.broken_index = ""
    first = desk.target(source).id
    desk.migrate(*GATE, "--retry-failed")
    assert desk.target(source).id != first
    assert len(desk.target(source).connectors) == 1


def test_chats_that_are_left_are_held_back_after_the_connectors(
    desk: Desk, world: World, source: Collection
) -> None:
    source = desk.migrated(source)
    world.habits.broken_index = "empty"
    said = desk.run("--verify", *GATE, "--migrate-chats", code=1).text
    assert "chats are held back: 0 of 3 documents" in said
    target = desk.target(source)
    assert "chats are held back" in desk.run("--verify", "--migrate-chats", code=1).text
    assert world.sessions_of(target.id) == []
    desk.run("--verify", "--migrate-chats", "--ignore-validation")
    assert len(world.sessions_of(target.id)) == 2


def test_chats_move_once_everything_is_found(desk: Desk, world: World, source: Collection) -> None:
    source = desk.migrated(source)
    world.habits.broken_index = "empty"
    desk.run("--verify", *GATE, code=1)
    world.habits.broken_index = ""
    desk.run("--verify", LOOK, "3", "--migrate-chats")
    assert len(world.sessions_of(desk.target(source).id)) == 2


def test_where_all_was_moved_before_it_is_told_with_the_ways_back(
    desk: Desk, world: World, source: Collection
) -> None:
    source = desk.migrated(source, "--migrate-chats")
    world.habits.broken_index = "empty"
    said = desk.run(*GATE, code=1).text
    assert "connectors and chats were moved before: 0 of 3 documents" in said
    assert "--rollback brings them back" in said
    assert desk.run("--verify").code == 0, "nothing is left to hold back"


@pytest.mark.parametrize(
    "habit",
    [
        {"missing_operations": "match_collection_chunks"},
        {"empty_listings": "list_document_chunks"},
    ],
    ids=str,
)
def test_what_can_not_be_checked_is_held_back_only_where_a_share_was_asked_for(
    desk: Desk, world: World, source: Collection, habit: Dict[str, Any]
) -> None:
    for name, value in habit.items():
        setattr(world.habits, name, value)
    said = desk.migrate(*GATE, code=1).text
    assert f"{HELD}: that documents are found could not be checked" in said
    desk.run("--verify", "--ignore-validation")
    assert len(desk.target(source).connectors) == 1


def test_documents_that_came_while_it_was_held_are_brought_over(
    desk: Desk, world: World, source: Collection
) -> None:
    world.habits.broken_index = "empty"
    source = desk.migrated(source, *GATE, code=1)
    other = world.add_collection("anna", "Other", LARGE, documents=["late.pdf"])
    source.documents.append(other.documents[0])
    world.habits.broken_index = ""
    desk.run("--verify", *GATE, "--collections", source.id)
    assert "late.pdf" in {m.document.name for m in desk.target(source).documents}
    assert len(desk.target(source).connectors) == 1


# -- people's own questions --------------------------------------------------------------
@pytest.fixture
def questions(tmp_path: Path, source: Collection) -> str:
    file = tmp_path / "questions.txt"
    file.write_text(
        "Who signs the yearly contract?\n"
        f"{' '.join(text_of(source.documents[7].document).split()[:20])}\tdocument 0007.pdf\n"
        "Nobody has it\tElsewhere.pdf\n"
    )
    return file.name


@pytest.mark.promise("retrieval.questions")
def test_questions_are_answered_by_old_and_new_side_by_side(
    desk: Desk, source: Collection, questions: str
) -> None:
    said = desk.migrate("--verify-queries", questions, "--report", "r.json").text
    assert "Who signs the yearly contract?" in said
    assert "[document 0007.pdf: found]" in said
    assert "1 of 1 documents found" in said
    asked = desk.report()["questions"]
    assert [len(answer["old"]) for answer in asked] == [5, 5, 5]
    assert [answer["found"] for answer in asked] == [None, True, None]
    assert asked[1]["new"][0] == asked[1]["old"][0] == "document 0007.pdf"


def test_an_expected_document_that_is_not_found_holds_back_where_asked(
    desk: Desk, world: World, source: Collection, questions: str
) -> None:
    world.habits.broken_index = "empty"
    said = desk.migrate("--verify-queries", questions, "--min-recall", "1", code=1).text
    assert "fewer than 1 of them; not found: document 0007.pdf" in said


# -- telling it --------------------------------------------------------------------------
HOSTILE = "\x1b[31m<script>alert(1)</script>\u202e,=cmd|' /C calc'!A0.pdf"


def test_names_of_strangers_are_harmless_wherever_they_are_told(desk: Desk, world: World) -> None:
    names = [f"=1+1 {HOSTILE}", *(f"{number} {HOSTILE}" for number in range(5))]
    world.add_collection("anna", f"Odd {HOSTILE}", M3, documents=names)
    (desk.folder / "q.txt").write_text("<b>why</b>?\n")
    world.habits.broken_index = "empty"
    more = (LOOK, "--verify-queries", "q.txt", "--details")
    said = desk.migrate(*more, "--report", "r.html").text
    said += run(desk.folder, "--status", "--all").text
    page = (desk.folder / "r.html").read_text()
    for harmful in ("\x1b", "\u202e"):
        assert harmful not in said + page
    for harmful in ("<script>alert", "<b>why"):
        assert harmful not in page
    desk.run("--verify", *more, "--report", "r.csv")
    with (desk.folder / "r.csv").open(encoding="utf-8-sig", newline="") as file:
        (line,) = csv.DictReader(file)
    assert not line["not_found_any_more"].startswith("=")
    assert "\x1b" not in "".join(line.values())


def test_the_command_line_shows_what_old_and_new_find(
    operator: Operator, world: World, source: Collection
) -> None:
    """Once as a process: the command as people type it."""
    said = operator.admin("--users", "anna", MAPPED, WAIT, LOOK, "3").out
    assert "Retrieval: 3 of 3 documents found in 1 new collection, and 3 of 3 in the old" in said
