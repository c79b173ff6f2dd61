"""The course of a check: a key, a scratch collection, its migration, what came of it."""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import replace
from typing import Optional

from h2ogpte_migration.checked import ServerCheck
from h2ogpte_migration.errors import NotFound, ServerError, StepFailed, Unauthorized
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.run.check import Workplace, observing
from h2ogpte_migration.run.check.comparing import CONTENT, compare
from h2ogpte_migration.run.check.making import TEXTS, Made, make
from h2ogpte_migration.run.credentials import MAY_BE_THE_LIFE_TIME, TriedOut
from h2ogpte_migration.states import StepName

_LOOKS = 5


def take(place: Workplace, check: ServerCheck) -> None:
    """Go through all of it; what is found goes into ``check``, what is made stays for the remover.

    Raises:
        ServerError, StepFailed: it could not go on; what was found so far is kept.
        Interrupted: the user asked to stop.
    """
    _latency(place, check)
    no_key = _try_a_key(place, check) if place.session.admin else ""
    place.session.console.info(
        f"Making a scratch collection with {len(TEXTS)} documents and a chat."
    )
    made = make(place, check.source_model)
    result = _migrate(place, check, made)
    check.reason = no_key or _why_not(result)
    if result.target_id:
        check.compared = compare(place, made, result.target_id)
        lost = [one.what for one in check.different if one.what in CONTENT]
        if not check.reason and lost:
            check.reason = f"not all of it arrived: {', '.join(lost)}"
    check.worked = not check.reason
    record = place.session.tracking.store.load(SourceId(made.collection.id))
    job_id = record.record.job_id if record else None
    observing.look(observing.Scene(place, made, result.target_id, job_id))


def _latency(place: Workplace, check: ServerCheck) -> None:
    """The median of some small requests."""
    clock = place.clock
    taken = []
    for _ in range(_LOOKS):
        clock.check()
        began = clock.now()
        with suppress(ServerError):
            place.gateway.identity()
            taken.append(clock.now() - began)
    check.latency_s = statistics.median(taken) if taken else None


def _migrate(place: Workplace, check: ServerCheck, made: Made) -> Result:
    """With the pipeline of every migration, waiting, chats included."""
    options = replace(place.session.options, wait_for_completion=True, migrate_chats=True)
    session = replace(place.session, options=options)
    migration = session.migration(made.collection, check.target_model, session.policy(), None)
    ended = session.carry_out([migration], set())
    if ended.fatal is not None:
        raise ended.fatal
    check.steps_s = dict(ended.seconds_by_step)
    if StepName.JOB in check.steps_s:
        check.document_s = check.steps_s[StepName.JOB] / len(TEXTS)
    result = ended.results[0]
    kept = session.tracking.store.warnings(migration.source_id)
    place.remarks += [item.text for item in kept] + list(result.notes)
    return result


def _why_not(result: Result) -> str:
    if result.kind == OutcomeKind.DONE:
        return ""
    findings = "; ".join(map(str, result.findings))
    return f"{result.kind.value}: {result.reason} {findings}".strip(": ")


# -- a temporary key ---------------------------------------------------------------------
def _try_a_key(place: Workplace, check: ServerCheck) -> str:
    """Make, use and delete one on the administrator's own account; returns what went wrong."""
    identity, credentials = place.session.identity, place.session.credentials
    wanted = place.session.options.api_key_expiry
    used: Optional[TriedOut] = None
    try:
        with credentials.tried_out(identity.username, identity.user_id or None) as key:
            used = key
            check.key_life_time = key.life_time
            holds = key.life_time == wanted
            place.notes.note("key_lifetime_cap_days", holds, f"{wanted} asked for, {key.life_time}")
            listed = any(one.id == key.key_id for one in place.gateway.keys(place.me))
            place.notes.note("keys_listed_after_s", listed)
            key.gateway.embedding_models()
    except (ServerError, StepFailed) as error:
        if isinstance(error, ServerError) and error.status in MAY_BE_THE_LIFE_TIME:
            place.notes.note("key_lifetime_cap_days", False, "refused, whatever was asked for")
        return f"no temporary key could be made and used: {error}"
    with suppress(ServerError):
        observing.key_habits(place, used.key_id)
    return "" if _is_refused(used.gateway) else "a temporary key is still taken after its deletion"


def _is_refused(gateway: Gateway) -> bool:
    try:
        gateway.identity()
    except (Unauthorized, NotFound):
        return True
    except ServerError:
        return True  # nobody knows; the record of keys tells what is left
    return False
