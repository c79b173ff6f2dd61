"""Ctrl-C, SIGTERM and SIGHUP: the first one asks the run to stop, the second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Callable, Dict, Optional, Type, TypeVar

from h2ogpte_migration.errors import ExitCode, Interrupted
from h2ogpte_migration.ui.console import Console

LAST_RESORT_S = 30.0
"""After this a run that was asked to stop is ended, whatever it waits for."""

_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
if hasattr(signal, "SIGHUP"):  # not on Windows
    _CODES[signal.SIGHUP] = ExitCode.HUNG_UP


T = TypeVar("T")


def to_its_end(work: Callable[[], T]) -> T:
    """Tidy up, also where the user asks to stop in the middle of it.

    What was interrupted is done once more: requests that begin after a stop are sent at once, each
    one time. So ``work`` has to be something that may be repeated.
    """
    try:
        return work()
    except Interrupted:
        return work()


class Stopper:
    """While entered, signals set ``stop``; ``exit_code`` then says which one it was."""

    def __init__(self, console: Console) -> None:
        self.stop = threading.Event()
        self.exit_code: Optional[ExitCode] = None
        self._console = console
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> Stopper:
        for number in _CODES:
            ignored = signal.getsignal(number) is signal.SIG_IGN
            if ignored and number not in (signal.SIGINT, signal.SIGTERM):
                continue  # as ``nohup`` wants it: the closed terminal is none of our business
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def answer(self, code: int) -> int:
        """What the command answers: this exit code, or the one of the signal that came."""
        return self.exit_code or code

    def _on_signal(self, number: int, _frame: Optional[FrameType]) -> None:
        code = _CODES[signal.Signals(number)]
        if self.stop.is_set():
            os._exit(code)
        self.exit_code = code
        self.stop.set()
        # Not in the handler itself: the console's lock may be held by the code it interrupts.
        threading.Thread(target=self._announce, daemon=True).start()
        last_resort = threading.Timer(LAST_RESORT_S, os._exit, (int(code),))
        last_resort.daemon = True
        last_resort.start()

    def _announce(self) -> None:
        self._console.attention(
            "Stopping: nothing new is started, calls under way may end. Once more to leave at once."
        )
