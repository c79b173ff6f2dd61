"""Share the target as its source is shared, and never more widely. May be repeated at will."""

from __future__ import annotations

from functools import partial
from typing import Callable, List, Optional, Sequence, Tuple, TypeVar

from h2ogpte_migration import patience
from h2ogpte_migration.errors import Conflict, NotFound, Rejected, ServerError
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Permissions, Share
from h2ogpte_migration.results import Result
from h2ogpte_migration.steps.presence import is_gone, restart_if_gone, when_visible
from h2ogpte_migration.steps.source import carried

T = TypeVar("T")


def read(
    gateway: Gateway,
    collection_id: str,
    owner: str,
    *,
    is_public: bool,
    refused: Optional[Callable[[str], None]] = None,
) -> Permissions:
    """Who may see a collection, its owner left out.

    ``refused`` is told of a list that the server does not give; without it, that is raised.
    """

    def shares(what: str, listing: Callable[[str], List[Share]]) -> List[Share]:
        return _listed(gateway, collection_id, what, listing, refused) or []

    users = shares("user shares", gateway.user_shares)
    groups = shares("group shares", gateway.group_shares)
    public: Optional[Tuple[str, ...]] = None
    if is_public:
        public = _public(gateway, collection_id, refused)
    return Permissions(
        is_public=is_public,
        public=public,
        users=tuple(share for share in users if share.grantee != owner),
        groups=tuple(groups),
    )


def _public(
    gateway: Gateway, collection_id: str, refused: Optional[Callable[[str], None]]
) -> Optional[Tuple[str, ...]]:
    told: List[Optional[Tuple[str, ...]]] = []

    def listing(which: str) -> bool:
        told.append(gateway.public_permissions(which))
        return True

    _listed(gateway, collection_id, "public rights", listing, refused)
    # Without a list all rights would be granted: where it can't be read, none are.
    return told[0] if told else ()


def _listed(
    gateway: Gateway,
    collection_id: str,
    what: str,
    listing: Callable[[str], T],
    refused: Optional[Callable[[str], None]],
) -> Optional[T]:
    """What a listing says; None where the server refuses it and somebody is to be told."""
    try:
        return listing(collection_id)
    except (Rejected, NotFound) as error:
        if refused is None:
            raise
        gateway.collection(collection_id)  # gone, and not just this list of it: raises that
        refused(f"the {what} could not be read, and so not copied: {error.message}")
        return None


def run(migration: Migration) -> Optional[Result]:
    """Share the target as the source is shared now; what was withdrawn there goes here as well."""
    try:
        rights = _copy(migration)
    except NotFound as error:
        restart_if_gone(migration, error)
        return None
    store, attempt = migration.tracking.store, migration.attempt
    store.finish_permissions(migration.lease, attempt, rights, migration.take_warnings())
    migration.rights_copied_at = migration.clock.now()
    return None


def refresh(migration: Migration) -> None:
    """Right before the import: the rights as they are now, unless they were copied just now."""
    copied_at = migration.rights_copied_at
    if copied_at is None or migration.clock.now() - copied_at > patience.FRESH_RIGHTS_S:
        run(migration)
        migration.reload()


def _copy(migration: Migration) -> Permissions:
    """Copy public, user and group rights; returns what the source has.

    A refused share is a warning. Raises ``NotFound`` where source or target may be gone.
    """
    rights = _read_source(migration)
    if migration.created is None or migration.attempt.permissions is not None:
        withdraw(migration, _on_target(migration), rights)
    gateway, target_id = migration.gateway, migration.target_id
    if rights.is_public:
        _publish(migration, rights.public)
    for share in rights.users:
        _share(
            migration,
            f"user {share.grantee}",
            share,
            partial(gateway.share_with_user, target_id, share),
            partial(gateway.user_shares, target_id),
        )
    for share in rights.groups:
        _share(
            migration,
            f"group {share.grantee}",
            share,
            partial(gateway.share_with_group, target_id, share),
            partial(gateway.group_shares, target_id),
        )
    return rights


def _read_source(migration: Migration) -> Permissions:
    collection = carried(migration).collection
    if migration.rights_copied_at is not None or migration.created is None:
        collection = migration.gateway.collection(migration.source_id)
    return read(
        migration.gateway,
        migration.source_id,
        migration.owner,
        is_public=collection.is_public,
        refused=migration.warn,
    )


def _on_target(migration: Migration) -> Permissions:
    gateway, target_id = migration.gateway, migration.target_id
    is_public = gateway.collection(target_id).is_public
    return read(gateway, target_id, migration.owner, is_public=is_public, refused=migration.warn)


def withdraw(migration: Migration, have: Permissions, allowed: Permissions) -> None:
    """Take from the target what the source does not grant (any more).

    Args:
        have: the rights to judge: those on the target, or those that were given to it.
        allowed: the source's rights as they are now.
    """
    gateway, target_id = migration.gateway, migration.target_id
    if have.is_public and not allowed.is_public:
        _take(migration, "the public", partial(gateway.make_private, target_id))
    users = {share.grantee for share in allowed.users}
    for share in have.users:
        if share.grantee not in users:
            take = partial(gateway.unshare_user, target_id, share.grantee)
            _take(migration, f"user {share.grantee}", take)
    groups = {share.grantee for share in allowed.groups}
    for share in have.groups:
        if share.grantee not in groups:
            take = partial(gateway.unshare_group, target_id, share.grantee)
            _take(migration, f"group {share.grantee}", take)


def _take(migration: Migration, whom: str, take: Callable[[], None]) -> None:
    migration.before_write()
    try:
        take()
    except NotFound:
        return  # it has no such share
    except Rejected as error:
        migration.warn(
            f"the source is not shared with {whom} any more, and the target still is: "
            f"{error.message}"
        )


def _publish(migration: Migration, rights: Optional[Tuple[str, ...]]) -> None:
    # An empty list is sent too: without a list, all rights are granted.
    migration.before_write()
    try:
        make_public = partial(migration.gateway.make_public, migration.target_id, rights)
        when_visible(migration, make_public)
    except (Rejected, NotFound) as error:
        _raise_if_gone(migration, error)
        migration.warn(f"the target could not be made public: {error.message}")


def _share(
    migration: Migration,
    who: str,
    share: Share,
    send: Callable[[], None],
    listed: Callable[[], Sequence[Share]],
) -> None:
    migration.before_write()
    try:
        when_visible(migration, send)
    except Conflict as error:
        if not _as_wanted(share, listed()):
            migration.warn(f"the share with {who} was refused: {error.message}")
    except (Rejected, NotFound) as error:
        _raise_if_gone(migration, error)
        migration.warn(f"the share with {who} was refused: {error.message}")


def _raise_if_gone(migration: Migration, error: ServerError) -> None:
    if isinstance(error, NotFound) and is_gone(
        migration.gateway, migration.clock, migration.target_id, within_s=migration.freshness()
    ):
        raise error


def _as_wanted(share: Share, listed: Sequence[Share]) -> bool:
    for have in listed:
        if have.grantee == share.grantee:
            return share.permissions is None or set(share.permissions) == set(
                have.permissions or ()
            )
    return False


def describe(permissions: Permissions) -> List[str]:
    """The rights in words, for the preview."""
    lines: List[str] = []
    if permissions.is_public:
        lines.append(f"public ({rights_in_words(permissions.public)})")
    lines += [f"user {_granted(share)}" for share in permissions.users]
    lines += [f"group {_granted(share)}" for share in permissions.groups]
    return lines


def rights_in_words(rights: Optional[Sequence[str]]) -> str:
    """A list of rights; none at all means all of them, an empty one means none."""
    if rights is None:
        return "all rights"
    return ", ".join(rights) or "no rights"


def _granted(share: Share) -> str:
    return (
        share.grantee
        if share.permissions is None
        else f"{share.grantee} ({', '.join(share.permissions)})"
    )
