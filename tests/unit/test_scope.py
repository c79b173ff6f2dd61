"""Which collections a run is about: exactly what was asked for, each once, with a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

import pytest

from h2ogpte_migration import naming
from h2ogpte_migration.errors import NotFound, Rejected
from h2ogpte_migration.model import Collection, Identity
from h2ogpte_migration.run.preflight import no_admin
from h2ogpte_migration.run.scope import (
    SINGLE_LOOKUPS,
    Known,
    Missing,
    Scope,
    Selected,
    Skipped,
    Wanted,
    find_as_admin,
    find_own,
    select,
    with_models,
)
from h2ogpte_migration.steps import chains
from h2ogpte_migration.tracking.records import Record

STAMP = "20260101_120000"


def collection(ident: str, owner: str = "anna", model: str = "old", name: str = "") -> Collection:
    return Collection(id=ident, name=name or f"name of {ident}", owner=owner, model=model)


class Listings:
    """A server's listings: filters match parts of name, id and owner, whatever their case."""

    def __init__(self, *collections: Collection) -> None:
        self.all = list(collections)
        self.asked: List[str] = []
        self.forbidden: Tuple[str, ...] = ()

    def all_collections(self, filter_text: str = "") -> Iterator[Collection]:
        self.asked.append(filter_text)
        text = filter_text.lower()
        for item in self.all:
            if any(text in part.lower() for part in (item.id, item.name, item.owner)):
                yield item

    def own_collections(self) -> Iterator[Collection]:
        return iter(self.all)

    def collection(self, collection_id: str) -> Collection:
        if collection_id in self.forbidden:
            raise Rejected("no", status=403)
        for item in self.all:
            if item.id == collection_id:
                return item
        raise NotFound("no such collection", status=404)


def find(server: Listings, wanted: Wanted) -> Scope:
    gateway: Any = server
    return find_as_admin(gateway, wanted)


def ids(collections: Any) -> List[str]:
    return [item.id for item in collections]


# -- finding, as an administrator ----------------------------------------------------------
def test_users_are_matched_exactly_and_not_by_parts() -> None:
    server = Listings(
        collection("c1", "anna"),
        collection("c2", "annabel"),
        collection("c3", "Anna"),
        collection("c4", "bo", name="for anna"),
        collection("anna", "bo"),
        collection("c5", "bo"),
    )
    scope = find(server, Wanted(users=("anna", "bo", "anna")))
    assert ids(scope.collections) == ["c1", "c4", "anna", "c5"]
    assert scope.missing == ()
    assert "" not in server.asked, "not everything is listed for two users"


@pytest.mark.parametrize("user", ["a%", "a_b", "zoë", "_", "*", "a\\b", " a"])
def test_a_name_that_a_filter_might_take_for_a_pattern_is_picked_from_everything(user: str) -> None:
    server = Listings(collection("c1", user), collection("c2", "axb"))
    assert ids(find(server, Wanted(users=(user,))).collections) == ["c1"]
    assert server.asked == [""]


def test_everybody_is_everybody_but_guests_and_guests_are_counted() -> None:
    server = Listings(
        collection("c1", "anna"),
        collection("c2", "Guest_1"),
        collection("c3", "Guest_1"),
        collection("c4", "Guest_2"),
        collection("c5", "admin"),
        collection("c6", "Guestbook"),
    )
    scope = find(server, Wanted(all_users=True))
    assert ids(scope.collections) == ["c1", "c5", "c6"]
    assert scope.guests == 2
    assert len(scope.listed) == 6


def test_a_guest_who_is_named_is_meant() -> None:
    server = Listings(collection("c1", "Guest_1"))
    assert ids(find(server, Wanted(users=("Guest_1",))).collections) == ["c1"]


@pytest.mark.parametrize("extra", [0, SINGLE_LOOKUPS + 1])
def test_ids_are_matched_exactly_in_their_order_and_once(extra: int) -> None:
    more = [collection(f"extra-{number}") for number in range(extra)]
    server = Listings(
        collection("c1"), collection("c11"), collection("xc1"), collection("n", name="c1"), *more
    )
    wanted = ("c11", "c1", "c11", "gone", *ids(more))
    scope = find(server, Wanted(collections=wanted))
    assert ids(scope.collections) == ["c11", "c1", *ids(more)]
    assert scope.missing == (Missing("gone", "no such collection"),)
    if extra:
        assert server.asked == [""], "many ids cost one listing"
    else:
        assert "" not in server.asked, "few ids do not cost a listing of everything"


def test_what_else_their_owners_have_is_seen_with_single_ids() -> None:
    """Among it may be targets of another database."""
    server = Listings(collection("c1"), collection("c2"), collection("c3", "bo"))
    scope = find(server, Wanted(collections=("c1",)))
    assert ids(scope.collections) == ["c1"]
    assert {"c1", "c2"} == set(ids(scope.listed))


# -- finding, as an owner ------------------------------------------------------------------
def find_mine(server: Listings, *wanted: str) -> Scope:
    gateway: Any = server
    return find_own(gateway, "anna", Wanted(collections=wanted))


def test_an_owner_finds_the_own_collections_and_not_those_shared_with_them() -> None:
    server = Listings(collection("c1"), collection("c2", "bo"), collection("c3", ""))
    assert ids(find_mine(server).collections) == ["c1", "c3"]


def test_ids_of_an_owner_that_are_not_theirs_are_told_with_the_reason() -> None:
    server = Listings(collection("c1"), collection("c2", "bo"))
    server.forbidden = ("secret",)
    scope = find_mine(server, "c1", "c2", "gone", "secret", "c1")
    assert ids(scope.collections) == ["c1"]
    assert scope.missing == (
        Missing("c2", "it is not yours, but owned by bo"),
        Missing("gone", "no such collection"),
        Missing("secret", "it is not yours"),
    )


# -- deciding ------------------------------------------------------------------------------
def record(source: str, target: Optional[str] = None, **more: Any) -> Record:
    values: Dict[str, Any] = {
        "source_id": source,
        "source_name": f"name of {source}",
        "target_id": target,
        "target_name": f"(Migrated) name of {source} - {STAMP}",
        "source_model": "old",
        "target_model": "new",
        "job_id": None,
        "job_status": "completed" if target else "pending",
        "owner": "anna",
        "owner_id": None,
        "error": "",
        "collection_created": target is not None,
        "permissions_copied": target is not None,
        "import_submitted": target is not None,
        "import_completed": target is not None,
        "connectors_migrated": target is not None,
        "chats_migrated": False,
    }
    return Record(**{**values, **more})


def known(
    *records: Record,
    past: Tuple[str, ...] = (),
    names: Tuple[str, ...] = (),
    undone: Tuple[str, ...] = (),
) -> Known:
    return Known(
        records={item.source_id: item for item in records},
        targets={item.target_id: item for item in records if item.target_id},
        past_targets={*past, *(item.target_id for item in records if item.target_id)},
        reserved={"anna": set(map(naming.folded, names))} if names else {},
        undone=set(undone),
    )


def decide(
    collections: List[Collection],
    wanted: Wanted,
    what_is_known: Optional[Known] = None,
    listed: Optional[List[Collection]] = None,
) -> Dict[str, Union[Selected, Skipped, Missing]]:
    scope = Scope(tuple(collections), (), tuple(listed or collections))
    decided = {}
    for found in select(scope, wanted, what_is_known or known()):
        ident = found.collection_id if isinstance(found, Missing) else found.collection.id
        assert ident not in decided
        decided[ident] = found
    return decided


def verdict(
    one: Collection, wanted: Wanted, what_is_known: Optional[Known] = None, **more: Any
) -> Union[Selected, Skipped, Missing]:
    return decide([one], wanted, what_is_known, **more)[one.id]


TO_NEW = Wanted(target_model="new")
TO_NEWER = Wanted(target_model="newer")
MAPPED = Wanted(mappings={"old": "new", "older": "new"})


@pytest.mark.parametrize(
    ("model", "wanted", "expected"),
    [
        pytest.param("old", TO_NEW, "new", id="target model"),
        pytest.param("", TO_NEW, "new", id="a collection without a model"),
        pytest.param("new", TO_NEW, None, id="has it already"),
        pytest.param("old", MAPPED, "new", id="mapped"),
        pytest.param("older", MAPPED, "new", id="mapped too"),
        pytest.param("new", MAPPED, None, id="the model that is mapped to"),
        pytest.param("other", MAPPED, None, id="not mapped"),
        pytest.param("", MAPPED, None, id="no model, not mapped"),
        pytest.param("old", Wanted(mappings={"old": "old"}), None, id="mapped to itself"),
        pytest.param(
            "old", Wanted(target_model="new", source_model="old"), "new", id="the source model"
        ),
        pytest.param(
            "other", Wanted(target_model="new", source_model="old"), None, id="another source model"
        ),
        pytest.param(
            "new", Wanted(target_model="new", source_model="new"), "new", id="named to be renewed"
        ),
        pytest.param(
            "new", Wanted(target_model="new", collections=("c1",)), "new", id="its id was given"
        ),
        pytest.param(
            "new", Wanted(target_model="new", collections=("c2",)), None, id="another id was given"
        ),
        pytest.param(
            "other",
            Wanted(target_model="new", source_model="old", collections=("c1",)),
            None,
            id="its id was given, but another source model",
        ),
    ],
)
def test_models_decide_what_is_migrated(model: str, wanted: Wanted, expected: object) -> None:
    found = verdict(collection("c1", model=model), wanted)
    if expected is None:
        assert isinstance(found, Skipped)
        assert found.reason
    else:
        assert found == Selected(collection("c1", model=model), str(expected))


def test_a_collection_that_is_listed_twice_is_decided_once() -> None:
    one = collection("c1")
    assert len(decide([one, one], TO_NEW)) == 1


# Targets of this database.
SOURCE, TARGET = collection("c1"), collection("t1", model="new", name=f"(Migrated) n - {STAMP}")


def test_a_target_with_the_wanted_model_is_no_source() -> None:
    decided = decide([SOURCE, TARGET], TO_NEW, known(record("c1", "t1")))
    assert decided["c1"] == Selected(SOURCE, "new"), "the planner leaves it, as it is finished"
    assert isinstance(decided["t1"], Skipped)


def test_a_target_stays_no_source_where_its_id_is_given() -> None:
    wanted = Wanted(target_model="new", collections=("t1",))
    assert isinstance(verdict(TARGET, wanted, known(record("c1", "t1"))), Skipped)


def test_where_another_model_is_wanted_the_target_stands_for_its_source() -> None:
    decided = decide([SOURCE, TARGET], TO_NEWER, known(record("c1", "t1")))
    assert decided["t1"] == Selected(TARGET, "newer")
    assert isinstance(decided["c1"], Skipped)
    assert "t1" in decided["c1"].reason


def test_a_stand_in_is_known_though_only_its_source_is_in_the_scope() -> None:
    decided = decide([SOURCE], TO_NEWER, known(record("c1", "t1")), listed=[SOURCE, TARGET])
    assert isinstance(decided["c1"], Skipped)


def test_a_mapping_that_ends_at_the_target_moves_nothing_on() -> None:
    decided = decide([SOURCE, TARGET], MAPPED, known(record("c1", "t1")))
    assert decided["c1"] == Selected(SOURCE, "new")
    assert isinstance(decided["t1"], Skipped)


@pytest.mark.parametrize(
    "not_over",
    [
        pytest.param({"import_completed": False, "job_status": "running"}, id="importing"),
        pytest.param({"connectors_migrated": False}, id="held, or not moved yet"),
    ],
)
def test_a_target_whose_migration_is_not_over_is_neither_a_source_nor_stands_for_one(
    not_over: Dict[str, Any],
) -> None:
    importing = record("c1", "t1", **{"connectors_migrated": False, **not_over})
    decided = decide([SOURCE, TARGET], TO_NEWER, known(importing))
    for found in decided.values():
        assert isinstance(found, Missing)
        assert "--verify" in found.reason
    forced = decide([SOURCE, TARGET], Wanted(target_model="newer", force=True), known(importing))
    assert forced["c1"] == Selected(SOURCE, "newer")
    assert isinstance(forced["t1"], Skipped)


@pytest.mark.parametrize("force", [False, True])
def test_a_target_that_was_rolled_back_is_no_source_and_its_source_is_one(force: bool) -> None:
    undone = known(record("c1", "t1", connectors_migrated=False), undone=("c1",))
    decided = decide([SOURCE, TARGET], Wanted(target_model="newer", force=force), undone)
    assert decided["c1"] == Selected(SOURCE, "newer")
    assert isinstance(decided["t1"], Skipped)
    assert "rolled back" in decided["t1"].reason


def test_a_source_that_is_named_alone_is_told_what_stands_for_it() -> None:
    by_id = Wanted(target_model="newer", collections=("c1",))
    found = verdict(SOURCE, by_id, known(record("c1", "t1")), listed=[SOURCE, TARGET])
    assert isinstance(found, Missing)
    assert "--collections t1" in found.reason
    forced = replace(by_id, force=True)
    found = verdict(SOURCE, forced, known(record("c1", "t1")), listed=[SOURCE, TARGET])
    assert found == Selected(SOURCE, "newer")


@pytest.mark.parametrize("wanted", [TO_NEW, TO_NEWER, Wanted(target_model="newer", force=True)])
@pytest.mark.parametrize(
    "what_is_known",
    [
        pytest.param(known(record("c1", "t1", job_status="failed")), id="failed"),
        pytest.param(known(record("c1", "t2"), past=("t1",)), id="superseded"),
        pytest.param(known(past=("t1",)), id="abandoned"),
    ],
)
def test_targets_that_failed_or_were_given_up_are_never_sources(
    wanted: Wanted, what_is_known: Known
) -> None:
    assert isinstance(verdict(TARGET, wanted, what_is_known), Skipped)


def test_a_source_whose_import_failed_is_selected_for_any_model() -> None:
    failed = known(record("c1", "t1", job_status="failed"))
    assert verdict(SOURCE, TO_NEWER, failed) == Selected(SOURCE, "newer")


def test_a_target_that_was_begun_and_whose_id_is_not_known_yet_is_no_source() -> None:
    name = f"(Migrated) name of c1 - {STAMP}"
    begun = known(record("c1"), names=(name,))
    lost = collection("x", model="new", name=name)
    decided = decide([SOURCE, lost], TO_NEWER, begun)
    assert isinstance(decided["x"], Skipped)
    same_name = collection("y", "bo", name=name)
    assert isinstance(verdict(same_name, TO_NEWER, begun), Selected), "another owner's is not ours"


def test_the_own_lost_target_is_no_target_of_another_database() -> None:
    name = f"(Migrated) name of c1 - {STAMP}"
    lost = collection("x", model="new", name=name)
    decided = decide([SOURCE, lost], TO_NEW, known(record("c1"), names=(name,)))
    assert decided["c1"] == Selected(SOURCE, "new")


@pytest.mark.parametrize("force", [False, True])
def test_a_source_that_is_on_its_way_to_another_model_is_not_sent_elsewhere(force: bool) -> None:
    wanted = Wanted(target_model="newer", force=force)
    found = verdict(SOURCE, wanted, known(record("c1", "t1")), listed=[SOURCE])
    assert isinstance(found, Selected if force else Missing)


# Targets of a lost or second database.
FOREIGN = collection("f1", model="new", name=f"(Migrated) name of c1 - {STAMP}")


@pytest.mark.parametrize(
    ("other", "wanted", "stopped"),
    [
        pytest.param(FOREIGN, TO_NEW, True, id="of the same owner, with the wanted model"),
        pytest.param(FOREIGN, MAPPED, True, id="with the mapped model"),
        pytest.param(FOREIGN, Wanted(target_model="new", force=True), False, id="forced"),
        pytest.param(FOREIGN, TO_NEWER, False, id="another model is wanted"),
        pytest.param(
            collection("f1", "bo", "new", FOREIGN.name), TO_NEW, False, id="of another owner"
        ),
        pytest.param(
            collection("f1", model="new", name=f"(Migrated) other - {STAMP}"),
            TO_NEW,
            False,
            id="of another name",
        ),
        pytest.param(
            collection("f1", model="new", name="(Migrated) name of c1"),
            TO_NEW,
            False,
            id="without a time",
        ),
        pytest.param(
            collection("f1", model="new", name="name of c1"), TO_NEW, False, id="not decorated"
        ),
    ],
)
def test_a_target_of_a_database_that_is_not_at_hand_stops_its_source(
    other: Collection, wanted: Wanted, stopped: bool
) -> None:
    found = verdict(SOURCE, wanted, listed=[SOURCE, other])
    if stopped:
        assert isinstance(found, Missing)
        assert (found.collection_id, found.name, found.owner) == ("c1", "name of c1", "anna")
        assert "f1" in found.reason
        assert "--force-remigrate" in found.reason
    else:
        assert isinstance(found, Selected)


LONG = "Quarterly report " + "x" * 90


@pytest.mark.parametrize(
    ("source", "target", "others", "same"),
    [
        pytest.param("Two  blanks ", "Two blanks", (), True, id="blanks trimmed"),
        pytest.param("B\u00eata", "Be\u0302ta", (), True, id="another form of the same letters"),
        pytest.param("Alpha", "alpha", (), True, id="small letters"),
        pytest.param("R&D <x>", "R&amp;D &lt;x&gt;", (), True, id="escaped for HTML"),
        pytest.param(LONG, LONG[:51], (), True, id="shortened to what the server takes"),
        pytest.param(LONG, LONG[:35], (), True, id="shortened to a length that was tried: 64"),
        pytest.param(LONG, LONG[:35], ("y" * 60,), True, id="and others are longer, up to 80"),
        pytest.param(LONG, LONG[:35], ("y" * 99,), False, id="names of 128 are taken"),
        pytest.param(LONG, LONG[:35], (LONG[:35],), False, id="the whole name of another one"),
        pytest.param("Sales 2025", "Sales", ("Marketing 2025",), False, id="too short for that"),
        pytest.param("Sales", "Sales 2025", (), False, id="longer than the source's"),
    ],
)
def test_a_target_of_another_database_is_known_by_its_name_as_servers_keep_it(
    source: str, target: str, others: Tuple[str, ...], same: bool
) -> None:
    asked = collection("c1", name=source)
    listed = [asked, collection("f1", model="new", name=f"(Migrated) {target} - {STAMP}")]
    for number, other in enumerate(others):
        listed.append(collection(f"o{number}", name=other))
        listed.append(collection(f"t{number}", model="x", name=f"(Migrated) {other} - {STAMP}"))
    found = verdict(asked, TO_NEW, listed=listed)
    assert isinstance(found, Missing if same else Selected)


def test_the_own_lost_target_is_known_by_its_name_as_servers_keep_it() -> None:
    lost = collection("x", model="new", name=f"(migrated) name of  c1 - {STAMP}")
    begun = known(record("c1"), names=(f"(Migrated) Name of c1 - {STAMP}",))
    assert decide([SOURCE, lost], TO_NEW, begun)["c1"] == Selected(SOURCE, "new")


@pytest.mark.parametrize(
    "what_is_known",
    [
        pytest.param(known(record("c1", "f1")), id="the current target"),
        pytest.param(known(record("c1", "t1"), past=("f1",)), id="an earlier target"),
        pytest.param(known(record("c1", "t1")), id="the source has a target of its own"),
        pytest.param(known(record("f1")), id="itself a source here"),
    ],
)
def test_what_this_database_knows_is_no_target_of_another_one(what_is_known: Known) -> None:
    assert isinstance(verdict(SOURCE, TO_NEW, what_is_known, listed=[SOURCE, FOREIGN]), Selected)


def test_a_source_on_record_without_a_target_is_stopped_too() -> None:
    found = verdict(SOURCE, TO_NEW, known(record("c1")), listed=[SOURCE, FOREIGN])
    assert isinstance(found, Missing)


def test_a_foreign_target_that_is_itself_asked_for_does_not_stop_itself() -> None:
    wanted = Wanted(target_model="new", collections=("f1",))
    assert isinstance(verdict(FOREIGN, wanted), Selected)
    decided = decide([SOURCE, FOREIGN], TO_NEWER)
    assert {type(found) for found in decided.values()} == {Selected}


@pytest.mark.parametrize(
    ("status", "no_rights"), [(401, True), (403, True), (404, True), (400, False)]
)
def test_only_a_refusal_of_rights_says_that_a_key_is_no_administrators(
    status: int, no_rights: bool
) -> None:
    refusal = no_admin(Identity("anna", "u1", ""), Rejected("no", status=status, route="GET /x"))
    assert ("who is no administrator" in refusal.message) == no_rights
    assert refusal.exit_code == 2


# -- chains --------------------------------------------------------------------------------
def test_the_first_link_of_a_chain_goes_first() -> None:
    links = [record("a", "b"), record("b", "c"), record("c", "d"), record("x", "y"), record("z")]
    assert chains.first(links) == {"b": "a", "c": "b"}


def test_links_that_form_a_circle_have_no_order() -> None:
    circle = [record("a", "b"), record("b", "a"), record("c", "c"), record("d", "a")]
    assert chains.first(circle) == {}


@pytest.mark.parametrize("model", ["new", ""])
def test_a_target_whose_model_was_not_told_is_not_taken_for_one_to_be_migrated_on(
    model: str,
) -> None:
    source, target = collection("c1"), collection("t1", model=model)
    done = known(record("c1", "t1", connectors_migrated=True))
    found = verdict(source, TO_NEWER, done, listed=[source, target])
    assert isinstance(found, Skipped) == bool(model)


@pytest.mark.parametrize(
    ("made", "first"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["d"], "x": ["y"], "z": []}, {"a": "b", "b": "c"}),
        ({"a": ["b", "b2"], "b": ["c"]}, {"a": "b"}),  # b is a former target
        ({"a": ["b", "b2"], "b": ["c"], "b2": ["c2"]}, {"a": "b2", "b2": "b"}),
        ({"a": ["b"], "b": ["a"], "c": ["c"]}, {"a": "b"}),  # a circle stops nobody
    ],
)
def test_what_a_target_was_migrated_on_to_comes_back_first(made: dict, first: dict) -> None:
    assert chains.first_back(made, made) == first


def test_what_lies_between_two_links_need_not_come_back_itself() -> None:
    assert chains.first_back(["a", "c"], {"a": ["b"], "b": ["c"], "c": ["d"]}) == {"a": "c"}


# -- models that a listing does not tell ---------------------------------------------------
def test_only_what_a_listing_does_not_tell_is_asked_for_and_once() -> None:
    rows = (
        collection("told"),
        collection("silent", model=""),
        collection("none", model=""),
        collection("broken", model=""),
        collection("guests", "Guest_1", model=""),
    )
    asked: List[str] = []

    def model_of(item: Collection) -> Optional[str]:
        asked.append(item.id)
        return {"silent": "old", "none": ""}.get(item.id)

    scope = with_models(Scope(rows[:4], (), rows), model_of)
    assert asked == ["silent", "none", "broken"]
    assert [item.model for item in scope.listed] == ["old", "old", "", "", ""]
    assert scope.modelless == {"broken"}
    found = {type(item).__name__ for item in select(scope, TO_NEW, known())}
    assert found == {"Selected", "Missing"}
    (missing,) = (i for i in select(scope, MAPPED, known()) if isinstance(i, Missing))
    assert (missing.collection_id, missing.reason) == ("broken", "its model can't be read")


@pytest.mark.parametrize("ours", [True, False])
def test_a_target_whose_model_can_not_be_read_holds_its_source_up(ours: bool) -> None:
    target = collection("t", model="", name=f"(Migrated) name of s - {STAMP}")
    rows = (collection("s"), target)
    scope = with_models(Scope(rows, (), rows), lambda _: None)
    source, other = select(scope, TO_NEW, known(record("s", "t")) if ours else known())
    assert isinstance(other, Missing)
    if ours:  # it was not migrated on, and the source is done
        assert isinstance(source, Selected)
    else:
        assert isinstance(source, Missing)
        assert "t may have the wanted model" in source.reason
