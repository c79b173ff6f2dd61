"""Lines that are drawn over and over at one place of the terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Iterator, Sequence

from h2ogpte_migration.redact import scrub
from h2ogpte_migration.ui.console import Console


@contextmanager
def drawing(console: Console) -> Iterator[Callable[[Sequence[str]], None]]:
    """Draws lines in place of the ones before, while entered; what it showed last stays there."""
    from rich.console import Console as RichConsole
    from rich.live import Live
    from rich.text import Text

    screen = RichConsole(file=console.out, highlight=False)
    with Live(
        console=screen, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    ) as live:

        def show(lines: Sequence[str]) -> None:
            # Names are strangers' text: never read as markup.
            live.update(Text(scrub("\n".join(lines)), no_wrap=False), refresh=True)

        yield show
