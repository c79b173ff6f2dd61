"""Which collections a run is about, and with whose keys it works."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Set, Tuple

import pytest

from h2ogpte_migration.sandbox.faults import Action, FixedReply
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.world import World
from tests.support.terminal import GEMMA, LARGE, M3, MAPPED, UNMAPPED, WAIT, Operator

Json = Dict[str, Any]
KEYS = "POST /admin/api_keys"


def migrated(operator: Operator) -> Set[str]:
    """The ids of the sources that the database knows."""
    return {row["old_collection_id"] for row in operator.rows()}


@pytest.fixture
def people(world: World) -> Tuple[Collection, Collection, Collection]:
    """Return a collection each of anna, bertil and the admin."""
    return (
        world.add_collection("anna", "Alpha", M3),
        world.add_collection("bertil", "Beta", M3),
        world.add_collection("admin", "Omega", M3),
    )


Three = Tuple[Collection, Collection, Collection]


@pytest.mark.promise("scope.users")
def test_users(operator: Operator, people: Three) -> None:
    operator.admin("--users", "anna, bertil, anna", MAPPED)
    assert migrated(operator) == {people[0].id, people[1].id}


@pytest.mark.promise("scope.users-exact")
def test_users_are_exact_names(operator: Operator, world: World, people: Three) -> None:
    world.add_user("anna2")
    world.add_user("joanna")
    for name in ("anna2", "joanna"):
        world.add_collection(name, "Not meant, for anna", M3)
    operator.admin("--users", "anna", MAPPED)
    assert migrated(operator) == {people[0].id}


@pytest.mark.promise("scope.unknown-users-named")
def test_unknown_users_are_named(operator: Operator, people: Three) -> None:
    said = operator.admin("--users", "anna,nobody,ann", MAPPED, code=1).out
    assert "Not available: nobody: no such user" in said
    assert "Not available: ann: no such user" in said
    assert migrated(operator) == {people[0].id}


def answers(operator: Operator, route: str, *rows: Json) -> None:
    """What the server says from now on to a listing, or of the first of these collections."""
    listing = "{" not in route
    body = json.dumps(list(rows) if listing else rows[0]).encode()
    operator.server.faults.add(
        Action(reply=FixedReply(200, body)),
        route=route,
        times=None,
        when=lambda asked: listing or asked.path.endswith(rows[0]["id"]),
    )


@pytest.mark.parametrize("scope", [(MAPPED,), ("--source-model", M3, "--target-model", GEMMA)])
@pytest.mark.parametrize("told", [True, False])
def test_a_model_that_a_listing_does_not_tell_is_read_and_not_taken_for_another(
    operator: Operator, world: World, people: Three, scope: Tuple[str, ...], told: bool
) -> None:
    _, beta, _ = people
    rows = []
    for name, model in (("None", None), ("Seven", 7), ("Absent", "absent")):
        odd = world.add_collection("anna", name, M3, documents=1)
        rows.append({"id": odd.id, "name": name, "username": "anna", "embedding_model": model})
    del rows[-1]["embedding_model"]
    other = {"id": beta.id, "name": "Beta", "username": "bertil", "embedding_model": M3}
    answers(operator, "GET /collections/all", *rows, other)
    for row in rows if not told else ():
        answers(operator, "GET /collections/{collection_id}", row)
    said = operator.admin("--all-users", *scope, WAIT, code=0 if told else 1).out
    assert migrated(operator) == {beta.id, *(str(row["id"]) for row in rows if told)}
    assert ("Not available: 3: its model can't be read" in said) == (not told)
    needs = said.partition("NEEDS YOU")[2]
    for row in rows:
        assert (f"{row['name']} ({row['id']}) of anna" in needs) == (not told), row["name"]


@pytest.mark.promise("scope.unknown-users-named")
def test_a_user_without_collections_is_no_failure(operator: Operator, world: World) -> None:
    operator.admin("--users", "bertil", MAPPED)
    assert operator.rows() == []


@pytest.mark.promise("scope.all-users", "scope.guests-counted")
def test_all_users_include_the_admin_but_no_guests(
    operator: Operator, world: World, people: Three
) -> None:
    for guest in ("Guest_1", "Guest_2"):
        world.add_user(guest, guest=True)
        world.add_collection(guest, "Trying", M3)
        world.add_collection(guest, "Trying more", M3)
    said = operator.admin("--all-users", MAPPED).out
    assert migrated(operator) == {one.id for one in people}
    assert "Skipped: 2 guest accounts" in said


@pytest.mark.promise("scope.collections", "scope.owners-detected")
def test_collections_of_several_owners(operator: Operator, world: World, people: Three) -> None:
    world.add_collection("anna", "Another one", M3)
    operator.admin("--collections", ", ".join(one.id for one in people[:2]), MAPPED)
    assert migrated(operator) == {people[0].id, people[1].id}
    owners = {row["old_collection_name"]: row["username"] for row in operator.rows()}
    assert owners == {"Alpha": "anna", "Beta": "bertil"}
    assert operator.target_of(people[1].id).username == "bertil"


@pytest.mark.promise("scope.ids-exact")
def test_exact_ids_although_other_names_carry_them(
    operator: Operator, world: World, people: Three
) -> None:
    wanted = people[0]
    for owner in ("anna", "bertil", "admin"):
        world.add_collection(owner, f"Backup of {wanted.id}", M3)
    operator.admin("--collections", wanted.id, MAPPED)
    assert migrated(operator) == {wanted.id}


@pytest.mark.promise("scope.duplicates-count-once")
def test_an_id_given_twice_is_migrated_once(
    operator: Operator, world: World, people: Three
) -> None:
    said = operator.admin("--collections", f"{people[0].id},{people[0].id}", MAPPED).out
    assert "1 collection to migrate" in said
    assert len(world.targets_of("Alpha")) == 1


@pytest.mark.promise("scope.unknown-ids-named")
@pytest.mark.parametrize("many", [1, 14], ids=["few", "many"])
def test_unknown_ids_are_named(operator: Operator, world: World, people: Three, many: int) -> None:
    unknown = [world.new_id() for _ in range(many)]
    said = operator.admin("--collections", ",".join([people[0].id, *unknown]), MAPPED, code=1).out
    alone = f"Not available: {unknown[0]}: no such collection."
    assert (alone if many == 1 else f"Not available: {many}: no such collection.") in said
    assert all(one in said for one in unknown[:10])
    assert all(one in operator.log for one in unknown)
    assert migrated(operator) == {people[0].id}


@pytest.mark.promise("scope.collections-file")
def test_a_file_of_ids(operator: Operator, people: Three) -> None:
    lines = ["# all that matters", f"{people[0].id}  # anna's", "", f"  {people[1].id}  ", "#end"]
    text = "\r\n".join(lines).encode("utf-8-sig")
    (operator.folder / "ids.txt").write_bytes(text)
    operator.admin("--collections-file", "ids.txt", MAPPED)
    assert migrated(operator) == {people[0].id, people[1].id}


@pytest.mark.promise("scope.collections-file")
@pytest.mark.parametrize("fork", [True, False], ids=["forked", "fresh process"])
def test_ids_from_standard_input(operator: Operator, people: Three, fork: bool) -> None:
    text = f"{people[0].id}\n# no more\n"
    operator.admin("--collections-file", "-", MAPPED, stdin=text, fork=fork)
    assert migrated(operator) == {people[0].id}


@pytest.mark.promise("scope.table-of-ids")
def test_a_table_with_a_column_of_ids(operator: Operator, people: Three) -> None:
    text = f'collection_name,collection_id\r\n"A, b",{people[0].id}\r\nBeta,{people[1].id}\r\n'
    (operator.folder / "plan.csv").write_bytes(text.encode("utf-8-sig"))
    operator.admin("--collections-file", "plan.csv", MAPPED)
    assert migrated(operator) == {people[0].id, people[1].id}


@pytest.mark.promise("admin.temporary-keys", "admin.keys-only-where-needed")
def test_keys_are_made_only_for_owners_of_something_to_migrate(
    operator: Operator, world: World, people: Three
) -> None:
    world.add_user("chloe")
    world.add_user("dora")
    world.add_collection("chloe", "Unmapped", UNMAPPED)
    operator.admin("--all-users", MAPPED)
    made = [r.body["user_id"] for r in operator.server.requests if r.route == KEYS]
    assert sorted(made) == sorted(world.users[name].id for name in ("anna", "bertil"))
    assert [key.name for key in world.alive_keys() if key.name != "default"] == []


@pytest.mark.promise("admin.temporary-keys")
def test_one_key_per_owner_and_gone_also_after_failures(
    operator: Operator, world: World, people: Three
) -> None:
    from h2ogpte_migration.sandbox.habits import Fate

    for number in range(3):
        source = world.add_collection("anna", f"Bad {number}", M3)
        world.set_fate(source.id, Fate.REFUSE)
    operator.admin("--users", "anna", MAPPED, WAIT, code=1)
    assert operator.server.counts()[KEYS] == 1
    assert {key.name for key in world.alive_keys()} == {"default"}


@pytest.mark.promise("admin.keys-go-early")
def test_a_key_goes_as_soon_as_its_owners_work_is_done(operator: Operator, people: Three) -> None:
    operator.admin("--users", "anna,bertil", MAPPED, WAIT)
    routes = [request.route for request in operator.server.requests]
    creations = [n for n, route in enumerate(routes) if route == "POST /collections"]
    assert creations[0] < routes.index("DELETE /admin/api_keys/{key_id}") < creations[1]


@pytest.mark.promise("admin.own-collections")
def test_the_admins_own_collections_use_the_admins_key(operator: Operator, people: Three) -> None:
    operator.admin("--users", "admin", MAPPED, WAIT)
    assert migrated(operator) == {people[2].id}
    assert KEYS not in operator.server.counts()


@pytest.mark.promise("self-service.own-only", "self-service.no-keys")
def test_an_owner_migrates_what_is_his(operator: Operator, world: World, people: Three) -> None:
    world.add_collection("bertil", "Shared with anna", M3, shares={"anna": None})
    world.add_collection("bertil", "Public", M3, public=True)
    operator.user("anna", MAPPED, WAIT)
    assert migrated(operator) == {people[0].id}
    assert not any("/admin" in route or "/all" in route for route in operator.server.counts())


@pytest.mark.promise("self-service.collections")
def test_an_owner_chooses_some(operator: Operator, world: World, people: Three) -> None:
    world.add_collection("anna", "Another one", M3)
    operator.user("anna", MAPPED, "--collections", people[0].id)
    assert migrated(operator) == {people[0].id}


@pytest.mark.promise("self-service.others-refused")
def test_others_collections_are_named_not_touched(
    operator: Operator, world: World, people: Three
) -> None:
    shared = world.add_collection("bertil", "Shared", M3, shares={"anna": None})
    wanted = [people[0].id, people[1].id, shared.id, world.new_id()]
    said = operator.user("anna", MAPPED, "--collections", ",".join(wanted), code=1).out
    assert migrated(operator) == {people[0].id}
    assert f"Not available: {people[1].id}: it is not yours" in said
    assert f"Not available: {shared.id}: it is not yours, but owned by bertil" in said
    assert f"Not available: {wanted[3]}: no such collection" in said


# -- models ------------------------------------------------------------------------------
@pytest.mark.promise("models.mapped", "models.unmapped-skipped")
def test_built_in_mappings(operator: Operator, world: World) -> None:
    one = world.add_collection("anna", "Alpha", M3)
    two = world.add_collection("anna", "Beta", LARGE)
    other = world.add_collection("anna", "Gamma", UNMAPPED)
    said = operator.admin("--users", "anna", MAPPED).out
    assert operator.target_of(one.id).embedding_model == GEMMA
    assert operator.target_of(two.id).embedding_model == "mixedbread-ai/mxbai-embed-large-v1"
    assert f"Skipped: Gamma ({other.id}): its model {UNMAPPED} is not in the mapping" in said
    assert migrated(operator) == {one.id, two.id}
    row = operator.row(one.id)
    assert (row["old_model"], row["new_model"]) == (M3, GEMMA)


@pytest.mark.promise("models.mappings-file")
def test_mappings_from_a_file(operator: Operator, world: World) -> None:
    one = world.add_collection("anna", "Alpha", UNMAPPED)
    world.add_collection("anna", "Beta", M3)
    (operator.folder / "models.json").write_text(f'{{"{UNMAPPED}": "{LARGE}"}}')
    operator.admin("--users", "anna", "--model-mappings-file", "models.json")
    assert migrated(operator) == {one.id}
    assert operator.target_of(one.id).embedding_model == LARGE


@pytest.mark.promise("models.target", "models.target-leaves-alone")
def test_one_target_model_for_everything(operator: Operator, world: World) -> None:
    sources = [world.add_collection("anna", name, name) for name in (M3, LARGE, UNMAPPED)]
    there = world.add_collection("anna", "Has it already", GEMMA)
    said = operator.admin("--users", "anna", "--target-model", GEMMA).out
    assert migrated(operator) == {one.id for one in sources}
    assert f"Skipped: Has it already ({there.id}): it has the model {GEMMA} already" in said


@pytest.mark.promise("models.target-leaves-alone")
@pytest.mark.parametrize("by", ["id", "source model"])
def test_the_same_model_again_where_it_was_named(operator: Operator, world: World, by: str) -> None:
    there = world.add_collection("anna", "Has it already", GEMMA)
    named = {"id": ("--collections", there.id), "source model": ("--source-model", GEMMA)}[by]
    scope = () if by == "id" else ("--users", "anna")
    operator.admin(*scope, *named, "--target-model", GEMMA)
    assert migrated(operator) == {there.id}


@pytest.mark.promise("models.source")
def test_a_source_model_narrows_the_scope(operator: Operator, world: World) -> None:
    one = world.add_collection("anna", "Alpha", LARGE)
    other = world.add_collection("anna", "Beta", M3)
    said = operator.admin("--users", "anna", "--source-model", LARGE, "--target-model", GEMMA).out
    assert migrated(operator) == {one.id}
    assert f"Skipped: Beta ({other.id}): its model is {M3}, not {LARGE}" in said


def test_a_source_model_that_no_collection_has_is_doubted(operator: Operator, world: World) -> None:
    """A plan before a model is retired is not to be green for a misspelt name."""
    world.add_collection("anna", "Alpha", LARGE)
    words = ["--users", "anna", "--target-model", GEMMA, "--source-model"]
    said = operator.admin(*words, LARGE.upper(), "--dry-run").text
    assert f"has the model {LARGE.upper()} of --source-model; did you mean {LARGE}?" in said
    assert "of --source-model." in operator.admin(*words, "other/thing", "--dry-run").text
    operator.admin(*words, LARGE)
    for collection in list(world.targets_of("Alpha")) + list(world.collections.values()):
        collection.embedding_model = GEMMA
    assert "of --source-model" not in operator.admin(*words, LARGE, "--dry-run").text


@pytest.mark.promise("models.unknown-refused")
def test_a_model_that_the_server_lacks_is_refused_before_any_write(
    operator: Operator, world: World
) -> None:
    world.add_collection("anna", "Alpha", M3)
    said = operator.admin("--users", "anna", "--target-model", "no/such", code=None)
    assert said.code in (1, 2)
    assert "no embedding model no/such" in said.err
    assert GEMMA in said.err
    assert operator.changes() == {}


@pytest.mark.promise("scope.never-a-target")
def test_a_target_is_no_source(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    operator.admin("--users", "anna", MAPPED, WAIT)
    again: List[Tuple[str, ...]] = [
        ("--users", "anna", MAPPED),
        ("--users", "anna", "--target-model", GEMMA),
        ("--all-users", "--target-model", GEMMA),
        ("--users", "anna", "--target-model", GEMMA, "--force-remigrate"),
    ]
    for words in again[:3]:
        before = len(world.collections)
        operator.admin(*words, WAIT)
        assert len(world.collections) == before
    operator.admin(*again[3], WAIT)
    assert [row["old_collection_name"] for row in operator.rows()] == ["Alpha"]
    assert len(world.collections) == 3


@pytest.mark.promise("scope.target-stands-for-source")
def test_another_model_later_migrates_the_target_on(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3, connectors=1)
    operator.admin("--users", "anna", MAPPED, WAIT)
    first = operator.target_of(source.id)
    said = operator.admin("--users", "anna", "--target-model", LARGE, WAIT).out
    second = operator.target_of(first.id)
    assert second.embedding_model == LARGE
    assert len(second.connectors) == 1
    assert second.name.count("(Migrated)") == 1
    assert f"{first.id} stands for it" in said
    assert operator.target_of(source.id) is first


@pytest.mark.promise("scope.lost-database")
def test_a_target_of_another_database_is_reported(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3)
    operator.admin("--users", "anna", MAPPED, WAIT)
    operator.db.unlink()
    operator.server.forget_requests()
    said = operator.admin("--users", "anna", MAPPED, WAIT, code=1).out
    assert "another database" in said
    assert operator.changes() == {}
    operator.admin("--users", "anna", MAPPED, WAIT, "--force-remigrate")
    assert len(world.targets_of("Alpha")) == 2
    assert operator.target_of(source.id).name.startswith("(Migrated) Alpha")


@pytest.mark.parametrize("rows", ["[1]", "[null]", '[{"id": 5}]', '[{"name": "Alpha"}]'])
@pytest.mark.parametrize("who", ["admin", "owner"])
def test_a_listing_of_rows_without_ids_is_not_taken_for_an_empty_one(
    operator: Operator, rows: str, who: str
) -> None:
    route = "GET /collections/all" if who == "admin" else "GET /collections"
    answer = Action(reply=FixedReply(200, rows.encode()))
    operator.server.faults.add(answer, route=route, times=None)
    if who == "admin":
        said = operator.admin("--users", "anna", MAPPED, code=1)
    else:
        said = operator.user("anna", MAPPED, code=1)
    assert "Not available: collections: the server listed rows without an id" in said.out
