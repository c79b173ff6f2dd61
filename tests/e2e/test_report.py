"""``--report``: the plan before, the evidence afterwards; a plan can be edited and run."""

from __future__ import annotations

import csv
import io
import json

import pytest

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.world import World
from tests.support.terminal import GEMMA, M3, MAPPED, WAIT, Operator

CHATS = "--migrate-chats"


def test_a_run_brings_evidence_of_every_collection(operator: Operator, world: World) -> None:
    good = world.add_collection("anna", "Good", M3, documents=2, connectors=1, chats=3)
    bad = world.add_collection("anna", "Bad", M3)
    world.set_fate(bad.id, Fate.FAIL)
    operator.admin("--users", "anna", MAPPED, WAIT, CHATS, "--report", "run.json", code=1)
    told = json.loads((operator.folder / "run.json").read_text(encoding="utf-8"))
    assert told["schema"] == "h2ogpte-migrate/report/1"
    assert (told["about"], told["exit_code"]) == ("run", 1)
    failed, done = told["collections"]  # failures first
    assert (failed["collection_id"], failed["outcome"]) == (bad.id, "failed")
    assert failed["reason"]
    assert failed["needs_attention"]
    assert done["collection_id"] == good.id
    assert done["new_collection_id"] == operator.row(good.id)["new_collection_id"]
    assert (done["documents_before"], done["documents_after"]) == (2, 2)
    assert (done["connectors_moved"], done["chats_moved"]) == (1, 3)
    assert done["verdict"] == "clean"
    assert done["begun_at"] <= done["imported_at"] <= done["validated_at"]
    assert operator.server.admin_key not in json.dumps(told)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_plan_is_edited_and_run(operator: Operator, world: World, mark: str) -> None:
    keep = world.add_collection("anna", '=HYPERLINK("x"), "quoted"; and more', M3)
    strike = world.add_collection("anna", "Struck", M3)
    operator.admin("--users", "anna", MAPPED, "--dry-run", "--report", "plan.csv")
    plan = operator.folder / "plan.csv"
    rows = list(csv.DictReader(io.StringIO(plan.read_text(encoding="utf-8-sig"), newline="")))
    assert next(iter(rows[0])) == "collection_id"
    assert {row["collection_id"]: row["action"] for row in rows} == {
        keep.id: "create",
        strike.id: "create",
    }
    assert all(not row["name"].startswith("=") for row in rows)
    # As a spreadsheet of another country saves it.
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=mark, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(row for row in rows if row["collection_id"] == keep.id)
    plan.write_bytes(out.getvalue().encode("utf-8-sig"))
    operator.admin("--collections-file", "plan.csv", MAPPED, WAIT)
    assert [row["old_collection_id"] for row in operator.rows()] == [keep.id]


def test_a_plan_as_it_stands_migrates_what_it_said_and_nothing_else(
    operator: Operator, world: World
) -> None:
    old = world.add_collection("anna", "Old", M3)
    new = world.add_collection("anna", "New", GEMMA)
    elsewhere = world.add_collection("anna", "Elsewhere", M3)
    world.add_collection("anna", "(Migrated) Elsewhere - 20260101_000000", GEMMA)
    to_new = ("--target-model", GEMMA)
    asked = ("--users", "anna,nobody here", *to_new, "--dry-run")
    said = operator.admin(*asked, "--report", "plan.csv", code=1)
    assert "Not available: nobody here: no such user" in said.out
    assert f"Not available: Elsewhere ({elsewhere.id}): another database" in said.out
    rows = list(
        csv.DictReader((operator.folder / "plan.csv").read_text("utf-8-sig").splitlines(True))
    )
    told = {(row["collection_id"], row["name"], row["owner"]): row["outcome"] for row in rows}
    assert told[old.id, "Old", "anna"] == "planned"
    assert told[new.id, "New", "anna"] == "skipped"
    assert told[elsewhere.id, "Elsewhere", "anna"] == "not available"
    assert told["", "nobody here", ""] == "not available"
    said = operator.admin("--collections-file", "plan.csv", *to_new, WAIT)
    assert "Left out: 4 rows of plan.csv" in said.out
    assert [row["old_collection_id"] for row in operator.rows()] == [old.id]


def test_one_that_cannot_be_written_costs_an_exit_code_and_nothing_else(
    operator: Operator, world: World
) -> None:
    source = world.add_collection("anna", "Alpha", M3)
    place = operator.folder / "run.html"
    place.symlink_to("gone/away.html")
    said = operator.admin("--users", "anna", MAPPED, WAIT, "--report", "run.html", code=1).out
    assert "The report run.html could not be written" in said
    assert operator.row(source.id)["connectors_migrated"] == 1


def test_an_unknown_suffix_is_a_usage_error(operator: Operator) -> None:
    result = operator.admin("--users", "anna", MAPPED, "--report", "run.pdf", code=2)
    assert "must end in .json, .csv or .html" in result.err
    assert operator.server.requests == []
