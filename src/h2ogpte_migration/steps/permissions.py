"""Share the target as its source is shared, and never more widely. May be repeated at will.

What is about to be given is on record before it is given: what the source does not grant any more
is taken back by that record. Shares that others added to the target are theirs, and stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Callable, Container, Dict, List, Optional, Sequence, Tuple

from h2ogpte_migration import patience
from h2ogpte_migration.errors import (
    Conflict,
    NotFound,
    Rejected,
    ServerError,
    StepFailed,
)
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, Permissions, Share
from h2ogpte_migration.results import Result
from h2ogpte_migration.steps.presence import (
    insist,
    is_gone,
    read_when_visible,
    restart_if_gone,
    sure,
)
from h2ogpte_migration.steps.rights import NOBODY, Listed, read_rights
from h2ogpte_migration.steps.source import carried
from h2ogpte_migration.tracking.records import Attempt


def run(migration: Migration) -> Optional[Result]:
    """Share the target as the source is shared now; what was withdrawn there goes here as well."""
    try:
        rights = _copy(migration)
    except NotFound as error:
        restart_if_gone(migration, error)
        return None
    store, attempt = migration.tracking.store, migration.attempt
    store.finish_permissions(migration.lease, attempt, rights, migration.take_warnings())
    migration.seen.rights_copied_at = migration.clock.now()
    return None


def refresh(migration: Migration) -> None:
    """Right before the import: the rights as they are now, unless they were copied just now."""
    if not were_copied_just_now(migration):
        run(migration)
        migration.reload()


def were_copied_just_now(migration: Migration) -> bool:
    """Whether this run copied them so lately that nobody is expected to have changed them since."""
    copied_at = migration.seen.rights_copied_at
    return copied_at is not None and migration.clock.now() - copied_at <= patience.FRESH_RIGHTS_S


def outdate(migration: Migration) -> None:
    """The collection has to wait: people may withdraw meanwhile what was given."""
    given = migration.attempt.permissions
    if migration.seen.rights_copied_at is not None and (given is None or not given.empty):
        migration.seen.rights_copied_at = float("-inf")


def warn_of_missing(migration: Migration, held: Permissions) -> None:
    """Tell where a target that is in use already has less than its source: people may want that."""
    try:
        listed = _read_source(migration, anew=True)
    except NotFound:
        return  # whoever compares the documents finds out whether the source is gone
    _warn_of_unread(migration, listed, NOBODY)
    allowed = listed.rights
    if narrowed(allowed, held) != allowed:
        migration.warn(
            "its documents were imported, and by the record nothing was shared: the target is "
            "shared less widely than its source, and was left so; compare who may see the two"
        )


def narrowed(given: Permissions, allowed: Permissions) -> Permissions:
    """What remains of the rights that were given, as far as the source still grants them."""
    is_public = given.is_public and allowed.is_public
    return Permissions(
        is_public=is_public,
        public=_both(given.public, allowed.public) if is_public else None,
        users=_both_shares(given.users, allowed.users),
        groups=_both_shares(given.groups, allowed.groups),
    )


def _both_shares(given: Sequence[Share], allowed: Sequence[Share]) -> Tuple[Share, ...]:
    still = {share.grantee: share.permissions for share in allowed}
    return tuple(
        replace(share, permissions=_both(share.permissions, still[share.grantee]))
        for share in given
        if share.grantee in still
    )


def _both(
    given: Optional[Tuple[str, ...]], allowed: Optional[Tuple[str, ...]]
) -> Optional[Tuple[str, ...]]:
    """The rights in both lists; no list at all stands for all of them."""
    if given is None or allowed is None:
        return allowed if given is None else given
    return tuple(right for right in given if right in allowed)


def _copy(migration: Migration) -> Permissions:
    """Copy public, user and group rights; returns what the target has of us then.

    What can't be read is neither given nor taken back. A refused share is a warning. Raises
    ``NotFound`` where source or target may be gone.
    """
    source = _read_source(migration)
    given = given_so_far(migration)
    kept = source.may_grant(_given_by_us(migration, given))
    _warn_of_unread(migration, source, kept)
    allowed = together(kept, source.rights)
    if not given.empty:
        withdraw(migration, given, allowed)
    if not source.rights.empty:
        store, attempt = migration.tracking.store, migration.attempt
        store.record_rights(migration.lease, attempt, together(given, allowed))
        migration.reload()
    give(migration, source.rights)
    return allowed


def _warn_of_unread(migration: Migration, source: Listed, kept: Permissions) -> None:
    left = "" if kept.empty else "; what the target was given before was left to it"
    for item in source.unread.values():
        migration.warn(f"the {item.what} could not be read, and so not copied{left}: {item.why}")


def _given_by_us(migration: Migration, given: Permissions) -> Permissions:
    """What an earlier try gave, in place of whatever a server shares at a creation."""
    attempt = migration.attempt
    by_us = attempt.permissions is not None or attempt.origin == Attempt.LEGACY
    return given if by_us else NOBODY


def given_so_far(migration: Migration) -> Permissions:
    """What the target may have been given already: before its import, by whomever.

    Where we have no record of it, what the target has counts as given: version 1.2.0 kept none,
    and a server may share whatever is created.
    """
    if migration.attempt.permissions is not None:
        return migration.attempt.permissions
    if migration.attempt.origin != Attempt.LEGACY and _born_unshared(migration.seen.created):
        return Permissions(is_public=False)
    return on_target(migration)


def _born_unshared(created: Optional[Collection]) -> bool:
    """Whether the answer to the creation shows nobody but the owner. None: it is not at hand."""
    if created is None:
        return False
    users = created.get("user_count")
    return created.is_public is False and not (isinstance(users, int) and users > 1)


def together(given: Permissions, added: Permissions) -> Permissions:
    """All that the target may have from us, once ``added`` is given; the newer list counts."""

    def merged(old: Sequence[Share], new: Sequence[Share]) -> Tuple[Share, ...]:
        shares: Dict[str, Share] = {share.grantee: share for share in (*old, *new)}
        return tuple(shares.values())

    return Permissions(
        is_public=given.is_public or added.is_public,
        public=added.public if added.is_public else given.public,
        users=merged(given.users, added.users),
        groups=merged(given.groups, added.groups),
    )


@dataclass(frozen=True)
class _Grant:
    """What the target grants to a user, to a group or to everybody, and how that is changed.

    Args:
        refused: what people read where the server does not give it.
        listing: what the server shows of it, among others.
    """

    whom: str
    share: Share
    refused: str
    give: Callable[[], None]
    take: Callable[[], None]
    listing: Callable[[], Sequence[Share]]

    def is_shown(self) -> bool:
        """Whether the server shows it as it is wanted."""
        return as_wanted(self.share, self.listing())


def _grants(migration: Migration, rights: Permissions) -> Dict[str, _Grant]:
    """All that there is to give, by whom it is given to."""
    gateway, target_id = migration.gateway, migration.target_id
    grants: List[_Grant] = []
    if rights.is_public:
        grants.append(
            _Grant(
                _EVERYBODY,
                Share(_EVERYBODY, rights.public),
                "the target could not be made public",
                # An empty list is sent too: without a list, all rights are granted.
                partial(gateway.make_public, target_id, rights.public),
                partial(gateway.make_private, target_id),
                partial(_public_share, gateway, target_id),
            )
        )
    users = (gateway.share_with_user, gateway.unshare_user, gateway.user_shares)
    groups = (gateway.share_with_group, gateway.unshare_group, gateway.group_shares)
    for sort, shares, (share_with, unshare, listing) in (
        ("user", rights.users, users),
        ("group", rights.groups, groups),
    ):
        for share in shares:
            whom = f"{sort} {share.grantee}"
            give = partial(share_with, target_id, share)
            take = partial(unshare, target_id, share.grantee)
            refused = f"the share with {whom} was refused"
            grants.append(_Grant(whom, share, refused, give, take, partial(listing, target_id)))
    return {grant.whom: grant for grant in grants}


_EVERYBODY = "the public"


def _public_share(gateway: Gateway, collection_id: str) -> List[Share]:
    if gateway.collection(collection_id).is_public is False:
        return []
    return [Share(_EVERYBODY, gateway.public_permissions(collection_id))]


def give(migration: Migration, rights: Permissions) -> None:
    """Grant rights on the target; what is refused is a warning."""
    for grant in _grants(migration, rights).values():
        refusal = _send(migration, grant)
        if refusal:
            migration.warn(refusal)


def _read_source(migration: Migration, *, anew: bool = False) -> Listed:
    collection = carried(migration).collection if not anew else None
    seen = migration.seen
    if collection is None or seen.rights_copied_at is not None or seen.created is None:
        collection = migration.gateway.collection(migration.source_id)
    return read_rights(
        migration.gateway,
        migration.clock,
        migration.source_id,
        migration.owner,
        is_public=collection.is_public,
        none_twice=True,
    )


def on_target(migration: Migration) -> Permissions:
    """The rights that the target has now, whoever gave them."""
    gateway, target_id = migration.gateway, migration.target_id
    within_s = migration.freshness()
    target = read_when_visible(gateway, migration.clock, target_id, within_s)
    listed = read_rights(
        gateway,
        migration.clock,
        target_id,
        migration.owner,
        is_public=target.is_public,
        none_twice=migration.seen.created is None,
    )
    for item in listed.unread.values():
        migration.warn(
            f"the {item.what} of the target could not be read, and so not compared: {item.why}"
        )
    return listed.rights


class StillShared(StepFailed):
    """The server does not take back what the source does not grant any more: ``stays``."""

    def __init__(self, stays: Permissions, words: Sequence[str]) -> None:
        super().__init__(
            f"the target is shared more widely than its source: {'; '.join(words)}",
            "Take it back in h2oGPTe, then run the same command again.",
            "rights not taken back",
        )
        self.stays = stays


def withdraw(migration: Migration, given: Permissions, allowed: Permissions) -> None:
    """Take from the target what was given to it and the source does not grant (any more).

    Raises:
        StillShared: some of it could not be taken; the rest was.
    """
    had, left = _grants(migration, given), _grants(migration, narrowed(given, allowed))
    excess = [
        grant for whom, grant in had.items() if whom not in left or left[whom].share != grant.share
    ]
    if excess and _is_anybodys(migration):
        _keep_word(migration, given, [grant.whom for grant in excess])
    words = {grant.whom: _lessen(migration, grant, left.get(grant.whom)) for grant in excess}
    refused = {whom: said for whom, said in words.items() if said}
    if refused:
        raise StillShared(only(given, refused), list(refused.values()))


def _is_anybodys(migration: Migration) -> bool:
    """Whether the target's owner may have given what counts as given by us, and nothing tells."""
    attempt = migration.attempt
    return attempt.permissions is None and attempt.origin == Attempt.LEGACY


def _keep_word(migration: Migration, given: Permissions, whom: Sequence[str]) -> None:
    """From whom rights are about to be taken: on record before, as nothing shows it afterwards."""
    migration.warn(
        "version 1.2.0 did not record with whom it shared the target; what the source does not "
        f"grant is taken from it, also where its owner gave it: {', '.join(whom)}"
    )
    store = migration.tracking.store
    store.record_rights(migration.lease, migration.attempt, given, migration.take_warnings())
    migration.reload()


def by_whom(rights: Permissions) -> Dict[str, Share]:
    """The shares, by whom they are given to: in the words that people read."""
    shares = {f"user {share.grantee}": share for share in rights.users}
    shares.update({f"group {share.grantee}": share for share in rights.groups})
    if rights.is_public:
        shares[_EVERYBODY] = Share(_EVERYBODY, rights.public)
    return shares


def only(rights: Permissions, whom: Container[str]) -> Permissions:
    """What some of those have to whom rights were given."""
    is_public = rights.is_public and _EVERYBODY in whom
    return Permissions(
        is_public=is_public,
        public=rights.public if is_public else None,
        users=tuple(share for share in rights.users if f"user {share.grantee}" in whom),
        groups=tuple(share for share in rights.groups if f"group {share.grantee}" in whom),
    )


def _lessen(migration: Migration, had: _Grant, left: Optional[_Grant]) -> str:
    """Leave less of what was given, or nothing; what the server said where it refused both."""
    if left is None:
        return _take(migration, had)
    if not _stays(migration, had):
        return ""  # somebody took all of it away already
    refusal = _send(migration, left)
    if not refusal:
        return ""
    words = _take(migration, had)
    if not words:
        migration.warn(f"{refusal}; what was given before was more, and was taken back")
    return words


def _take(migration: Migration, grant: _Grant) -> str:
    """Take a right back; what the server said where it refused and still shows it."""
    migration.before_write()
    try:
        grant.take()
    except (Rejected, NotFound) as error:
        return f"with {grant.whom} ({error.message})" if _stays(migration, grant) else ""
    return ""


def _stays(migration: Migration, grant: _Grant) -> bool:
    """Whether something is granted still, by what the server shows; where it does not tell, yes."""
    try:
        shown = sure(migration.clock, grant.listing)
    except (Rejected, NotFound) as error:
        _raise_if_gone(migration, error)
        return True
    return any(share.grantee == grant.share.grantee for share in shown)


def _send(migration: Migration, grant: _Grant) -> str:
    """Give a right; what to say where the server refused.

    Raises ``NotFound`` where the target is gone.
    """
    migration.before_write()
    try:
        try:
            insist(migration, grant.give)
        except Conflict:
            # Given already, and the server does not change it: perhaps another list of rights.
            if grant.is_shown():
                return ""
            _take(migration, grant)
            grant.give()
    except (Rejected, NotFound) as error:
        _raise_if_gone(migration, error)
        return f"{grant.refused}: {error.message}"
    return ""


def _raise_if_gone(migration: Migration, error: ServerError) -> None:
    if isinstance(error, NotFound) and is_gone(
        migration.gateway, migration.clock, migration.target_id, within_s=migration.freshness()
    ):
        raise error


def as_wanted(share: Share, listed: Sequence[Share]) -> bool:
    """Whether a listing shows a share with just these rights; without a list, with any."""
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
