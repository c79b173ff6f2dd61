"""The unmodified client reads and changes collections of the sandbox."""

from __future__ import annotations

import inspect
from datetime import datetime, timezone

import pytest

from h2ogpte_migration.sandbox.dispatch import perform
from h2ogpte_migration.sandbox.state import DEFAULT_MODELS

LARGE = DEFAULT_MODELS[1]


def test_meta_tells_who_calls_and_which_version_answers(anna, world):
    meta = anna.get_meta()
    assert (meta.username, meta.user_id) == ("anna", world.users["anna"].id)
    assert (meta.is_guest, meta.version) == (False, world.version)
    assert meta.workspaces == ["user-anna", "research"]


def test_embedding_models_are_listed(anna):
    assert anna.list_embedding_models() == list(DEFAULT_MODELS)


def test_created_collection_reads_back_as_it_was_made(anna, world):
    made = anna.create_collection(
        "Papers",
        "About papers",
        embedding_model=LARGE,
        collection_settings={"max_tokens_per_chunk": 99, "ocr_model": "doctr"},
        chat_settings={"llm": "auto", "include_chat_history": "on"},
        workspace="research",
    )
    found = anna.get_collection(made)
    assert (found.name, found.description, found.embedding_model) == (
        "Papers",
        "About papers",
        LARGE,
    )
    assert found.username == "anna"
    assert found.workspace == "research"
    assert found.document_count == 0
    assert found.collection_settings["max_tokens_per_chunk"] == 99
    assert found.collection_settings["ocr_model"] == "doctr"
    assert found.chat_settings["include_chat_history"] == "on"
    age = datetime.now(timezone.utc) - found.created_at
    assert abs(age.total_seconds()) < 60


def test_every_attribute_can_be_set_afterwards(anna, world):
    prompt = world.add_prompt("anna", "Librarian")
    made = anna.create_collection("Papers", "old", embedding_model=LARGE)
    anna.update_collection_rag_type(made, "Papers 2", "new", "rag+")
    anna.update_collection_metadata(made, {"cost": 1, "deep": {"a": []}})
    anna.update_collection_settings(made, {"chunk_by_page": True})
    anna.set_collection_prompt_template(made, prompt.id)
    anna.set_collection_expiry_date(made, "2031-05-06", timezone="UTC")
    anna.set_collection_inactivity_interval(made, 12)
    anna.set_collection_size_limit(made, "1GiB")
    anna.update_collection_workspace(made, "research")
    found = anna.get_collection(made)
    assert (found.name, found.description, found.rag_type) == ("Papers 2", "new", "rag+")
    assert found.metadata_dict == {"cost": 1, "deep": {"a": []}}
    assert found.collection_settings["chunk_by_page"] is True
    assert found.prompt_template_id == prompt.id
    assert found.expiry_date.date().isoformat() == "2031-05-06"
    assert (found.inactivity_interval, found.size_limit) == (12, 2**30)
    assert found.workspace == "research"
    anna.remove_collection_expiry_date(made)
    anna.remove_collection_inactivity_interval(made)
    anna.remove_collection_size_limit(made)
    anna.set_collection_prompt_template(made, None)
    found = anna.get_collection(made)
    assert (found.expiry_date, found.inactivity_interval, found.size_limit) == (None, None, None)
    assert found.prompt_template_id is None


def test_newer_attributes_can_be_set(anna):
    if "vex_encryption" not in inspect.signature(anna.create_collection).parameters:
        pytest.skip("this client is older than vector encryption")
    made = anna.create_collection("Papers", "", embedding_model=LARGE, vex_encryption="enabled")
    anna.set_collection_exempt_from_chat_expiry(made, True)
    found = anna.get_collection(made)
    assert (found.vex_encryption, found.exempt_from_chat_expiry) == ("enabled", True)


def test_thumbnail_can_be_set_and_removed(anna, world):
    home = world.add_collection("anna", "Papers")
    path = f"/api/v1/collections/{home.id}/thumbnail"
    assert perform(world, "PUT", path, secret="sk-sandbox-anna").status == 204
    assert anna.get_collection(home.id).thumbnail
    assert perform(world, "DELETE", path, secret="sk-sandbox-anna").status == 204
    assert anna.get_collection(home.id).thumbnail is None


def test_unknown_model_and_unknown_workspace_are_refused(anna, world):
    from h2ogpte.errors import InvalidArgumentError

    with pytest.raises(InvalidArgumentError):
        anna.create_collection("Papers", "", embedding_model="no/such-model")
    with pytest.raises(InvalidArgumentError):
        anna.create_collection("Papers", "", workspace="nowhere")
    world.habits.strict_workspaces = False
    made = anna.create_collection("Papers", "", workspace="nowhere")
    assert anna.get_collection(made).workspace == "user-anna"


def test_listing_pages_over_own_and_shared_collections(anna, world):
    for number in range(5):
        world.add_collection("anna", f"mine {number}")
    world.add_collection("bertil", "shared", shares={"anna": ["read"]})
    world.add_collection("bertil", "private")
    pages = [anna.list_recent_collections(offset, 2) for offset in (0, 2, 4, 6)]
    names = [c.name for page in pages for c in page]
    assert sorted(names) == ["mine 0", "mine 1", "mine 2", "mine 3", "mine 4", "shared"]
    assert [len(page) for page in pages] == [2, 2, 2, 0]
    assert anna.count_collections() == 6
    by_name = anna.list_recent_collections_sort(0, 10, "name", True)
    assert [c.name for c in by_name] == sorted(names)


def test_page_size_is_capped(anna, world):
    for number in range(4):
        world.add_collection("anna", f"mine {number}", documents=4)
    world.habits.page_cap = 3
    assert len(anna.list_recent_collections(0, 100)) == 3
    some = next(iter(world.collections))
    assert len(anna.list_documents_in_collection(some, 0, 100)) == 3
    assert len(anna.list_documents_in_collection(some, 3, 100)) == 1


@pytest.mark.parametrize("ignores_case", [True, False])
def test_admin_filter_is_part_of_name_id_or_username(admin, world, ignores_case):
    world.habits.filter_ignores_case = ignores_case
    mine = world.add_collection("anna", "Alpha")
    world.add_collection("bertil", "Beta")

    def found(text):
        return {c.name for c in admin.list_all_collections_sort(0, 10, "name", True, text)}

    assert found("Alpha") == {"Alpha"}
    assert found("alpha") == ({"Alpha"} if ignores_case else set())
    assert found(mine.id) == {"Alpha"}
    assert found("bert") == {"Beta"}
    assert found("") == {"Alpha", "Beta"}


def test_documents_and_their_counts(anna, world):
    home = world.add_collection(
        "anna",
        "Mix",
        documents=["a.pdf", ("b.zip", "agent_only"), ("c.pdf", "failed")],
        document_metadata={"k": "v"},
    )
    listed = anna.list_documents_in_collection(home.id, 0, 10)
    assert {(d.name, d.status) for d in listed} == {
        ("a.pdf", "completed"),
        ("b.zip", "agent_only"),
        ("c.pdf", "failed"),
    }
    assert all(d.metadata_dict == {"k": "v"} for d in listed)
    assert anna.count_documents_in_collection(home.id) == 3
    assert anna.get_collection(home.id).document_count == 3
    world.habits.stale_document_counts = True
    world.add_document(home.id, "d.pdf")
    assert anna.get_collection(home.id).document_count == 3
    world.refresh_counts()
    assert anna.get_collection(home.id).document_count == 4


def test_deleted_collection_is_gone_and_its_documents_live_on(anna, world):
    source = world.add_collection("anna", "Old", documents=2)
    target = anna.create_collection("New", "", embedding_model=LARGE)
    anna.import_collection_into_collection(target, source.id, copy_document=False)
    job = anna.delete_collections([source.id])
    assert job.completed
    with pytest.raises(Exception, match="not found"):
        anna.get_collection(source.id)
    assert anna.count_documents_in_collection(target) == 2


@pytest.mark.parametrize("style", ["Z", "offset", "naive"])
def test_times_are_read_in_every_form(anna, world, style):
    world.habits.timestamps = style
    world.add_collection("anna", "Old", chats=1, connectors=1)
    listed = anna.list_recent_collections(0, 1)[0]
    moment = listed.updated_at
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    assert abs((datetime.now(timezone.utc) - moment).total_seconds() - 86400) < 60


def test_server_clock_may_be_ahead(anna, world):
    world.habits.clock_offset_h = 5
    made = anna.create_collection("New", "", embedding_model=LARGE)
    ahead = anna.get_collection(made).created_at - datetime.now(timezone.utc)
    assert abs(ahead.total_seconds() - 5 * 3600) < 60


def test_newer_server_sends_what_the_client_ignores(anna, world):
    world.habits.newer_server = True
    home = world.add_collection("anna", "Old", documents=1, chats=1, connectors=1)
    assert anna.list_recent_collections(0, 1)[0].status == "hibernating"
    assert len(anna.list_documents_in_collection(home.id, 0, 9)) == 1
    assert len(anna.list_chat_sessions_for_collection(home.id, 0, 9)) == 1


def test_listings_may_be_sparse(anna, world):
    home = world.add_collection("anna", "Old", rag_type="rag", metadata={"k": "v"})
    assert anna.list_recent_collections(0, 1)[0].metadata_dict == {"k": "v"}
    world.habits.listings_are_sparse = True
    assert anna.list_recent_collections(0, 1)[0].metadata_dict is None
    assert anna.get_collection(home.id).rag_type == "rag"


def test_ties_change_places(anna, world):
    home = world.add_collection("anna", "Old", documents=30)
    first = [d.id for d in anna.list_documents_in_collection(home.id, 0, 100)]
    assert first == [d.id for d in anna.list_documents_in_collection(home.id, 0, 100)]
    world.habits.shuffle_ties = True
    again = [d.id for d in anna.list_documents_in_collection(home.id, 0, 100)]
    assert first != again
    assert sorted(first) == sorted(again)
