"""Rules for users, API keys, models, prompt templates, and who the caller is."""

from __future__ import annotations

import re
from typing import Optional

from . import render
from .calls import NO_CONTENT, Call, Reply, route
from .model import ApiKey, SandboxError

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}


@route("GET", "/rpc/meta")
def meta(call: Call) -> Reply:
    """Say who the caller is."""
    return Reply(200, render.meta(call.world, call.user))


@route("GET", "/users")
def list_users(call: Call) -> Reply:
    """List users, for admins; perhaps without the caller."""
    world = call.world
    world.require_admin(call.user)
    users = [
        user
        for user in world.users.values()
        if user is not call.user or world.habits.users_include_caller
    ]
    fields = ("id", "username", "email")
    return Reply(200, [{name: getattr(u, name) for name in fields} for u in call.page(users)])


@route("GET", "/embedding_models")
def list_embedding_models(call: Call) -> Reply:
    """List the models that this server offers."""
    return Reply(200, [render.embedding_model(model) for model in call.world.models.values()])


@route("GET", "/prompt_templates/{prompt_template_id}")
def get_prompt_template(call: Call) -> Reply:
    """Return a prompt template that the caller may read."""
    prompt = call.world.prompts.get(call.path["prompt_template_id"])
    if prompt is None:
        raise SandboxError(404, "Prompt template not found")
    if not (prompt.is_public or call.user.username in (prompt.username, *prompt.readers)):
        raise SandboxError(403, "You are not allowed to access this prompt template")
    return Reply(200, render.prompt(call.world, prompt))


# -- keys


@route("POST", "/admin/api_keys")
def create_api_key_for_user(call: Call) -> Reply:
    """Make a key for a user; sent twice, there are two."""
    world = call.world
    world.require_admin(call.user)
    user = world.user_by_id(call.required("user_id"))
    body = call.object()
    lifetime_s = _lifetime_s(call, body.get("expires_in"))
    key = world.add_key(user.username, name=body.get("name") or "API key", lifetime_s=lifetime_s)
    key.collection_id = body.get("collection_id")
    key.inactivity_interval = body.get("inactivity_interval")
    key.valid_from = world.now()
    return Reply(201, {"secret_key": key.secret, "api_key": render.api_key(world, key)})


def _lifetime_s(call: Call, text: Optional[str]) -> Optional[float]:
    """Return an interval such as "30 minutes" in seconds, or refuse it."""
    habits = call.world.habits
    seconds = None if text is None else _seconds(call, text)
    cap_days = habits.key_lifetime_cap_days
    if cap_days is not None and (seconds is None or seconds > cap_days * 86400):
        raise SandboxError(habits.key_refusal_status, f"Keys live for {cap_days:g} days at most")
    return seconds


def _seconds(call: Call, text: str) -> float:
    match = re.match(r"(\d+)\s+([a-z]+?)s?$", text.strip().lower())
    if match is None or match.group(2) not in _SECONDS:
        raise SandboxError(400, f"Not an interval: {text}")
    if match.group(2) in call.world.habits.refused_key_units.split(","):
        raise SandboxError(call.world.habits.key_refusal_status, f"Not an interval: {text}")
    return float(match.group(1)) * _SECONDS[match.group(2)]


@route("GET", "/admin/api_keys")
def list_all_api_keys(call: Call) -> Reply:
    """List everybody's keys, for admins; ``filter`` is part of a name, id or username."""
    world = call.world
    world.require_admin(call.user)
    text = call.query.get("filter", "").lower()
    keys = [
        key
        for key in world.keys.values()
        if (not key.deleted or world.habits.deleted_keys_listed)
        and _is_about(key, text)
        and not world.too_new(key.valid_from, world.habits.keys_listed_after_s)
    ]
    return Reply(200, [render.api_key(world, key) for key in call.page(keys)])


def _is_about(key: ApiKey, text: str) -> bool:
    return any(text in field.lower() for field in (key.name, key.id, key.username))


@route("DELETE", "/admin/api_keys/{key_id}")
def delete_api_key(call: Call) -> Reply:
    """Delete a key, for admins."""
    world = call.world
    world.require_admin(call.user)
    for key in world.keys.values():
        if key.id == call.path["key_id"] and not key.deleted:
            key.deleted = True
            return NO_CONTENT
    status = world.habits.missing_key_delete_status
    if status == NO_CONTENT.status:
        return NO_CONTENT
    raise SandboxError(status, "API key not found")
