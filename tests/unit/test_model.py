"""Values as servers of different versions write them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from h2ogpte_migration.model import (
    Collection,
    Document,
    Finding,
    ImportOptions,
    Job,
    Permissions,
    Share,
    parse_time,
    permission_list,
)

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-04T05:06:07.89Z",
        "2026-03-04T05:06:07.890z",
        "2026-03-04T05:06:07.890000+00:00",
        "2026-03-04 05:06:07.890000",
        "2026-03-04T05:06:07.8900001234",
        "2026-03-04T07:06:07.890000001+02:00",
        " 2026-03-04T00:06:07.89-05:00 ",
    ],
)
def test_the_same_moment_in_different_spellings_is_one_moment(text: str) -> None:
    assert parse_time(text) == MOMENT


@pytest.mark.parametrize(
    "value", [None, "", "  ", "soon", 7, True, [], "2026-13-01T00:00:00Z", "."]
)
def test_what_is_no_time_is_none(value: Any) -> None:
    assert parse_time(value) is None


def test_a_time_without_a_fraction_and_a_date_alone_are_utc() -> None:
    assert parse_time("2026-03-04T05:06:07Z") == MOMENT.replace(microsecond=0)
    assert parse_time("2026-03-04") == datetime(2026, 3, 4, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("completed", Job.COMPLETED),
        ("Complete", Job.COMPLETED),
        (" FAILED ", Job.FAILED),
        ("failure", Job.FAILED),
        ("canceled", Job.CANCELED),
        ("cancelled", Job.CANCELED),
        ("running", Job.RUNNING),
        ("queued", Job.RUNNING),
        ("brand-new-state", Job.RUNNING),
        ("", Job.RUNNING),
        (None, Job.RUNNING),
        (7, Job.RUNNING),
    ],
)
def test_a_job_is_over_only_in_states_that_are_known_to_be_ends(word: Any, state: str) -> None:
    job = Job.from_json({"id": "j", "kind": "K", "overall_status": word})
    assert job.state == state
    assert job.ended == (state != Job.RUNNING)


@pytest.mark.parametrize(
    ("raw", "failures"),
    [
        ({}, False),
        ({"failed_percentage": 0}, False),
        ({"failed_percentage": 0.02}, True),
        ({"failed_percentage": 2}, True),
        ({"failed_percentage": "2"}, False),
        ({"failed_percentage": True}, False),
        ({"files_failed": 1}, True),
        ({"files_failed": None}, False),
    ],
)
def test_more_than_nothing_failed_is_all_that_is_read_from_percentages(
    raw: Any, failures: bool
) -> None:
    assert Job.from_json(raw).had_failures is failures


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        (None, ()),
        ("boom", ()),
        ([], ()),
        (["", "  "], ()),
        (["a", 7, {"b": 1}], ("a", "7", "{'b': 1}")),
    ],
)
def test_the_errors_of_a_job_are_texts_with_something_in_them(errors: Any, kept: Any) -> None:
    assert Job.from_json({"errors": errors}).errors == kept


def test_a_collection_keeps_fields_that_nobody_knows_where_it_is_asked_to() -> None:
    raw = {"id": "c", "name": "n", "username": "anna", "embedding_model": "m", "novel": [1]}
    kept = Collection.from_json(raw, keep_raw=True)
    assert (kept.get("novel"), kept.get("absent")) == ([1], None)
    listed = Collection.from_json(raw, keep_raw=False)
    assert (listed.raw, listed.get("novel")) == (None, None)
    assert kept == listed, "the raw JSON is no part of what a collection is"


@pytest.mark.parametrize("count", [None, "7", True, 7.5])
def test_a_collection_with_odd_or_missing_fields_is_read_all_the_same(count: Any) -> None:
    read = Collection.from_json({"document_count": count, "name": None, "is_public": 1}, keep_raw=0)
    assert read == Collection(id="", name="", owner="", model="", is_public=None)


@pytest.mark.parametrize(
    ("status", "good", "pending"),
    [
        ("completed", True, False),
        ("agent_only", True, False),
        ("queued", False, True),
        ("scheduled", False, True),
        ("running", False, True),
        ("failed", False, False),
        ("canceled", False, False),
        ("novel", False, False),
        ("", False, False),
    ],
)
def test_a_document_is_good_pending_or_bad(status: str, good: bool, pending: bool) -> None:
    document = Document("d", "d.pdf", status)
    assert (document.good, document.pending) == (good, pending)


@pytest.mark.parametrize(
    "permissions",
    [
        Permissions(False),
        Permissions(True),
        Permissions(True, ()),
        Permissions(True, ("read", "write")),
        Permissions(False, None, (Share("anna"), Share("bo", ())), (Share("g", ("read",)),)),
    ],
)
def test_permissions_survive_the_way_through_the_database(permissions: Permissions) -> None:
    assert Permissions.from_json(permissions.to_json()) == permissions


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {},
        {"is_public": "yes", "public": None, "users": [], "groups": []},
        {"is_public": True, "public": "read", "users": [], "groups": []},
        {"is_public": False, "public": None, "users": [{"grantee": ""}], "groups": []},
        {"is_public": False, "public": None, "users": [], "groups": ["staff"]},
        {"is_public": False, "public": None, "users": 7, "groups": []},
    ],
)
def test_a_record_that_is_none_of_permissions_is_not_read_as_some(record: Any) -> None:
    with pytest.raises(ValueError, match="no "):
        Permissions.from_json(record)


def test_public_with_no_list_is_not_public_with_an_empty_one() -> None:
    assert permission_list(None) is None
    assert permission_list([]) == ()
    assert Permissions(True) != Permissions(True, ())


@pytest.mark.parametrize(
    ("permissions", "empty"),
    [
        (Permissions(False), True),
        (Permissions(False, ("read",)), True),
        (Permissions(True), False),
        (Permissions(False, users=(Share("a"),)), False),
        (Permissions(False, groups=(Share("g"),)), False),
    ],
)
def test_permissions_are_empty_where_only_the_owner_may(
    permissions: Permissions, empty: bool
) -> None:
    assert permissions.empty is empty


@pytest.mark.parametrize(
    "options", [ImportOptions(), ImportOptions(True, True, None), ImportOptions(ocr_model="off")]
)
def test_import_options_survive_the_way_through_the_database(options: ImportOptions) -> None:
    assert ImportOptions.from_json(options.to_json()) == options


def test_a_finding_names_its_samples() -> None:
    assert str(Finding("c", "2 documents missing", samples=("a", "b"))) == (
        "2 documents missing: a, b"
    )
    assert str(Finding("c", "nothing")) == "nothing"


@pytest.mark.parametrize(
    ("value", "public"),
    [
        (True, True),
        (False, False),
        (None, False),
        (0, False),
        ("False", False),
        ("true", None),
        ("yes", None),
        (1, None),
        ("", None),
        ([], None),
        ({}, None),
    ],
)
def test_public_is_what_says_so_and_nothing_else(value: Any, public: Any) -> None:
    assert Collection.from_json({"id": "c", "is_public": value}, keep_raw=False).is_public is public
    assert Collection.from_json({"id": "c"}, keep_raw=False).is_public is False
