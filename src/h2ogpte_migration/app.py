"""The composition root: the only place that picks implementations. Signals and exit codes.

Reads as the program's table of contents: parse, open, connect, run, tidy up, tell.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Callable, List, NoReturn, Optional, Sequence

from h2ogpte_migration import cli
from h2ogpte_migration.errors import ExitCode, Interrupted, ToolError, UsageError
from h2ogpte_migration.flags import Mode, Options
from h2ogpte_migration.ui import logs
from h2ogpte_migration.ui.console import Console

if TYPE_CHECKING:
    from h2ogpte_migration.runners.session import Session
    from h2ogpte_migration.runners.signals import Stopper
    from h2ogpte_migration.sandbox.server import SandboxServer
    from h2ogpte_migration.tracking.database import Database


def run() -> NoReturn:
    """The command ``h2ogpte-migrate``; ends the process with its exit code."""
    code = main(sys.argv[1:])
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Threads of calls that never end must not keep an interrupted run alive.
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str]) -> int:
    """Run one command line; returns its exit code. Nothing is raised but bugs of this line."""
    console = Console(sys.stdout, sys.stderr)
    try:
        options = cli.main_parse(argv)
    except UsageError as error:
        console.error(error.message, "See --help." if len(error.mistakes) < 4 else "")
        return ExitCode.USAGE
    console = Console(sys.stdout, sys.stderr, options.quiet)
    try:
        if options.mode == Mode.STATUS:
            return _status(options, console)
        return _with_server(options, console)
    except ToolError as error:
        console.error(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the one place where a bug is told to people
        return _bug(console, error)
    finally:
        # Only now: what ended the run belongs into its log as well.
        logs.close_log()


def _bug(console: Console, error: Exception) -> int:
    import logging

    logging.getLogger(__name__).critical("bug", exc_info=error)
    console.error(
        f"This is a bug in h2ogpte-migrate ({type(error).__name__}).",
        "The log has the details. Running the same command again is safe: it continues.",
    )
    return ExitCode.ATTENTION


def _status(options: Options, console: Console) -> int:
    from h2ogpte_migration.runners import status

    if not options.db_path.exists():
        raise ToolError(
            f"There is no tracking database {options.db_path}.",
            "Name it with --db-path, or run a migration first.",
            ExitCode.USAGE,
        )
    status.run(options, console)
    return ExitCode.OK


# -- runs that talk to a server ----------------------------------------------------------
def _with_server(options: Options, console: Console) -> int:
    if not options.sandbox:
        return _logged_run(options, console)
    with TemporaryDirectory(prefix="h2ogpte-migrate-") as folder:
        server = _start_sandbox(console)
        try:
            return _logged_run(_for_sandbox(options, server, Path(folder)), console)
        finally:
            server.stop()


def _start_sandbox(console: Console) -> SandboxServer:
    from h2ogpte_migration.sandbox import start_sample

    server = start_sample()
    console.info(f"Sandbox: a throw-away h2oGPTe with a sample organisation at {server.url}")
    return server


def _for_sandbox(options: Options, server: SandboxServer, folder: Path) -> Options:
    from h2ogpte_migration.flags import DEFAULT_DB
    from h2ogpte_migration.redact import Secret

    changes: dict[str, object] = {"url": server.url}
    if options.key is None:
        changes["admin_key"] = Secret(server.admin_key)
    if options.db_path == DEFAULT_DB:
        changes["db_path"] = folder / DEFAULT_DB
    return replace(options, **changes)  # type: ignore[arg-type]


def _logged_run(options: Options, console: Console) -> int:
    from h2ogpte_migration.runners.signals import Stopper

    try:
        log_path: Optional[Path] = logs.open_log(Path.cwd(), datetime.now(timezone.utc))
    except OSError as error:
        log_path = None
        console.attention(f"No log is written: {error.strerror}.")
    try:
        with Stopper(console) as stopper:
            code = _tracked_run(options, console, stopper)
            return stopper.exit_code or code
    finally:
        if log_path is not None:
            console.info(f"Log: {log_path}")


def _tracked_run(options: Options, console: Console, stopper: Stopper) -> int:
    database = _open_database(options)
    try:
        session = _connect(options, console, stopper, database)
        return _run_logged_in_database(session)
    finally:
        if database is not None:
            database.close()


def _open_database(options: Options) -> Optional[Database]:
    """The tracking database; a preview only reads it, and does without where there is none."""
    from h2ogpte_migration.tracking.database import Database

    if options.dry_run:
        return Database(options.db_path, read_only=True) if options.db_path.exists() else None
    return Database(options.db_path)


def _connect(
    options: Options, console: Console, stopper: Stopper, database: Optional[Database]
) -> Session:
    """Check that database and server belong together, then log in: the first request."""
    from h2ogpte_migration.credentials import DRY_RUN_EXPIRY, Credentials, InMemoryKeys, KeyPolicy
    from h2ogpte_migration.gateway.rest import Server
    from h2ogpte_migration.gateway.transport import Transport
    from h2ogpte_migration.runners import preflight
    from h2ogpte_migration.runners.session import Session
    from h2ogpte_migration.runners.waiting import StoppableWaiter
    from h2ogpte_migration.tracking.runs import Runs
    from h2ogpte_migration.tracking.store import Store
    from h2ogpte_migration.ui import progress

    usable = database if database is not None and database.version else None
    runs = Runs(usable) if usable else None
    preflight.check_binding(options, runs)
    preflight.warn_about_transport(options, console)
    key = options.key
    if key is None:
        raise ToolError("bug: a run without a key")
    transport = Transport(
        options.url,
        timeout_s=options.timeout,
        retries=options.retries,
        max_in_flight=options.max_concurrent_requests,
        ca_cert=str(options.cert) if options.cert else None,
        insecure=options.insecure,
        stop=stopper.stop,
    )
    server = Server(transport)
    gateway = server.as_key(key)
    identity = preflight.log_in(options, console, gateway)
    label = preflight.begin_run(options, runs)
    credentials = Credentials(
        server,
        gateway,
        identity.username,
        admin=options.user_key is None,
        records=InMemoryKeys() if options.dry_run or runs is None else runs,
        policy=KeyPolicy(label, DRY_RUN_EXPIRY if options.dry_run else options.api_key_expiry),
    )
    store = Store(database) if database is not None else None
    waiter = StoppableWaiter(stopper.stop)
    pipeline = None
    if store is not None and runs is not None and not options.dry_run:
        from h2ogpte_migration.pipeline import Pipeline

        pipeline = Pipeline(store, runs, waiter, lambda: datetime.now(timezone.utc))
    return Session(
        options=options,
        console=console,
        progress=progress.choose(console, options.quiet),
        stop=stopper.stop,
        waiter=waiter,
        gateway=gateway,
        identity=identity,
        credentials=credentials,
        store=store,
        runs=runs,
        pipeline=pipeline,
    )


def _run_logged_in_database(session: Session) -> int:
    """Run, delete what keys are left in any case, and enter the exit code."""
    from h2ogpte_migration.runners.heartbeat import Heartbeat

    code: int = ExitCode.ATTENTION
    try:
        with Heartbeat(session.runs if not session.options.dry_run else None):
            code = _tidied(session, _runner(session))
    except Interrupted:
        code = ExitCode.INTERRUPTED
    except ToolError as error:
        code = error.exit_code
        raise
    finally:
        session.progress.close()
        if session.runs is not None and not session.options.dry_run:
            session.runs.end(code)
    return code


def _tidied(session: Session, runner: Callable[[Session], int]) -> int:
    try:
        return runner(session)
    finally:
        session.progress.close()
        for name in _close_credentials(session):
            session.console.attention(
                f"The temporary key '{name}' may still exist; the next run deletes it."
            )


def _close_credentials(session: Session) -> List[str]:
    try:
        return session.credentials.close()
    except ToolError as error:
        session.console.attention(f"Temporary keys could not be tidied up: {error.message}")
        return []


def _runner(session: Session) -> Callable[[Session], int]:
    """The runner of a mode, with the words that end it."""
    from h2ogpte_migration.runners import telling

    if session.options.mode == Mode.MOVE:
        return telling.move
    if session.options.mode == Mode.VERIFY:
        return telling.verify
    return telling.preview if session.options.dry_run else telling.migrate
