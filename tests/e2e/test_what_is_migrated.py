"""What arrives in the new collection, item by item, and what stays in the old one."""

from __future__ import annotations

import copy
import re
from typing import Any, Dict, List, Optional, Tuple

import pytest

from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.world import World
from tests.support.terminal import GEMMA, M3, MAPPED, WAIT, Operator

DAY_S = 86400
MODES = pytest.mark.parametrize("mode", [(), (WAIT,)], ids=["parallel", "sequential"])


def migrate(operator: Operator, source: Collection, *words: str) -> Any:
    """Migrate one collection as an admin, to its end; returns its target."""
    operator.admin("--collections", source.id, MAPPED, WAIT, *words)
    return operator.target_of(source.id)


@pytest.mark.promise("migrated.documents", "migrated.document-metadata", "migrated.ingest-modes")
@MODES
def test_documents_with_metadata_and_ingest_modes(
    operator: Operator, world: World, mode: Tuple[str, ...]
) -> None:
    files = ["one.pdf", ("two.zip", "agent_only"), ("three.pdf", "completed"), ("four", "failed")]
    source = world.add_collection(
        "anna", "Alpha", M3, documents=files, document_metadata={"topic": "tea", "deep": {"a": [1]}}
    )
    operator.admin("--users", "anna", MAPPED, *mode)
    world.wait_until_idle()
    arrived = operator.target_of(source.id).documents
    assert sorted((m.document.name, m.status) for m in arrived) == [
        ("four", "failed"),
        ("one.pdf", "completed"),
        ("three.pdf", "completed"),
        ("two.zip", "agent_only"),
    ]
    assert all(m.metadata == {"topic": "tea", "deep": {"a": [1]}} for m in arrived)
    how = world.import_jobs(source.id)[0].params
    assert how["preserve_metadata"]
    assert how["preserve_document_status"]
    assert how["copy_lifecycle_settings"]
    assert not how["migrate_scheduled_connectors"]


@pytest.mark.promise("migrated.lifecycle")
def test_lifecycle_settings(operator: Operator, world: World) -> None:
    expiry = world.now() // DAY_S * DAY_S + 40 * DAY_S
    source = world.add_collection(
        "anna", "Alpha", M3, expiry_date=expiry, inactivity_interval=30, size_limit=10**9
    )
    target = migrate(operator, source)
    assert (target.expiry_date, target.inactivity_interval, target.size_limit) == (
        expiry,
        30,
        10**9,
    )


@pytest.mark.promise("migrated.public")
@pytest.mark.parametrize("rights", [True, [], ["read"], ["read", "chat"], False], ids=str)
def test_public_permissions(operator: Operator, world: World, rights: Any) -> None:
    source = world.add_collection("anna", "Alpha", M3, public=rights)
    target = migrate(operator, source)
    before, after = (world.snapshot()["collections"][key][0] for key in keys("Alpha"))
    assert target.is_public == (rights is not False)
    assert after["public_permissions"] == before["public_permissions"]


def keys(name: str) -> Tuple[str, str]:
    """How a snapshot calls a collection of anna and its target."""
    return f"anna/{name}", f"anna/(Migrated) {name}"


@pytest.mark.promise("migrated.user-shares", "migrated.group-shares")
def test_user_and_group_permissions(operator: Operator, world: World) -> None:
    world.add_user("chloe")
    shares: Dict[str, Optional[List[str]]] = {"bertil": ["read", "chat"], "chloe": None}
    groups: Dict[str, Optional[List[str]]] = {"staff": ["read"], "crew": ["read", "edit"]}
    source = world.add_collection("anna", "Alpha", M3, shares=shares, group_shares=groups)
    target = migrate(operator, source)
    assert {name: rights for name, rights in target.shares.items() if rights is not None} == {
        "bertil": ["read", "chat"]
    }
    assert set(target.shares) == {"bertil", "chloe"}
    assert target.group_shares == source.group_shares


@pytest.mark.promise("migrated.before-the-import")
def test_permissions_are_there_before_the_import(operator: Operator, world: World) -> None:
    source = world.add_collection(
        "anna", "Alpha", M3, public=["read"], shares={"bertil": ["read"]}, connectors=1, chats=1
    )
    migrate(operator, source, "--migrate-chats")
    order = [r.route for r in operator.server.requests if r.mutating]
    steps = [
        "POST /collections",
        "PUT /collections/{collection_id}/permissions/{username}",
        "POST /collections/{collection_id}/import_collection_job",
        "POST /collections/{collection_id}/migrate_scheduled_connectors",
        "POST /collections/{collection_id}/migrate_chat_sessions_job",
    ]
    assert [route for route in order if route in steps] == steps


SETTINGS = {
    "max_tokens_per_chunk": 320,
    "chunk_overlap_tokens": 32,
    "ocr_model": "tesseract",
    "guardrails_settings": {"pii_detection_parse_action": "redact"},
    "a_setting_of_tomorrow": {"nested": [1, None, True]},
}
CHAT_SETTINGS = {
    "llm": "auto",
    "llm_args": {"temperature": 0.2, "reasoning_depth": "unknown to the client"},
    "rag_config": {"rag_type": "agentic_rag"},
    "a_setting_of_tomorrow": ["x"],
}


@pytest.mark.promise("migrated.settings", "migrated.chat-settings")
def test_settings_with_keys_unknown_to_the_client(operator: Operator, world: World) -> None:
    source = world.add_collection(
        "anna",
        "Alpha",
        M3,
        settings=copy.deepcopy(SETTINGS),
        chat_settings=copy.deepcopy(CHAT_SETTINGS),
    )
    target = migrate(operator, source)
    assert target.settings == {**SETTINGS, "ocr_model": "auto"}
    assert target.chat_settings == CHAT_SETTINGS


@pytest.mark.promise("migrated.description", "migrated.name", "migrated.collection-metadata")
def test_name_description_and_metadata(operator: Operator, world: World) -> None:
    source = world.add_collection(
        "anna",
        "R&D \u201cplans\u201d  [2024] \U0001f4c4 100 %",
        M3,
        description="Line one\nLine two",
        metadata={"cost_centre": "4711", "owner": {"team": "r"}},
    )
    target = migrate(operator, source)
    assert target.name.startswith(f"(Migrated) {source.name} - 20")
    assert len(target.name) == len(f"(Migrated) {source.name} - YYYYMMDD_HHMMSS")
    assert target.description == "Line one\nLine two"
    assert target.metadata == {"cost_centre": "4711", "owner": {"team": "r"}}
    assert target.username == "anna"
    assert target.embedding_model == GEMMA


@pytest.mark.promise("migrated.name")
def test_names_stay_apart_where_collections_are_named_alike(
    operator: Operator, world: World
) -> None:
    for _ in range(4):
        world.add_collection("anna", "Drafts", M3)
    operator.admin("--users", "anna", MAPPED)
    names = [row["new_collection_name"] for row in operator.rows()]
    assert len(set(names)) == 4
    assert {world.collections[row["new_collection_id"]].name for row in operator.rows()} == set(
        names
    )


@pytest.mark.promise("migrated.name")
def test_a_second_migration_does_not_stack_the_decoration(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "(Migrated) Alpha - 20240102_030405", M3)
    target = migrate(operator, source)
    assert target.name.startswith("(Migrated) Alpha - 2")
    assert target.name != source.name


@pytest.mark.promise("migrated.rag-type")
@pytest.mark.parametrize("rag_type", ["rag+", "hyde1", "agentic_rag"])
def test_rag_type_even_where_no_client_knows_it(
    operator: Operator, world: World, rag_type: str
) -> None:
    source = world.add_collection("anna", "Alpha", M3, rag_type=rag_type)
    world.habits.newer_server = True
    assert migrate(operator, source).rag_type == rag_type


@pytest.mark.promise("migrated.prompt-template", "migrated.workspace", "migrated.encryption")
def test_prompt_template_workspace_and_encryption(operator: Operator, world: World) -> None:
    prompt = world.add_prompt("anna", "Like a librarian")
    source = world.add_collection(
        "anna",
        "Alpha",
        M3,
        prompt_template_id=prompt.id,
        workspace="research",
        vex_encryption="enabled",
        exempt_from_chat_expiry=True,
    )
    target = migrate(operator, source)
    assert target.prompt_template_id == prompt.id
    assert target.workspace == "research"
    assert target.vex_encryption == "enabled"
    assert target.exempt_from_chat_expiry


@pytest.mark.promise("migrated.warnings-are-kept")
def test_what_can_not_be_carried_over_is_a_kept_warning(operator: Operator, world: World) -> None:
    secret = world.add_prompt("bertil", "Not for anna")
    source = world.add_collection(
        "anna",
        "Alpha",
        M3,
        workspace="closed long ago",
        prompt_template_id=secret.id,
        thumbnail="cover.png",
        settings={"ocr_model": "tesseract"},
        shares={"nobody any more": ["read"]},
    )
    result = operator.admin("--users", "anna", MAPPED, WAIT)
    target = operator.target_of(source.id)
    assert target.workspace == "user-anna"
    assert target.prompt_template_id is None
    status = operator.plain("--status").out
    for words in ("workspace closed long ago", "prompt template", "thumbnail", "OCR", "nobody any"):
        assert words in result.out
        assert words in status
    assert operator.row(source.id)["job_status"] == "completed"


@pytest.mark.promise("migrated.connectors", "migrated.chats")
def test_connectors_and_chats_of_all_users_move(operator: Operator, world: World) -> None:
    source = world.add_collection(
        "anna", "Alpha", M3, connectors=3, chats={"anna": 2, "bertil": 1}, shares={"bertil": None}
    )
    configs = [(c.type, c.config, c.schedule) for c in source.connectors]
    sessions = {s.id for s in world.sessions_of(source.id)}
    target = migrate(operator, source, "--migrate-chats")
    assert [(c.type, c.config, c.schedule) for c in target.connectors] == configs
    assert {s.id for s in world.sessions_of(target.id)} == sessions
    assert source.connectors == []
    assert world.sessions_of(source.id) == []


@pytest.mark.promise("old.stays", "old.unchanged")
def test_the_old_collection_stays_as_it_was(operator: Operator, world: World) -> None:
    source = world.add_collection(
        "anna",
        "Alpha",
        M3,
        documents=4,
        connectors=1,
        chats=1,
        public=["read"],
        shares={"bertil": ["read"]},
        settings=copy.deepcopy(SETTINGS),
        metadata={"a": 1},
    )
    before = world.snapshot()["collections"]["anna/Alpha"]
    operator.admin("--users", "anna", MAPPED, WAIT, "--migrate-chats")
    after = world.snapshot()["collections"]["anna/Alpha"]
    assert {**before[0], "connectors": [], "chats": []} == after[0]
    assert not any("DELETE /collections" in route for route in operator.changes())
    assert source.id in world.collections


@pytest.mark.promise("old.documents-shared")
def test_documents_are_referenced_by_default(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3, documents=3)
    ids = {m.document.id for m in source.documents}
    target = migrate(operator, source)
    assert {m.document.id for m in target.documents} == ids
    assert not world.import_jobs(source.id)[0].params["copy_document"]
    world.delete_collection(source.id)
    assert len(target.documents) == 3


@pytest.mark.promise("flag.copy-document")
def test_documents_are_copied_on_demand(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3, documents=3)
    target = migrate(operator, source, "--copy-document")
    assert not {m.document.id for m in source.documents} & {m.document.id for m in target.documents}
    assert sorted(m.document.name for m in target.documents) == sorted(
        m.document.name for m in source.documents
    )


@pytest.mark.promise("flag.skip-reparse")
@pytest.mark.parametrize("more", [(), ("--ocr-model", "off")])
def test_chunks_are_embedded_anew_without_parsing(
    operator: Operator, world: World, more: Tuple[str, ...]
) -> None:
    source = world.add_collection("anna", "Alpha", M3, settings={"ocr_model": "tesseract"})
    result = operator.admin("--users", "anna", MAPPED, WAIT, "--skip-reparse", *more)
    how = world.import_jobs(source.id)[0].params
    assert how["skip_reparse"]
    assert not how["copy_document"]
    assert "ocr_model" not in how
    assert operator.target_of(source.id).settings == {"ocr_model": "tesseract"}
    assert "OCR" not in result.out


@pytest.mark.promise("flag.ocr-model")
@pytest.mark.parametrize(("flag", "expected"), [((), "auto"), (("--ocr-model", "off"), "off")])
def test_ocr_model(operator: Operator, world: World, flag: Tuple[str, ...], expected: str) -> None:
    source = world.add_collection("anna", "Alpha", M3, settings={"ocr_model": "tesseract"})
    plain = world.add_collection("anna", "Beta", M3)
    result = operator.admin("--users", "anna", MAPPED, WAIT, *flag)
    for one in (source, plain):
        assert world.import_jobs(one.id)[0].params["ocr_model"] == expected
        assert operator.target_of(one.id).settings["ocr_model"] == expected
    assert len(re.findall("^Warning: .*it was tesseract in the source", result.out, re.M)) == 1


@pytest.mark.promise("flag.api-key-expiry", "admin.temporary-keys")
def test_temporary_keys_live_as_long_as_wanted(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    operator.admin("--users", "anna", MAPPED, "--api-key-expiry", "7 days")
    world.add_collection("bertil", "Beta", M3)
    operator.admin("--users", "bertil", MAPPED)
    asked = [r.body["expires_in"] for r in operator.server.requests if r.route == KEY]
    assert asked == ["7 days", "30 days"]
    assert not [key for key in world.alive_keys() if key.name != "default"]


KEY = "POST /admin/api_keys"
