"""The program's table of contents: arguments, what a run needs, one command, its exit code."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, Sequence

from h2ogpte_migration import __version__
from h2ogpte_migration.cli.flags import DEFAULT_DB, PROGRAM, Options
from h2ogpte_migration.cli.help import main_parse
from h2ogpte_migration.cli.rows import Mode
from h2ogpte_migration.commands import Command, chosen_by
from h2ogpte_migration.errors import ExitCode, Interrupted, ToolError, UsageError
from h2ogpte_migration.ui import logs
from h2ogpte_migration.ui.console import Console

log = logging.getLogger(__name__)


def run() -> NoReturn:
    """The command ``h2ogpte-migrate``; ends the process with its exit code."""
    _fill_gaps()
    code = main(sys.argv[1:])
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Threads of calls that never end must not keep an interrupted run alive.
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)


def _fill_gaps() -> None:
    """Lead closed streams (``>&-``) to nowhere: nobody listens, and the work is done all the same."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def main(argv: Sequence[str]) -> int:
    """Run one command line; returns its exit code. Nothing is raised but bugs of this line."""
    console = Console(sys.stdout, sys.stderr)
    try:
        options = main_parse(argv)
        console = Console(sys.stdout, sys.stderr, options.quiet)
        command = chosen_by(options)
        if command.needs_server:
            with ExitStack() as stack:
                code = _with_server(options, command, console, stack)
        else:
            code = command.run(options, console)
        return _unless_unsaid(console, code)
    except UsageError as error:
        console.error(*error.mistakes, hint="See --help." if len(error.mistakes) < 4 else "")
        return error.exit_code
    except ToolError as error:
        console.error(error.message, hint=error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the one place where a bug is told to people
        return _bug(console, error)
    finally:
        console.let_go()
        # Only now: what ended the run belongs into its log as well.
        logs.close_log()


def _unless_unsaid(console: Console, code: int) -> int:
    """What was said into a file on a full disk was said to nobody: no success for a script."""
    if not console.unsaid:
        return code
    console.error(f"Not all of the output could be written: {console.unsaid}.")
    return code or ExitCode.ATTENTION


def _bug(console: Console, error: Exception) -> int:
    log.critical("bug", exc_info=error)
    console.error(
        f"This is a bug in h2ogpte-migrate ({type(error).__name__}).",
        hint="The log has the details. Running the same command again is safe: it continues.",
    )
    return ExitCode.ATTENTION


def _with_server(options: Options, command: Command, console: Console, stack: ExitStack) -> int:
    from h2ogpte_migration.run.heartbeat import beating
    from h2ogpte_migration.run.session import opened
    from h2ogpte_migration.run.signals import Stopper

    _open_log(options, console, stack)
    for note in options.notes:
        console.info(note)
    if options.quiet and not options.dry_run and options.mode in (Mode.MIGRATE, Mode.VERIFY):
        console.hold()
    if options.sandbox:
        options = _for_sandbox(options, console, stack)
    stopper = stack.enter_context(Stopper(console))
    session = None
    code: int = ExitCode.ATTENTION
    try:
        session = stack.enter_context(opened(options, console, stopper))
        with beating(session.tracking.runs):
            try:
                code = command.run(session)
            finally:
                if not session.clean_up() and code == ExitCode.OK:
                    code = ExitCode.ATTENTION
    except Interrupted:
        code = ExitCode.INTERRUPTED
    except ToolError as error:
        error.exit_code = stopper.exit_code or error.exit_code
        code = error.exit_code
        raise
    finally:
        code = stopper.answer(code)
        if session is not None:
            session.tracking.runs.end(code)
    return code


def _open_log(options: Options, console: Console, stack: ExitStack) -> None:
    try:
        now = datetime.now(timezone.utc)
        path = logs.open_log(Path.cwd(), now, options.log_file, options.log_level)
    except OSError as error:
        console.attention(f"No log is written: {error.strerror}.")
    else:
        level = max(logging.INFO, getattr(logging, options.log_level.upper()))
        log.log(level, "%s %s: %s", PROGRAM, __version__, options.command())
        stack.callback(lambda: console.info(f"Log: {path}"))


def _for_sandbox(options: Options, console: Console, stack: ExitStack) -> Options:
    """Start the built-in server; a throw-away database goes with it, unless one is named."""
    from h2ogpte_migration.redact import Secret
    from h2ogpte_migration.sandbox import start_sample

    server = start_sample()
    stack.callback(server.stop)
    console.info(f"Sandbox: a throw-away h2oGPTe with a sample organisation at {server.url}")
    options = replace(options, url=server.url)
    if options.key is None:
        options = replace(options, admin_key=Secret(server.admin_key))
    if options.db_path == DEFAULT_DB:
        folder = stack.enter_context(TemporaryDirectory(prefix="h2ogpte-migrate-"))
        options = replace(options, db_path=Path(folder) / DEFAULT_DB)
    return options
