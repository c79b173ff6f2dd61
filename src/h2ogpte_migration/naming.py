"""Names of target collections: how they are decorated, recognised and kept unique.

Pure. The name is what finds a target again whose creation was never answered, so it must be
unique among its owner's collections; and a second migration must not decorate it twice.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Container

_DECORATED = re.compile(r"\(Migrated\) (?P<name>.*) - [0-9]{8}_[0-9]{6}", re.DOTALL)


def target_name(source_name: str, when: datetime, taken: Container[str]) -> str:
    """The name of a new target: ``(Migrated) NAME - YYYYMMDD_HHMMSS``.

    Args:
        source_name: the source's name, which may be decorated already.
        when: the present time in UTC; its seconds are advanced until the name is free.
        taken: names that the owner's collections and recorded intents have.
    """
    plain = undecorate(source_name)
    while True:
        name = f"(Migrated) {plain} - {when:%Y%m%d_%H%M%S}"
        if name not in taken:
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
