"""Which process a run is, and whether it still lives.

A pid alone does not tell: containers reuse pids at once, and every boot does. The identity
is machine (host, boot, pid namespace), pid and the process's start time.
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told apart from every other one that ever had its pid."""

    host: str
    machine: str
    pid: int
    start: str


def current_process() -> ProcessIdentity:
    """The identity of the process that asks."""
    pid = os.getpid()
    return ProcessIdentity(socket.gethostname(), _machine(), pid, _start_of(pid) or "")


def is_alive(process: ProcessIdentity) -> Optional[bool]:
    """Whether a process lives; None where it can't be told from here (another machine)."""
    here = _machine()
    if process.machine != here:
        return False if _rebooted(process.machine, here) else None
    if process.pid == os.getpid():
        return process.start == (_start_of(process.pid) or "")
    start = _start_of(process.pid)
    if start is None:
        return False
    return not process.start or start == process.start


def _rebooted(then: str, here: str) -> bool:
    """Whether this very machine was started anew since: nothing of then lives any more."""
    before, now = then.split("|"), here.split("|")
    known = len(before) == len(now) == 4 and all((*before[:3], *now[:3]))
    return known and before[:2] == now[:2] and before[2] != now[2]


def _machine() -> str:
    return "|".join(
        (
            socket.gethostname(),
            _read("/etc/machine-id"),
            _read("/proc/sys/kernel/random/boot_id"),
            _link("/proc/self/ns/pid"),
        )
    )


def _start_of(pid: int) -> Optional[str]:
    """When a process started, in whatever unit the system counts; None if there is none."""
    system = platform.system()
    if system == "Windows":
        return _start_by_windows(pid)
    if system == "Linux":
        stat = _read(f"/proc/{pid}/stat")
        # The name in brackets may hold blanks and brackets; fields count from the last one.
        fields = stat.rpartition(")")[2].split()
        if len(fields) < 20 or fields[0] in "ZX":
            return None
        return fields[19]
    return _start_by_ps(pid)


def _start_by_ps(pid: int) -> Optional[str]:
    try:
        answer = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            # The words and the hour must be the same for whoever asks.
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC0"},
            timeout=10,
            check=False,
        )
    except OSError:
        return _start_by_signal(pid)
    return answer.stdout.strip() or None


_MAY_ASK = 0x1000  # PROCESS_QUERY_LIMITED_INFORMATION
_STILL_ACTIVE = 259
_DENIED = 5


def _start_by_windows(pid: int) -> Optional[str]:
    """By the system's own calls: a signal, even number 0, is an order to end on Windows."""
    import ctypes

    kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(_MAY_ASK, False, pid)
    if not handle:
        # Somebody else's process lives, too; nothing more is told of it.
        denied = ctypes.get_last_error() == _DENIED  # type: ignore[attr-defined,unused-ignore]
        return "" if denied else None
    try:
        code, times = ctypes.c_ulong(), [ctypes.c_uint64() for _ in range(4)]
        known = kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
        if known and code.value != _STILL_ACTIVE:
            return None
        asked = kernel.GetProcessTimes(ctypes.c_void_p(handle), *map(ctypes.byref, times))
        return str(times[0].value) if asked else ""
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))


def _start_by_signal(pid: int) -> Optional[str]:
    """No ``ps`` here: a process that can be signalled counts as living, its start unknown."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return ""
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
