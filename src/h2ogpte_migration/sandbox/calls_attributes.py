"""Rules for single attributes of a collection: dates, limits, settings, metadata, template."""

from __future__ import annotations

import re

from . import limits, render
from .calls import NO_CONTENT, Call, Reply, route
from .calls_collections import changing, moment_of, workspace_of
from .model import SandboxError

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@route("PUT", "/collections/{collection_id}/prompt_template")
def update_collection_prompt_template(call: Call) -> Reply:
    """Use a prompt template that the caller may read."""
    item = changing(call)
    prompt_id = call.required("prompt_template_id")
    prompt = call.world.prompts.get(prompt_id)
    allowed = prompt and (
        prompt.is_public or call.user.username in (prompt.username, *prompt.readers)
    )
    if not allowed:
        raise SandboxError(404, "Prompt template not found")
    item.prompt_template_id = prompt_id
    return Reply(200, render.collection(call.world, item))


@route("DELETE", "/collections/{collection_id}/prompt_template")
def delete_collection_prompt_template(call: Call) -> Reply:
    """Use the default template again."""
    item = changing(call)
    item.prompt_template_id = None
    return Reply(200, render.collection(call.world, item))


@route("PUT", "/collections/{collection_id}/expiry_date")
def update_collection_expiry_date(call: Call) -> Reply:
    """Set the expiry date."""
    moment = limits.expiry(call, moment_of(call.required("expiry_date")))
    changing(call).expiry_date = moment
    return NO_CONTENT


@route("DELETE", "/collections/{collection_id}/expiry_date")
def delete_collection_expiry_date(call: Call) -> Reply:
    """Remove the expiry date."""
    changing(call).expiry_date = None
    return NO_CONTENT


@route("PUT", "/collections/{collection_id}/inactivity_interval")
def update_collection_inactivity_interval(call: Call) -> Reply:
    """Set the inactivity interval, in days."""
    days = call.required("inactivity_interval", int)
    changing(call).inactivity_interval = days
    return NO_CONTENT


@route("DELETE", "/collections/{collection_id}/inactivity_interval")
def delete_collection_inactivity_interval(call: Call) -> Reply:
    """Remove the inactivity interval."""
    changing(call).inactivity_interval = None
    return NO_CONTENT


@route("PUT", "/collections/{collection_id}/size_limit")
def set_collection_size_limit(call: Call) -> Reply:
    """Set the size limit: 12345, 1GB, 1GiB."""
    text = str(call.object().get("size_limit", "")).strip().lower()
    match = re.match(r"(\d+)\s*([a-z]*)$", text)
    if match is None or match.group(2) not in _UNITS:
        raise SandboxError(400, f"Not a size: {text}")
    changing(call).size_limit = int(match.group(1)) * _UNITS[match.group(2)]
    return NO_CONTENT


@route("DELETE", "/collections/{collection_id}/size_limit")
def remove_collection_size_limit(call: Call) -> Reply:
    """Remove the size limit."""
    changing(call).size_limit = None
    return NO_CONTENT


@route("PUT", "/collections/{collection_id}/workspace")
def update_collection_workspace(call: Call) -> Reply:
    """Move the collection to another workspace."""
    name = workspace_of(call, call.required("workspace"))
    changing(call).workspace = name
    return NO_CONTENT


@route("PUT", "/collections/{collection_id}/exempt_from_chat_expiry")
def update_collection_exempt_from_chat_expiry(call: Call) -> Reply:
    """Say whether the collection's chats never expire (server 1.7 and later)."""
    exempt = call.required("exempt", bool)
    changing(call).exempt_from_chat_expiry = exempt
    return NO_CONTENT


@route("PUT", "/collections/{collection_id}/thumbnail")
def update_collection_thumbnail(call: Call) -> Reply:
    """Take an image, of which only the name is kept."""
    changing(call).thumbnail = "thumbnail-" + call.id[:8] + ".png"
    return NO_CONTENT


@route("DELETE", "/collections/{collection_id}/thumbnail")
def delete_collection_thumbnail(call: Call) -> Reply:
    """Remove the image."""
    changing(call).thumbnail = None
    return NO_CONTENT


@route("GET", "/collections/{collection_id}/settings")
def get_collection_settings(call: Call) -> Reply:
    """Return the settings as they were given."""
    return Reply(200, call.world.readable(call.user, call.id).settings)


@route("PUT", "/collections/{collection_id}/settings")
def update_collection_settings(call: Call) -> Reply:
    """Replace the settings."""
    settings = limits.settings(call, dict(call.object()))
    changing(call).settings = settings
    return NO_CONTENT


@route("GET", "/collections/{collection_id}/chat_settings")
def get_collection_chat_settings(call: Call) -> Reply:
    """Return the chat settings as they were given."""
    return Reply(200, call.world.readable(call.user, call.id).chat_settings)


@route("PUT", "/collections/{collection_id}/chat_settings")
def update_collection_chat_settings(call: Call) -> Reply:
    """Replace the chat settings."""
    settings = dict(call.object())
    limits.check_settings(call, settings)
    changing(call).chat_settings = settings
    return NO_CONTENT


@route("GET", "/collections/{collection_id}/metadata")
def get_collection_metadata(call: Call) -> Reply:
    """Return the collection's metadata."""
    return Reply(200, call.world.readable(call.user, call.id).metadata)


@route("PUT", "/collections/{collection_id}/metadata")
def update_collection_metadata(call: Call) -> Reply:
    """Replace the collection's metadata."""
    metadata = dict(call.object())
    changing(call).metadata = metadata
    return NO_CONTENT
