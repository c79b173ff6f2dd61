"""Names of target collections: how they are decorated, recognised and kept unique.

Pure. The name is what finds a target again whose creation was never answered, so it must be
unique among its owner's collections; and a second migration must not decorate it twice.
"""

from __future__ import annotations

import html
import re
import unicodedata
from datetime import datetime, timedelta
from typing import Container, Optional

_TIME = "%Y%m%d_%H%M%S"
_SUFFIX = re.compile(r" - ([0-9]{8}_[0-9]{6})$")
_PREFIX = "(Migrated) "
_LENGTHS = (255, 200, 128, 100, 64, 50, 40, 32)
"""Longest names that servers are known to take; tried where a refusal does not say."""
SHORTEST = 30
"""The fewest characters that hold decoration, time and something of the name."""
_DECORATED = re.compile(r"\(Migrated\) (?P<name>.*) - [0-9]{8}_[0-9]{6}", re.DOTALL | re.IGNORECASE)
_STRIPPED = 5
"""How many blanks may have been left out at the end of a name that was shortened."""


def target_name(source_name: str, when: datetime, taken: Container[str]) -> str:
    """The name of a new target: ``(Migrated) NAME - YYYYMMDD_HHMMSS``.

    Args:
        source_name: the source's name, which may be decorated already.
        when: the present time in UTC; its seconds are advanced until the name is free.
        taken: names that were given to the owner's targets, ``folded``: a server that keeps two of
            them alike could not tell the targets apart.
    """
    plain = undecorate(source_name)
    while True:
        name = f"(Migrated) {plain} - {when:%Y%m%d_%H%M%S}"
        if folded(name) not in taken:
            return name
        when += timedelta(seconds=1)


def undecorate(name: str) -> str:
    """The name as it was before any migration, also where decorations were stacked."""
    found = _DECORATED.fullmatch(name)
    while found:
        name = found.group("name")
        found = _DECORATED.fullmatch(name)
    return name


def matches_migrated_name(candidate: str) -> bool:
    """Whether a collection's name is one that a migration gives."""
    return _DECORATED.fullmatch(candidate) is not None


def is_target_name_of(candidate: str, source_name: str) -> bool:
    """Whether ``candidate`` is a name that a migration of ``source_name`` gives.

    A source that is itself a target answers to its own name: tell the two apart by their ids.
    """
    return matches_migrated_name(candidate) and undecorate(candidate) == undecorate(source_name)


# -- names as servers keep them ----------------------------------------------------------
def normalise(name: str) -> str:
    """A name as servers may store it: blanks and forms of the same letters do not count."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def folded(name: str) -> str:
    """A name in whatever form a server keeps it: case and HTML's escapes do not count either.

    For finding what may be ours, never for deciding that something may be deleted.
    """
    return normalise(html.unescape(name)).casefold()


def may_be_shortened(target_name: str, longest: int) -> bool:
    """Whether a target's name may be shorter than its source's wanted it.

    Names are shortened to what a server takes: to a length out of ``_LENGTHS``, or to one that the
    refusal told, which no other name exceeds then.

    Args:
        longest: how long the longest name of a target on this server is.
    """
    length = len(target_name)
    if length < _LENGTHS[-1]:
        return False
    tried = zip((longest + 1, *_LENGTHS), _LENGTHS)
    return longest <= length + _STRIPPED or any(
        shorter - _STRIPPED <= length <= shorter and longest < longer for longer, shorter in tried
    )


def is_cut(candidate: str, name: str) -> bool:
    """Whether a server may have stored ``name`` as ``candidate``, its end cut off.

    What ends where the decorated name does may be somebody else's own choice of a name.
    """
    stored, wanted = normalise(candidate), normalise(name)
    own = normalise(_SUFFIX.sub("", name))
    return len(_PREFIX) < len(stored) < len(wanted) and wanted.startswith(stored) and stored != own


def shortened(name: str, limit: int, taken: Container[str]) -> Optional[str]:
    """A target's name in at most ``limit`` characters, its time kept whole; None: too few.

    Args:
        taken: names that are in use, ``folded``; the seconds are advanced until one is free.
    """
    found = _SUFFIX.search(name)
    if found is None:
        return None
    when = datetime.strptime(found.group(1), _TIME)
    start = name[: found.start()]
    if limit < SHORTEST:
        start = start[len(_PREFIX) :] if start.startswith(_PREFIX) else start
    start = start[: max(0, limit - len(found.group(0)))].rstrip()
    if not start:
        return None
    while True:
        short = f"{start} - {when:{_TIME}}"
        if folded(short) not in taken:
            return short
        when += timedelta(seconds=1)


def next_shorter(length: int) -> Optional[int]:
    """The next length to try where a name of this one was refused."""
    return next((known for known in _LENGTHS if known < length), None)
