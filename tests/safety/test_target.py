"""What a target is made of is looked at before anything is imported into it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from h2ogpte_migration.clock import Clock
from h2ogpte_migration.sandbox import calls_collections
from h2ogpte_migration.sandbox.faults import call, close, reply
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from ..faults.harness import LARGE, M3, Result, run, serving

C = "/collections/{collection_id}"
CREATE = "POST /collections"
WAIT = "--wait-for-completion"
IMPORT = f"POST {C}/import_collection_job"
SETTINGS = {
    "max_tokens_per_chunk": 320,
    "ocr_model": "auto",
    "guardrails_settings": {"guardrails_labels_to_flag": ["Privacy"]},
    "llm_args": {"temperature": 0},
}

MAPPED = "mixedbread-ai/mxbai-embed-large-v1"

pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def world() -> World:
    world = World()
    world.times.import_s = world.times.move_s = 0.02
    world.add_user("admin", admin=True)
    world.add_user("anna", workspaces=["research"])
    return world


def made_of(world: World, source: Collection) -> List[Collection]:
    """Everything that is not the source."""
    return [item for item in world.collections.values() if item is not source]


def migrate(server: SandboxServer, folder: Path, *more: str) -> Result:
    words = ["--url", server.url, "--admin-key", "sk-sandbox-admin", "--all-users"]
    return run(folder, *words, "--use-model-mappings", *more)


def kept(folder: Path) -> str:
    """What the status shows, on one line."""
    return " ".join(run(folder, "--status").text.split())


def posts(server: SandboxServer) -> List[Any]:
    return [request.body for request in server.requests if request.route == CREATE]


# -- what can be given at creation only --------------------------------------------------
def test_ignored_encryption_stops_before_the_import(world: World, tmp_path: Path) -> None:
    source = world.add_collection("anna", "Secrets", LARGE, vex_encryption="enabled")
    world.habits.vex_encryption_ignored = True
    with serving(world) as server:
        result = migrate(server, tmp_path)
        assert result.code == 1
        assert "vex_encryption is not set in the target, enabled in the source" in result.text
        (target,) = made_of(world, source)
        assert target.documents == []
        assert not [r for r in server.requests if r.route == IMPORT]
        # Left as it is by a plain run; once the server is mended, a new target is made.
        assert migrate(server, tmp_path).code == 1
        assert len(made_of(world, source)) == 1
        world.habits.vex_encryption_ignored = False
        assert migrate(server, tmp_path, "--retry-failed").code == 0
        world.wait_until_idle()
    assert [len(item.documents) for item in made_of(world, source)] == [0, 3]


def test_an_answer_without_the_field_is_no_reason_to_stop(world: World, tmp_path: Path) -> None:
    source = world.add_collection("anna", "Secrets", LARGE, vex_encryption="enabled")
    with serving(world) as server:
        server.faults.add(close(after=True), route=CREATE)
        assert migrate(server, tmp_path).code == 0
    (target,) = made_of(world, source)
    assert target.vex_encryption == "enabled"


def test_another_model_than_asked_for_stops_before_the_import(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_collections, "_model", lambda *_: M3)
    source = world.add_collection("anna", "Papers", LARGE)
    with serving(world) as server:
        result = migrate(server, tmp_path)
        assert not [r for r in server.requests if r.route == IMPORT]
    assert result.code == 1
    assert f"the target has the model {M3}, not {MAPPED}" in result.text
    assert made_of(world, source)[0].documents == []


# -- settings ----------------------------------------------------------------------------
@pytest.mark.parametrize("defaults", ["guardrails", "pii"])
@pytest.mark.parametrize("settings", [{}, SETTINGS])
def test_defaults_of_the_server_are_undone_before_the_import(
    world: World, tmp_path: Path, defaults: str, settings: Any
) -> None:
    source = world.add_collection("anna", "Papers", LARGE, settings=settings)
    world.habits.server_defaults = defaults
    at_import: List[Any] = []
    with serving(world) as server:
        server.faults.add(
            call(lambda: at_import.append(dict(made_of(world, source)[0].settings))), route=IMPORT
        )
        result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert at_import[0] == {"ocr_model": "auto", **settings}
    assert "differ" not in kept(tmp_path)


def test_forced_defaults_are_a_kept_warning(world: World, tmp_path: Path) -> None:
    source = world.add_collection("anna", "Papers", LARGE, settings=SETTINGS)
    world.habits.server_defaults = "forced"
    with serving(world) as server:
        result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert made_of(world, source)
    assert "collection settings differ from the source's: guardrails_settings" in kept(tmp_path)


def test_equal_settings_are_not_sent_again(world: World, tmp_path: Path) -> None:
    world.add_collection(
        "anna", "Papers", LARGE, settings={**SETTINGS, "x": None}, chat_settings={"llm": "auto"}
    )
    with serving(world) as server:
        assert migrate(server, tmp_path).code == 0
        assert not [r for r in server.requests if r.route == f"PUT {C}/settings"]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("status", [400, 403, 422, 500])
def test_a_setting_that_only_administrators_may_set_is_left_out(
    world: World, tmp_path: Path, status: int, named: bool
) -> None:
    source = world.add_collection(
        "anna",
        "Papers",
        LARGE,
        settings=SETTINGS,
        chat_settings={"llm": "auto", "llm_args": {"temperature": 1}},
        workspace="research",
    )
    world.habits.refused_settings = "guardrails_settings,llm_args"
    world.habits.refused_settings_status = status
    world.habits.refusals_name_settings = named
    with serving(world) as server:
        result = migrate(server, tmp_path, "--retries", "1")
        changes = [r for r in server.requests if r.username == "anna" and r.mutating]
    assert result.code == 0, result.text
    (target,) = made_of(world, source)
    assert target.settings == {"max_tokens_per_chunk": 320, "ocr_model": "auto"}
    assert target.chat_settings == {"llm": "auto"}
    assert target.workspace == "research"
    status_text = kept(tmp_path)
    assert "settings differ from the source's: guardrails_settings, llm_args" in status_text
    assert "chat settings differ from the source's: llm_args" in status_text
    assert "workspace" not in status_text
    assert len(changes) < 40


def test_single_nulls_are_left_out_without_a_warning(world: World, tmp_path: Path) -> None:
    settings = {**SETTINGS, "x": None, "deep": {"y": None, "z": 1}}
    source = world.add_collection("anna", "Papers", LARGE, settings=settings)
    world.habits.refuse_null_values = True
    with serving(world) as server:
        assert migrate(server, tmp_path).code == 0
    (target,) = made_of(world, source)
    assert target.settings["deep"]["z"] == 1
    assert "x" not in target.settings
    assert "differ" not in kept(tmp_path)


def test_a_refusal_of_everything_ends_after_few_requests(world: World, tmp_path: Path) -> None:
    source = world.add_collection("anna", "Papers", LARGE, settings=SETTINGS, workspace="research")
    with serving(world) as server:
        server.faults.add(reply(400, message="no"), route=CREATE, times=None)
        result = migrate(server, tmp_path)
        assert len(posts(server)) <= 6
    assert result.code == 1
    assert made_of(world, source) == []


def test_a_500_that_did_the_work_makes_no_second_target(world: World, tmp_path: Path) -> None:
    source = world.add_collection("anna", "Papers", LARGE, settings=SETTINGS)
    with serving(world) as server:
        server.faults.add(reply(500, after=True, message="ocr_model"), route=CREATE)
        assert migrate(server, tmp_path).code == 0
    (target,) = made_of(world, source)
    assert target.settings == SETTINGS


def test_settings_that_cannot_be_read_are_a_kept_warning(world: World, tmp_path: Path) -> None:
    source = world.add_collection("anna", "Papers", LARGE, settings=SETTINGS)
    world.habits.broken_operations = "get_collection_settings,get_collection_chat_settings"
    with serving(world) as server:
        result = migrate(server, tmp_path, "--retries", "1")
    assert result.code == 0, result.text
    assert len(made_of(world, source)) == 1
    assert "the collection settings could not be read, and so not copied" in kept(tmp_path)


def test_patch_blanks_nothing(world: World, tmp_path: Path) -> None:
    source = world.add_collection("anna", "Papers", LARGE, rag_type="rag+", description="About it")
    world.habits.patch_blanks = True
    with serving(world) as server:
        assert migrate(server, tmp_path).code == 0
    (target,) = made_of(world, source)
    assert target.name.startswith("(Migrated) Papers - ")
    assert (target.description, target.rag_type) == ("About it", "rag+")


# -- names -------------------------------------------------------------------------------
LONG = "A very long name that goes on and on, and says nothing at all in the end"


@pytest.mark.parametrize("limit", [100, 60, 40, 30, 20])
def test_a_refused_long_name_is_shortened_and_keeps_its_time(
    world: World, tmp_path: Path, limit: int
) -> None:
    source = world.add_collection("anna", LONG, LARGE)
    world.habits.name_limit, world.habits.long_names = limit, "refuse"
    with serving(world) as server:
        # The reply to the shorter one is lost: it is found by the name on record.
        refused = limit < len(LONG) + 29
        server.faults.add(close(after=True), route=CREATE, skip=int(refused))
        result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    (target,) = made_of(world, source)
    assert len(target.name) <= limit or not refused
    assert target.name.rpartition(" - ")[2][:2] == "20"
    assert target.name in kept(tmp_path) or target.name in result.text


@pytest.mark.parametrize("limit", [60, 40])
@pytest.mark.parametrize("lost", [False, True])
def test_a_name_that_the_server_cuts_off_gets_its_time_back(
    world: World, tmp_path: Path, limit: int, lost: bool
) -> None:
    source = world.add_collection("anna", LONG, LARGE)
    world.habits.name_limit = limit
    with serving(world) as server:
        if lost:
            server.faults.add(close(after=True), route=CREATE)
        result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    (target,) = made_of(world, source)
    assert len(target.name) == limit
    assert target.name.startswith("(Migrated) A very")
    assert target.name[-18:-13] == " - 20"


def test_two_of_one_long_name_are_never_taken_for_each_other(world: World, tmp_path: Path) -> None:
    sources = [world.add_collection("anna", LONG, LARGE, documents=n) for n in (1, 2)]
    world.habits.name_limit = 40
    with serving(world) as server:
        server.faults.add(close(after=True), route=CREATE, times=2)
        result = migrate(server, tmp_path)
        world.wait_until_idle()
    assert result.code == 0, result.text
    counts = sorted(len(c.documents) for c in world.collections.values() if c not in sources)
    assert [n for n in counts if n] == [1, 2]


@pytest.mark.parametrize(
    "habits",
    [
        {"names_normalised": "trim"},
        {"names_normalised": "nfc"},
        {"names_normalised": "lower"},
        {"long_names": "refuse", "name_limit": 80},
        {"long_names": "cut", "name_limit": 60},
    ],
    ids=lambda habits: "-".join(str(value) for value in habits.values()),
)
def test_another_database_recognises_a_target_by_the_name_that_the_server_gave_it(
    world: World, tmp_path: Path, habits: Dict[str, Any]
) -> None:
    source = world.add_collection("anna", "Re\u0301sume\u0301s  of  all  " + "years " * 20, LARGE)
    for name, value in habits.items():
        setattr(world.habits, name, value)
    with serving(world) as server:
        assert migrate(server, tmp_path).code == 0
        again = migrate(server, tmp_path, "--db-path", "other.db")
    assert again.code == 1
    assert "another database seems to have migrated it already" in again.text
    assert len(made_of(world, source)) == 1


@pytest.mark.parametrize("form", ["trim", "nfc", "lower"])
def test_a_name_in_another_form_is_recognised(world: World, tmp_path: Path, form: str) -> None:
    source = world.add_collection("anna", "Re\u0301sume\u0301s  of  all", LARGE)
    world.habits.names_normalised = form
    with serving(world) as server:
        server.faults.add(close(after=True), route=CREATE)
        assert migrate(server, tmp_path).code == 0
    assert len(made_of(world, source)) == 1


def test_somebodys_own_collection_is_not_taken_for_a_cut_off_target(
    world: World, tmp_path: Path
) -> None:
    source = world.add_collection("anna", "Papers", LARGE)
    own = world.add_collection("anna", "(Migrated) Papers", MAPPED, documents=0)
    with serving(world) as server:
        server.faults.add(close(), route=CREATE)
        result = migrate(server, tmp_path)
        world.wait_until_idle()
    assert result.code == 0, result.text
    assert own.documents == []
    assert len(made_of(world, source)) == 2


@pytest.mark.parametrize("names", [("Papers", "papers"), ("Q&A", "Q&amp;A"), ("Papers", "Papers ")])
@pytest.mark.parametrize("after", [True, False])
def test_targets_of_sources_whose_names_a_server_may_keep_alike_are_told_apart(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: Tuple[str, str],
    after: bool,
) -> None:
    """Begun in the same second, and the second creation is not answered."""
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    monkeypatch.setattr(Clock, "utc", lambda self: now)
    for name, document in zip(names, ("a.pdf", "b.pdf")):
        world.add_collection("anna", name, LARGE, documents=[document])
    with serving(world) as server:
        server.faults.add(close(after=after), route=CREATE, skip=1)
        result = migrate(server, tmp_path, "--max-concurrent-requests", "1", WAIT)
    assert result.code == 0, result.text
    held = [[m.document.name for m in item.documents] for item in world.collections.values()]
    assert sorted(held) == [["a.pdf"], ["a.pdf"], ["b.pdf"], ["b.pdf"]]
