"""Findings: what holds connectors and chats back, and what is only told."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Optional

import pytest

from h2ogpte_migration.model import Collection, Permissions, Share
from h2ogpte_migration.validation import (
    LIFECYCLE_FIELDS,
    DocumentTallies,
    carried_findings,
    document_findings,
    model_findings,
    permission_findings,
    stuck_findings,
)

NONE = (0, ())
CLEAN = DocumentTallies(*[NONE] * len(fields(DocumentTallies)))


def target(**raw: Any) -> Collection:
    return Collection.from_json({"id": "t", "embedding_model": "new", **raw}, keep_raw=True)


# -- documents -----------------------------------------------------------------------------
def test_nothing_amiss_is_no_finding() -> None:
    assert document_findings(CLEAN) == []


@pytest.mark.parametrize(
    ("field", "code", "blocking"),
    [
        ("missing", "missing", True),
        ("duplicated", "duplicated", True),
        ("newly_bad", "newly_bad", True),
        ("failed_first", "failed_first", True),
        ("bad_before", "bad_before", False),
        ("late", "late", False),
    ],
)
def test_missing_doubled_and_newly_bad_documents_block_and_the_others_are_told(
    field: str, code: str, blocking: bool
) -> None:
    changed: Any = {field: (2, ["a.pdf", "b.pdf"])}
    (finding,) = document_findings(replace(CLEAN, **changed))
    assert (finding.code, finding.blocking) == (code, blocking)
    assert finding.samples == ("a.pdf", "b.pdf")
    assert finding.text.startswith("2 documents ")


def test_documents_in_work_are_no_finding_as_they_are_looked_at_again() -> None:
    assert document_findings(replace(CLEAN, pending=(3, ["a"]))) == []


def test_documents_in_work_on_both_sides_are_told_once_they_are_not_waited_for() -> None:
    both = (1, ["a.pdf (running)"])
    assert document_findings(replace(CLEAN, pending_in_both=both)) == []
    (finding,) = stuck_findings(both)
    assert not finding.blocking
    assert str(finding).startswith("1 document still being worked on, in the source as well")
    assert stuck_findings(NONE) == []


def test_one_document_is_one_document() -> None:
    (finding,) = document_findings(replace(CLEAN, missing=(1, ["a"])))
    assert finding.text == "1 document missing in the target"


def test_all_findings_are_told_together() -> None:
    some = (1, ["a"])
    assert len(document_findings(DocumentTallies(*[some] * len(fields(DocumentTallies))))) == 6


def test_another_model_than_asked_for_blocks() -> None:
    assert model_findings(target(), "new") == []
    (finding,) = model_findings(target(), "newest")
    assert finding.blocking
    assert "new" in finding.text
    assert "newest" in finding.text


# -- what else is carried ------------------------------------------------------------------
def test_without_facts_on_record_nothing_is_compared() -> None:
    assert carried_findings(None, target(rag_type="x"), {"a": 1}) == []


@pytest.mark.parametrize("field", LIFECYCLE_FIELDS)
@pytest.mark.parametrize(
    ("want", "have", "differs"),
    [
        (None, None, False),
        (None, 0, False),
        ("", None, False),
        (7, 7, False),
        (7, None, True),
        (None, 7, True),
        (7, 8, True),
        ("2026-03-04T05:06:07Z", "2026-03-04T05:06:07.000+00:00", False),
        ("2026-03-04T05:06:07Z", "2026-03-04T05:06:08Z", True),
        ("2026-03-04T05:06:07Z", None, True),
        ("7 days", "7 days", False),
        ("7 days", "8 days", True),
    ],
)
def test_a_lifecycle_that_differs_is_a_warning(
    field: str, want: Any, have: Any, differs: bool
) -> None:
    findings = carried_findings({field: want}, target(**{field: have}), None)
    assert [finding.code for finding in findings] == ([f"lifecycle_{field}"] if differs else [])
    assert not any(finding.blocking for finding in findings)


@pytest.mark.parametrize(
    ("want", "have", "differs"),
    [
        (None, "rag", False),
        ("rag", "rag", False),
        ("rag", "llm_only", True),
        ("novel", None, True),
    ],
)
def test_a_rag_type_that_did_not_arrive_is_a_warning(want: Any, have: Any, differs: bool) -> None:
    findings = carried_findings({"rag_type": want}, target(rag_type=have), None)
    assert [finding.code for finding in findings] == (["rag_type"] if differs else [])
    assert not any(finding.blocking for finding in findings)


@pytest.mark.parametrize(
    ("want", "have", "differs"),
    [
        (None, {"a": 1}, False),
        ({}, {"a": 1}, False),
        ({"a": 1}, {"a": 1}, False),
        ({"a": 1}, {}, True),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, None, False),
    ],
)
def test_metadata_that_did_not_arrive_are_a_warning(want: Any, have: Any, differs: bool) -> None:
    findings = carried_findings({"metadata": want}, target(), have)
    assert [finding.code for finding in findings] == (["metadata"] if differs else [])
    assert not any(finding.blocking for finding in findings)


# -- permissions ---------------------------------------------------------------------------
PRIVATE = Permissions(False)


@pytest.mark.parametrize(
    ("wanted", "have"), [(None, PRIVATE), (Permissions(True), None), (None, None)]
)
def test_rights_that_were_not_read_are_not_compared(
    wanted: Optional[Permissions], have: Optional[Permissions]
) -> None:
    assert permission_findings(wanted, have) == []


@pytest.mark.parametrize(
    ("wanted", "have", "codes"),
    [
        (PRIVATE, PRIVATE, []),
        (PRIVATE, Permissions(False, ("read",)), []),
        (PRIVATE, Permissions(True), ["public"]),
        (Permissions(True), PRIVATE, ["public"]),
        (Permissions(True), Permissions(True, ()), ["public"]),
        (Permissions(True, ()), Permissions(True), ["public"]),
        (Permissions(True, ("read",)), Permissions(True, ("read", "write")), ["public"]),
        (Permissions(True, ("read", "write")), Permissions(True, ("write", "read")), []),
        (
            Permissions(False, users=(Share("bo", ("read",)),)),
            PRIVATE,
            ["user_shares"],
        ),
        (
            Permissions(False, users=(Share("bo", ("read", "write")),)),
            Permissions(False, users=(Share("bo", ("write", "read")),)),
            [],
        ),
        (
            Permissions(False, users=(Share("bo", ("read",)),)),
            Permissions(False, users=(Share("bo"),)),
            ["user_shares"],
        ),
        (
            Permissions(False, users=(Share("bo"),)),
            Permissions(False, users=(Share("bo", ("read",)),)),
            [],
        ),
        (
            Permissions(False, groups=(Share("g", ("read",)),)),
            Permissions(False, users=(Share("g", ("read",)),)),
            ["group_shares"],
        ),
        (PRIVATE, Permissions(False, users=(Share("owner"),)), []),
    ],
)
def test_rights_that_the_target_lacks_are_warnings(
    wanted: Permissions, have: Permissions, codes: Any
) -> None:
    findings = permission_findings(wanted, have)
    assert [finding.code for finding in findings] == codes
    assert not any(finding.blocking for finding in findings)


def test_many_lacking_shares_are_counted_and_a_few_are_named() -> None:
    shares = tuple(Share(f"user{number}") for number in range(12))
    (finding,) = permission_findings(Permissions(False, users=shares), PRIVATE)
    assert "12 user" in finding.text
    assert len(finding.samples) == 5


def test_publicity_is_told_in_words() -> None:
    (finding,) = permission_findings(Permissions(True, ()), Permissions(True))
    assert finding.text == (
        "the target is public with all rights, the source is public with the rights: none"
    )
