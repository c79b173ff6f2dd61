"""Keys to act as the owners of collections: made when first needed, gone when done.

A key is recorded before it is made (name) and after (id), under its run; a run deletes its own
and what dead runs left, never what a living one uses. Only names and ids are stored. Keys of
a dry run are on record in its throw-away database alone, and expire within the hour.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Set

from h2ogpte_migration.errors import (
    Conflict,
    NotFound,
    OutcomeUnknown,
    ServerError,
    TrackingError,
    Unauthorized,
)
from h2ogpte_migration.gateway.rest import Gateway, Server
from h2ogpte_migration.redact import Secret
from h2ogpte_migration.tracking.leftovers import Leftovers
from h2ogpte_migration.tracking.records import TempKey

KEY_NAME_PREFIX = "h2ogpte-migrate"
DRY_RUN_EXPIRY = "55 minutes"

log = logging.getLogger(__name__)


class CannotImpersonate(ServerError):
    """No key can be made for an owner: nothing of theirs may be touched."""


@dataclass(frozen=True)
class KeyPolicy:
    """How temporary keys are named and how long they live."""

    label: str
    expires_in: str


class Credentials:
    """Gateways that act as the owners of collections.

    Args:
        server: the server.
        own: the gateway of the key that was given.
        own_username: whose key that is; their collections need no other one.
        admin: whether keys for other users can be made.
        records: where keys are recorded.
        policy: names and life time.
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
    ) -> None:
        self._server = server
        self._own = own
        self._own_username = own_username
        self._admin = admin
        self._records = records
        self._policy = policy
        self._owners: Dict[str, _OwnerKey] = {}
        self._ids: Optional[Dict[str, List[str]]] = None
        self._lock = threading.RLock()
        self._made = 0
        self._left: List[str] = []

    def gateway_for(self, owner: str, owner_id: Optional[str] = None) -> Gateway:
        """The server as ``owner`` sees it; the key is made when the first request needs it."""
        if owner == self._own_username or not self._admin:
            return self._own
        with self._lock:
            key = self._owners.get(owner)
            if key is None:
                key = self._owners[owner] = _OwnerKey(
                    owner, lambda: self._make(owner, owner_id), self._drop
                )
        return self._server.as_owner(key)

    def user_id(self, username: str) -> str:
        """The id of a user; the list of users is read once, when first needed.

        Raises:
            CannotImpersonate: there is no such user, or more than one.
        """
        with self._lock:
            if self._ids is None:
                self._ids = self._read_ids()
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

    def _read_ids(self) -> Dict[str, List[str]]:
        """Ids by username. Kept only when the listing was read to its end."""
        ids: Dict[str, List[str]] = {}
        for user in self._own.users():
            known = ids.setdefault(user.username, [])
            if user.id and user.id not in known:
                known.append(user.id)
        return ids

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
            key = self._owners.pop(owner, None)
        if key is not None:
            key.close()

    def close(self) -> List[str]:
        """Delete whatever keys this run and dead ones left; returns what is still there."""
        with self._lock:
            owners = list(self._owners)
        for owner in owners:
            self.release(owner)
        self.sweep()
        return [key.name for key in self._records.keys_left()] if self._admin else []

    def sweep(self) -> None:
        """Delete keys on record that nobody uses: of dead runs, or with a lost answer."""
        if not self._admin:
            return
        with self._lock:
            in_use = {key.name for key in self._owners.values() if key.name}
        for key in self._records.keys_left():
            if key.name not in in_use:
                try:
                    self._sweep_one(key)
                except (ServerError, TrackingError) as error:
                    # Each for itself: a disk that is full must not keep the others alive.
                    log.warning("the temporary key %s could not be deleted: %s", key.name, error)

    def _sweep_one(self, key: TempKey) -> None:
        if key.key_id is not None:
            self._delete(key.name, key.key_id)
            return
        found = self._find(key)
        for key_id in found:
            self._delete(key.name, key_id)
        if not found:
            # Its request may still be under way: only a second look, at the end of a run
            # or in a later one, closes the record.
            if key.name in self._left:
                self._records.record_key_gone(key.name)
            else:
                self._left.append(key.name)

    def _find(self, key: TempKey) -> List[str]:
        listed = self._own.keys(key.username)
        return [item.id for item in listed if item.name == key.name and item.active]

    # -- one key -----------------------------------------------------------------------
    def _make(self, owner: str, owner_id: Optional[str]) -> _Key:
        user_id = owner_id or self.user_id(owner)
        for _ in range(3):
            with self._lock:
                self._made += 1
                name = f"{KEY_NAME_PREFIX} {self._policy.label}-{self._made}"
            self._records.record_key(name, owner)
            try:
                key_id, secret = self._own.create_key(
                    user_id=user_id, name=name, expires_in=self._policy.expires_in
                )
            except OutcomeUnknown as error:
                # Whether it exists is found out when keys are swept; its secret is lost, so
                # another one is needed in any case.
                log.warning("no answer to a request for a temporary key: %s", error)
                continue
            except Unauthorized:
                self._records.record_key_gone(name)
                raise
            except ServerError as error:
                self._records.record_key_gone(name)
                raise CannotImpersonate(
                    f"No temporary key could be made for {owner}: {error.message}",
                    status=error.status,
                    route=error.route,
                    hint="Nothing of theirs was touched.",
                ) from error
            self._records.record_key_id(name, key_id)
            log.info("made the temporary key %s for %s", name, owner)
            return _Key(name, key_id, secret)
        raise CannotImpersonate(
            f"The server did not answer when a temporary key for {owner} was asked for.",
            hint="Nothing of theirs was touched.",
        )

    def _drop(self, key: _Key) -> None:
        try:
            self._delete(key.name, key.key_id)
        except (ServerError, TrackingError) as error:
            log.warning("the temporary key %s could not be deleted: %s", key.name, error)

    def _delete(self, name: str, key_id: str) -> None:
        try:
            self._own.delete_key(key_id)
        except (NotFound, Conflict):
            if self._still_listed(name, key_id):
                raise
        self._records.record_key_gone(name)
        log.info("deleted the temporary key %s", name)

    def _still_listed(self, name: str, key_id: str) -> bool:
        for key in self._records.keys_left():
            if key.name == name:
                listed = self._own.keys(key.username)
                return any(item.id == key_id and item.active for item in listed)
        return False


@dataclass(frozen=True)
class _Key:
    """A temporary key in use."""

    name: str
    key_id: str
    secret: Secret


class _OwnerKey:
    """The key of one owner: a ``KeySource``, one renewal at a time."""

    def __init__(self, owner: str, make: Callable[[], _Key], drop: Callable[[_Key], None]) -> None:
        self._owner = owner
        self._make = make
        self._drop = drop
        self._key: Optional[_Key] = None
        self._renewed = False
        self._failure: Optional[ServerError] = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._key.name if self._key else ""

    def current(self) -> Secret:
        with self._lock:
            if self._key is None:
                self._key = self._once()
            return self._key.secret

    def renew(self, stale: Secret) -> Secret:
        with self._lock:
            if self._key is not None and self._key.secret != stale:
                return self._key.secret  # another thread was faster
            if self._renewed:
                raise CannotImpersonate(
                    f"Temporary keys for {self._owner} are refused, a renewed one too.",
                    hint="Check whether this account may use API keys.",
                )
            log.warning("the temporary key for %s is not taken any more; renewing it", self._owner)
            self._renewed = True
            if self._key is not None:
                self._drop(self._key)
            self._key = self._once()
            return self._key.secret

    def _once(self) -> _Key:
        """Make the key; what failed once is not asked for again for every collection."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._make()
        except CannotImpersonate as error:
            self._failure = error
            raise

    def close(self) -> None:
        with self._lock:
            if self._key is not None:
                self._drop(self._key)
                self._key = None
