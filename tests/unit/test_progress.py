"""Progress: what scrolls by, what stands at the bottom, and what it counts by."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
import threading
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

from h2ogpte_migration.model import Collection, Job, fraction
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.live import LiveProgress, bar, shows_unicode
from h2ogpte_migration.ui.plain import PlainProgress
from h2ogpte_migration.ui.progress import Progress, choose
from h2ogpte_migration.ui.tally import Tally

ALPHA = Collection("a", "Al\x1bpha", "jane", "old", document_count=10)
BETA = Collection("b", "[red]Beta", "susan", "old", document_count=90)


def ended(source: Collection, kind: OutcomeKind, reason: str = "", earlier: bool = False) -> Result:
    attention = kind in (OutcomeKind.FAILED, OutcomeKind.HELD)
    return Result(
        kind,
        source.id,
        source.name,
        source.owner,
        reason=reason,
        needs_attention=attention,
        earlier=earlier,
    )


def text_of(stream: Any) -> str:
    value: str = stream.getvalue()
    return value


class Times:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def times() -> Times:
    return Times()


def plain(times: Times) -> Tuple[Console, PlainProgress]:
    console = Console(io.StringIO(), io.StringIO())
    return console, PlainProgress(console, times, lambda: 1000.0 + times.now)


# -- lines ---------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_plain_line_has_time_count_outcome_and_reason(times: Times) -> None:
    console, progress = plain(times)
    progress.started([ALPHA, BETA])
    progress.working(ALPHA, "creating")
    progress.finished(ended(ALPHA, OutcomeKind.FAILED, "import rejected"))
    progress.warning(BETA, "no thumbnail")
    progress.finished(ended(BETA, OutcomeKind.DONE))
    assert text_of(console.out).splitlines() == [
        "00:16:40 1/2 FAILED Al\\x1bpha: import rejected",
        "00:16:40 WARNING [red]Beta: no thumbnail",
        "00:16:40 2/2 DONE [red]Beta",
    ]


def test_what_was_done_earlier_is_counted_and_not_told(times: Times) -> None:
    console, progress = plain(times)
    progress.started([ALPHA, BETA])
    progress.finished(ended(ALPHA, OutcomeKind.DONE, earlier=True))
    progress.finished(ended(BETA, OutcomeKind.FAILED, "as before", earlier=True))
    assert text_of(console.out).splitlines() == ["00:16:40 2/2 FAILED [red]Beta: as before"]


def test_a_job_that_has_ended_is_no_import_any_more(times: Times) -> None:
    tally = Tally(times, lambda: 0.0)
    tally.started([ALPHA, BETA])
    for source in (ALPHA, BETA):
        tally.working(source, "importing")
    tally.job(ALPHA, Job.from_json({"progress": 50, "overall_status": "failed"}))
    tally.working(ALPHA, "importing")  # the step that waited for it books its end
    now = tally.now()
    assert (now.importing, now.in_work) == (1, 1)
    assert [(row.verb, row.share) for row in now.rows if row.source is ALPHA] == [
        ("validating", None)
    ]


def test_every_half_minute_a_line_with_the_time_left(times: Times) -> None:
    console, progress = plain(times)
    progress.started([ALPHA, BETA])
    progress.working(BETA, "importing")
    progress.job(BETA, Job.from_json({"progress": 50}))
    for second in range(0, 65, 5):
        times.now = float(second)
        progress.tick()
    assert text_of(console.out).splitlines() == [
        "00:17:10 0/2 so far, 1 import running, less than a minute left",
        "00:17:40 0/2 so far, 1 import running, about 1 min left",
    ]


def test_trouble_of_the_server_is_told_once_and_goes_with_the_ticks(times: Times) -> None:
    console, progress = plain(times)
    progress.started([ALPHA])
    for attempt in (1, 2):
        progress.server("connection refused", attempt, 6)
    times.now = 30.0
    progress.tick()
    progress.server("", 0, 0)
    times.now = 61.0
    progress.tick()
    assert text_of(console.out).splitlines() == [
        "00:16:40 Server: connection refused, attempt 2 of 6",
        "00:17:10 0/1 so far, Server: connection refused, attempt 3 of 6",
        "00:17:41 0/1 so far",
    ]


def test_a_server_that_slows_us_down_is_told_with_its_beginning(times: Times) -> None:
    tally = Tally(times, lambda: 1000.0 + times.now)
    assert tally.server("429", 1, 6)
    times.now = 50.0
    assert not tally.server("429", 1, 6)
    assert str(tally.now().failure) == "The server asks to slow down: 429 since 00:16"


def test_listing_says_how_many_now_and_then(times: Times) -> None:
    console, progress = plain(times)
    for number in range(70):
        times.now = float(number)
        progress.looking("collections listed", number * 100)
    assert text_of(console.out).splitlines() == [
        "00:17:10 3,000 collections listed",
        "00:17:40 6,000 collections listed",
    ]


# -- numbers -----------------------------------------------------------------------------
def test_the_estimate_goes_by_documents_and_leaves_out_what_was_done_earlier(
    times: Times,
) -> None:
    tally = Tally(times, times)
    small, large, before = (
        Collection(name, name, "jane", "old", document_count=count)
        for name, count in (("small", 95), ("large", 295), ("before", 10_000))
    )
    tally.started([small, large, before])
    tally.finished(ended(before, OutcomeKind.DONE, earlier=True))
    assert tally.now().left_s is None, "nothing was done yet"
    times.now = 20.0
    tally.finished(ended(small, OutcomeKind.DONE))
    assert tally.now().left_s == 60.0
    tally.working(large, "importing")
    tally.job(large, Job.from_json({"progress": 0.5}))
    assert tally.now().left_s == pytest.approx(20 * 150 / 250)


def test_a_parked_collection_waits(times: Times) -> None:
    tally = Tally(times, times)
    tally.started([ALPHA, BETA])
    tally.working(ALPHA, "submitting")
    assert (tally.now().in_work, tally.now().waiting) == (1, 1)
    tally.waits_for_slot(ALPHA)
    assert (tally.now().in_work, tally.now().waiting) == (0, 2)


def test_documents_are_not_summed_where_one_number_is_unknown(times: Times) -> None:
    tally = Tally(times, times)
    tally.started([ALPHA, Collection("x", "X", "jane", "old")])
    assert tally.now().all_documents is None


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (0, 0.0), (0.35, 0.35), (1.0, 1.0), (35, 0.35), (100, 1.0), ("62%", 0.62), ("0.5", 0.5),
        ("3/10", 0.3), (" 40 ", 0.4), ("1/0", None), ("11/10", None), (101, None), (-1, None),
        (float("nan"), None), (True, None), (None, None), ("soon", None), ([], None),
    ],
)  # fmt: skip
def test_how_far_a_job_is(said: Any, meant: Optional[float]) -> None:
    assert fraction(said) == meant


# -- the live view -------------------------------------------------------------------------
def open_terminal(columns: int = 100, lines: int = 30) -> Tuple[int, Any]:
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    return main, os.fdopen(side, "w")


class Screen:
    """Everything that a terminal was sent; read while it is written, as its buffer is small."""

    def __init__(self, main: int) -> None:
        self._main = main
        self._seen: List[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._main, 4096)
            except OSError:
                return
            if not data:
                return
            self._seen.append(data)

    def text(self) -> str:
        """After the terminal's other end was closed."""
        self._thread.join(10)
        os.close(self._main)
        return b"".join(self._seen).decode()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("COLUMNS", "LINES", "NO_COLOR", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    return monkeypatch


def shown(terminal: Any, main: int, times: Times, first: Collection = ALPHA) -> str:
    """A short run, as a terminal was shown it."""
    screen = Screen(main)
    console = Console(terminal, terminal)
    progress = LiveProgress(console, lambda: False, times, times)
    progress.looking("collections listed", 2)
    progress.started([first, BETA])
    progress.working(first, "importing")
    progress.job(first, Job.from_json({"progress": 62}))
    progress.server("429", 1, 6)
    console.info("a line [bold]above[/bold] :smile:")
    progress.finished(ended(BETA, OutcomeKind.FAILED, "import rejected"))
    progress.close()
    progress.close()
    console.info("afterwards")
    terminal.close()
    return screen.text()


def test_the_live_view(environment: pytest.MonkeyPatch, times: Times) -> None:
    main, terminal = open_terminal()
    seen = shown(terminal, main, times)
    assert "2 collections listed" in seen
    assert "a line [bold]above[/bold] :smile:" in seen
    assert "00:00:00 FAILED  [red]Beta  susan  import rejected" in seen
    assert "Al\\x1bpha" in seen
    assert " 62%" in seen
    assert "429 since 00:00" in seen
    assert "Ctrl-C stops safely" in seen
    assert "1 failed" in seen.replace("\x1b[1;31m", "").replace("\x1b[0m", "")
    assert "▕" in seen
    assert seen.endswith("afterwards\r\n")


def test_no_color_and_no_unicode(environment: pytest.MonkeyPatch, times: Times) -> None:
    environment.setenv("NO_COLOR", "1")
    environment.setenv("LANG", "C")
    main, terminal = open_terminal()
    seen = shown(terminal, main, times)
    assert "\x1b[1;31m" not in seen
    assert "31m" not in seen
    assert seen.isascii()
    assert "[####" in seen


def test_an_alphabet_without_the_letters_is_no_error(
    environment: pytest.MonkeyPatch, times: Times
) -> None:
    main, terminal = open_terminal()
    terminal.reconfigure(encoding="ascii")
    accented = Collection("g", "Größe", "jane", "old")
    assert "Gr??e" in shown(terminal, main, times, accented)


@pytest.mark.parametrize(
    ("env", "columns", "kind"),
    [
        ({}, 100, LiveProgress),
        ({}, 60, LiveProgress),
        ({}, 59, PlainProgress),
        ({"COLUMNS": "40"}, 100, PlainProgress),
        ({"TERM": "dumb"}, 100, PlainProgress),
        ({"TERM": ""}, 100, PlainProgress),
    ],
)
def test_who_gets_the_live_view(
    environment: pytest.MonkeyPatch, env: Dict[str, str], columns: int, kind: type
) -> None:
    for name, value in env.items():
        environment.setenv(name, value)
    main, terminal = open_terminal(columns)
    with terminal:
        assert type(choose(Console(terminal, terminal), quiet=False)) is kind
        assert type(choose(Console(terminal, terminal), quiet=True)) is Progress
    os.close(main)


def test_a_pipe_gets_lines_and_no_rich(environment: pytest.MonkeyPatch) -> None:
    progress: Progress = choose(Console(io.StringIO(), io.StringIO()), quiet=False)
    assert type(progress) is PlainProgress


@pytest.mark.parametrize(
    ("env", "fine"),
    [
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({}, False),
    ],
)
def test_unicode_only_where_the_terminal_surely_shows_it(env: Dict[str, str], fine: bool) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    assert shows_unicode(stream, env) is fine
    assert not shows_unicode(io.TextIOWrapper(io.BytesIO(), encoding="latin-1"), env)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.999, 1.0])
def test_a_bar_has_its_width(share: float) -> None:
    assert len(bar(share, 24)) == 26
    assert bar(share, 10, ascii_only=True).count("#") == int(share * 10)
