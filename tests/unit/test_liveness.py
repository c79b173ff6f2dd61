"""Whether a process lives: told apart from every other one that ever had its pid."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple
from unittest.mock import Mock

import pytest
from pytest_mock import MockerFixture

from h2ogpte_migration.tracking import liveness
from h2ogpte_migration.tracking.liveness import ProcessIdentity, current_process, is_alive

linux = pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")


def identity_of(pid: int) -> ProcessIdentity:
    start = liveness._start_of(pid)
    assert start
    return replace(current_process(), pid=pid, start=start)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that waits until it is told to end."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_this_process_lives_and_keeps_its_identity() -> None:
    me = current_process()
    assert me == current_process()
    assert me.pid == os.getpid()
    assert me.start
    assert is_alive(me) is True


def test_a_living_child_is_alive_and_dead_once_it_was_killed(
    child: subprocess.Popen[bytes],
) -> None:
    identity = identity_of(child.pid)
    assert is_alive(identity) is True
    child.kill()
    child.wait()
    assert is_alive(identity) is False


@linux
def test_a_killed_process_that_nobody_waited_for_counts_as_dead(
    child: subprocess.Popen[bytes],
) -> None:
    identity = identity_of(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_alive(identity) and time.monotonic() < deadline:
        pass
    stat = Path(f"/proc/{child.pid}/stat").read_text()
    assert stat.rpartition(")")[2].split()[0] == "Z", "still there, as a zombie"
    assert is_alive(identity) is False


@pytest.mark.parametrize("whose", ["own", "child"])
def test_another_process_under_the_same_pid_is_not_the_one_on_record(
    whose: str, child: subprocess.Popen[bytes]
) -> None:
    living = current_process() if whose == "own" else identity_of(child.pid)
    assert is_alive(replace(living, start="1")) is False


def test_a_pid_that_nobody_has_is_dead() -> None:
    assert is_alive(replace(current_process(), pid=2**22 + 5)) is False


def test_a_process_whose_start_was_not_known_counts_by_its_pid(
    child: subprocess.Popen[bytes],
) -> None:
    assert is_alive(replace(identity_of(child.pid), start="")) is True


def test_a_process_of_another_machine_cannot_be_judged() -> None:
    other = replace(current_process(), host="elsewhere", machine="elsewhere|id|boot|ns")
    assert is_alive(other) is None
    assert is_alive(replace(other, pid=2**22 + 5)) is None


@pytest.mark.parametrize(
    ("then", "verdict"),
    [
        ("laptop|id|boot-1|pid:[1]", False),
        ("laptop|id|boot-1|pid:[2]", False),
        ("laptop|id|boot-2|pid:[2]", None),
        ("laptop|other|boot-1|pid:[1]", None),
        ("server|id|boot-1|pid:[1]", None),
        ("laptop||boot-1|pid:[1]", None),
        ("laptop|id||pid:[1]", None),
        ("laptop|boot-1|pid:[1]", None),
        ("", None),
    ],
)
def test_only_a_restart_of_this_very_machine_tells_that_its_processes_are_gone(
    monkeypatch: pytest.MonkeyPatch, then: str, verdict: object
) -> None:
    monkeypatch.setattr(liveness, "_machine", lambda: "laptop|id|boot-2|pid:[1]")
    assert is_alive(ProcessIdentity("laptop", then, os.getpid(), "1")) is verdict


def test_a_name_with_brackets_and_blanks_does_not_shift_the_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rest = " ".join(["S", *map(str, range(1, 40))])
    monkeypatch.setattr(liveness, "_read", lambda path: f"77 (a (b) c) {rest}")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert liveness._start_of(77) == "19"


def test_without_proc_the_start_is_read_by_ps(child: subprocess.Popen[bytes]) -> None:
    try:
        start = liveness._start_by_ps(child.pid)
    except FileNotFoundError:
        pytest.skip("there is no ps here")
    assert start is not None
    child.kill()
    child.wait()
    assert not liveness._start_by_ps(child.pid)


def test_without_ps_a_process_that_can_be_signalled_lives(
    child: subprocess.Popen[bytes],
) -> None:
    assert liveness._start_by_signal(child.pid) == ""
    child.kill()
    child.wait()
    assert liveness._start_by_signal(child.pid) is None


# -- Windows, put in the place of this system ---------------------------------------------
class Kernel:
    """As much of kernel32 as is asked, with processes by their pid: when started, exit code."""

    def __init__(self, processes: Dict[int, Tuple[int, int]], denied: Tuple[int, ...] = ()) -> None:
        self.processes = processes
        self.denied = denied
        self.error = 0
        self.open = 0
        self.OpenProcess = Mock(side_effect=self._open)

    def _open(self, _access: int, _inherit: bool, pid: int) -> Optional[int]:
        self.error = 5 if pid in self.denied else 87
        if pid not in self.processes:
            return None
        self.open += 1
        return pid

    def GetExitCodeProcess(self, handle: Any, code: Any) -> int:
        code._obj.value = self.processes[handle.value][1]
        return 1

    def GetProcessTimes(self, handle: Any, created: Any, *_: Any) -> int:
        created._obj.value = self.processes[handle.value][0]
        return 1

    def CloseHandle(self, _handle: Any) -> int:
        self.open -= 1
        return 1


@pytest.fixture
def windows(mocker: MockerFixture) -> Kernel:
    """Return a system that knows no /proc, no ps and no signals that only ask."""
    kernel = Kernel({77: (132_000_000, 259), 78: (133_000_000, 0)}, denied=(79,))
    mocker.patch.object(platform, "system", return_value="Windows")
    mocker.patch.object(ctypes, "WinDLL", create=True, return_value=kernel)
    mocker.patch.object(ctypes, "get_last_error", create=True, side_effect=lambda: kernel.error)
    mocker.patch.object(liveness, "_read", return_value="")
    mocker.patch.object(subprocess, "run", side_effect=AssertionError("there is no ps"))
    mocker.patch.object(os, "kill", side_effect=AssertionError("number 0 is Ctrl-C there"))
    return kernel


def test_on_windows_the_system_tells_who_lives(windows: Kernel) -> None:
    me = ProcessIdentity("host", liveness._machine(), 77, "132000000")
    assert is_alive(me) is True
    assert is_alive(replace(me, start="131")) is False, "another process of that pid"
    assert is_alive(replace(me, pid=78, start="133000000")) is False, "it has ended"
    assert is_alive(replace(me, pid=80)) is False, "there is none"
    assert is_alive(replace(me, pid=79, start="")) is True, "somebody else's"
    assert windows.open == 0


def test_on_windows_this_process_has_an_identity(windows: Kernel) -> None:
    windows.processes[os.getpid()] = (134_000_000, 259)
    me = current_process()
    assert me.start == "134000000"
    assert is_alive(me) is True


def test_ps_is_asked_in_words_and_hours_that_are_the_same_for_everybody(
    mocker: MockerFixture,
) -> None:
    ran = mocker.patch.object(subprocess, "run")
    ran.return_value.stdout = "Wed Nov 25 19:34:54 2026\n"
    mocker.patch.object(platform, "system", return_value="Darwin")
    assert liveness._start_of(77) == "Wed Nov 25 19:34:54 2026"
    env = ran.call_args.kwargs["env"]
    assert (env["LC_ALL"], env["TZ"]) == ("C", "UTC0")
