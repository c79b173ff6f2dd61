"""What a server allows: names, settings, dates and quotas, with its habits."""

from __future__ import annotations

import unicodedata
from typing import Dict, List, Optional

from .calls import Call
from .model import Collection, JsonObject, SandboxError
from .world import World

#: What a server adds to the settings of new collections, by the habit's value.
DEFAULTS: Dict[str, JsonObject] = {
    "guardrails": {"guardrails_settings": {"guardrails_labels_to_flag": ["Violent Crimes"]}},
    "pii": {"guardrails_settings": {"pii_detection_parse_action": "redact"}},
}


# -- names


def collection_name(world: World, name: str) -> str:
    """Return a name as the server keeps it, or refuse one that is empty or too long."""
    if not name.strip():
        raise SandboxError(400, "A collection needs a name")
    habits = world.habits
    if habits.names_normalised == "trim":
        name = " ".join(name.split())
    elif habits.names_normalised == "nfc":
        name = unicodedata.normalize("NFC", name)
    elif habits.names_normalised == "lower":
        name = name.lower()
    if habits.name_limit is not None and len(name) > habits.name_limit:
        if habits.long_names == "refuse":
            raise SandboxError(422, f"A name has at most {habits.name_limit} characters")
        name = name[: habits.name_limit]
    return name


# -- settings


def settings(call: Call, given: JsonObject, *, new: bool = False) -> JsonObject:
    """Return collection settings as the server keeps them, or refuse them."""
    check_settings(call, given)
    forced = call.world.habits.server_defaults == "forced"
    defaults = DEFAULTS["guardrails"] if forced else {}
    if new and not forced:
        defaults = DEFAULTS.get(call.world.habits.server_defaults, {})
    return {**given, **defaults} if forced else {**defaults, **given}


def check_settings(call: Call, given: JsonObject) -> None:
    """Refuse settings that are null, or that only admins may set."""
    habits = call.world.habits
    if habits.refuse_null_values and None in given.values():
        raise SandboxError(422, _named(call, [n for n, v in given.items() if v is None]))
    admins_only = [name.strip() for name in habits.refused_settings.split(",")]
    refused = [name for name in given if name in admins_only]
    if refused and not call.user.is_admin:
        raise SandboxError(habits.refused_settings_status, _named(call, refused))


def _named(call: Call, names: List[str]) -> str:
    if not call.world.habits.refusals_name_settings:
        return "The request is not valid"
    return "Not allowed: " + ", ".join(names)


# -- dates


def expiry(call: Call, moment: Optional[float]) -> Optional[float]:
    """Return an expiry date, or refuse one in the past."""
    past = moment is not None and moment < call.world.now()
    if past and call.world.habits.past_expiry_refused:
        raise SandboxError(400, "The expiry date is in the past")
    return moment


# -- quotas


def _refuse(call: Call, what: str, quota: int) -> None:
    raise SandboxError(call.world.habits.quota_status, f"The quota of {quota} {what} is exceeded")


def check_collections(call: Call) -> None:
    """Refuse one collection more than the caller may have."""
    quota = call.world.habits.collections_per_user
    mine = [c for c in call.world.collections.values() if c.username == call.user.username]
    if quota is not None and len(mine) >= quota:
        _refuse(call, "collections", quota)


def check_documents(call: Call, target: Collection, how_many: int) -> None:
    """Refuse more documents than the target's owner may have."""
    quota = call.world.habits.documents_per_user
    if quota is not None and call.world.documents_of(target.username) + how_many > quota:
        _refuse(call, "documents", quota)


def check_import(call: Call, source: Collection, target: Collection, how: JsonObject) -> None:
    """Refuse an import that is too large, from an archive, or would copy a date in the past."""
    habits = call.world.habits
    call.world.check_not_archived(source)
    check_documents(call, target, len(source.documents))
    bounds = [item.size_limit for item in (source, target) if item.size_limit is not None]
    if habits.size_limit_refuses and any(target.size + source.size > bound for bound in bounds):
        raise SandboxError(400, "The size limit of the collection is exceeded")
    if how["copy_lifecycle_settings"]:
        expiry(call, source.expiry_date)
