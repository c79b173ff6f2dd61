"""Share the target as its source is shared. May be repeated at will."""

from __future__ import annotations

from functools import partial
from typing import Callable, List, Optional, Sequence, Tuple, TypeVar

from h2ogpte_migration.errors import Conflict, NotFound, Rejected, ServerError
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Permissions, Share
from h2ogpte_migration.steps.base import Context
from h2ogpte_migration.steps.presence import SourceGone, is_gone

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
        if refused is None or is_gone(gateway, collection_id):
            raise
        refused(f"the {what} could not be read, and so not copied: {error.message}")
        return None


def run(context: Context) -> Permissions:
    """Copy public, user and group rights; returns what the source has.

    A refused share is a warning. Raises ``NotFound`` where the target may be gone.
    """
    permissions = _read_source(context)
    if permissions.is_public:
        _publish(context, permissions.public)
    gateway, target = context.gateway, context.target_id
    for share in permissions.users:
        _share(
            context,
            f"user {share.grantee}",
            share,
            partial(gateway.share_with_user, target, share),
            partial(gateway.user_shares, target),
        )
    for share in permissions.groups:
        _share(
            context,
            f"group {share.grantee}",
            share,
            partial(gateway.share_with_group, target, share),
            partial(gateway.group_shares, target),
        )
    return permissions


def _read_source(context: Context) -> Permissions:
    is_public = context.source.collection.is_public
    try:
        return read(
            context.gateway,
            context.source_id,
            context.owner,
            is_public=is_public,
            refused=context.warn,
        )
    except NotFound as error:
        raise SourceGone from error


def _publish(context: Context, rights: Optional[Tuple[str, ...]]) -> None:
    # An empty list is sent too: without a list, all rights are granted.
    context.before_write()
    try:
        context.gateway.make_public(context.target_id, rights)
    except (Rejected, NotFound) as error:
        if isinstance(error, NotFound) and is_gone(context.gateway, context.target_id):
            raise
        context.warn(f"the target could not be made public: {error.message}")


def _share(
    context: Context,
    who: str,
    share: Share,
    send: Callable[[], None],
    listed: Callable[[], Sequence[Share]],
) -> None:
    context.before_write()
    try:
        send()
    except Conflict as error:
        if not _as_wanted(share, listed()):
            context.warn(f"the share with {who} was refused: {error.message}")
    except (Rejected, NotFound) as error:
        if isinstance(error, NotFound) and is_gone(context.gateway, context.target_id):
            raise
        context.warn(f"the share with {who} was refused: {error.message}")


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


def read_or_none(read_it: Callable[[], Permissions]) -> Optional[Permissions]:
    """The rights, or None where the server does not tell (they are compared, no more)."""
    try:
        return read_it()
    except ServerError:
        return None
