"""Text from elsewhere, made harmless: for the terminal, the log, a shell, a spreadsheet.

Names of collections and users, and the server's messages, are written by strangers. Nothing of
them may move a cursor, break a line, turn the reading direction or run as a command.
"""

from __future__ import annotations

import difflib
import html
import os
import re
import shlex
import textwrap
import unicodedata
from typing import Dict, Iterable, Optional

# Controls, invisible format characters (bidi, zero width), lone surrogates, line breaks.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_PLAIN = re.compile(r"[\w./:\\=,+@-]+")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""
LONGEST_LINE = 4_000_000
"""Commands to paste must come out whole, and these may carry thousands of ids."""
_ID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{20,}|\d+")


class _Visible(Dict[int, str]):
    """A table for ``str.translate`` that learns each character when it first meets it."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        self[code] = _escape(char) if is_harmful(char) else char
        return self[code]


def is_harmful(char: str) -> bool:
    """Whether a character acts on the terminal or the line instead of being seen."""
    return unicodedata.category(char) in _HARMFUL


def _escape(char: str) -> str:
    """The character as Python writes it in a string literal."""
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


_VISIBLE = _Visible()


def safe(text: str, limit: int = 200) -> str:
    """``text`` on one line of at most ``limit`` characters, with everything harmful spelt out."""
    if len(text) <= limit and text.isprintable():
        return text
    shown = text[: limit + 1].translate(_VISIBLE)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def fold(text: str, width: Optional[int]) -> str:
    """A text within the terminal, between words; a line with a command stays one line.

    Whatever others wrote into it is made harmless first: only the breaks made here are breaks.
    """
    text = safe(text, LONGEST_LINE)
    if width is None or len(text) < width or "h2ogpte-migrate -" in text:
        return text
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    return "\n".join(
        textwrap.wrap(
            text,
            max(40, width - 1),
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )
    )


def gist(reason: str) -> str:
    """What a reason says first; which documents it is about is left to the details."""
    return reason.split("; ")[0].rstrip(".")


def brief(reason: str) -> str:
    """A reason without the names in its later parts: which documents is left to the details."""
    first, *others = reason.rstrip(".").split("; ")
    return "; ".join([first, *(part.partition(": ")[0] for part in others)])


def without_ids(text: str) -> str:
    """A text as others of its kind read: free of ids and numbers."""
    return _ID.sub("#", text)


def shell(*words: str) -> str:
    """The words as one line to paste into a shell; what can't be shown raw is in ``$'..'``.

    On Windows blanks are in double quotes, which both of its shells take; whatever one of them
    might act on is in single quotes, which PowerShell takes as it is.
    """
    if os.name == "nt":
        return " ".join(_quote_for_windows(word) for word in words)
    return " ".join(_quote(word) for word in words)


def _quote_for_windows(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    if _PLAIN.fullmatch(word.replace(" ", "_")):
        return f'"{word}"'
    return "'" + safe(word, LONGEST_LINE).replace("'", "''") + "'"


def _quote(word: str) -> str:
    if word.isprintable() or not any(map(is_harmful, word)):
        return shlex.quote(word)
    return "$'" + "".join(map(_quote_char, word)) + "'"


def _quote_char(char: str) -> str:
    """One character between ``$'`` and ``'``: bytes, because these do not depend on a locale."""
    if char in "'\\":
        return "\\" + char
    if not is_harmful(char):
        return char
    return "".join(f"\\x{byte:02x}" for byte in _raw_bytes(char))


def _raw_bytes(char: str) -> bytes:
    """The bytes that the shell must hand over so that Python reads this character again."""
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return char.encode("utf-8", errors)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean jane.doe?`` where a known name is close, capitals aside; else nothing."""
    folded = {one.casefold(): one for one in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name.casefold(), sorted(folded), 1)
    return f"; did you mean {safe(folded[close[0]])}?" if close else ""


def plural(count: int, noun: str) -> str:
    """``1 collection``, ``2 collections``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def csv_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    shown = safe(text, limit=32_000)
    return "'" + shown if text.startswith(FORMULA) else shown


def html_text(text: str) -> str:
    """Text for HTML, in an element or in a quoted attribute."""
    return html.escape(safe(text, limit=32_000))


def duration(seconds: float) -> str:
    """A span as a clock shows it: ``0:31``, ``1:02:03``."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def time_left(seconds: float) -> str:
    """An estimate, as roughly as it is known."""
    if seconds < 60:
        return "less than a minute left"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.0f} h left"
