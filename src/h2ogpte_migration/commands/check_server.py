"""Try the whole migration out on a server, with a scratch collection of the caller's own."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import List

from h2ogpte_migration import __version__
from h2ogpte_migration.checked import ServerCheck
from h2ogpte_migration.errors import (
    ExitCode,
    Interrupted,
    ServerError,
    StepFailed,
    ToolError,
    TrackingError,
)
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.run import closing, reporting
from h2ogpte_migration.run.check import Workplace, course, observing
from h2ogpte_migration.run.check.removing import Remover
from h2ogpte_migration.run.preflight import check_admin
from h2ogpte_migration.run.session import Session, target_models_exist
from h2ogpte_migration.run.teardown import to_its_end
from h2ogpte_migration.tracking.records import RunInfo, utc_now
from h2ogpte_migration.tracking.scratch import path_beside
from h2ogpte_migration.ui import server_check

_ALONE = SourceId("--check-server")
"""Stands for the check itself in the table of leases: one at a time in a folder."""


def run(session: Session) -> int:
    """Check the server; returns the exit code.

    Raises:
        ToolError: another check is at work here, or one left something that can't be deleted.
    """
    leases = session.tracking.leases
    alone = leases.claim(_ALONE)
    if isinstance(alone, RunInfo):
        raise ToolError(
            f"Another check works in this folder: {alone}.",
            "Wait for its end, or give this one another --db-path.",
        )
    try:
        if session.admin:
            check_admin(session.gateway, session.identity)
        place = Workplace.of(session)
        _sweep(place)
        return _check(place)
    finally:
        leases.release(alone)


def _sweep(place: Workplace) -> None:
    """Delete what a check that was killed left.

    Raises:
        ToolError: not all of it can be deleted; nothing new is made.
    """
    before = not place.scratch.nothing_left
    if before:
        place.session.console.info("Deleting what an earlier check left.")
    left = Remover(place).remove_all()
    if left:
        raise ToolError(
            f"An earlier check left something that could not be deleted: {'; '.join(left)}.",
            f"Nothing was made. {_what_next(place)}",
        )


def _what_next(place: Workplace) -> str:
    path = path_beside(place.session.options.db_path)
    return (
        f"{path} has it on record: the same command deletes it first. Delete the file if you have "
        "removed everything yourself."
    )


def _check(place: Workplace) -> int:
    session, began = place.session, time.monotonic()
    check = _begun(session)
    try:
        course.take(place, check)
    except Interrupted:
        check.reason = "interrupted"
    except (ServerError, StepFailed, TrackingError) as error:
        check.reason = error.message
    finally:
        check.left = _removed(place)
    check.elapsed_s = time.monotonic() - began
    observing.summed_up(check, place)
    check.observations = place.notes.observations()
    check.remarks = list(dict.fromkeys(place.remarks))
    session.progress.close()
    next_step = _what_next(place) if check.left else ""
    closing.say(session, server_check.lines(check, next_step))
    written = reporting.write_check(session, check)
    return check.exit_code if written else ExitCode.ATTENTION


def _removed(place: Workplace) -> List[str]:
    """Delete all that was made; returns what is left, in words."""
    place.session.console.info("Deleting what the check made.")
    try:
        return to_its_end(Remover(place).remove_all)
    except TrackingError as error:
        return [f"not everything could be deleted: {error.message.rstrip('.')}"]


def _begun(session: Session) -> ServerCheck:
    options, identity = session.options, session.identity
    given = {options.source_model} if options.source_model else set()
    target_models_exist(session, {options.target_model, *given})
    return ServerCheck(
        server=options.url,
        written_at=utc_now(),
        key=f"{identity.username}, {'--admin-key' if session.admin else '--user-key'}",
        versions={
            "server": identity.server_version or "unknown",
            "h2ogpte-migrate": __version__,
            "h2ogpte client": _client_version(),
            "Python": platform.python_version(),
        },
        source_model=options.source_model or _another_model(session),
        target_model=options.target_model,
    )


def _another_model(session: Session) -> str:
    """A model to migrate from: any but the target's, where there is another one."""
    target = session.options.target_model
    known = session.gateway.embedding_models()
    return next((model for model in known if model != target), target)


def _client_version() -> str:
    try:
        return version("h2ogpte")
    except PackageNotFoundError:
        return "not installed"
