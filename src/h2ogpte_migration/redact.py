"""Keys that must never be seen: a holder that does not show them, and a scrubber for all text.

Whatever leaves the process as text (terminal, log, report, database, traceback) goes through
``scrub``. Nothing is ever un-registered: a deleted key is still nobody's business.
"""

from __future__ import annotations

import json
import threading
from typing import Tuple
from urllib.parse import quote, quote_plus

MASK = "***"
# A shorter "key" would tear holes into ordinary words, and protects nothing anyway.
SHORTEST = 4

_lock = threading.Lock()
_forms: Tuple[str, ...] = ()


class Secret:
    """A key. It shows itself to ``reveal`` only, and is scrubbed from all output from birth."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        register(value)

    def reveal(self) -> str:
        """The key itself: for the request that needs it, for nothing else."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def register(value: str) -> None:
    """Have ``value`` masked by ``scrub`` from now on, in every way that it is usually written."""
    global _forms
    if len(value) < SHORTEST:
        return
    with _lock:
        # Longest first, so that a key which begins with another one leaves no rest behind.
        _forms = tuple(sorted({*_forms, *_spellings(value)}, key=len, reverse=True))


def scrub(text: str) -> str:
    """``text`` with every registered value replaced by the mask."""
    for form in _forms:
        if form in text:
            text = text.replace(form, MASK)
    return text


def _spellings(value: str) -> Tuple[str, ...]:
    """The value plain, quoted for an url, and escaped as in ``repr`` and in JSON."""
    plain = value.encode("utf-8", "surrogatepass")
    return (
        value,
        quote(plain),
        quote(plain, safe=""),
        quote_plus(plain),
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
    )
