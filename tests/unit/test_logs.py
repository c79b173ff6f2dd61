"""The log file, the console and the progress: what people see, and what they never see."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator, List, TextIO

import pytest

from h2ogpte_migration import app
from h2ogpte_migration.errors import ExitCode, ToolError
from h2ogpte_migration.redact import Secret
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.logs import close_log, collection_tag, open_log, tagged

NOW = datetime(2026, 3, 16, 22, 56, 45, tzinfo=timezone.utc)
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) +\S+ .*")
log = logging.getLogger("h2ogpte_migration.tests")


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    close_log()
    root.setLevel(level)


def lines_of(path: Path) -> List[str]:
    close_log()
    return path.read_text(encoding="utf-8").split("\n")[:-1]


# -- the log file ----------------------------------------------------------------------------------


def test_two_runs_in_one_second_get_two_private_files(tmp_path: Path) -> None:
    paths = [open_log(tmp_path, NOW) for _ in range(3)]
    assert [path.name for path in paths] == [
        "migration_20260316_225645.log",
        "migration_20260316_225645_2.log",
        "migration_20260316_225645_3.log",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "migration_20260316_225645.log").symlink_to(tmp_path / "victim")
    assert open_log(tmp_path, NOW).name.endswith("_2.log")
    assert not (tmp_path / "victim").exists()


def test_a_folder_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="can't be written") as caught:
        open_log(tmp_path / "gone", NOW)
    assert caught.value.exit_code is ExitCode.USAGE


def test_every_event_is_one_line(tmp_path: Path) -> None:
    path = open_log(tmp_path, NOW)
    log.info("first\nINFO forged\x1b[2J %s", "\u202e")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("it failed")
    log.info("with stack", stack_info=True)
    wrong = logging.makeLogRecord(
        {"msg": "wrong %d", "args": ("word",), "levelname": "INFO", "threadName": "x"}
    )
    logging.getLogger().handlers[-1].handle(wrong)
    found = lines_of(path)
    assert len(found) == 4
    assert all(LINE.fullmatch(line) for line in found)
    assert r"first\nINFO forged\x1b[2J \u202e" in found[0]
    assert r"ValueError: two\nlines" in found[1]


def test_keys_are_in_no_line(tmp_path: Path) -> None:
    path = open_log(tmp_path, NOW)
    Secret("sk-log-key-1")
    log.info("the key is %s", "sk-log-key-1")
    logging.getLogger("other.library").warning("sk-log-key-1")
    try:
        raise ValueError("sk-log-key-1")
    except ValueError:
        log.exception("failed")
    log.info("x" * 49_995 + "sk-log-key-1", stack_info=True)
    with tagged("sk-log-key-1"):
        log.info("tagged")
    found = "\n".join(lines_of(path))
    assert "sk-lo" not in found
    assert found.count("***") >= 4


def test_lines_carry_the_collection_that_their_thread_works_on(tmp_path: Path) -> None:
    path = open_log(tmp_path, NOW)
    both = threading.Barrier(2)

    def work(name: str) -> None:
        with tagged(name):
            both.wait()
            log.info("work on %s", name)
        log.info("after %s", name)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ["Alpha", "Be\nta"]))
    found = lines_of(path)
    assert sum("[Alpha] work on Alpha" in line for line in found) == 1
    assert sum(r"[Be\nta] work on Be\nta" in line for line in found) == 1
    assert not any("[" in line for line in found if "after" in line)
    assert collection_tag.get() == ""


def test_other_libraries_are_heard_when_they_warn_only(tmp_path: Path) -> None:
    path = open_log(tmp_path, NOW)
    for name in ("urllib3.connectionpool", "websockets", "asyncio"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble")
    log.debug("our own details")
    found = lines_of(path)
    assert [line.split()[-1] for line in found] == ["trouble"] * 3 + ["details"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_ends_nothing_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("h2ogpte_migration.ui.logs._create", lambda cwd, stem: Path("/dev/full"))
    open_log(tmp_path, NOW)
    log.info("lost")
    close_log()
    assert capsys.readouterr() == ("", "")


def test_without_a_log_nothing_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log.error("nobody listens")
    assert capsys.readouterr() == ("", "")


# -- the console -----------------------------------------------------------------------------------


class Ascii(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", newline="\n")


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def said(quiet: bool = False) -> Any:
    return Console(io.StringIO(), io.StringIO(), quiet)


def text_of(stream: TextIO) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def speak(console: Console) -> None:
    console.info("info")
    console.attention("attention")
    console.error("first", "second", hint="do this")
    console.result("result")


def test_each_kind_goes_to_its_stream() -> None:
    console = said()
    speak(console)
    assert text_of(console.out) == "info\nattention\nresult\n"
    assert text_of(console.err) == "Error: first\nError: second\ndo this\n"


def test_quiet_says_what_needs_attention_only() -> None:
    console = said(quiet=True)
    speak(console)
    assert text_of(console.out) == "attention\nresult\n"
    assert "Error: first" in text_of(console.err)


def test_everything_said_is_logged_also_when_quiet(tmp_path: Path) -> None:
    path = open_log(tmp_path, NOW)
    speak(said(quiet=True))
    found = "\n".join(lines_of(path))
    for word in ("info", "attention", "second do this", "result"):
        assert word in found


def test_what_is_said_is_harmless_and_free_of_keys() -> None:
    console = said()
    Secret("sk-console-key")
    console.info("a\x1b[2J sk-console-key\nb\u202e")
    assert text_of(console.out) == "a\\x1b[2J ***\\nb\\u202e\n"


def test_lines_about_a_collection_carry_its_name_but_results_do_not() -> None:
    console = said()
    with tagged("Alpha"):
        console.info("one")
        console.info("two")
        console.result("{}")
    assert text_of(console.out) == "[Alpha] one\n[Alpha] two\n{}\n"


def test_a_poor_alphabet_loses_letters_not_the_run() -> None:
    out = Ascii()
    Console(out, io.StringIO()).info("Ünïcode…")
    out.flush()
    assert out.buffer.getvalue() == b"?n?code?\n"  # type: ignore[attr-defined]


def test_a_reader_that_went_away_is_forgotten() -> None:
    console = Console(Broken(), io.StringIO())
    console.info("into the void")
    console.info("again")
    console.error("still heard")
    assert "still heard" in text_of(console.err)


def test_a_thread_that_logs_into_a_closed_log_does_not_open_it_again(tmp_path: Path) -> None:
    path = open_log(tmp_path, NOW)
    (handler,) = (
        one for one in logging.getLogger().handlers if getattr(one, "over", True) is False
    )
    log.info("in time")
    close_log()
    handler.handle(log.makeRecord(log.name, logging.INFO, "", 0, "too late", (), None))
    text = path.read_text(encoding="utf-8")
    assert "in time" in text
    assert "too late" not in text


def test_a_closed_pipe_makes_no_noise_at_exit() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        Console(out, io.StringIO()).result("x")


@pytest.mark.parametrize("why", [errno.ENOSPC, errno.EPIPE])
def test_what_a_full_disk_did_not_take_is_no_success_and_what_nobody_reads_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], why: int
) -> None:
    class Refusing(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(why, os.strerror(why))

    monkeypatch.setattr(sys, "stdout", Refusing())
    monkeypatch.setattr(app, "main_parse", lambda _: SimpleNamespace(quiet=False))
    tell = SimpleNamespace(needs_server=False, run=lambda _, console: console.result("{}") or 0)
    monkeypatch.setattr(app, "chosen_by", lambda _: tell)
    full = why == errno.ENOSPC
    assert app.main([]) == (1 if full else 0)
    assert ("could be written: No space left" in capfd.readouterr().err) is full


def test_a_closed_stream_is_no_terminal_and_no_problem() -> None:
    out = io.StringIO()
    out.close()
    console = Console(out, out)
    console.info("x")
    assert not console.watched


def test_lines_of_threads_are_not_mixed() -> None:
    console = said()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: console.result(f"{n}a\n{n}b"), range(200)))
    found = text_of(console.out).splitlines()
    pairs = list(zip(found[::2], found[1::2]))
    assert len(pairs) == 200
    assert all(first[:-1] == second[:-1] for first, second in pairs)
