"""Give the target what can't be given at creation; all of it may be repeated.

What can't be carried over becomes a kept warning, never a reason to start over.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import Callable, List, Optional

from h2ogpte_migration import naming, patience
from h2ogpte_migration.errors import BadReply, NotFound, Rejected, ServerError, Unavailable
from h2ogpte_migration.migration import Carried, Migration
from h2ogpte_migration.model import Collection, ImportOptions, Json, TargetId
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps import refusals
from h2ogpte_migration.steps.create import (
    description,
    rename,
    target_settings,
    workspace_warning,
)
from h2ogpte_migration.steps.presence import (
    insist,
    is_gone,
    read_when_visible,
    restart_if_gone,
)
from h2ogpte_migration.steps.source import (
    CHAT_SETTINGS,
    SETTINGS,
    carried,
    lifecycle_warnings,
)
from h2ogpte_migration.validation import differing, settings_words

log = logging.getLogger(__name__)


def run(migration: Migration) -> Optional[Result]:
    """Bring the target's settings up to the source's."""
    try:
        target = _target(migration)
        ignored = _ignored_at_creation(migration, target)
        if ignored:
            return _unfit(migration, ignored)
        _bring_up(migration, target)
    except NotFound as error:
        restart_if_gone(migration, error)
        return None
    store, attempt = migration.tracking.store, migration.attempt
    store.finish_settings(migration.lease, attempt, migration.take_warnings())
    return None


def _target(migration: Migration) -> Collection:
    """The target as the answer to its creation described it, or as it is read now."""
    if migration.seen.created is not None:
        return migration.seen.created
    target = _read(migration)
    if migration.attempt.target_created_at is None and target.created_at is not None:
        store = migration.tracking.store
        store.record_target_time(migration.lease, migration.attempt, target.created_at)
    return target


def _read(migration: Migration) -> Collection:
    """Raises ``NotFound`` where the target is gone."""
    within_s = migration.freshness() if migration.seen.created else patience.VISIBLE_WITHIN_S
    return read_when_visible(migration.gateway, migration.clock, migration.target_id, within_s)


# -- what can be given at creation only --------------------------------------------------
def _ignored_at_creation(migration: Migration, target: Collection) -> str:
    """What was asked for at creation, can't be given later, and is not so; read twice."""
    if not _differs_for_good(migration, target):
        return ""
    return _differs_for_good(migration, _read(migration))


def _differs_for_good(migration: Migration, target: Collection) -> str:
    asked = carried(migration).collection.get("vex_encryption")
    got = target.get("vex_encryption")
    if asked and got != asked and (got or asked != "disabled"):
        return f"vex_encryption is {got or 'not set'} in the target, {asked} in the source"
    if target.model != migration.attempt.model:
        return f"the target has the model {target.model or '(none)'}, not {migration.attempt.model}"
    return ""


def _unfit(migration: Migration, ignored: str) -> Result:
    reason = f"{ignored}, and that can be given at creation only; nothing was imported"
    result = migration.import_failed(
        reason, "ignored at creation", "Ask an administrator; --retry-failed makes a new target."
    )
    return replace(result, step=StepName.SETTINGS)


# -- what can be given later -------------------------------------------------------------
def _bring_up(migration: Migration, target: Collection) -> None:
    """Raises ``NotFound`` where the target is gone."""
    source, gateway = carried(migration), migration.gateway
    for what in source.unread:
        migration.warn(f"the {what} could not be read, and so not copied")
    if SETTINGS not in source.unread:
        wanted = target_settings(migration, source)
        _match(migration, SETTINGS, wanted, gateway.settings, gateway.set_settings)
    if source.chat_settings:
        _match(
            migration,
            CHAT_SETTINGS,
            source.chat_settings,
            gateway.chat_settings,
            gateway.set_chat_settings,
        )
    migration.seen.settings_compared = True
    _send_the_rest(migration, source, target)


def _match(
    migration: Migration,
    what: str,
    wanted: Json,
    read: Callable[[str], Json],
    send: Callable[[TargetId, Json], None],
) -> None:
    """Compare with what the target has; set what differs, and warn of what still does."""
    have = _readable(migration, what, read)
    if have is None or not differing(wanted, have):
        return
    fitting = {k: v for k, v in wanted.items() if k not in migration.refused_settings}
    if differing(fitting, have):
        _Fitting(migration, what, partial(send, migration.target_id)).fit(fitting)
        have = _readable(migration, what, read)
    if have is not None:
        left = differing(wanted, have)
        if left:
            migration.warn(settings_words(what, left))


def _readable(migration: Migration, what: str, read: Callable[[str], Json]) -> Optional[Json]:
    """The target's settings; None, with a warning, where the server does not tell them."""
    try:
        return read(migration.target_id)
    except NotFound:
        _read(migration)  # raises where it is the target that is gone
        return _told(migration, what, read)
    except (Rejected, Unavailable, BadReply) as error:
        migration.gateway.collection(migration.target_id)
        migration.warn(f"the {what} of the target could not be compared: {error.message}")
        return None


def _told(migration: Migration, what: str, read: Callable[[str], Json]) -> Optional[Json]:
    try:
        return read(migration.target_id)
    except NotFound as error:
        migration.warn(f"the {what} of the target could not be compared: {error.message}")
        return None


class _Fitting:
    """Find the settings that the server takes: by what it says of the others, or by halves.

    Each request replaces all settings, and may be repeated.
    """

    def __init__(self, migration: Migration, what: str, send: Callable[[Json], None]) -> None:
        self._migration = migration
        self._what = what
        self._send = send
        self._tries = 0
        self._taken: Json = {}

    def fit(self, wanted: Json) -> None:
        error = self._refusal(wanted)
        while error is not None:
            named = refusals.named(error, wanted)
            if not named:
                break
            self._leave_out(named, error)
            wanted = {key: value for key, value in wanted.items() if key not in named}
            error = self._refusal(wanted)
        if error is not None:
            self._by_halves(refusals.without_nulls(wanted), error)

    def _by_halves(self, values: Json, error: ServerError) -> None:
        """Take what is taken together with what was taken before; narrow down the rest."""
        again = self._refusal({**self._taken, **values}) if values else None
        if again is None:
            return
        if len(values) == 1 or self._tries >= patience.MOST_REFUSALS:
            self._leave_out(list(values), error)
            return
        keys, middle = list(values), len(values) // 2
        for half in (keys[:middle], keys[middle:]):
            self._by_halves({key: values[key] for key in half}, again)

    def _refusal(self, values: Json) -> Optional[ServerError]:
        self._tries += 1
        self._migration.before_write()
        try:
            self._send(values)
        except (Rejected, Unavailable) as error:
            if not refusals.may_be_about_a_part(error):
                raise
            return error
        except NotFound as error:
            _raise_if_gone(self._migration, error)
            return error
        self._taken = values
        return None

    def _leave_out(self, keys: List[str], error: ServerError) -> None:
        self._migration.refused_settings.update(keys)
        log.warning("%s left out: %s: %s", self._what, ", ".join(keys), error.message)


def _send_the_rest(migration: Migration, source: Carried, target: Collection) -> None:
    """What ``target`` shows already is not sent again."""
    gateway, target_id, collection = migration.gateway, migration.target_id, source.collection
    _name_it(migration, source, target)
    rag_type = collection.get("rag_type")
    if rag_type and target.get("rag_type") != rag_type:
        _carry(
            migration,
            f"rag_type {rag_type}",
            lambda: gateway.describe(
                target_id,
                name=migration.attempt.target_name,
                description=description(source),
                rag_type=rag_type,
            ),
        )
    if source.metadata:
        _carry(
            migration,
            "collection metadata",
            lambda: gateway.set_metadata(target_id, source.metadata),
        )
    template = collection.get("prompt_template_id")
    if template and target.get("prompt_template_id") != template:
        _carry(
            migration,
            f"prompt template {template}",
            lambda: gateway.set_prompt_template(target_id, template),
        )
    if collection.get("exempt_from_chat_expiry") is True:
        _carry(
            migration,
            "exemption from chat expiry",
            lambda: gateway.set_chat_expiry_exemption(target_id, True),
        )
    _warn_of_what_stays(migration, source, target)


def _name_it(migration: Migration, source: Carried, target: Collection) -> None:
    """A name that the server cut off lost what makes it unique: give one that fits."""
    limit = len(target.name)
    if not naming.is_cut(target.name, migration.attempt.target_name):
        return
    if limit < naming.SHORTEST or not rename(migration, limit):
        migration.warn(f"the server cut the target's name off: {target.name}")
        return
    name, gateway = migration.attempt.target_name, migration.gateway
    _carry(
        migration,
        f"name {name}",
        lambda: gateway.describe(migration.target_id, name=name, description=description(source)),
    )


def what_stays(collection: Collection, settings: Json, how: ImportOptions) -> List[str]:
    """What is known not to be carried over before anything is sent."""
    texts = []
    if collection.get("thumbnail"):
        texts.append(
            f"the thumbnail {collection.get('thumbnail')} can't be carried over; upload it again"
        )
    had, wanted = settings.get("ocr_model"), how.ocr_model
    if had and wanted is not None and had != wanted and not how.skip_reparse:
        texts.append(
            f"the OCR model is {wanted} in the target, it was {had} in the source (--ocr-model)"
        )
    return texts


def _warn_of_what_stays(migration: Migration, source: Carried, target: Collection) -> None:
    collection = source.collection
    for words in lifecycle_warnings(collection, migration.clock.utc()):
        migration.warn(words)
    for text in what_stays(collection, source.settings, migration.how):
        migration.warn(text)
    workspace, got = collection.get("workspace"), target.get("workspace")
    if workspace and got and workspace != got:
        # Whoever was told of the refusal may have died since; and some servers say nothing.
        migration.warn(workspace_warning(workspace))


def _carry(migration: Migration, what: str, send: Callable[[], None]) -> None:
    """Send one thing; a refusal becomes a warning, as the rest must arrive all the same."""
    migration.before_write()
    try:
        insist(migration, send)
    except Rejected as error:
        migration.warn(f"the {what} could not be carried over: {error.message}")
    except NotFound as error:
        _raise_if_gone(migration, error)
        migration.warn(f"the {what} could not be carried over: {error.message}")


def _raise_if_gone(migration: Migration, error: NotFound) -> None:
    within_s = migration.freshness()
    if is_gone(migration.gateway, migration.clock, migration.target_id, within_s=within_s):
        raise error
