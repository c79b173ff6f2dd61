"""Share the target as its source is shared. May be repeated at will."""

from __future__ import annotations

from typing import Callable, List, Optional, Sequence, Tuple

from h2ogpte_migration.errors import Conflict, NotFound, Rejected, ServerError, StepFailed
from h2ogpte_migration.gateway.api import Gateway
from h2ogpte_migration.model import Permissions, Share
from h2ogpte_migration.steps.base import Context


def read(gateway: Gateway, collection_id: str, owner: str, *, is_public: bool) -> Permissions:
    """Who may see a collection, its owner left out."""
    users = [share for share in gateway.user_shares(collection_id) if share.grantee != owner]
    return Permissions(
        is_public=is_public,
        public=gateway.public_permissions(collection_id) if is_public else None,
        users=tuple(users),
        groups=tuple(gateway.group_shares(collection_id)),
    )


def run(context: Context) -> Permissions:
    """Copy public, user and group rights; returns what the source has.

    A refused share is a warning. Raises ``NotFound`` where the target is gone.
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
            lambda s=share: gateway.share_with_user(target, s),  # type: ignore[misc]
            lambda: gateway.user_shares(target),
        )
    for share in permissions.groups:
        _share(
            context,
            f"group {share.grantee}",
            share,
            lambda s=share: gateway.share_with_group(target, s),  # type: ignore[misc]
            lambda: gateway.group_shares(target),
        )
    return permissions


def _read_source(context: Context) -> Permissions:
    is_public = context.source.collection.is_public
    try:
        return read(context.gateway, context.source_id, context.attempt.owner, is_public=is_public)
    except NotFound as error:
        raise StepFailed(
            "the source collection does not exist any more", "There is nothing left to migrate."
        ) from error


def _publish(context: Context, rights: Optional[Tuple[str, ...]]) -> None:
    # An empty list is sent too: without a list, all rights are granted.
    context.before_write()
    try:
        context.gateway.make_public(context.target_id, rights)
    except Rejected as error:
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
    except Rejected as error:
        context.warn(f"the share with {who} was refused: {error.message}")
    except NotFound as error:
        if _target_gone(context):
            raise
        context.warn(f"the share with {who} was refused: {error.message}")


def _as_wanted(share: Share, listed: Sequence[Share]) -> bool:
    for have in listed:
        if have.grantee == share.grantee:
            return share.permissions is None or set(share.permissions) == set(
                have.permissions or ()
            )
    return False


def _target_gone(context: Context) -> bool:
    try:
        context.gateway.collection(context.target_id)
    except NotFound:
        return True
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
