"""How much room text takes on a terminal, and text that fits it."""

from __future__ import annotations

import unicodedata


def width(text: str) -> int:
    """How many places a text takes on a terminal: wide letters two, combining marks none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) != 0 for char in text)


def fit(text: str, places: int) -> str:
    """``text`` cut to so many places, with an ellipsis where something is missing."""
    if width(text) <= places:
        return text
    while text and width(text) > places - 1:
        text = text[: -max(1, (width(text) - places) // 2)]
    return text + "…" if places > 0 else ""


def pad(text: str, places: int) -> str:
    """``text`` in exactly so many places."""
    shown = fit(text, places)
    return shown + " " * (places - width(shown))
