"""Each habit of the sandbox does what the table of assumptions says that it does."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import struct
import subprocess
import sys
import time
from typing import get_type_hints

import pytest
from tests.support.each import each

from h2ogpte_migration.assumptions import ASSUMPTIONS, BY_HABIT
from h2ogpte_migration.sandbox import start_sample
from h2ogpte_migration.sandbox.__main__ import main
from h2ogpte_migration.sandbox.cases import CASES, case, default_of, describe
from h2ogpte_migration.sandbox.dispatch import ROUTES, perform
from h2ogpte_migration.sandbox.habits import Fate, Habits, read_setting
from h2ogpte_migration.sandbox.model import JobKind
from h2ogpte_migration.sandbox.state import DEFAULT_MODELS
from h2ogpte_migration.sandbox.world import World

LARGE = DEFAULT_MODELS[1]


class Clock:
    """A clock that goes on only when told."""

    def __init__(self):
        self.now = 1.7e9

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def world(clock):
    world = World(clock=clock)
    world.add_user("admin", admin=True)
    world.add_user("anna", groups=["staff"], workspaces=["research"])
    world.add_user("bertil", groups=["staff"])
    return world


@pytest.fixture
def ask(world):
    """Return a function that sends a request and returns the reply."""

    def send(method, path, body=None, *, key="sk-sandbox-anna", **query):
        prefix = "" if path.startswith("/rpc/") else "/api/v1"
        return perform(world, method, prefix + path, secret=key, query=query, body=body)

    return send


@pytest.fixture
def create(ask):
    def send(name="New", **more):
        return ask("POST", "/collections", {"name": name, "description": "about", **more})

    return send


@pytest.fixture
def home(world):
    return world.add_collection("anna", "Old", documents=4, connectors=1, chats=2)


@pytest.fixture
def target(world):
    return world.add_collection("anna", "New", documents=0)


@pytest.fixture
def imported(ask, clock, home, target):
    """Return a function that imports ``home`` into ``target`` and returns the job afterwards."""

    def run(**query):
        path = f"/collections/{target.id}/import_collection_job"
        reply = ask("POST", path, {"source_collection_id": home.id}, **query)
        if reply.status != 201:
            return reply
        clock.now += 60
        return ask("GET", f"/jobs/{reply.body['id']}")

    return run


# -- the table


def test_every_habit_has_a_row_in_its_own_order():
    assert [row.habit for row in ASSUMPTIONS] == [f.name for f in dataclasses.fields(Habits)]


def test_every_row_says_something_and_tries_values_of_the_right_type():
    kinds = get_type_hints(Habits)

    def says_something(row):
        assert row.assumed
        assert row.otherwise
        assert row.operations
        assert row.then
        assert row.values
        assert default_of(row) not in row.values
        for known in CASES:
            for words in known.words if known.assumption is row else ():
                ((name, value),) = read_setting(words).items()
                assert value == known.settings[name]
                wanted = getattr(kinds[name], "__args__", (kinds[name],))
                assert type(value) in wanted

    each(ASSUMPTIONS, says_something, name=lambda row: row.habit)


def test_operations_that_habits_strike_exist():
    known = {route.rule.__name__ for route in ROUTES}
    striking = "missing_operations", "empty_listings", "broken_operations", "foreign_404"
    for habit in (*striking, "error_in_body"):
        for value in BY_HABIT[habit].values:
            assert {item.split(":")[0] for item in value.split(",")} <= known


def test_case_is_found_by_name_and_applied(world):
    name = "quota_status=422+collections_per_user=3"
    case(name).apply(world.habits)
    assert (world.habits.quota_status, world.habits.collections_per_user) == (422, 3)
    assert len({each.name for each in CASES}) == len(CASES)


def test_table_is_printed_without_a_server(capsys):
    assert main(["--habits"]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == describe().strip()
    assert "forbidden_is_401 = False" in printed
    assert "collections_per_user=3" in printed


def test_habits_are_set_on_the_command_line(capsys):
    server = start_sample(habits=["name_limit=40", "zombie_jobs=moves", "page_cap=7"])
    try:
        habits = server.world.habits
        assert (habits.name_limit, habits.zombie_jobs, habits.page_cap) == (40, "moves", 7)
    finally:
        server.stop()
    assert read_setting("name_limit=none") == {"name_limit": None}
    for wrong in ("no_such=1", "page_cap", "page_cap=many", "patch_blanks=perhaps"):
        assert main(["--port", "0", "--habit", wrong]) == 2
    assert "page_cap is of type int, not many" in capsys.readouterr().err


# -- what the server is, paging and listings


def test_version_is_what_the_habit_says(world, ask):
    world.habits.server_version = "1.6.40"
    assert ask("GET", "/rpc/meta").body["version"] == "1.6.40"


def test_operations_may_be_missing_or_broken(world, ask, home):
    path = f"/collections/{home.id}/group_permissions"
    world.habits.broken_operations = "get_collection_group_permissions, list_jobs:1"
    assert [ask("GET", path).status for _ in range(9)] == [500] * 9
    assert [ask("GET", "/jobs").status for _ in range(3)] == [500, 200, 200]
    world.habits.missing_operations = "list_scheduled_tasks"
    missing = ask("GET", "/scheduled_tasks")
    assert (missing.status, missing.body["code"]) == (404, 404)


@pytest.mark.parametrize("shape", ["detail", "html"])
def test_gateway_answers_404_in_a_shape_of_its_own(world, ask, home, shape):
    world.habits.foreign_404 = "get_collection:2"
    world.habits.foreign_404_shape = shape
    other = world.add_collection("anna", "Other")
    replies = [ask("GET", f"/collections/{home.id}") for _ in range(3)]
    assert [reply.status for reply in replies] == [404, 404, 200]
    assert ask("GET", f"/collections/{other.id}").status == 404
    if shape == "html":
        assert replies[0].content_type == "text/html"
    else:
        assert replies[0].body == {"detail": "Not Found"}


def test_gateway_page_travels_as_html(server):
    import urllib.error
    import urllib.request

    server.world.habits.foreign_404 = "meta:1"
    server.world.habits.foreign_404_shape = "html"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(server.url + "/rpc/meta", timeout=5)
    with caught.value as answer:
        assert answer.headers.get_content_type() == "text/html"
        assert answer.read().startswith(b"<html>")


def test_success_that_is_an_error_did_nothing(world, create):
    world.habits.error_in_body = "create_collection:1"
    reply = create()
    assert (reply.status, list(reply.body)) == (200, ["error"])
    assert world.collections == {}
    assert create().status == 201


def test_empty_listing_is_only_counted_where_there_is_something(world, ask, home, target):
    world.habits.empty_listings = "list_documents_for_collection:1,list_scheduled_tasks"
    for _ in range(3):
        assert ask("GET", f"/collections/{target.id}/documents").body == []
    path = f"/collections/{home.id}/documents"
    assert [len(ask("GET", path).body) for _ in range(3)] == [0, 4, 4]
    assert ask("GET", f"/collections/{home.id}").body["document_count"] == 4
    world.add_task("anna", "weekly")
    assert ask("GET", "/scheduled_tasks").body == {"items": [], "total": 1}


def test_limit_and_offset_may_be_ignored_or_refused(world, ask, home):
    def rows(**query):
        reply = ask("GET", f"/collections/{home.id}/documents", **query)
        return reply.status if reply.status != 200 else len(reply.body)

    assert rows(limit="3", offset="2") == 2
    world.habits.limit_ignored = True
    assert rows(limit="1", offset="1") == 3
    world.habits.offset_ignored = True
    assert rows(limit="1", offset="9") == 4
    world.habits.refused_limit_above = 50
    assert rows(limit="51") == 400
    assert rows(limit="50") == 4


@pytest.mark.parametrize(("way", "seen"), [("repeat", [0, 1, 1, 2, 3]), ("skip", [0, 1, 3])])
def test_rows_shift_during_the_first_pass(world, ask, way, seen):
    home = world.add_collection("anna", "Old", documents=[f"{n}" for n in range(4)])
    world.habits.restless = way

    def sweep():
        found, offset = [], 0
        while True:
            page = ask("GET", f"/collections/{home.id}/documents", offset=str(offset), limit="2")
            found += [int(row["name"]) for row in page.body]
            offset += 2
            if len(page.body) < 2:
                return found

    assert sweep() == seen
    assert sweep() == [0, 1, 2, 3]


def test_metadata_may_be_left_to_its_own_operation(world, ask, home):
    home.metadata = {"k": "v"}
    path = f"/collections/{home.id}"
    assert ask("GET", path).body["metadata_dict"] == {"k": "v"}
    world.habits.collection_has_metadata = False
    assert "metadata_dict" not in ask("GET", path).body
    assert ask("GET", path + "/metadata").body == {"k": "v"}


def test_ids_in_capitals_may_be_found(world, ask, home):
    assert ask("GET", f"/collections/{home.id.upper()}").status == 404
    world.habits.ids_ignore_case = True
    assert ask("GET", f"/collections/{home.id.upper()}").body["id"] == home.id


@pytest.mark.parametrize(("form", "end"), [("Z", "Z"), ("offset", "+02:00"), ("naive", ":40")])
def test_times_have_any_form(world, ask, home, form, end):
    world.habits.timestamps = form
    home.updated_at = 1.6e9  # 12:26:40
    assert ask("GET", f"/collections/{home.id}").body["updated_at"].endswith(end)


# -- late visibility


def test_new_collections_are_seen_later(world, clock, ask, create):
    world.habits.collections_readable_after_s = 1
    world.habits.collections_listed_after_s = 3
    made = create().body["id"]

    def seen():
        by_id = ask("GET", f"/collections/{made}").status
        patched = ask("PATCH", f"/collections/{made}", {"description": "new"}).status
        return by_id, patched, len(ask("GET", "/collections").body)

    assert seen() == (404, 404, 0)
    clock.now += 1
    assert seen() == (200, 200, 0)
    clock.now += 2
    assert seen() == (200, 200, 1)


def test_new_jobs_are_seen_later(world, clock, ask):
    world.habits.jobs_readable_after_s = 1
    world.habits.jobs_listed_after_s = 3
    job = world.add_job("anna")

    def seen():
        return ask("GET", f"/jobs/{job.id}").status, len(ask("GET", "/jobs").body)

    assert seen() == (404, 0)
    clock.now += 1
    assert seen() == (200, 0)
    clock.now += 2
    assert seen() == (200, 1)


def test_new_keys_are_seen_later(world, clock, ask):
    world.habits.keys_valid_after_s = 1
    world.habits.keys_listed_after_s = 3
    body = {"user_id": world.users["anna"].id, "name": "temporary"}
    key = ask("POST", "/admin/api_keys", body, key="sk-sandbox-admin").body["secret_key"]

    def seen():
        listed = ask("GET", "/admin/api_keys", key="sk-sandbox-admin", filter="temp").body
        return ask("GET", "/rpc/meta", key=key).status, len(listed)

    assert seen() == (401, 0)
    clock.now += 1
    assert seen() == (200, 0)
    clock.now += 2
    assert seen() == (200, 1)


def test_new_documents_and_chats_are_seen_later(world, clock, ask, home):
    world.habits.documents_listed_after_s = 2
    world.habits.chats_readable_after_s = 1
    world.habits.chats_listed_after_s = 2
    world.add_document(home.id, "new.pdf")
    made = ask("POST", "/chats", collection_id=home.id).body["id"]

    def seen():
        return (
            len(ask("GET", f"/collections/{home.id}/documents").body),
            ask("GET", f"/collections/{home.id}").body["document_count"],
            len(ask("GET", f"/collections/{home.id}/chats").body),
            ask("GET", f"/chats/{made}").status,
        )

    assert seen() == (4, 5, 2, 404)
    clock.now += 1
    assert seen() == (4, 5, 2, 200)
    clock.now += 1
    assert seen() == (5, 5, 3, 200)


# -- jobs


def test_words_of_jobs_may_be_others(world, ask, imported, home):
    world.habits.job_words_in_capitals = True
    assert imported().body["overall_status"] == "COMPLETED"
    world.habits.job_words_in_capitals = False
    world.habits.job_success_word = "stale"
    assert imported().body["overall_status"] == "stale"
    world.set_fate(home.id, Fate.FAIL)
    world.habits.job_failure_word = "timeout"
    assert imported().body["overall_status"] == "timeout"
    world.habits.job_running_word = "queued"
    world.add_job("anna", lasts_s=9)
    assert ask("GET", "/jobs").body[0]["overall_status"] == "queued"


def test_failed_job_may_bring_all_but_what_is_bad(world, imported, home, target):
    world.habits.failed_job_brings_rest = True
    assert imported().body["overall_status"] == "completed"
    target.documents.clear()
    home.documents[1].status = "failed"
    job = imported().body
    assert (job["overall_status"], len(job["errors"])) == ("failed", 1)
    bad = home.documents[1].document.name
    assert {m.document.name for m in target.documents} == {
        m.document.name for m in home.documents
    } - {bad}
    assert {m.status for m in target.documents} == {"completed"}


def test_fate_of_failing_on_some_needs_no_bad_documents(world, imported, home, target):
    world.set_fate(home.id, Fate.FAIL_ON_SOME, documents=2)
    assert imported().body["overall_status"] == "failed"
    assert len(target.documents) == 2


@pytest.mark.parametrize(("which", "running"), [("imports", (1, 0)), ("moves", (0, 1))])
def test_zombies_did_their_work_and_go_on(
    world, ask, clock, imported, home, target, which, running
):
    world.habits.zombie_jobs = which
    imports = imported().body["overall_status"] == "in progress"
    assert [m.status for m in target.documents] == ["completed"] * 4
    path = f"/collections/{home.id}/migrate_chat_sessions_job"
    job = ask("POST", path, {"target_collection_id": target.id}).body["id"]
    clock.now += 60
    moves = ask("GET", f"/jobs/{job}").body["overall_status"] == "in progress"
    assert len(world.sessions_of(target.id)) == 2
    assert (imports, moves) == running
    clock.now += 1e6
    assert len(target.documents) == 4
    if moves:
        ask("POST", f"/jobs/{job}/cancel")
        assert ask("GET", f"/jobs/{job}").body["overall_status"] == "canceled"


def test_fate_of_a_zombie_is_met_once(world, imported, home):
    world.set_fate(home.id, Fate.ZOMBIE, times=1)
    assert imported().body["overall_status"] == "in progress"
    assert imported().body["overall_status"] == "completed"


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_forgotten_job_is_any_error(world, ask, clock, imported, status):
    world.habits.forget_ended_jobs_after_s = 0
    world.habits.unknown_job_status = status
    assert imported().status == status


def test_jobs_of_others_and_reused_ids(world, ask, clock):
    other = world.add_job("bertil", JobKind.OTHER.value)
    assert ask("GET", "/jobs").body == []
    world.habits.jobs_of_others_listed = True
    assert [job["id"] for job in ask("GET", "/jobs").body] == [other.id]
    world.habits.job_ids_reused = True
    world.forget_job(other.id)
    assert world.add_job("anna").id == other.id


def test_errors_may_quote_the_key(world, ask, imported, home):
    world.habits.errors_echo_key = True
    world.set_fate(home.id, Fate.FAIL)
    assert "Bearer sk-sandbox-anna" in imported().body["errors"][0]
    assert "Bearer sk-sandbox-anna" in ask("GET", "/collections/none").body["message"]


def test_older_servers_ignore_flags_of_an_import(world, imported, home, target):
    home.documents[0].metadata = {"k": "v"}
    world.habits.import_flags_ignored = "preserve_metadata"
    imported(preserve_metadata="true")
    assert all(line.metadata == {} for line in target.documents)
    world.habits.import_flags_ignored = ""
    imported(preserve_metadata="true")
    assert {"k": "v"} in [line.metadata for line in target.documents]


@pytest.mark.parametrize(("arrive", "number"), [(True, 4), (False, 3)])
def test_bad_documents_come_along_or_not(world, imported, home, target, arrive, number):
    home.documents[1].status = "failed"
    world.habits.bad_documents_arrive = arrive
    assert imported().body["overall_status"] == "completed"
    assert len(target.documents) == number


def test_admins_may_read_jobs_of_others(world, ask):
    path = f"/jobs/{world.add_job('anna').id}"
    assert ask("GET", path, key="sk-sandbox-admin").status == 404
    world.habits.admin_reads_jobs = True
    assert ask("GET", path, key="sk-sandbox-admin").status == 200
    assert ask("GET", path, key="sk-sandbox-bertil").status == 404


def test_all_rights_of_everybody_may_be_null(world, ask):
    home = world.add_collection("anna", "Public", public=True)
    path = f"/collections/{home.id}/public_permissions"
    assert "read" in ask("GET", path).body
    world.habits.public_null_for_all_rights = True
    assert ask("GET", path).body is None


# -- refusals


def test_lacking_permission_may_be_401_while_the_key_is_good(world, ask):
    secret = world.add_collection("bertil", "Secret")
    assert ask("GET", f"/collections/{secret.id}").status == 403
    world.habits.forbidden_is_401 = True
    reply = ask("GET", f"/collections/{secret.id}")
    assert (reply.status, reply.body["code"]) == (401, 401)
    assert ask("GET", "/admin/api_keys").status == 401
    assert ask("GET", "/rpc/meta").status == 200


@pytest.mark.parametrize("status", [400, 403, 422, 500])
@pytest.mark.parametrize("named", [True, False])
def test_settings_for_admins_only(world, ask, create, status, named):
    world.habits.refused_settings = "guardrails_settings, llm_args"
    world.habits.refused_settings_status = status
    world.habits.refusals_name_settings = named
    refused = {"guardrails_settings": {}, "ocr_model": "auto"}
    for more in ({"collection_settings": refused}, {"chat_settings": {"llm_args": {}}}):
        reply = create(**more)
        assert reply.status == status
        assert any(name in reply.body["message"] for name in ("guardrails", "llm_a")) is named
        assert "ocr_model" not in reply.body["message"]
    assert world.collections == {}
    made = create(collection_settings={"ocr_model": "auto"}).body["id"]
    assert ask("PUT", f"/collections/{made}/settings", refused).status == status
    assert ask("PUT", f"/collections/{made}/chat_settings", {"llm_args": {}}).status == status
    body = {"name": "x", "description": "", "collection_settings": refused}
    assert ask("POST", "/collections", body, key="sk-sandbox-admin").status == 201


def test_null_values_may_be_refused(world, create):
    settings = {"collection_settings": {"ocr_model": None}}
    assert create(**settings).status == 201
    world.habits.refuse_null_values = True
    assert create(**settings).status == 422


@pytest.mark.parametrize("status", [400, 422])
def test_lifetimes_of_keys_may_be_capped(world, ask, status):
    world.habits.key_lifetime_cap_days = 1
    world.habits.refused_key_units = "minute"
    world.habits.key_refusal_status = status

    def make(expires_in):
        body = {"user_id": world.users["anna"].id, "expires_in": expires_in}
        return ask("POST", "/admin/api_keys", body, key="sk-sandbox-admin").status

    lifetimes = (None, "2 days", "25 hours", "1 day", "55 minutes", "1 hour")
    assert [make(text) for text in lifetimes] == [status, status, status, 201, status, 201]


@pytest.mark.parametrize("status", [400, 403, 409, 422])
def test_quotas(world, ask, create, imported, home, target, status):
    world.habits.quota_status = status
    world.habits.collections_per_user = 3
    assert [create().status for _ in range(2)] == [201, status]
    world.habits.documents_per_user = 8
    assert imported().status == 200
    assert imported().status == status
    document = home.documents[0].document.id
    assert ask("PUT", f"/collections/{target.id}/documents/{document}").status == status
    text = {"collection_id": target.id, "file_name": "note.txt"}
    assert ask("POST", "/ingest/plain_text/job", "text", **text).status == status
    assert len(target.documents) == 4


def test_size_limit_may_bind_imports(world, imported, home):
    home.size_limit = home.size - 1
    assert imported().status == 200
    world.habits.size_limit_refuses = True
    assert imported().status == 400


def test_past_expiry_may_be_refused_or_archive(world, ask, create, clock, imported, home, target):
    home.expiry_date = clock.now - 1
    world.habits.past_expiry_refused = True
    assert imported(copy_lifecycle_settings="true").status == 400
    assert imported().status == 200
    past = {"expiry_date": "2001-01-01T00:00:00Z"}
    assert ask("PUT", f"/collections/{home.id}/expiry_date", past).status == 400
    assert create(**past).status == 400
    world.habits.past_expiry_refused = False
    world.habits.expiry_archives = True
    assert ask("GET", f"/collections/{home.id}").body["status"] == "archived"
    assert ask("GET", f"/collections/{target.id}").body["status"] == "active"


# -- creating and changing


def test_defaults_are_added_to_new_collections(world, ask, create):
    mine = {"guardrails_settings": {"guardrails_llm": "mine"}}

    def settings(given):
        made = create(collection_settings=given).body
        assert made["has_default_guardrails"]
        path = f"/collections/{made['id']}/settings"
        created = ask("GET", path).body
        ask("PUT", path, given)
        return created, ask("GET", path).body

    world.habits.server_defaults = "pii"
    created, changed = settings({"ocr_model": "auto"})
    assert created["guardrails_settings"] == {"pii_detection_parse_action": "redact"}
    assert changed == {"ocr_model": "auto"}
    assert settings(mine) == (mine, mine)
    world.habits.server_defaults = "forced"
    created, changed = settings(mine)
    assert created == changed
    assert created["guardrails_settings"] != mine["guardrails_settings"]


def test_new_collections_may_be_shared_at_once(world, create):
    alone = create().body
    assert (alone["is_public"], alone["user_count"]) == (False, 1)
    world.habits.created_shared = "public"
    assert create().body["is_public"]
    world.habits.created_shared = "users"
    assert create().body["user_count"] == len(world.users)


def test_patch_may_blank_what_it_does_not_name(world, ask, home):
    home.rag_type = "rag"
    path = f"/collections/{home.id}"
    ask("PATCH", path, {"rag_type": "hyde1"})
    assert (home.name, home.description, home.rag_type) == ("Old", "About Old", "hyde1")
    world.habits.patch_blanks = True
    ask("PATCH", path, {"rag_type": "rag"})
    assert (home.name, home.description, home.rag_type) == ("", "", "rag")
    ask("PATCH", path, {"name": "Old", "description": "again"})
    assert (home.name, home.description, home.rag_type) == ("Old", "again", None)


def test_vector_encryption_may_be_dropped(world, create):
    assert create(vex_encryption="enabled").body["vex_encryption"] == "enabled"
    world.habits.vex_encryption_ignored = True
    assert create(vex_encryption="enabled").body["vex_encryption"] is None


def test_names_may_be_changed_or_refused(world, ask, create, home):
    world.habits.names_normalised = "trim"
    assert create("  a   b ").body["name"] == "a b"
    world.habits.names_normalised = "nfc"
    assert create("u\u0308").body["name"] == "\u00fc"
    world.habits.name_limit = 5
    assert create("1234567").body["name"] == "12345"
    world.habits.long_names = "refuse"
    assert create("1234567").status == 422
    assert ask("PATCH", f"/collections/{home.id}", {"name": "1234567"}).status == 422
    assert home.name == "Old"


# -- behind everybody's back


def test_owner_changes(world, ask, home):
    home.shares["bertil"] = ["read"]
    world.change_owner(home.id, "bertil")
    assert ask("GET", f"/collections/{home.id}").status == 403
    found = ask("GET", f"/collections/{home.id}", key="sk-sandbox-bertil")
    assert (found.status, found.body["username"]) == (200, "bertil")


@pytest.mark.parametrize("collections", [True, False])
def test_deleted_user_leaves_collections_or_not(world, ask, home, collections):
    home.shares["bertil"] = None
    world.add_job("anna", lasts_s=99)
    world.delete_user("anna", collections=collections)
    assert ask("GET", "/rpc/meta").status == 401
    assert (home.id in world.collections) is not collections
    for path in ("/collections/all", "/users", "/user_jobs", "/admin/api_keys"):
        assert ask("GET", path, key="sk-sandbox-admin").status == 200
    if not collections:
        path = f"/collections/{home.id}/scheduled_connectors"
        (connector,) = ask("GET", path, key="sk-sandbox-bertil").body
        assert connector["user_name"] == "anna"


# -- the network


def test_unknown_frames_come_before_the_answer(world, home):
    from h2ogpte_migration.sandbox.chat import answer

    session = world.sessions_of(home.id)[0]
    question = {"t": "cq", "body": "What?", "correlation_id": "1"}

    def frames():
        return [f["t"] for f in answer(world, world.users["anna"], session.id, question)]

    assert frames() == ["cx", "cp", "ca"]
    world.habits.unknown_frames = True
    assert frames() == ["cx", "cz", "cp", "ca"]


@pytest.mark.parametrize("kind", [b"application/json", b"multipart/form-data; boundary=b"])
def test_client_that_dies_in_its_body_makes_no_noise(server, caplog, kind):
    lost = []
    original = server._body

    async def watched(http):
        try:
            return await original(http)
        finally:
            lost.append(True)

    server._body = watched
    with caplog.at_level(logging.DEBUG, logger="aiohttp"), socket.socket() as dying:
        dying.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        dying.sendall(
            b"POST /api/v1/collections HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nContent-Type: "
            + kind
            + b"\r\n\r\n{"
        )
        dying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        dying.close()
        deadline = time.monotonic() + 5
        while not lost and time.monotonic() < deadline:
            time.sleep(0.01)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), server._loop).result(5)
    assert lost
    assert [record.getMessage() for record in caplog.records] == []
    assert server.requests == []


def test_habits_are_printed_by_the_module():
    command = [sys.executable, "-m", "h2ogpte_migration.sandbox", "--habits"]
    printed = subprocess.check_output(command, text=True)
    assert all(f"{field.name} = " in printed for field in dataclasses.fields(Habits))
