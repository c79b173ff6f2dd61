"""What a server may do otherwise, and what the tool makes of it: single matters, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, List

import pytest

from h2ogpte_migration.sandbox import calls_collections
from h2ogpte_migration.sandbox.faults import close, reply
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from ..faults.harness import LARGE, Result, run, serving

pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def world() -> World:
    world = World()
    world.times.import_s = world.times.move_s = 0.02
    world.add_user("admin", admin=True)
    for name in ("anna", "bertil"):
        world.add_user(name)
    return world


@pytest.fixture
def server(world: World) -> Iterator[SandboxServer]:
    with serving(world) as server:
        yield server


WAIT = "--wait-for-completion"


def migrate(server: SandboxServer, folder: Path, *more: str) -> Result:
    scope = [] if "--collections" in more else ["--all-users"]
    words = ["--url", server.url, "--admin-key", "sk-sandbox-admin", *scope]
    return run(folder, *words, "--use-model-mappings", *more)


def verify(server: SandboxServer, folder: Path, *more: str) -> Result:
    return run(folder, "--url", server.url, "--admin-key", "sk-sandbox-admin", "--verify", *more)


def kept(folder: Path) -> str:
    """What the status shows, on one line."""
    return flat(run(folder, "--status").text)


def flat(text: str) -> str:
    return " ".join(text.split())


def writes(server: SandboxServer) -> List[str]:
    return [request.route for request in server.requests if request.mutating]


# -- versions ----------------------------------------------------------------------------
@pytest.mark.parametrize("version", ["1.6.40", "1.5", "v0.9.9-rc1"])
@pytest.mark.parametrize("mode", ["migrate", "verify", "dry run"])
def test_an_older_server_is_refused_before_anything_is_written(
    world: World, server: SandboxServer, tmp_path: Path, version: str, mode: str
) -> None:
    world.add_collection("anna", "Papers", LARGE)
    if mode == "verify":
        assert migrate(server, tmp_path).code == 0
    before = len(writes(server))
    world.habits.server_version = version
    do = verify if mode == "verify" else migrate
    result = do(server, tmp_path, *(["--dry-run"] if mode == "dry run" else []))
    assert result.code == 1
    assert f"version {version} is older than 1.6.57" in result.text
    assert len(writes(server)) == before


def test_a_newer_server_is_a_warning(world: World, server: SandboxServer, tmp_path: Path) -> None:
    world.add_collection("anna", "Papers", LARGE)
    world.habits.server_version = "1.8.0"
    result = migrate(server, tmp_path, WAIT)
    assert result.code == 0, result.text
    assert "version 1.8.0 is newer than what this tool was made for" in result.text


@pytest.mark.parametrize("version", ["1.6.57", "1.6.58-rc1", "1.7.99", "next"])
def test_a_server_that_was_tried_is_no_matter(
    world: World, server: SandboxServer, tmp_path: Path, version: str
) -> None:
    world.habits.server_version = version
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert "Warning" not in result.text


# -- 401 ---------------------------------------------------------------------------------
def test_a_401_to_a_good_key_is_a_refusal_of_one_thing(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    secret = world.add_prompt("bertil", "Somebody else's")
    source = world.add_collection("anna", "Papers", LARGE, prompt_template_id=secret.id)
    foreign = world.add_collection("bertil", "Theirs", LARGE)
    world.habits.forbidden_is_401 = True
    server.faults.add(reply(401), route="PUT /collections/{collection_id}/prompt_template")
    words = ["--url", server.url, "--user-key", "sk-sandbox-anna", "--use-model-mappings", WAIT]
    result = run(tmp_path, *words, "--collections", f"{source.id},{foreign.id}")
    assert result.code == 1
    assert foreign.id in result.text
    assert "it is not yours" in flat(result.text)
    assert len(world.targets_of("Papers")) == 1
    assert f"the prompt template {secret.id} could not be carried over" in kept(tmp_path)
    assert [r for r in server.requests if r.route == "GET /rpc/meta"], "the key was asked about"


def test_a_401_to_a_bad_key_ends_the_run(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    world.add_collection("anna", "Papers", LARGE)
    world.habits.forbidden_is_401 = True
    words = ["--url", server.url, "--user-key", "sk-nobody", "--use-model-mappings"]
    result = run(tmp_path, *words)
    assert result.code == 2
    assert "does not take the key" in result.text
    assert writes(server) == []


# -- keys --------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(("cap_days", "lives_days"), [(8.0, 7.0), (2.0, 1.0)])
def test_a_lifetime_that_is_refused_is_asked_for_shorter(
    world: World,
    server: SandboxServer,
    tmp_path: Path,
    status: int,
    cap_days: float,
    lives_days: float,
) -> None:
    world.add_collection("anna", "Papers", LARGE)
    world.habits.key_lifetime_cap_days, world.habits.key_refusal_status = cap_days, status
    result = migrate(server, tmp_path, "--api-key-expiry", "30 days", WAIT)
    assert result.code == 0, result.text
    (key,) = [key for key in world.keys.values() if key.name.startswith("h2ogpte-migrate")]
    assert key.expires_at is not None
    assert round((key.expires_at - key.created_at) / 86400, 2) == lives_days
    assert key.deleted


@pytest.mark.parametrize("status", [400, 422])
def test_a_lifetime_that_stays_refused_names_the_flag(
    world: World, server: SandboxServer, tmp_path: Path, status: int
) -> None:
    world.add_collection("anna", "Papers", LARGE)
    world.habits.key_lifetime_cap_days, world.habits.key_refusal_status = 0.5, status
    result = migrate(server, tmp_path)
    assert result.code == 1
    assert "--api-key-expiry '1 hour'" in result.text
    assert len(world.collections) == 1
    assert migrate(server, tmp_path, "--api-key-expiry", "1 hour").code == 0


@pytest.mark.parametrize("units", ["minute", "minute,hour"])
def test_a_dry_run_takes_the_unit_that_the_server_knows(
    world: World, server: SandboxServer, tmp_path: Path, units: str
) -> None:
    world.add_collection("anna", "Papers", LARGE)
    world.habits.refused_key_units = units
    result = migrate(server, tmp_path, "--dry-run")
    assert result.code == 0, result.text
    assert all(key.deleted for key in world.keys.values() if key.name.startswith("h2ogpte-mig"))


# -- limits ------------------------------------------------------------------------------
def test_a_refused_import_of_too_much_names_the_limit(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    world.add_collection("anna", "Large", LARGE, documents=5, size_limit=2000)
    world.add_collection("anna", "Papers", LARGE)
    world.habits.size_limit_refuses = True
    result = migrate(server, tmp_path, WAIT)
    assert result.code == 1
    assert "size limit" in result.text
    assert len(world.targets_of("Papers")) == 1
    world.habits.size_limit_refuses = False
    assert migrate(server, tmp_path, WAIT).code == 0
    assert len(world.targets_of("Large")) == 1


# -- what still points at the old collection -----------------------------------------------
POINTERS = (
    "1 API key bound to the old collection",
    "1 scheduled task on the old collection",
    "1 assistant connected to the old collection",
    "the knowledge graph of the old collection is to be built anew",
)


@pytest.mark.parametrize("as_admin", [True, False])
def test_what_points_at_the_old_collection_is_told_before_and_after(
    world: World, server: SandboxServer, tmp_path: Path, as_admin: bool
) -> None:
    source = world.add_collection("anna", "Papers", LARGE, chats=1, rag_type="graph_rag")
    world.add_collection("anna", "Free", LARGE)
    world.entangle(source.id)
    who = ["--admin-key", "sk-sandbox-admin", "--users", "anna"]
    who = who if as_admin else ["--user-key", "sk-sandbox-anna"]
    words = [
        "--url",
        server.url,
        *who,
        "--use-model-mappings",
        "--migrate-chats",
        "--copy-document",
    ]
    expected = [*POINTERS[0 if as_admin else 1 :], "1 document with tags", "archived"]
    plan = flat(run(tmp_path, *words, "--dry-run").text)
    result = run(tmp_path, *words, WAIT)
    assert result.code == 0, result.text
    for told in (plan, flat(result.text), kept(tmp_path)):
        assert [text for text in expected if text not in told] == []
        assert (POINTERS[0] in told) == as_admin, "only administrators see keys"
        assert "safe to delete" not in told
    assert "Free" not in "".join(line for line in result.text.splitlines() if "old coll" in line)


def test_documents_by_reference_keep_their_tags(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    source = world.add_collection("anna", "Papers", LARGE)
    world.entangle(source.id)
    result = migrate(server, tmp_path, WAIT)
    assert "with tags" not in result.text
    assert not [r for r in server.requests if "/tags" in r.route]


def test_one_listing_tells_of_all(world: World, server: SandboxServer, tmp_path: Path) -> None:
    for number in range(5):
        world.add_collection("anna", f"Papers {number}", LARGE)
    assert migrate(server, tmp_path, WAIT).code == 0
    counts = server.counts()
    assert counts["GET /admin/scheduled_tasks"] == 1
    assert counts["GET /ai_assistants"] == 1
    assert "GET /graph/{collection_id}/status" not in counts, "nothing there speaks of a graph"


NO_ROUTES = "list_scheduled_tasks,list_scheduled_tasks_by_admin,list_ai_assistants,list_tags"
NO_ROUTES += ",get_collection_graph_status,list_all_api_keys"


@pytest.mark.parametrize("habit", ["missing_operations", "broken_operations"])
@pytest.mark.parametrize("as_admin", [True, False])
def test_a_server_without_the_routes_is_met_with_silence(
    world: World, server: SandboxServer, tmp_path: Path, habit: str, as_admin: bool
) -> None:
    for number in range(3):
        world.entangle(world.add_collection("anna", f"Papers {number}", LARGE).id)
    setattr(world.habits, habit, NO_ROUTES)
    who = ["--admin-key", "sk-sandbox-admin", "--users", "anna"]
    who = who if as_admin else ["--user-key", "sk-sandbox-anna"]
    words = ["--url", server.url, *who, "--use-model-mappings", "--copy-document", "--retries", "1"]
    for more in (["--dry-run"], [WAIT]):
        result = run(tmp_path, *words, *more)
        assert result.code == 0, result.text
        assert "old collection" not in result.text
        assert "list_" not in result.text
    status = "404" if habit == "missing_operations" else "500"
    asked = [r for r in server.requests if str(r.status) == status and not r.mutating]
    assert len({r.route for r in asked}) >= 3
    assert len(asked) <= 24, "what is not there is not asked for again and again"


# -- metadata and settings -----------------------------------------------------------------
def test_metadata_that_did_not_arrive_is_a_kept_warning(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    world.add_collection(
        "anna", "Papers", LARGE, documents=30, document_metadata={"topic": "models"}
    )
    world.habits.import_flags_ignored = "preserve_metadata"
    result = migrate(server, tmp_path, WAIT, "--copy-document")
    assert result.code == 0, result.text
    assert "30 documents with other metadata in the target" in kept(tmp_path)


@pytest.mark.parametrize("arrives", [True, False])
def test_metadata_that_listings_leave_out_is_read_of_a_sample(
    world: World, server: SandboxServer, tmp_path: Path, arrives: bool
) -> None:
    world.add_collection(
        "anna", "Papers", LARGE, documents=30, document_metadata={"topic": "models"}
    )
    world.habits.documents_have_metadata = False
    world.habits.import_flags_ignored = "" if arrives else "preserve_metadata"
    result = migrate(server, tmp_path, WAIT, "--copy-document")
    assert result.code == 0, result.text
    assert server.counts()["GET /documents/{document_id}/metadata"] == 40
    words = "20 documents with other metadata in the target, of 20 looked at"
    assert (words in kept(tmp_path)) != arrives


def test_documents_by_reference_are_not_read_one_by_one(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    world.add_collection("anna", "Papers", LARGE, documents=3)
    world.habits.documents_have_metadata = False
    assert migrate(server, tmp_path, WAIT).code == 0
    assert "GET /documents/{document_id}/metadata" not in server.counts()


def test_metadata_that_the_server_adds_are_no_difference(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    source = world.add_collection("anna", "Papers", LARGE, document_metadata={"topic": "models"})
    assert migrate(server, tmp_path, "--copy-document").code == 0
    world.wait_until_idle()
    (target,) = world.targets_of("Papers")
    for line in target.documents:
        line.metadata = {**line.metadata, "imported_by": "a newer server"}
    assert verify(server, tmp_path).code == 0
    assert "metadata" not in kept(tmp_path)
    assert source.documents


@pytest.mark.parametrize("what", ["settings", "chat_settings"])
def test_settings_that_changed_after_the_import_are_a_kept_warning(
    world: World, server: SandboxServer, tmp_path: Path, what: str
) -> None:
    world.add_collection(
        "anna",
        "Papers",
        LARGE,
        settings={"ocr_model": "auto", "max_tokens_per_chunk": 320},
        chat_settings={"llm": "auto", "max_tokens_per_chunk": 1},
    )
    assert migrate(server, tmp_path).code == 0
    world.wait_until_idle()
    (target,) = world.targets_of("Papers")
    getattr(target, what)["max_tokens_per_chunk"] = 999
    result = verify(server, tmp_path)
    assert result.code == 0, result.text
    name = "collection settings" if what == "settings" else "chat settings"
    assert f"{name} differ from the source's: max_tokens_per_chunk" in kept(tmp_path)


# -- the question ----------------------------------------------------------------------------
def test_frames_that_the_client_does_not_know_are_a_warning(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    source = world.add_collection("anna", "Papers", LARGE, connectors=1)
    world.habits.unknown_frames = True
    result = migrate(server, tmp_path, WAIT, "--verify-query", "What is it about?")
    assert result.code == 0, result.text
    # Newer clients pass over such frames, older ones stumble.
    assert "RAG check passed" in result.text or "does not understand what the" in result.text
    assert "Traceback" not in result.text + result.log
    (target,) = world.targets_of("Papers")
    assert (len(source.connectors), len(target.connectors)) == (0, 1)
    assert world.sessions_of(target.id) == []


def test_a_target_whose_creation_was_not_answered_is_found_where_listings_tell_no_model(
    world: World, server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = world.add_collection("anna", "Papers", LARGE, documents=1)
    whole = calls_collections._listing

    def without_models(call: Any, found: Any) -> Any:
        answer = whole(call, found)
        for row in answer.body:
            del row["embedding_model"]
        return answer

    monkeypatch.setattr(calls_collections, "_listing", without_models)
    server.faults.add(close(after=True), route="POST /collections")
    result = migrate(server, tmp_path, WAIT)
    assert result.code == 0, result.text
    assert len(world.targets_of(source.name)) == 1
