"""Keys to act as the owners of collections: made when first needed, gone when done.

A key is recorded before it is made (name) and after (id), under its run; a run deletes its own
and what dead runs left, never what a living one uses. Only names and ids are stored. Keys of
a dry run are on record in its throw-away database alone, and expire within the hour.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Callable, Container, Dict, Iterator, List, Optional, Set, Tuple

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
    TrackingError,
    Unauthorized,
)
from h2ogpte_migration.gateway.paging import ListingShifted
from h2ogpte_migration.gateway.rest import Gateway, Server
from h2ogpte_migration.model import ApiKey, Identity
from h2ogpte_migration.redact import Secret
from h2ogpte_migration.run.teardown import Teardown, to_its_end
from h2ogpte_migration.tracking.leftovers import Leftovers
from h2ogpte_migration.tracking.records import TempKey

KEY_NAME_PREFIX = "h2ogpte-migrate"
DRY_RUN_EXPIRY = "55 minutes"
SHORTER_EXPIRIES = ("7 days", "1 day")
"""Asked for in turn where the wanted life time is refused: servers may have an upper limit."""
DRY_RUN_EXPIRIES = ("1 hour", "1 day")
"""The same for keys of a dry run, where minutes may be what is refused."""
MAY_BE_THE_LIFE_TIME = (400, 422)
_LIFE_TIME_HINT = "Nothing of theirs was touched. A shorter life time: --api-key-expiry '1 hour'."

log = logging.getLogger(__name__)


class CannotImpersonate(ServerError):
    """No key can be made for an owner: nothing of theirs may be touched."""


@dataclass(frozen=True)
class KeyPolicy:
    """How temporary keys are named and how long they live; first what is wanted."""

    label: str
    expires_in: str
    shorter: Tuple[str, ...] = SHORTER_EXPIRIES


@dataclass(frozen=True)
class TriedOut:
    """A temporary key that is tried out: what it sees, its id, and how long it was to live."""

    gateway: Gateway
    key_id: str
    life_time: str


class Credentials:
    """Gateways that act as the owners of collections.

    Args:
        server: the server.
        own: the gateway of the key that was given.
        own_username: whose key that is; their collections need no other one.
        admin: whether keys for other users can be made.
        records: where keys are recorded.
        policy: names and life time.
        clock: waits for keys that the server takes, or lists, late.
        at_once: how many keys are deleted at a time, where there are several.
    """

    def __init__(
        self,
        server: Server,
        own: Gateway,
        own_username: str,
        *,
        admin: bool,
        records: Leftovers,
        policy: KeyPolicy,
        clock: Optional[Clock] = None,
        at_once: int = 1,
    ) -> None:
        self._clock = clock or Clock(threading.Event())
        self._teardown = Teardown(self._clock)
        self._at_once = at_once
        self._server = server
        self._own = own
        self._own_username = own_username
        self._admin = admin
        self._records = records
        self._policy = policy
        self._owners: Dict[str, List[_OwnerKey]] = {}
        self._ids: Optional[Dict[str, List[str]]] = None
        self._lock = threading.RLock()
        self._made = 0
        self._closed = False
        self._life_times = [policy.expires_in, *policy.shorter]
        self._missed: Dict[str, float] = {}
        self._stay: Dict[str, str] = {}

    def gateway_for(self, owner: str, owner_id: Optional[str] = None) -> Gateway:
        """The server as ``owner`` sees it; the key is made when the first request needs it.

        Two accounts of one name are told apart by ``owner_id``, where that is known.
        """
        if owner == self._own_username or not self._admin:
            return self._own
        with self._lock:
            keys = self._owners.setdefault(owner, [])
            key = next((key for key in keys if key.suits(owner_id)), None)
            if key is None:
                key = _OwnerKey(self, owner, owner_id)
                keys.append(key)
        return self._server.as_owner(key)

    def user_id(self, username: str) -> str:
        """The id of a user; the list of users is read once, when first needed.

        Raises:
            CannotImpersonate: there is no such user, or more than one.
        """
        with self._lock:
            if self._ids is None:
                self._ids = self._read_ids()[0] or self._read_ids()[0]
            ids = self._ids.get(username, [])
        if len(ids) == 1:
            return ids[0]
        what = "is no registered user" if not ids else f"names {len(ids)} registered users"
        raise CannotImpersonate(
            f"The owner {username} {what}, so no key can be made for them.",
            hint="Nothing of theirs was touched.",
        )

    def known_id(self, username: str) -> Optional[str]:
        """The id of a user, if the list of users was read and names just one."""
        with self._lock:
            ids = (self._ids or {}).get(username, [])
        return ids[0] if len(ids) == 1 else None

    def _read_ids(self) -> Tuple[Dict[str, List[str]], bool]:
        """Ids by username, and whether none can be missing. Kept only when the listing was read to
        its end."""
        ids: Dict[str, List[str]] = {}
        missed: List[str] = []
        for user in self._own.users(missed.append):
            known = ids.setdefault(user.username, [])
            if user.id and user.id not in known:
                known.append(user.id)
        return ids, not missed

    def now(self) -> float:
        """Seconds that only ever grow."""
        return self._clock.now()

    def knows_user(self, username: str) -> bool:
        """Whether a user of this name is registered."""
        with suppress(CannotImpersonate):
            return bool(self.user_id(username))
        return username == self._own_username

    @property
    def keys_made(self) -> int:
        """How many temporary keys were asked for in this run."""
        return self._made

    def usernames(self) -> Set[str]:
        """The names of all users, as far as the list was read by now."""
        with self._lock:
            return set(self._ids or ())

    def release(self, owner: str) -> None:
        """The owner's work in this run is done: the key goes at once."""
        with self._lock:
            keys = self._owners.pop(owner, [])
        for key in keys:
            key.close()

    def release_all_but(self, owners: Container[str]) -> None:
        """The work of all others in this run is done."""
        with self._lock:
            done = [owner for owner in self._owners if owner not in owners]
        self._teardown.each(self.release, done, self._at_once)

    def close(self) -> List[str]:
        """Delete whatever keys this run and dead ones left; returns what is still there.

        Keys that may be listed late are looked for again, but no longer than that may take: where
        the server, or the disk, fails by now, the next run goes on with them. So it does after a
        stop, where the server does not answer.
        """
        self._closed = self._clock.stop.is_set()
        self.release_all_but(())
        self.sweep()
        if not self._admin:
            return []
        looked_at = self._clock.now()
        deadline = looked_at + patience.KEY_VISIBLE_WITHIN_S
        # A look may take long: the last one begins when all that may show has to be there.
        while looked_at < deadline and self._may_yet_show():
            if self._clock.stop.is_set():
                break
            if self._clock.now() < deadline:
                self._clock.pause(patience.KEY_VISIBLE_WITHIN_S / 4)
            looked_at = self._clock.now()
            self.sweep()
        return [key.name for key in (*self._records.keys_left(), *self._records.keys_in_doubt())]

    def left(self) -> List[TempKey]:
        """Keys on record that were not looked for in vain: those may never have been made."""
        return [key for key in self._records.keys_left() if key.name not in self._missed]

    def stay(self) -> Dict[str, str]:
        """By name, what to do about keys that earlier runs left and this one could not delete."""
        with self._lock:
            return dict(self._stay)

    def _may_yet_show(self) -> bool:
        """Whether a key on record was not found, and was not looked for long enough."""
        return any(key.name in self._missed for key in self._records.keys_left())

    def sweep(self) -> None:
        """Delete keys on record that nobody uses: of dead runs, or with a lost answer."""
        if not self._admin:
            return
        with self._lock:
            in_use = {key.name for keys in self._owners.values() for key in keys if key.name}
        left = [key for key in self._records.keys_left() if key.name not in in_use]
        self._teardown.each(self._sweep_one, left, self._at_once)

    def _sweep_one(self, key: TempKey) -> None:
        self._stay.pop(key.name, None)
        try:
            self._settle(key)
        except (ServerError, TrackingError) as error:
            # Each for itself: a disk that is full must not keep the others alive.
            log.warning("the temporary key %s could not be deleted: %s", key.name, error)
            if isinstance(error, ServerError) and not self._is_ours(key.name):
                self._stay[key.name] = (
                    f"the temporary key '{key.name}' of {key.username}, which an earlier run left, "
                    f"could not be deleted: {error.message}. Where that stays so, delete it by hand, "
                    f"in h2oGPTe among the API keys, as {key.username} or as an administrator"
                )

    def _settle(self, key: TempKey) -> None:
        refusal: Optional[ServerError] = None
        if key.key_id is not None and key.certain:
            try:
                if self._delete(key.name, key.key_id):
                    return
            except (Rejected, Unauthorized) as error:
                refusal = error  # unless it has ended by itself
        found = self._find(key)
        if found and refusal is not None:
            raise refusal
        for key_id in found:
            self._delete(key.name, key_id)
        if not found:
            # Its request may still be under way, or the key not be listed yet: "not there"
            # closes the record only after a while, and not in the run that asked for it.
            now = self._clock.now()
            since = self._missed.setdefault(key.name, now)
            asked_before = key.key_id is not None or not self._is_ours(key.name)
            if asked_before and now - since >= patience.KEY_VISIBLE_WITHIN_S:
                self._records.record_key_gone(key.name)

    def _find(self, key: TempKey) -> List[str]:
        """The ids under which the server lists a key of that name, for as long as it works.

        The owner may have another name by now, or one that a filter does not take literally
        (the contract does not say how it matches): what is not found by it is looked for among
        all keys.

        Raises:
            ListingShifted: it may be there, and have been missed.
        """
        for listed in (self._own.keys(key.username, log.debug), self._all_keys()):
            found = [item.id for item in listed if item.name == key.name and item.active]
            if found:
                return found
        return []

    def _all_keys(self) -> Iterator[ApiKey]:
        why: List[str] = []
        yield from self._own.keys("", why.append)
        if why:
            raise ListingShifted(f"keys may have been missed: {why[0]}")

    # -- one key -----------------------------------------------------------------------
    def make(self, owner: str, owner_id: Optional[str]) -> _Key:
        """Make a key and make sure whose it is, before it is used for anything else.

        Args:
            owner_id: the account, where its id is on record; else the name must be unique.

        Raises:
            CannotImpersonate: there is none to be had.
            OwnerGone: the account of this id does not exist any more.
            Interrupted: all keys are deleted already, as the user asked to stop.
        """
        if self._closed:
            raise Interrupted("Stopped before another temporary key was made.")
        user_id = owner_id or self.user_id(owner)
        why = ""
        for _ in range(3):
            name = self._new_name()
            self._records.record_key(name, owner)
            try:
                key_id, secret = self._create(owner, user_id, name)
            except OutcomeUnknown as error:
                # Whether it exists is found out when keys are swept; its secret is lost, so
                # another one is needed in any case.
                log.warning("no usable answer to a request for a temporary key: %s", error)
                why = error.message
                continue
            except (ServerError, Interrupted):
                self._records.record_key_gone(name)
                raise
            self._records.record_key_id(name, key_id)
            log.info("made the temporary key %s for %s", name, owner)
            try:
                holder = self._holder(secret)
                _check_holder(holder, owner, user_id, by_id=owner_id is not None)
            except BaseException:
                self._drop(name, partial(self._delete, name, key_id))
                raise
            return _Key(name, key_id, secret, holder)
        raise CannotImpersonate(
            f"A temporary key for {owner} was asked for three times, and none was had: {why}",
            hint="Nothing of theirs was touched.",
        )

    def _new_name(self) -> str:
        with self._lock:
            self._made += 1
            return f"{self._prefix}{self._made}"

    def _is_ours(self, name: str) -> bool:
        """Whether a key was asked for in this run."""
        return name.startswith(self._prefix)

    @property
    def _prefix(self) -> str:
        return f"{KEY_NAME_PREFIX} {self._policy.label}-"

    def _create(self, owner: str, user_id: str, name: str) -> Tuple[str, Secret]:
        """Ask for a key, and for a shorter-lived one where its life time may be what is refused."""
        while True:
            expires_in = self._life_times[0]
            try:
                return self._own.create_key(user_id=user_id, name=name, expires_in=expires_in)
            except (OutcomeUnknown, Unauthorized):
                raise
            except NotFound as error:
                self._check_account(owner, user_id)
                raise _no_key(owner, error) from error
            except Rejected as error:
                if error.status not in MAY_BE_THE_LIFE_TIME:
                    raise _no_key(owner, error) from error
                if not self._shorten(expires_in):
                    raise _no_key(owner, error, _LIFE_TIME_HINT) from error
            except ServerError as error:
                raise _no_key(owner, error) from error

    def _shorten(self, refused: str) -> bool:
        """Ask for less from now on; False where there is no less."""
        with self._lock:
            if self._life_times[0] == refused:
                if len(self._life_times) == 1:
                    return False
                del self._life_times[0]
                log.warning(
                    "keys that live for %s are refused; asking for %s", refused, self._life_times[0]
                )
            return True

    def _check_account(self, owner: str, user_id: str) -> None:
        """Raise ``OwnerGone`` if an account is surely gone: absent from two whole listings."""
        for look in (1, 2):
            if look == 2:
                self._clock.sleep(patience.SECOND_LOOK_S)
            ids, whole = self._read_ids()
            if not whole or not ids or owner in ids:
                return
            if any(user_id in known for known in ids.values()):
                return
        raise OwnerGone(
            f"the account of {owner} ({user_id}) does not exist any more",
            hint="Whoever has the collections now can migrate them.",
        )

    def _holder(self, secret: Secret) -> Identity:
        """Whose key it is, as the server says; a new one may not be taken at once."""
        deadline = self._clock.now() + patience.KEY_VISIBLE_WITHIN_S
        began = self._clock.now()
        while True:
            try:
                return self._server.as_key(secret).identity()
            except Unauthorized as error:
                now = self._clock.now()
                if now >= deadline:
                    raise CannotImpersonate(
                        f"A temporary key is not taken by the server that made it: {error.message}",
                        status=error.status,
                        route=error.route,
                        hint="Check whether this account may use API keys.",
                    ) from error
                self._clock.sleep(patience.poll_delay(now - began))

    @contextmanager
    def tried_out(self, owner: str, owner_id: Optional[str]) -> Iterator[TriedOut]:
        """A key of an account for a moment: made, of the right holder, and deleted afterwards.

        Raises:
            CannotImpersonate, OwnerGone: there is none to be had.
        """
        key = self.make(owner, owner_id)
        try:
            gateway = self._server.as_key(key.secret, key.holder)
            yield TriedOut(gateway, key.key_id, self._life_times[0])
        finally:
            self.drop(key)

    def drop(self, key: _Key) -> None:
        """Delete a key that was in use."""
        self._drop(key.name, partial(self._delete, key.name, key.key_id, key.secret))

    def _drop(self, name: str, delete: Callable[[], bool]) -> None:
        try:
            to_its_end(delete)
        except (ServerError, TrackingError) as error:
            log.warning("the temporary key %s could not be deleted: %s", name, error)

    def _delete(self, name: str, key_id: str, secret: Optional[Secret] = None) -> bool:
        """Whether it is gone: where the server does not know it, it may only not show yet.

        Args:
            secret: with it, the key was in use: once it is refused, it is gone.
        """
        try:
            self._own.delete_key(key_id)
        except (NotFound, Conflict):
            if self._still_listed(name, key_id):
                raise
            if secret is None or not self._is_refused(secret):
                self._missed.setdefault(name, self._clock.now())
                return False
        self._records.record_key_gone(name)
        log.info("deleted the temporary key %s", name)
        return True

    def _is_refused(self, secret: Secret) -> bool:
        try:
            self._server.as_key(secret).identity()
        except Unauthorized:
            return True
        except ServerError:
            return False
        return False

    def _still_listed(self, name: str, key_id: str) -> bool:
        for key in self._records.keys_left():
            if key.name == name:
                return key_id in self._find(key)
        return False


def _no_key(owner: str, error: ServerError, hint: str = "") -> CannotImpersonate:
    return CannotImpersonate(
        f"No temporary key could be made for {owner}: {error.message}",
        status=error.status,
        route=error.route,
        hint=hint or "Nothing of theirs was touched.",
    )


def _check_holder(holder: Identity, owner: str, user_id: str, *, by_id: bool) -> None:
    """Make sure that a key acts for the account that it was asked for.

    An account that was asked for by its id may have another name by now.
    """
    same_id = not holder.user_id or holder.user_id == user_id
    same_name = holder.username == owner or (by_id and holder.user_id == user_id)
    if not same_id or not same_name:
        raise CannotImpersonate(
            f"The key that was made for {owner} ({user_id}) is one of {holder.username} "
            f"({holder.user_id or 'no id'}).",
            hint="Nothing was done with it.",
        )


@dataclass(frozen=True)
class _Key:
    """A temporary key in use."""

    name: str
    key_id: str
    secret: Secret
    holder: Identity


class _OwnerKey:
    """The key of one owner: a ``KeySource``, one renewal at a time."""

    def __init__(self, credentials: Credentials, owner: str, owner_id: Optional[str]) -> None:
        self._credentials = credentials
        self._owner = owner
        self._owner_id = owner_id
        self._key: Optional[_Key] = None
        self._renewals: List[float] = []
        self._failure: Optional[ServerError] = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._key.name if self._key else ""

    @property
    def holder(self) -> Optional[Identity]:
        return self._key.holder if self._key else None

    def suits(self, owner_id: Optional[str]) -> bool:
        """Whether it is, or will be, the key of that account of the owner's name."""
        if owner_id is not None and self._owner_id is None and self._key is None:
            self._owner_id = owner_id
        return owner_id is None or owner_id == (
            self._key.holder.user_id or owner_id if self._key else self._owner_id
        )

    def current(self) -> Secret:
        with self._lock:
            if self._key is None:
                self._key = self._once()
            return self._key.secret

    def renew(self, stale: Secret) -> Secret:
        with self._lock:
            if self._key is not None and self._key.secret != stale:
                return self._key.secret  # another thread was faster
            self._count_renewal()
            log.warning("the temporary key for %s is not taken any more; renewing it", self._owner)
            if self._key is not None:
                self._credentials.drop(self._key)
                self._key = None
            self._key = self._once()
            return self._key.secret

    def _count_renewal(self) -> None:
        """A key may expire in a long run, again and again, but not at once."""
        now = self._credentials.now()
        self._renewals = [at for at in self._renewals if now - at < patience.RENEWALS_WITHIN_S]
        if len(self._renewals) >= patience.MOST_RENEWALS:
            raise CannotImpersonate(
                f"Temporary keys for {self._owner} are refused, renewed ones too.",
                hint="Check whether this account may use API keys.",
            )
        self._renewals.append(now)

    def _once(self) -> _Key:
        """Make the key; what failed once is not asked for again for every collection."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._credentials.make(self._owner, self._owner_id)
        except (CannotImpersonate, OwnerGone) as error:
            self._failure = error
            raise

    def close(self) -> None:
        with self._lock:
            if self._key is not None:
                self._credentials.drop(self._key)
                self._key = None
