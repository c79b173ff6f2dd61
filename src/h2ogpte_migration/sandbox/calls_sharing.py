"""Rules for sharing a collection: with everybody, with users, with groups."""

from __future__ import annotations

from typing import Dict, List, Optional

from . import render
from .calls import NO_CONTENT, Call, Reply, route
from .model import ALL_RIGHTS, Collection, SandboxError

_Shares = Dict[str, Optional[List[str]]]


def _rights(call: Call) -> Optional[List[str]]:
    rights = call.object().get("permissions")
    if rights is None:
        return None
    if not isinstance(rights, list) or not all(isinstance(r, str) for r in rights):
        raise SandboxError(400, "'permissions' must be a list of names")
    return list(rights)


@route("POST", "/collections/{collection_id}/is_public")
def update_collection_privacy(call: Call) -> Reply:
    """Make a collection public or private; without a list of rights everybody has all."""
    item = call.world.owned(call.user, call.id)
    item.is_public = call.required("is_public", bool)
    item.public_permissions = _rights(call) if item.is_public else None
    return NO_CONTENT


@route("GET", "/collections/{collection_id}/public_permissions")
def list_collection_public_permissions(call: Call) -> Reply:
    """List the rights that everybody has."""
    item = call.world.readable(call.user, call.id)
    return Reply(200, render.public_rights(call.world, item))


@route("GET", "/collections/{collection_id}/permissions")
def get_collection_permissions(call: Call) -> Reply:
    """List user shares, as a rule with the owner's own."""
    item = call.world.readable(call.user, call.id)
    shares: _Shares = dict(item.shares)
    if call.world.habits.permissions_include_owner:
        shares = {item.username: list(ALL_RIGHTS), **shares}
    return Reply(200, [render.share("username", who, rights) for who, rights in shares.items()])


@route("DELETE", "/collections/{collection_id}/permissions")
def unshare_collection_for_all(call: Call) -> Reply:
    """Take back every user share."""
    call.world.owned(call.user, call.id).shares.clear()
    return NO_CONTENT


@route("PUT", "/collections/{collection_id}/permissions/{username}")
def share_collection(call: Call) -> Reply:
    """Share with a user, or change the share."""
    item = call.world.owned(call.user, call.id)
    username = call.path["username"]
    if username not in call.world.users:
        raise SandboxError(400, f"Unknown user: {username}")
    if username == item.username:
        raise SandboxError(409, f"The collection belongs to {username}")
    return _put(call, item.shares, username)


@route("DELETE", "/collections/{collection_id}/permissions/{username}")
def unshare_collection(call: Call) -> Reply:
    """Take back a user share."""
    return _remove(call.world.owned(call.user, call.id).shares, call.path["username"])


@route("GET", "/collections/{collection_id}/group_permissions")
def get_collection_group_permissions(call: Call) -> Reply:
    """List group shares."""
    item: Collection = call.world.readable(call.user, call.id)
    shares = item.group_shares.items()
    return Reply(200, [render.share("group_id", group, rights) for group, rights in shares])


@route("PUT", "/collections/{collection_id}/group_permissions/{group_id}")
def share_collection_with_group(call: Call) -> Reply:
    """Share with a group, or change the share."""
    item = call.world.owned(call.user, call.id)
    group_id = call.path["group_id"]
    if group_id not in call.world.groups:
        raise SandboxError(400, f"Unknown group: {group_id}")
    return _put(call, item.group_shares, group_id)


@route("DELETE", "/collections/{collection_id}/group_permissions/{group_id}")
def unshare_collection_from_group(call: Call) -> Reply:
    """Take back a group share."""
    return _remove(call.world.owned(call.user, call.id).group_shares, call.path["group_id"])


def _put(call: Call, shares: _Shares, who: str) -> Reply:
    rights = _rights(call)
    if call.world.habits.repeated_share_conflicts and who in shares:
        raise SandboxError(409, f"It is shared with {who} already")
    shares[who] = rights
    return NO_CONTENT


def _remove(shares: _Shares, who: str) -> Reply:
    if who not in shares:
        raise SandboxError(409, f"It is not shared with {who}")
    del shares[who]
    return NO_CONTENT
