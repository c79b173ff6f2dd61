"""Keys that must never be seen: a holder that does not show them, and a scrubber for all text.

Whatever leaves the process as text (terminal, log, report, database, traceback) goes through
``scrub``. Nothing is ever un-registered: a deleted key is still nobody's business.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from typing import Dict, Iterator, Tuple
from urllib.parse import quote, quote_plus

MASK = "***"
# A shorter "key" would tear holes into ordinary words, and protects nothing anyway.
SHORTEST = 4
SHORTEST_ON_RECORD = 12
"""What is stored is also looked up by: a "key" that may be part of an id is left in ids."""
SHORTEST_ENCODED = 8
"""Shorter pieces of base64 may be anything."""

_HEADER = re.compile(r"(?i)(\b(?:bearer|basic)(?:\s+|%20|\+))[\w.~+/=%\\-]{8,}")
_KEY = re.compile(r"\bsk-[\w-]{12,}")

HEAD = 3
"""By how many letters the spellings of keys are looked for first: very many texts hold none."""

_lock = threading.Lock()
_forms: Dict[str, Tuple[str, ...]] = {}
"""Every spelling of every key, by its head."""


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
        forms = dict(_forms)  # others read it meanwhile
        for form in _spellings(value):
            known = forms.get(form[:HEAD], ())
            if form not in known:
                forms[form[:HEAD]] = (*known, form)
        _forms = forms


def scrub(text: str) -> str:
    """``text`` with every registered value replaced by the mask."""
    return _masked(text, SHORTEST)


def scrub_words(text: str) -> str:
    """What a server says in words: it may quote a key that this process never had.

    A job's errors name the key of the run that submitted it.
    """
    return mask_lookalikes(scrub(text))


def mask_lookalikes(text: str) -> str:
    """``text`` without what looks like a key, whoever's it is."""
    return _KEY.sub(MASK, _HEADER.sub(rf"\g<1>{MASK}", text))


def scrub_record(text: str) -> str:
    """``text`` as it may be stored: without what is long enough to be a key for certain."""
    return _masked(text, SHORTEST_ON_RECORD)


def _masked(text: str, shortest: int) -> str:
    found = [
        form
        for head, forms in _forms.items()
        if head in text
        for form in forms
        if len(form) >= shortest and form in text
    ]
    # Longest first, so that a key which holds another one leaves no rest behind.
    for form in sorted(found, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _spellings(value: str) -> Iterator[str]:
    """The value plain, and as it stands in urls, ``repr``, JSON, HTML and base64."""
    plain = value.encode("utf-8", "surrogatepass")
    quoted = {quote(plain), quote(plain, safe=""), quote_plus(plain), _all_quoted(plain)}
    in_json = json.dumps(value)[1:-1]
    yield from (value, repr(value)[1:-1], in_json, in_json.replace("/", "\\/"))
    yield json.dumps(in_json)[1:-1]  # JSON that is a text within JSON
    yield from (html.escape(value), html.escape(value, quote=False))
    for text in quoted:
        yield text
        yield _small_hex(text)
    yield plain.hex()
    yield plain.hex().upper()
    yield from _in_base64(plain)


def _all_quoted(plain: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in plain)


def _small_hex(quoted: str) -> str:
    """``%2F`` as ``%2f``, and letters as they are."""
    first, *rest = quoted.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _in_base64(plain: bytes) -> Iterator[str]:
    """The value as it stands within any text that was encoded, wherever in it it begins.

    Letters that depend on what stands around it are left out.
    """
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + plain).decode("ascii")
        first = (0, 2, 3)[before]
        complete = (before + len(plain)) // 3 * 4
        text = encoded[first:complete]
        if len(text) >= SHORTEST_ENCODED:
            yield text
            yield text.replace("+", "-").replace("/", "_")
