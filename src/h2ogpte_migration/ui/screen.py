"""Lines that are drawn over and over at one place of the terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Optional, Sequence, Type

from h2ogpte_migration.redact import scrub
from h2ogpte_migration.ui.console import Console


class Screen:
    """A place on the terminal, while it is entered; what it showed last stays there."""

    def __init__(self, console: Console) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live

        screen = RichConsole(file=console.out, highlight=False)
        self._live = Live(
            console=screen, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._live.stop()

    def show(self, lines: Sequence[str]) -> None:
        """Draw these lines in place of the ones before."""
        from rich.text import Text

        # Names are strangers' text: never read as markup.
        text = Text(scrub("\n".join(lines)), no_wrap=False)
        self._live.update(text, refresh=True)
