"""The unmodified client sees what else points at a collection: tasks, assistants, keys, chats."""

from __future__ import annotations

import pytest
from h2ogpte import errors
from h2ogpte.errors import UnauthorizedError

from h2ogpte_migration.sandbox.dispatch import perform

ForbiddenError = getattr(errors, "ForbiddenError", UnauthorizedError)  # new in 1.7


def knows(name):
    """Skip a test where the installed client is older than an operation."""
    # As text: looked at when the test runs, and not for each process that only collects it.
    return pytest.mark.skipif(f"not hasattr(client(), {name!r})", reason="this client is older")


def client():
    from h2ogpte import H2OGPTE

    return H2OGPTE


def ask(world, method, path, *, username="anna", query=None, body=None):
    secret = "sk-sandbox-" + username
    return perform(world, method, "/api/v1" + path, secret=secret, query=query, body=body)


@pytest.fixture
def home(world):
    return world.add_collection("anna", "Papers", chats={"anna": 2, "bertil": 1})


@knows("list_scheduled_tasks")
def test_scheduled_tasks_are_listed_by_collection(anna, admin, world, home):
    world.add_task("anna", "weekly", home.id)
    world.add_task("bertil", "daily")
    made = anna.create_scheduled_task(
        "loose", "interval", "2 hours", "chat_completion", {"message": "What?"}
    )
    assert {t.name for t in anna.list_scheduled_tasks().items} == {"weekly", "loose"}
    bound = anna.list_scheduled_tasks(has_collection=True).items
    assert [t.task_config["collection_id"] for t in bound] == [home.id]
    assert anna.list_scheduled_tasks(has_collection=False).items[0].id == made.id
    assert anna.list_scheduled_tasks(collection_id=home.id).total == 1
    everything = admin.list_scheduled_tasks_by_admin()
    assert (everything.total, len(everything.items)) == (3, 3)
    with pytest.raises((ForbiddenError, UnauthorizedError)):
        anna.list_scheduled_tasks_by_admin()


@knows("list_ai_assistants")
def test_assistants_and_their_collections_are_listed(anna, world, home):
    item = world.add_assistant("anna", "Helper", home.id)
    world.add_assistant("bertil", "Other", home.id)
    assert [a.id for a in anna.list_ai_assistants()] == [item.id]
    links = anna.list_assistant_collections(item.id)
    assert [(link.collection_id, link.access_mode) for link in links] == [(home.id, "read")]


def test_assistants_by_the_rest_interface(world, home):
    made = ask(world, "POST", "/ai_assistants", body={"name": "Helper", "llm": "auto"}).body
    path = f"/ai_assistants/{made['id']}/collections"
    assert ask(world, "POST", path, body={"collection_id": home.id}).status == 204
    assert [link["collection_id"] for link in ask(world, "GET", path).body] == [home.id]
    assert ask(world, "GET", path, username="bertil").status == 403
    assert [a["name"] for a in ask(world, "GET", "/ai_assistants").body] == ["Helper"]


def test_keys_tell_the_collection_that_they_are_bound_to(admin, world, home):
    world.add_key("anna", name="bound", collection_id=home.id)
    listed = {key.name: key for key in admin.list_all_api_keys(0, 99, "anna")}
    assert (listed["bound"].collection_id, listed["bound"].is_global_key) == (home.id, False)
    assert listed["default"].is_global_key


@knows("get_collection_graph_status")
def test_graph_status(anna, world, home):
    assert anna.get_collection_graph_status(home.id).status == "none"
    home.graph = "ready"
    found = anna.get_collection_graph_status(home.id)
    assert (found.status, found.built_at is None) == ("ready", False)


def test_chat_goes_on_with_another_collection(anna, world, home):
    session_id = anna.create_chat_session(home.id)
    anna.set_chat_session_collection(session_id, None)
    assert world.sessions[session_id].collection_id is None
    anna.set_chat_session_collection(session_id, home.id)
    assert world.sessions[session_id].collection_id == home.id


@knows("archive_chat_session")
def test_chats_are_archived_by_admins(anna, admin, world, home):
    session = world.sessions_of(home.id)[0]
    with pytest.raises(ForbiddenError):
        anna.archive_chat_session(session.id)
    admin.archive_chat_session(session.id)
    assert session.archived
    admin.unarchive_chat_session(session.id)
    assert not session.archived


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("moved", [True, False])
def test_archived_chats_are_treated_either_way(anna, world, home, listed, counted, moved):
    world.habits.archived_chats_listed = listed
    world.habits.archived_chats_counted = counted
    world.habits.archived_chats_move = moved
    archived = world.sessions_of(home.id)[0]
    world.archive_chat(archived.id)
    ids = [s.id for s in anna.list_chat_sessions_for_collection(home.id, 0, 9)]
    assert (archived.id in ids) is listed
    assert anna.count_chat_sessions_for_collection(home.id) == (3 if counted else 2)
    shown = [ask(world, "GET", f"/collections/{home.id}").body]
    shown += ask(world, "GET", "/collections").body
    assert [c["sessions_count"] for c in shown] == [3 if counted else 2] * 2
    target = anna.create_collection("New", "")
    anna.migrate_chat_sessions_to_collection(home.id, target)
    assert world.sessions_of(home.id) == ([] if moved else [archived])


def test_archived_collection_can_be_read_and_not_changed(anna, world, home):
    target = anna.create_collection("New", "")
    anna.archive_collection(home.id)
    assert anna.get_collection(home.id).status == "archived"
    for change in (
        lambda: anna.import_collection_into_collection(target, home.id),
        lambda: anna.update_collection_metadata(home.id, {}),
        lambda: anna.ingest_from_plain_text(home.id, "text", "note.txt"),
    ):
        with pytest.raises(errors.InvalidArgumentError, match="archived"):
            change()
    world.habits.archived_refuses = False
    anna.import_collection_into_collection(target, home.id)
    assert anna.count_documents_in_collection(target) == 3
    anna.unarchive_collection(home.id)
    assert anna.get_collection(home.id).status == "active"


def test_entangled_collection_is_pointed_at_from_everywhere(world, home):
    world.entangle(home.id)
    keys = ask(world, "GET", "/admin/api_keys", username="admin").body
    tasks = ask(world, "GET", "/scheduled_tasks", query={"collection_id": home.id}).body
    (assistant,) = ask(world, "GET", "/ai_assistants").body
    links = ask(world, "GET", f"/ai_assistants/{assistant['id']}/collections").body
    assert sum(key.get("collection_id") == home.id for key in keys) == 1
    assert tasks["total"] == 1
    assert [link["collection_id"] for link in links] == [home.id]
    assert [tag["name"] for tag in ask(world, "GET", "/tags").body] == ["important"]
    tagged = ask(world, "GET", "/tags/important/documents", query={"collection_id": home.id}).body
    assert [d["id"] for d in tagged] == [home.documents[0].document.id]
    assert ask(world, "GET", f"/graph/{home.id}/status").body["status"] == "ready"
    assert ask(world, "GET", f"/collections/{home.id}").body["sessions_count"] == 4
    assert len(ask(world, "GET", f"/collections/{home.id}/chats").body) == 3
