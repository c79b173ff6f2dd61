"""The unmodified client shares collections; the sandbox keeps people to their rights."""

from __future__ import annotations

import h2ogpte
import pytest
from h2ogpte import errors
from h2ogpte.errors import (
    HTTPError,
    InvalidArgumentError,
    ObjectNotFoundError,
    UnauthorizedError,
)

from h2ogpte_migration.sandbox.model import ALL_RIGHTS

ForbiddenError = getattr(errors, "ForbiddenError", UnauthorizedError)  # new in 1.7


def shares(client, collection_id):
    return {p.username: p.permissions for p in client.list_collection_permissions(collection_id)}


def test_user_shares_come_and_go(anna, world):
    home = world.add_collection("anna", "Papers")
    world.add_user("o'hara@corp/x")
    anna.share_collection(
        home.id, h2ogpte.types.SharePermission(username="bertil", permissions=["read"])
    )
    anna.share_collection(
        home.id, h2ogpte.types.SharePermission(username="o'hara@corp/x", permissions=None)
    )
    assert shares(anna, home.id) == {"anna": ALL_RIGHTS, "bertil": ["read"], "o'hara@corp/x": None}
    anna.unshare_collection(home.id, h2ogpte.types.SharePermission(username="bertil"))
    world.habits.permissions_include_owner = False
    assert shares(anna, home.id) == {"o'hara@corp/x": None}
    anna.unshare_collection_for_all(home.id)
    assert shares(anna, home.id) == {}


def test_group_shares_are_listed_by_id(anna, world):
    home = world.add_collection("anna", "Papers")
    staff = world.add_group("staff")
    anna.share_collection_with_group(
        home.id, h2ogpte.types.GroupSharePermission(group_id=staff, permissions=["read", "chat"])
    )
    listed = anna.list_collection_group_permissions(home.id)
    assert [(p.group_id, p.permissions) for p in listed] == [(staff, ["read", "chat"])]


@pytest.mark.parametrize(("given", "seen"), [(None, ALL_RIGHTS), ([], []), (["read"], ["read"])])
def test_public_with_no_list_is_not_public_with_an_empty_one(anna, world, given, seen):
    home = world.add_collection("anna", "Papers")
    anna.make_collection_public(home.id, given)
    assert anna.get_collection(home.id).is_public
    assert anna.list_collection_public_permissions(home.id) == seen
    assert world.collections[home.id].public_permissions == given
    anna.make_collection_private(home.id)
    assert not anna.get_collection(home.id).is_public


def test_a_share_that_exists_may_conflict(anna, world):
    home = world.add_collection("anna", "Papers", shares={"bertil": ["read"]})
    world.habits.repeated_share_conflicts = True
    with pytest.raises(HTTPError):
        anna.share_collection(
            home.id, h2ogpte.types.SharePermission(username="bertil", permissions=["chat"])
        )
    with pytest.raises(InvalidArgumentError):
        anna.share_collection(
            home.id, h2ogpte.types.SharePermission(username="nobody", permissions=[])
        )


READS = [
    "get_collection",
    "list_collection_permissions",
    "list_collection_group_permissions",
    "list_collection_public_permissions",
    "list_scheduled_connectors_for_collection",
    "count_documents_in_collection",
    "count_chat_sessions_for_collection",
]


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("stranger", ["admin", "bertil"])
def test_private_collection_is_closed_to_strangers_and_to_admins(connect, world, stranger, method):
    home = world.add_collection("anna", "Papers")
    with pytest.raises(ForbiddenError):
        getattr(connect(stranger), method)(home.id)


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize(
    "how",
    [
        {"shares": {"bertil": ["read"]}},
        {"group_shares": {"staff": None}},
        {"public": []},
    ],
)
def test_shared_collection_is_open_to_readers(connect, world, how, method):
    home = world.add_collection("anna", "Papers", **how)
    getattr(connect("bertil"), method)(home.id)


def test_only_the_owner_changes_imports_and_moves(connect, world):
    theirs = world.add_collection("anna", "Papers", shares={"bertil": None})
    mine = world.add_collection("bertil", "Copy", documents=0)
    bertil = connect("bertil")
    for refused in (
        lambda: bertil.update_collection(theirs.id, "x", "y"),
        lambda: bertil.update_collection_settings(theirs.id, {}),
        lambda: bertil.make_collection_public(theirs.id),
        lambda: bertil.share_collection(theirs.id, h2ogpte.types.SharePermission(username="admin")),
        lambda: bertil.import_collection_into_collection(theirs.id, mine.id),
        lambda: bertil.migrate_scheduled_connectors_to_collection(mine.id, theirs.id),
        lambda: bertil.migrate_chat_sessions_to_collection(theirs.id, mine.id),
        lambda: bertil.delete_collections([theirs.id]),
    ):
        with pytest.raises(ForbiddenError):
            refused()
    assert bertil.import_collection_into_collection(mine.id, theirs.id).completed


def test_admin_functions_are_for_admins(anna, admin, world):
    world.add_collection("anna", "Papers")
    user_id = world.users["anna"].id
    for refused in (
        lambda: anna.list_all_collections_sort(0, 10, "name", True),
        lambda: anna.list_users(0, 10),
        lambda: anna.create_api_key_for_user(user_id),
        lambda: anna.list_all_api_keys(0, 10),
        anna.list_all_jobs,
    ):
        with pytest.raises(ForbiddenError):
            refused()
    assert [c.username for c in admin.list_all_collections_sort(0, 10, "name", True)] == ["anna"]


def test_missing_collection_is_not_found(anna):
    with pytest.raises(ObjectNotFoundError):
        anna.get_collection("00000000-0000-4000-8000-000000000000")


def test_unknown_expired_and_deleted_keys_are_refused(connect, world):
    for secret in ("sk-unknown", world.add_key("anna", lifetime_s=-1).secret):
        with pytest.raises(UnauthorizedError):
            connect(secret=secret)


def test_prompt_template_is_read_by_its_readers_only(connect, world):
    prompt = world.add_prompt("anna", "Librarian", readers=["bertil"])
    assert connect("bertil").get_prompt_template(prompt.id).name == "Librarian"
    with pytest.raises(ForbiddenError):
        connect("admin").get_prompt_template(prompt.id)
