"""Progress as a view that stands at the bottom of a terminal, below what is printed meanwhile.

``rich`` is imported when the view is shown, not before.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, Optional, Sequence, TextIO

from h2ogpte_migration.model import Collection
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.progress import CountedProgress
from h2ogpte_migration.ui.tally import Row, Snapshot, scrolled
from h2ogpte_migration.ui.text import duration, safe, time_left

if TYPE_CHECKING:
    from rich.text import Text

BAR = 24
WITH_OWNERS = 80
"""Columns from which a row has room for the owner."""
CALM = " Ctrl-C stops safely; imports go on at the server"
STOPPING = " Stopping: calls under way may end; Ctrl-C once more leaves at once"


class LiveProgress(CountedProgress):
    """Numbers, a bar and a row per collection that is worked on; failures scroll above.

    Args:
        stopping: whether a stop was asked for.
    """

    def __init__(
        self,
        console: Console,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(console, clock, wall)
        self._stopping = stopping
        self._lock = threading.Lock()
        self._live: Any = None
        self._screen: Any = None
        self._closed = False
        self._looked = "reaching the server"
        self._begun = clock()

    # -- what happens ------------------------------------------------------------------
    def looking(self, what: str, count: int, total: Optional[int] = None) -> None:
        of = f" of {total:,}" if total else ""
        self._looked = f"{count:,}{of} {what}"
        self._show()

    def started(self, sources: Sequence[Collection]) -> None:
        self._looked = ""
        super().started(sources)
        self._show()

    def warning(self, source: Collection, text: str) -> None:
        self._say(f"WARNING {source.name or source.id}  {source.owner}  {text}", attention=True)

    def finished(self, result: Result) -> None:
        self._tally.finished(result)
        if result.needs_attention:
            self._say(scrolled(result), attention=True)

    def server(self, what: str, attempt: int, of: int) -> None:
        self._tally.server(what, attempt, of)
        if what:
            self._show()

    def close(self) -> None:
        with self._lock:
            live, self._live, self._closed = self._live, None, True
        if live is not None:
            live.stop()
            self._console.divert(None)

    # -- the terminal ------------------------------------------------------------------
    def _show(self) -> None:
        with self._lock:
            if self._live is not None or self._closed:
                return
            from rich.console import Console as RichConsole
            from rich.live import Live

            terminal: Any = _Terminal(self._console.err)
            self._screen = RichConsole(file=terminal, highlight=False, markup=False, emoji=False)
            self._live = Live(
                get_renderable=self._drawn,
                console=self._screen,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._console.divert(self._print_above)
            self._live.start()

    def _print_above(self, text: str) -> None:
        self._screen.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _drawn(self) -> Text:
        width, height = self._screen.size
        ascii_only = not shows_unicode(self._console.err, os.environ)
        now = self._tally.now()
        if self._looked:
            lines = [looking_line(self._looked, self._clock() - self._begun, ascii_only)]
        else:
            lines = view(now, width, height, self._clock(), ascii_only)
        lines += [f" {safe(str(now.failure), self.LONGEST)}"] if now.failure else []
        lines.append(STOPPING if self._stopping() else CALM)
        return painted(lines, width)


def painted(lines: Sequence[str], width: int) -> Text:
    """Lines in colour, cut to a terminal's width."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop")
    text.append("\n".join(cut(line, width - 1) for line in lines))
    text.highlight_regex(r"[1-9]\d* failed", "bold red")
    text.highlight_regex(r"[1-9]\d* held", "yellow")
    text.highlight_regex(r"[1-9]\d* done", "green")
    return text


# -- what it looks like: pure ---------------------------------------------------------
def view(
    now: Snapshot, width: int, height: int, clock: float, ascii_only: bool = False
) -> List[str]:
    """The lines of a moment, for a terminal of this size."""
    share = now.finished / now.total if now.total else 1.0
    left = f", {time_left(now.left_s)}" if now.left_s is not None else ""
    lines = [
        f" {now.finished}/{now.total} {bar(share, BAR if width >= 80 else 12, ascii_only)} "
        f"{int(share * 100)}%  {duration(now.elapsed_s)} elapsed{left}",
        *_counts(now, width),
    ]
    rows = sorted(now.rows, key=lambda row: row.since)
    room = max(1, height - len(lines) - 4)
    lines += [_row(row, width, clock) for row in rows[:room]]
    if len(rows) > room:
        lines.append(f"  {'...' if ascii_only else '…'} {len(rows) - room} more")
    return lines


def looking_line(text: str, seconds: float, ascii_only: bool) -> str:
    """A line with something that turns."""
    frames = "|/-\\" if ascii_only else "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    return f" {frames[int(seconds * 4) % len(frames)]} {text}  {duration(seconds)}"


def bar(share: float, width: int, ascii_only: bool = False) -> str:
    """A bar that is filled to a share of its width."""
    if ascii_only:
        full = int(share * width)
        return f"[{'#' * full}{'.' * (width - full)}]"
    eighths = int(share * width * 8)
    full, rest = divmod(eighths, 8)
    body = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return f"▕{body.ljust(width)}▏"


def _counts(now: Snapshot, width: int) -> List[str]:
    counts = now.counts
    ended = "  ".join(
        f"{counts.get(kind, 0)} {kind.value}"
        for kind in (OutcomeKind.DONE, OutcomeKind.FAILED, OutcomeKind.HELD)
    )
    going = f"{now.importing} importing"
    going += f"  {now.in_work} in work" if now.in_work else ""
    parts = [ended, f"{going}  {now.waiting} waiting"]
    if now.all_documents is not None:
        parts.append(f"{now.documents:,} of {now.all_documents:,} docs")
    line = " " + " | ".join(parts)
    if len(line) < width:
        return [line]
    first = " " + " | ".join(parts[:2])
    if len(first) < width:
        return [first, *(f" {part}" for part in parts[2:])]
    return [f" {part}" for part in parts]


def _row(row: Row, width: int, clock: float) -> str:
    wide = width >= WITH_OWNERS
    name = max(8, min(60, width - (52 if wide else 38)))
    share = "" if row.share is None else f"{int(row.share * 100)}%"
    return "  ".join(
        (
            "",
            _cell(row.source.name or row.source.id, name),
            *([_cell(row.source.owner, 12)] if wide else []),
            _cell(row.verb, 17),
            f"{share:>4}",
            duration(clock - row.since),
        )
    )


def _cell(text: str, places: int) -> str:
    from rich.cells import set_cell_size

    return set_cell_size(safe(text, 200), places)


def cut(line: str, places: int) -> str:
    """A line that fits: a longer one would break the view."""
    from rich.cells import cell_len, set_cell_size

    return line if cell_len(line) <= places else set_cell_size(line, places)


def shows_unicode(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether a terminal surely shows more than ASCII.

    Python itself turns the C locale into UTF-8 (and says so in ``LC_CTYPE``); the terminal
    need not have followed.
    """
    if "utf" not in (getattr(stream, "encoding", "") or "").lower():
        return False
    if sys.platform == "win32":
        return True
    ctype = env.get("LC_CTYPE", "")
    coerced = ctype in ("C.UTF-8", "C.utf8", "UTF-8")
    chosen = env.get("LC_ALL") or ("" if coerced else ctype) or env.get("LANG") or ""
    return "utf" in chosen.lower()


class _Terminal:
    """A stream as rich writes to it: nothing that it can't encode or that went away is an error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()
