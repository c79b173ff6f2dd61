"""The only writer to the terminal. What it says goes into the log as well.

Lines for people and the results for machines go to ``out``, errors to ``err``. A reader that
went away or an alphabet that lacks a letter never ends a migration.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from contextlib import suppress
from typing import Callable, Iterable, List, Optional, TextIO

from h2ogpte_migration.redact import scrub
from h2ogpte_migration.ui.logs import collection_tag
from h2ogpte_migration.ui.text import fold

log = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Console:
    """Says things to people and machines; may be used by several threads.

    Args:
        out: for lines, tables and results.
        err: for errors, and for the live progress.
        quiet: whether only what needs attention is said aloud.
    """

    def __init__(self, out: TextIO, err: TextIO, quiet: bool = False) -> None:
        self.out = out
        self.err = err
        self.quiet = quiet
        self._lock = threading.RLock()
        self.unsaid = ""
        """Why ``out`` could not be written; not where its reader has gone, who wants no more."""
        self._gone: List[TextIO] = []
        self._held: Optional[List[str]] = None
        self._above: Optional[Callable[[str], None]] = None

    def info(self, line: str) -> None:
        """Say what happens, on one line; not said in quiet mode."""
        log.info("%s", line)
        if not self.quiet:
            self._say(self.out, [line])

    def attention(self, text: str) -> None:
        """Say, on one line, what somebody should look at, in quiet mode too."""
        log.warning("%s", text)
        with self._lock:
            if self._held is not None:
                self._held.append(text)
                return
        self._say(self.out, [text])

    def hold(self) -> None:
        """Keep what needs attention to itself, until it is known whether it is news."""
        with self._lock:
            self._held = []

    def let_go(self) -> None:
        """Say what was held; from now on all is said at once."""
        with self._lock:
            held, self._held = self._held, None
        for text in held or ():
            self._say(self.out, [text], tag="")

    def drop(self) -> None:
        """Forget what was held, as it is no news; the log has it."""
        with self._lock:
            self._held = None

    def attention_first(self, text: str) -> None:
        """Say something before what is held."""
        log.warning("%s", text)
        self._say(self.out, [text])

    def error(self, *mistakes: str, hint: str = "") -> None:
        """Say what went wrong, a line per mistake, and what to do next."""
        log.error("%s %s", " ".join(mistakes), hint)
        lines = [f"Error: {mistake}" for mistake in mistakes]
        self._say(self.err, [*lines, hint] if hint else lines)

    def result(self, text: str) -> None:
        """Print what was asked for, for machines: no prefix, nothing else on these lines.

        ``text`` may have several lines, and whoever made it has seen to what is in them.
        """
        log.debug("%s", text)
        self._say(self.out, text.split("\n"), tag="", whole=True)

    @property
    def watched(self) -> bool:
        """Whether ``out`` is a terminal that can draw over what it shows."""
        return _is_terminal(self.out) and os.environ.get("TERM", "dumb") != "dumb"

    @property
    def ascii_only(self) -> bool:
        """Whether the alphabet of ``out`` lacks the characters that bars are drawn with."""
        encoding = getattr(self.out, "encoding", None) or "utf-8"
        try:
            "▕█░▏…".encode(encoding)
        except (LookupError, UnicodeEncodeError):
            return True
        return False

    @property
    def width(self) -> Optional[int]:
        """Places of a line on the terminal that ``out`` is; None where it is none."""
        return self.columns(self.out)

    @staticmethod
    def columns(stream: TextIO) -> Optional[int]:
        """How wide a terminal is; None where the stream is none."""
        if not _is_terminal(stream):
            return None
        chosen = os.environ.get("COLUMNS", "")
        if chosen.isascii() and chosen.isdigit() and int(chosen):
            return int(chosen)
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def divert(self, above: Optional[Callable[[str], None]]) -> None:
        """Have lines to a terminal printed by ``above``, while it keeps a live display there."""
        with self._lock:
            self._above = above

    def _say(
        self,
        stream: TextIO,
        texts: Iterable[str],
        tag: Optional[str] = None,
        *,
        whole: bool = False,
    ) -> None:
        """Print lines, each harmless and free of keys, and none between those of another thread.

        A line break within one of them is somebody else's, and is spelt out. On a terminal long
        lines are folded between words, unless they are to come out ``whole``.
        """
        name = collection_tag.get() if tag is None else tag
        prefix = f"[{name}] " if name else ""
        columns = None if whole else self.columns(stream)
        lines = [fold(prefix + line, columns) for line in map(scrub, texts)]
        with self._lock:
            if self._above and _is_terminal(stream):
                self._above("\n".join(lines))
            else:
                self._write(stream, "\n".join(lines) + "\n")

    def _write(self, stream: TextIO, text: str) -> None:
        if stream in self._gone:
            return
        encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            stream.write(text.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except (OSError, ValueError) as error:
            self._gone.append(stream)
            _silence(stream)
            if stream is self.out and isinstance(error, OSError) and error.errno in _FULL:
                self.unsaid = error.strerror or str(error)


def _is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal; one that is closed is none."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def _silence(stream: TextIO) -> None:
    """Lead a broken stream to nowhere, so that Python's last flush does not fail on it."""
    with suppress(OSError, ValueError):
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
