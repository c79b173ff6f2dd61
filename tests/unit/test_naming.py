"""Names of targets."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from h2ogpte_migration.naming import (
    folded,
    is_target_name_of,
    matches_migrated_name,
    target_name,
    undecorate,
)

NOON = datetime(2026, 3, 16, 12, 0, 58, tzinfo=timezone.utc)
NAMES = [
    "Alpha",
    "",
    " ",
    "a - b",
    "(Migrated) x",
    "x - 20260101_000000",
    "two\nlines",
    "é🙂",
    "%s",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_target_name_is_decorated_recognised_and_read_back(name: str) -> None:
    target = target_name(name, NOON, set())
    assert target == f"(Migrated) {name} - 20260316_120058"
    assert matches_migrated_name(target)
    assert is_target_name_of(target, name)
    assert undecorate(target) == name


def test_seconds_advance_until_the_name_is_free() -> None:
    taken = {f"(Migrated) A - 20260316_{time}" for time in ("120058", "120059", "120100")}
    assert target_name("a", NOON, set(map(folded, taken))) == "(Migrated) a - 20260316_120101"


def test_midnight_and_new_year_are_passed() -> None:
    late = datetime(2026, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
    taken = {folded(target_name("A", late, set()))}
    assert target_name("A", late, taken) == "(Migrated) A - 20270101_000000"


def test_a_second_migration_does_not_stack_the_decoration() -> None:
    first = target_name("A", NOON, set())
    assert target_name(first, NOON, {folded(first)}) == "(Migrated) A - 20260316_120059"


def test_stacked_decorations_of_others_come_off_at_once() -> None:
    stacked = "(Migrated) (Migrated) A - 20250101_000000 - 20260101_000000"
    assert undecorate(stacked) == "A"
    assert is_target_name_of(stacked, "A")


@pytest.mark.parametrize(
    "other",
    [
        "A",
        "(Migrated) A",
        "(Migrated) A - 2026_120000",
        "(Migrated) A - 20260316_120058 ",
        "(Migrated) A - 20260316_120058\n",
        "x(Migrated) A - 20260316_120058",
        "(Migrated) A - ٢٠٢٦٠٣١٦_120058",
    ],
)
def test_other_names_are_no_target_names(other: str) -> None:
    assert not matches_migrated_name(other)
    assert not is_target_name_of(other, "A")
    assert undecorate(other) == other


def test_a_server_may_have_written_the_decoration_in_small_letters() -> None:
    assert matches_migrated_name("(migrated) a - 20260316_120058")


def test_another_sources_target_is_not_ours() -> None:
    assert not is_target_name_of("(Migrated) B - 20260316_120058", "A")
