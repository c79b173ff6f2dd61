"""The log file of a run: everything that happened, one line per event, without any key in it.

Nothing here writes to the terminal.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterator, Optional

from h2ogpte_migration.errors import ExitCode, ToolError
from h2ogpte_migration.redact import scrub
from h2ogpte_migration.ui.text import safe

PACKAGE = "h2ogpte_migration"
CHATTY = ("urllib3", "websockets", "asyncio", "aiohttp")
LONGEST_LINE = 50_000

collection_tag: ContextVar[str] = ContextVar("collection_tag", default="")

# Without any handler, logging would print warnings to the terminal by itself.
logging.getLogger(PACKAGE).addHandler(logging.NullHandler())


@contextmanager
def tagged(name: str) -> Iterator[None]:
    """Mark what this thread logs and prints from here on as being about one collection."""
    token = collection_tag.set(safe(name))
    try:
        yield
    finally:
        collection_tag.reset(token)


def _message(record: logging.LogRecord) -> str:
    """The message; another library's wrong placeholders must not cost us the line."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args}"


class _OneLine(logging.Formatter):
    """An event as one line. Keys go before anything is shortened, so that none is cut in two."""

    def format(self, record: logging.LogRecord) -> str:
        text = _message(record)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            text += "\n" + record.stack_info
        when = datetime.fromtimestamp(record.created, timezone.utc)
        tag = collection_tag.get()
        return scrub(
            f"{when.isoformat(timespec='milliseconds')[:-6]}Z {record.levelname:<7} "
            f"{safe(str(record.threadName))} "
            + (f"[{tag}] " if tag else "")
            + safe(scrub(text), LONGEST_LINE)
        )


class _LogFile(logging.FileHandler):
    """The handler of the open log."""

    over = False

    def emit(self, record: logging.LogRecord) -> None:
        """A thread that is left behind may still log: the base class would open the file again."""
        if not self.over:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """A full disk must not end a migration, nor fill the terminal with tracebacks."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """The last flush may find the disk full as well."""
        self.over = True
        with suppress(OSError):
            super().close()


_open: Optional[_LogFile] = None


def open_log(cwd: Path, now: datetime, file: Optional[Path] = None, level: str = "debug") -> Path:
    """Start a log for everything that is logged, and say where it is.

    Args:
        cwd: where a new file is made, under a name with the time; two runs in one second get
            two files.
        now: the time, in UTC.
        file: one log for all runs instead, to append to.
        level: debug, info, warning or error: what is less than that is left out.

    Raises:
        ToolError: no file can be made there.
    """
    global _open
    close_log()
    path = _existing(cwd / file) if file else _create(cwd, f"migration_{now:%Y%m%d_%H%M%S}")
    _open = _LogFile(path, encoding="utf-8")
    _open.setFormatter(_OneLine())
    _open.setLevel(level.upper())
    root = logging.getLogger()
    root.addHandler(_open)
    root.setLevel(logging.INFO)
    logging.getLogger(PACKAGE).setLevel(logging.DEBUG)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return path


def _existing(path: Path) -> Path:
    """A file to append to, readable by its owner only if it is made now."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def _cannot_write(path: Path, error: OSError) -> ToolError:
    return ToolError(
        f"The log file {path} can't be written: {error.strerror}.",
        "Run the command in a folder that you may write to, or name another file with --log-file.",
        ExitCode.USAGE,
    )


def _create(cwd: Path, stem: str) -> Path:
    """Make a file that was not there before, readable by its owner only."""
    for number in itertools.count(1):
        path = cwd / (f"{stem}.log" if number == 1 else f"{stem}_{number}.log")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise _cannot_write(path, error) from error
    raise AssertionError("bug: counting has no end")


def current() -> Optional[Path]:
    """The log that is open."""
    return None if _open is None else Path(_open.baseFilename)


def close_log() -> None:
    """Finish the log, if one is open."""
    global _open
    if _open is None:
        return
    logging.captureWarnings(False)
    logging.getLogger().removeHandler(_open)
    _open.close()
    _open = None
