"""The unmodified client makes keys for users and deletes them."""

from __future__ import annotations

import pytest
from h2ogpte.errors import HTTPError, InvalidArgumentError, ObjectNotFoundError, UnauthorizedError


def test_users_are_paged_and_may_lack_the_caller(admin, world):
    listed = admin.list_users(0, 2) + admin.list_users(2, 2)
    assert [u.username for u in listed] == ["admin", "anna", "bertil"]
    world.habits.users_include_caller = False
    assert [u.username for u in admin.list_users(0, 9)] == ["anna", "bertil"]


def test_key_for_a_user_works_as_that_user_until_it_expires(admin, connect, world):
    home = world.add_collection("anna", "Papers")
    secret = admin.create_api_key_for_user(
        world.users["anna"].id, name="temporary", expires_in="1 hour"
    )
    assert connect(secret=secret).get_collection(home.id).name == "Papers"
    world.expire_key(secret)
    with pytest.raises(UnauthorizedError):
        connect(secret=secret)


def test_key_is_found_by_its_name_and_deleted(admin, connect, world):
    secret = admin.create_api_key_for_user(world.users["anna"].id, name="temporary 1")
    found = admin.list_all_api_keys(0, 10, "temporary")
    assert [(k.name, k.username, k.is_active) for k in found] == [("temporary 1", "anna", True)]
    admin.delete_api_keys([found[0].id])
    assert admin.list_all_api_keys(0, 10, "temporary") == []
    world.habits.deleted_keys_listed = True
    assert [k.is_active for k in admin.list_all_api_keys(0, 10, "temporary")] == [False]
    with pytest.raises(UnauthorizedError):
        connect(secret=secret)


@pytest.mark.parametrize(("status", "error"), [(409, HTTPError), (404, ObjectNotFoundError)])
def test_deleting_a_missing_key_is_an_error_or_not(admin, world, status, error):
    world.habits.missing_key_delete_status = status
    with pytest.raises(error):
        admin.delete_api_keys(["00000000-0000-4000-8000-000000000000"])
    world.habits.missing_key_delete_status = 204
    admin.delete_api_keys(["00000000-0000-4000-8000-000000000000"])


def test_unknown_users_and_odd_intervals_are_refused(admin, world):
    with pytest.raises(ObjectNotFoundError):
        admin.create_api_key_for_user("nobody")
    with pytest.raises(InvalidArgumentError):
        admin.create_api_key_for_user(world.users["anna"].id, expires_in="soon")
