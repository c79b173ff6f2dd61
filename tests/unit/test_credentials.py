"""Temporary keys: one per owner, on record before they are made, gone when done."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import (
    Conflict,
    Interrupted,
    NotFound,
    OutcomeUnknown,
    OwnerGone,
    Rejected,
    ServerError,
    ToolError,
    Unauthorized,
    Unavailable,
)
from h2ogpte_migration.gateway.calls import KeySource
from h2ogpte_migration.model import ApiKey, Identity, User
from h2ogpte_migration.redact import Secret
from h2ogpte_migration.run import credentials
from h2ogpte_migration.run.credentials import (
    KEY_NAME_PREFIX,
    CannotImpersonate,
    Credentials,
    KeyPolicy,
)
from h2ogpte_migration.tracking import Database, Tracking
from h2ogpte_migration.tracking.leftovers import Leftovers


class Administration:
    """An administrator's view of a server that keeps API keys."""

    def __init__(self) -> None:
        self.accounts = [User("u-anna", "anna"), User("u-bo", "bo"), User("u-bob", "bob")]
        self.held: Dict[str, ApiKey] = {}
        self.made = 0
        self.owner_of: Dict[str, str] = {}
        self.listed_users = 0
        self.create_troubles: List[Tuple[ToolError, bool]] = []
        self.delete_troubles: List[Tuple[ToolError, bool]] = []
        self.listed_by: List[str] = []
        self.restless = False
        self.shows = True
        self.slow = threading.Event()
        self.slow.set()

    def users(self, incomplete: Callable[[str], None]) -> Iterator[User]:
        self.listed_users += 1
        if self.restless:
            incomplete("it never stood still")
        return iter(self.accounts)

    def create_key(self, *, user_id: str, name: str, expires_in: str) -> Tuple[str, Secret]:
        self.slow.wait(10)
        trouble, done = self.create_troubles.pop(0) if self.create_troubles else (None, True)
        owner = {user.id: user.username for user in self.accounts}.get(user_id)
        if owner is None:
            raise NotFound("no such user", status=404)
        self.made += 1
        key_id = f"id-{self.made}"
        if done:
            self.held[key_id] = ApiKey(key_id, name, owner)
        if trouble is not None:
            raise trouble
        secret = f"sk-temporary-{key_id}-{expires_in}"
        self.owner_of[secret] = owner
        return key_id, Secret(secret)

    def keys(
        self, username: str, incomplete: Callable[[str], None] = lambda _: None
    ) -> Iterator[ApiKey]:
        self.listed_by.append(username)
        if self.restless:
            incomplete("it never stood still")
        held = self.held.values() if self.shows else ()
        return iter([key for key in held if username in key.username])

    def delete_key(self, key_id: str) -> None:
        trouble, done = self.delete_troubles.pop(0) if self.delete_troubles else (None, True)
        if not self.shows:
            raise NotFound("not there yet", status=404)
        if done and self.held.pop(key_id, None) is None and trouble is None:
            raise NotFound("no such key", status=404)
        if trouble is not None:
            raise trouble

    @property
    def owners(self) -> List[str]:
        return sorted(key.username for key in self.held.values())


class AsOwner:
    """The server as the holder of a temporary key sees it."""

    def __init__(self, source: KeySource) -> None:
        self.source = source

    def secret(self) -> str:
        return self.source.current().reveal()


class Somebody:
    """Whose key it is, as the server says."""

    def __init__(self, users: Dict[str, str], key_owner: str, alive: Callable[[], bool]) -> None:
        self._identity = Identity(key_owner, users.get(key_owner, ""), "v1.7.5")
        self._alive = alive

    def identity(self) -> Identity:
        if not self._alive():
            raise Unauthorized("no such key", status=401)
        return self._identity


class FakeServer:
    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    def as_key(self, key: Secret) -> Any:
        own, secret = self._administration, key.reveal()
        accounts = {user.username: user.id for user in own.accounts}
        alive = lambda: any(f"-{key_id}-" in secret for key_id in own.held)  # noqa: E731
        return Somebody(accounts, own.owner_of[secret], alive)

    def as_owner(self, keys: KeySource) -> Any:
        return AsOwner(keys)


class Leaping(Clock):
    """Time that passes at once wherever somebody waits."""

    def __init__(self) -> None:
        super().__init__(threading.Event())
        self._ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self._ahead_s

    def pause(self, seconds: float) -> None:
        self._ahead_s += seconds


class Desk:
    def __init__(self, records: Leftovers, admin: bool = True, label: str = "run-1") -> None:
        self.own = Administration()
        self.records = records
        self.clock = Leaping()
        self.credentials = self.another(admin, label)

    def another(self, admin: bool = True, label: str = "run-2") -> Credentials:
        server: Any = FakeServer(self.own)
        own: Any = self.own
        policy = KeyPolicy(label, "30 days")
        return Credentials(
            server,
            own,
            "admin",
            admin=admin,
            records=self.records,
            policy=policy,
            clock=self.clock,
        )

    def act_as(self, owner: str, owner_id: Optional[str] = None) -> AsOwner:
        gateway: Any = self.credentials.gateway_for(owner, owner_id)
        assert isinstance(gateway, AsOwner)
        return gateway

    def left(self) -> List[str]:
        return [key.name for key in self.records.keys_left()]


@pytest.fixture(params=["in memory", "in the database"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """Return credentials whose keys are on record in a dry run's database, or in a file."""
    opened = Database.in_memory if request.param == "in memory" else Database.to_write
    tracking = begun(opened(tmp_path / "tracking.db"))
    yield Desk(tracking.leftovers)
    tracking.database.close()


def begun(database: Database, command: str = "test") -> Tracking:
    tracking = Tracking(database)
    tracking.runs.begin("1.3", command)
    return tracking


LOST = OutcomeUnknown("no answer", status=502)


# -- making --------------------------------------------------------------------------------
def test_a_key_is_made_when_the_first_request_needs_it_and_used_from_then_on(desk: Desk) -> None:
    first, second = desk.act_as("anna"), desk.act_as("anna")
    assert (desk.own.made, desk.own.listed_users) == (0, 0)
    assert first.secret() == second.secret() == first.secret() == "sk-temporary-id-1-30 days"
    assert desk.own.made == 1
    assert desk.act_as("bo").secret() != first.secret()
    assert desk.own.listed_users == 1, "one list of users serves all owners"
    assert desk.own.owners == ["anna", "bo"]
    assert desk.left() == [f"{KEY_NAME_PREFIX} run-1-1", f"{KEY_NAME_PREFIX} run-1-2"]
    assert sorted(key.name for key in desk.own.held.values()) == desk.left()


def test_an_owner_whose_id_is_known_needs_no_list_of_users(desk: Desk) -> None:
    desk.act_as("anna", "u-anna").secret()
    assert desk.own.listed_users == 0


def test_the_own_collections_need_no_key(desk: Desk) -> None:
    gateway: Any = desk.credentials.gateway_for("admin")
    assert gateway is desk.own


def test_who_is_no_administrator_has_one_key_for_everything(desk: Desk) -> None:
    credentials = desk.another(admin=False)
    gateway: Any = credentials.gateway_for("anna")
    assert gateway is desk.own
    assert credentials.close() == []


def test_many_threads_get_one_key(desk: Desk) -> None:
    desk.own.slow.clear()
    secrets: List[str] = []
    threads = [
        threading.Thread(target=lambda: secrets.append(desk.act_as("anna").secret()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    desk.own.slow.set()
    for thread in threads:
        thread.join()
    assert (len(secrets), len(set(secrets)), desk.own.made) == (8, 1, 1)


# -- renewal -------------------------------------------------------------------------------
def test_a_key_that_is_refused_is_renewed_once_for_all_who_were_refused(desk: Desk) -> None:
    source = desk.act_as("anna").source
    stale = source.current()
    renewed: List[Optional[Secret]] = []
    threads = [
        threading.Thread(target=lambda: renewed.append(source.renew(stale))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(renewed) == {source.current()}
    assert source.current() != stale
    assert desk.own.made == 2
    assert list(desk.own.held) == ["id-2"], "the refused one is deleted"


def test_renewed_keys_that_are_refused_too_are_not_renewed_without_end(desk: Desk) -> None:
    source = desk.act_as("anna").source
    for _ in range(patience.MOST_RENEWALS):
        source.renew(source.current())
    with pytest.raises(CannotImpersonate, match="anna"):
        source.renew(source.current())
    assert desk.own.made == 1 + patience.MOST_RENEWALS
    desk.credentials.close()
    assert desk.own.held == {}


def test_renewals_of_one_owner_do_not_touch_the_others(desk: Desk) -> None:
    other = desk.act_as("bo").secret()
    source = desk.act_as("anna").source
    source.renew(source.current())
    assert desk.act_as("bo").secret() == other


# -- when it can't be made -----------------------------------------------------------------
@pytest.mark.parametrize("arrived", [True, False])
def test_an_unanswered_request_is_followed_by_another_key_and_swept_by_its_name(
    desk: Desk, arrived: bool
) -> None:
    desk.own.create_troubles = [(LOST, arrived)]
    assert desk.act_as("anna").secret() == "sk-temporary-id-2-30 days"
    assert len(desk.left()) == 2
    desk.credentials.sweep()
    assert list(desk.own.held) == ["id-2"], "the one in use stays"
    desk.credentials.close()
    assert desk.own.held == {}
    never_seen = [] if arrived else [f"{KEY_NAME_PREFIX} run-1-1"]
    assert desk.left() == never_seen, "it may yet come to be: the next run looks once more"
    assert desk.another().close() == []


def test_a_key_that_comes_to_be_after_its_run_is_deleted_by_the_next_one(desk: Desk) -> None:
    desk.own.create_troubles = [(LOST, False)]
    desk.act_as("anna").secret()
    assert desk.credentials.close() == [f"{KEY_NAME_PREFIX} run-1-1"]
    desk.own.held["id-9"] = ApiKey("id-9", f"{KEY_NAME_PREFIX} run-1-1", "anna")
    assert desk.another().close() == []
    assert desk.own.held == {}


def test_a_key_that_appears_late_is_found_by_the_second_look(desk: Desk) -> None:
    desk.own.create_troubles = [(LOST, False)]
    desk.act_as("anna").secret()
    desk.credentials.sweep()
    late = f"{KEY_NAME_PREFIX} run-1-1"
    desk.own.held["id-9"] = ApiKey("id-9", late, "anna")
    desk.own.held["id-8"] = ApiKey("id-8", late + "0", "anna")
    assert desk.credentials.close() == []
    assert list(desk.own.held) == ["id-8"], "names are compared exactly"


def test_a_key_that_shows_while_a_slow_server_lists_keys_is_looked_for_once_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.own.create_troubles = [(LOST, False)]
    desk.act_as("anna").secret()
    late = ApiKey("id-9", f"{KEY_NAME_PREFIX} run-1-1", "anna")
    listed = list(desk.own.held.values())
    shows_at = desk.clock.now() + 1.7 * patience.KEY_VISIBLE_WITHIN_S

    def slowly(*_: Any) -> Iterator[ApiKey]:
        shown = [late, *listed] if desk.clock.now() >= shows_at else listed
        desk.clock.pause(0.4 * patience.KEY_VISIBLE_WITHIN_S)
        return iter(shown)

    desk.own.held[late.id] = late
    monkeypatch.setattr(desk.own, "keys", slowly)
    assert desk.credentials.close() == []
    assert desk.own.held == {}


def test_a_lost_key_is_not_looked_for_without_end_where_keys_cannot_be_listed_any_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.own.create_troubles = [(LOST, False)]
    desk.act_as("anna").secret()
    began, looks = desk.credentials.now(), []

    def listed(*_: Any) -> Iterator[ApiKey]:
        looks.append(desk.credentials.now() - began)
        assert len(looks) < 20, "the listing of keys is asked without end"
        if len(looks) > 2:  # by the owner's name, and all
            raise Unavailable("the server is down", status=502)
        return iter([])

    monkeypatch.setattr(desk.own, "keys", listed)
    assert desk.credentials.close() == [f"{KEY_NAME_PREFIX} run-1-1"], "told as left"
    assert looks[-1] < 1.5 * patience.KEY_VISIBLE_WITHIN_S
    monkeypatch.undo()
    assert desk.another().close() == [], "the next run settles it"


def test_a_lost_key_is_looked_for_among_the_keys_of_its_owner_only(desk: Desk) -> None:
    """The server's filter matches parts of names: ``bo`` also finds ``bob``."""
    desk.own.create_troubles = [(LOST, True)]
    desk.act_as("bo").secret()
    desk.own.held["id-9"] = ApiKey("id-9", "bob's own", "bob")
    desk.credentials.close()
    assert list(desk.own.held) == ["id-9"]


@pytest.mark.parametrize("answered", [False, True])
def test_a_key_of_an_owner_who_was_renamed_is_found_by_its_own_name(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    desk.own.accounts[0] = User("u-anna", "a-new-name")
    desk.own.create_troubles = [(LOST, True)] if not answered else []
    desk.act_as("anna", "u-anna").secret()
    desk.own.delete_troubles = [(Conflict("busy", status=409), False)]
    desk.credentials.release("anna")
    assert len(desk.left()) == (1 if answered else 2)
    assert desk.credentials.close() == []
    assert (desk.own.held, desk.left()) == ({}, [])


def test_a_key_that_is_found_by_its_owners_name_is_not_looked_for_among_all_keys(
    desk: Desk,
) -> None:
    desk.own.create_troubles = [(LOST, True)]
    desk.act_as("anna").secret()
    assert desk.credentials.close() == []
    assert desk.own.listed_by == ["anna"]


def test_a_key_is_not_taken_for_gone_where_the_listing_never_stood_still(desk: Desk) -> None:
    desk.own.create_troubles, desk.own.restless = [(LOST, False)], True
    desk.act_as("anna").secret()
    assert desk.credentials.close() == [f"{KEY_NAME_PREFIX} run-1-1"]
    later = desk.another()
    assert later.close() == [f"{KEY_NAME_PREFIX} run-1-1"]
    desk.own.restless = False
    assert later.close() == []


def test_a_key_of_another_machines_silent_run_is_not_taken_for_gone_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.act_as("anna").secret()
    (key,) = desk.records.keys_left()
    doubtful = replace(key, certain=False)
    later = desk.another()
    monkeypatch.setattr(desk.records, "keys_left", lambda: [doubtful])
    held, desk.own.held = desk.own.held, {}
    later.sweep()
    monkeypatch.undo()
    assert desk.left() == [key.name]
    desk.own.held = held
    later.close()
    assert desk.own.held == {}


def test_a_server_that_never_answers_is_not_asked_for_ever(desk: Desk) -> None:
    desk.own.create_troubles = [(LOST, True)] * 9
    gateway = desk.act_as("anna")
    for _ in range(3):
        with pytest.raises(CannotImpersonate, match="anna"):
            gateway.secret()
    assert desk.own.made == 3
    desk.credentials.close()
    assert desk.own.held == {}


@pytest.mark.parametrize("trouble", [Rejected("no", status=403), Unavailable("down", status=503)])
def test_an_owner_who_cannot_be_impersonated_is_told_once_and_not_asked_for_again(
    desk: Desk, trouble: ServerError
) -> None:
    desk.own.create_troubles = [(trouble, False)]
    for _ in range(3):
        with pytest.raises(CannotImpersonate, match="anna"):
            desk.act_as("anna").secret()
    assert desk.own.made == 1
    assert desk.left() == []
    desk.act_as("bo").secret()


@pytest.mark.parametrize(
    ("accounts", "words"),
    [
        ([], "no registered user"),
        ([User("u1", "zoe"), User("u2", "zoe")], "2 registered users"),
        ([User("", "zoe")], "no registered user"),
    ],
)
def test_an_owner_who_is_not_exactly_one_user_cannot_be_impersonated(
    desk: Desk, accounts: List[User], words: str
) -> None:
    desk.own.accounts += accounts
    for _ in range(2):
        with pytest.raises(CannotImpersonate, match=words):
            desk.act_as("zoe").secret()
    assert (desk.own.made, desk.own.listed_users) == (0, 1)
    assert not desk.credentials.knows_user("zoe")


def test_an_id_is_known_where_the_list_was_read_and_names_just_one(desk: Desk) -> None:
    desk.own.accounts += [User("u1", "zoe"), User("u2", "zoe"), User("", "yan")]
    assert desk.credentials.known_id("anna") is None, "nothing was read yet"
    desk.act_as("anna").secret()
    ids = [desk.credentials.known_id(name) for name in ("anna", "zoe", "yan", "nobody")]
    assert ids == ["u-anna", None, None, None]


def test_an_account_that_is_asked_for_by_its_id_may_have_another_name_by_now(desk: Desk) -> None:
    desk.own.accounts[0] = User("u-anna", "anna.new")
    assert desk.act_as("anna", "u-anna").secret()
    another: Any = desk.another().gateway_for("anna")
    with pytest.raises(CannotImpersonate, match="no registered user"):
        another.secret()


@pytest.mark.parametrize(
    ("username", "user_id", "by_id", "theirs"),
    [
        ("anna", "u", False, True),
        ("anna", "", False, True),  # a server that tells no ids
        ("anna", "another", False, False),
        ("bo", "u", False, False),
        ("bo", "", False, False),
        ("bo", "u", True, True),  # the account was renamed
        ("bo", "", True, False),
        ("bo", "another", True, False),
        ("anna", "another", True, False),  # a new account of the old name
    ],
)
def test_a_key_is_used_only_where_it_is_the_owners(
    username: str, user_id: str, by_id: bool, theirs: bool
) -> None:
    holder = Identity(username, user_id, "v1.7.5")
    if theirs:
        credentials._check_holder(holder, "anna", "u", by_id=by_id)
        return
    with pytest.raises(CannotImpersonate, match=user_id or "no id"):
        credentials._check_holder(holder, "anna", "u", by_id=by_id)


@pytest.mark.parametrize("restless", [False, True])
def test_an_account_is_gone_only_where_the_whole_list_of_users_lacks_it(
    desk: Desk, restless: bool
) -> None:
    del desk.own.accounts[0]
    desk.own.restless = restless
    desk.own.create_troubles = [(NotFound("no such user", status=404), False)]
    with pytest.raises(CannotImpersonate if restless else OwnerGone):
        desk.act_as("anna", "u-anna").secret()


def test_a_user_who_is_listed_twice_is_one_user(desk: Desk) -> None:
    desk.own.accounts.append(User("u-anna", "anna"))
    desk.act_as("anna").secret()


def test_the_own_key_that_is_refused_ends_the_run_and_no_owner(desk: Desk) -> None:
    desk.own.create_troubles = [(Unauthorized("no", status=401), False)]
    with pytest.raises(Unauthorized):
        desk.act_as("anna").secret()
    assert desk.left() == []
    assert desk.act_as("anna").secret()


def test_known_users_are_those_on_the_list_and_oneself(desk: Desk) -> None:
    known = [name for name in ("anna", "an", "admin", "") if desk.credentials.knows_user(name)]
    assert known == ["anna", "admin"]


# -- deleting ------------------------------------------------------------------------------
def test_an_owner_who_is_done_has_no_key_any_more(desk: Desk) -> None:
    desk.act_as("anna").secret()
    desk.act_as("bo").secret()
    desk.credentials.release("anna")
    assert desk.own.owners == ["bo"]
    assert len(desk.left()) == 1
    desk.credentials.release("anna")
    desk.credentials.release("nobody")
    assert desk.act_as("anna").secret()
    assert desk.own.made == 3


def test_all_owners_but_some_may_be_done_at_once(desk: Desk) -> None:
    for owner in ("anna", "bo", "bob"):
        desk.act_as(owner).secret()
    desk.credentials.release_all_but({"bo"})
    assert desk.own.owners == ["bo"]


def test_what_was_never_needed_is_not_deleted_either(desk: Desk) -> None:
    desk.act_as("anna")
    desk.credentials.release("anna")
    assert desk.own.made == 0


def test_closing_leaves_nothing(desk: Desk) -> None:
    for owner in ("anna", "bo", "bob"):
        desk.act_as(owner).secret()
    assert desk.credentials.close() == []
    assert (desk.own.held, desk.left()) == ({}, [])
    assert desk.credentials.close() == []


@pytest.mark.parametrize(
    ("trouble", "done"),
    [(NotFound("gone", status=404), True), (Conflict("being deleted", status=409), True)],
)
def test_a_key_that_is_gone_already_counts_as_deleted(
    desk: Desk, trouble: ServerError, done: bool
) -> None:
    desk.act_as("anna").secret()
    desk.own.delete_troubles = [(trouble, done)]
    desk.credentials.release("anna")
    assert (desk.own.held, desk.left()) == ({}, [])


def test_a_key_that_is_taken_and_not_shown_yet_is_not_gone(desk: Desk) -> None:
    desk.act_as("anna").secret()
    desk.own.shows = False
    desk.credentials.release("anna")
    assert (desk.own.owners, len(desk.left())) == (["anna"], 1)
    desk.own.shows = True
    assert desk.credentials.close() == []
    assert (desk.own.held, desk.left()) == ({}, [])


def test_a_key_of_a_dead_run_that_is_not_shown_yet_is_looked_for_again(desk: Desk) -> None:
    desk.act_as("anna").secret()
    later = desk.another(True, "run-2")
    desk.own.shows = False
    later.sweep()
    assert len(desk.left()) == 1
    desk.own.shows = True
    assert later.close() == []
    assert (desk.own.held, desk.left()) == ({}, [])


def test_a_key_that_never_shows_again_is_gone_after_a_while(desk: Desk) -> None:
    desk.act_as("anna").secret()
    desk.own.shows = False
    began = desk.clock.now()
    assert desk.credentials.close() == []
    assert desk.left() == []
    assert patience.KEY_VISIBLE_WITHIN_S <= desk.clock.now() - began < 60


@pytest.mark.parametrize(
    "trouble",
    [Conflict("busy", status=409), NotFound("odd", status=404), Unavailable("down", status=503)],
)
def test_a_key_that_could_not_be_deleted_is_deleted_by_the_next_sweep(
    desk: Desk, trouble: ServerError
) -> None:
    desk.act_as("anna").secret()
    desk.own.delete_troubles = [(trouble, False)]
    desk.credentials.release("anna")
    assert desk.own.owners == ["anna"]
    assert len(desk.left()) == 1
    assert desk.credentials.close() == []
    assert (desk.own.held, desk.left()) == ({}, [])


@pytest.mark.parametrize("how", ["released", "closed", "swept"])
def test_a_stop_while_keys_are_deleted_keeps_none_of_them_alive(desk: Desk, how: str) -> None:
    credentials = desk.credentials
    for owner in ("anna", "bo", "bob"):
        desk.act_as(owner).secret()
    if how == "swept":
        credentials = desk.another()
    desk.own.delete_troubles = [(Interrupted("stopped"), False)]
    if how == "released":
        credentials.release("anna")
        assert desk.own.owners == ["bo", "bob"]
    assert credentials.close() == []
    assert desk.own.held == {}


def test_a_key_whose_request_was_stopped_before_it_was_sent_is_not_told_as_left(
    desk: Desk,
) -> None:
    desk.own.create_troubles = [(Interrupted("stopped"), False)]
    with pytest.raises(Interrupted):
        desk.act_as("anna").secret()
    assert desk.left() == []


def test_no_key_is_made_any_more_for_a_call_that_ends_after_the_keys_went(desk: Desk) -> None:
    desk.act_as("anna").secret()
    assert desk.credentials.close() == []
    late = desk.act_as("anna")
    assert late.secret(), "a run that goes on may need another one"
    desk.clock.stop.set()
    assert desk.credentials.close() == []
    with pytest.raises(Interrupted):
        late.secret()
    assert desk.own.held == {}
    assert desk.left() == []


def test_a_key_that_stays_is_named(desk: Desk) -> None:
    desk.act_as("anna").secret()
    desk.own.delete_troubles = [(Unavailable("down", status=503), False)] * 2
    assert desk.credentials.close() == [f"{KEY_NAME_PREFIX} run-1-1"]


def test_one_key_that_stays_does_not_keep_the_others(desk: Desk) -> None:
    desk.act_as("anna").secret()
    desk.act_as("bo").secret()
    desk.own.delete_troubles = [(Unavailable("down", status=503), False)]
    desk.credentials.release("anna")
    desk.own.delete_troubles = [(Unavailable("down", status=503), False)]
    desk.credentials.sweep()
    desk.credentials.release("bo")
    assert desk.own.owners == ["anna"]


# -- what others left ----------------------------------------------------------------------
def test_a_run_sweeps_what_dead_runs_left_and_nothing_of_living_ones(tmp_path: Path) -> None:
    database = Database.to_write(tmp_path / "tracking.db")
    own = Administration()
    runs = []
    for label in ("dead", "living", "present"):
        tracking = begun(database, label)
        runs.append(tracking.runs)
        server: Any = FakeServer(own)
        gateway: Any = own
        credentials = Credentials(
            server,
            gateway,
            "admin",
            admin=True,
            records=tracking.leftovers,
            policy=KeyPolicy(label, "1 hour"),
        )
        if label == "dead":
            own.create_troubles = [(LOST, True)]
        acting: Any = credentials.gateway_for("anna")
        acting.secret()
    assert len(own.held) == 4
    runs[0].end(1)
    credentials.sweep()
    names = sorted(key.name for key in own.held.values())
    assert names == [f"{KEY_NAME_PREFIX} living-1", f"{KEY_NAME_PREFIX} present-1"]
    database.close()


FORBIDDEN = Rejected("not allowed", status=403)


def left_by_an_earlier_run(desk: Desk) -> Credentials:
    """A key that its run could not delete; returns the credentials of the next run."""
    desk.act_as("anna").secret()
    desk.own.delete_troubles = [(FORBIDDEN, False)] * 2
    desk.credentials.close()
    assert desk.credentials.stay() == {}, "the next run deletes it"
    return desk.another()


@pytest.mark.parametrize(
    "trouble",
    [FORBIDDEN, Unauthorized("not allowed", status=401), Unavailable("down", status=503)],
)
def test_a_key_that_the_next_run_cannot_delete_either_is_for_people_to_delete(
    desk: Desk, trouble: ServerError
) -> None:
    later = left_by_an_earlier_run(desk)
    desk.own.delete_troubles = [(trouble, False)] * 2
    later.sweep()
    (name,) = later.close()
    (told,) = later.stay().values()
    assert f"'{name}' of anna" in told
    assert "delete it by hand" in told


def test_a_key_that_could_be_deleted_in_the_end_is_not_for_people(desk: Desk) -> None:
    later = left_by_an_earlier_run(desk)
    desk.own.delete_troubles = [(FORBIDDEN, False)]
    later.sweep()
    assert later.stay()
    assert later.close() == []
    assert later.stay() == {}


def test_a_key_that_ended_by_itself_is_not_there_any_more_whatever_its_deletion_says(
    desk: Desk,
) -> None:
    later = left_by_an_earlier_run(desk)
    desk.own.delete_troubles = [(FORBIDDEN, False)] * 20
    desk.own.held = {key: replace(held, active=False) for key, held in desk.own.held.items()}
    assert later.close() == []
    assert later.stay() == {}


def test_no_secret_is_on_record(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    database = Database.to_write(path)
    desk = Desk(begun(database).leftovers)
    secret = desk.act_as("anna").secret()
    database.close()
    assert secret.encode() not in path.read_bytes()


def test_keys_of_a_dry_run_are_remembered_by_the_process_alone(tmp_path: Path) -> None:
    database = Database.in_memory(tmp_path / "tracking.db")
    keys = begun(database).leftovers
    keys.record_key("a", "anna")
    keys.record_key("b", "bo")
    keys.record_key_id("a", "id-a")
    assert [(key.name, key.username, key.key_id) for key in keys.keys_left()] == [
        ("a", "anna", "id-a"),
        ("b", "bo", None),
    ]
    keys.record_key_gone("a")
    keys.record_key_gone("a")
    assert [key.name for key in keys.keys_left()] == ["b"]
    database.close()
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_forgets_the_keys_of_dead_runs_in_its_copy_alone(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    dead = begun(Database.to_write(path))
    dead.leftovers.record_key("a", "anna")
    dead.runs.end(1)
    dead.database.close()
    copy = begun(Database.in_memory(path))
    assert [key.name for key in copy.leftovers.keys_left()] == ["a"]
    copy.leftovers.forget()
    assert copy.leftovers.keys_left() == []
    copy.database.close()
    later = begun(Database.to_write(path))
    assert [key.name for key in later.leftovers.keys_left()] == ["a"], "swept by a real run"
    later.database.close()
