"""Which collections are a check's: the one place that decides it.

A name alone never does. Each scratch collection has a token of 128 bits in its description, which
the migration carries over to its targets with the very request that creates them.
"""

from __future__ import annotations

from typing import Iterator, List

from h2ogpte_migration import naming
from h2ogpte_migration.errors import NotFound
from h2ogpte_migration.model import Collection
from h2ogpte_migration.run.check import Workplace
from h2ogpte_migration.tracking.scratch import Thing

PREFIX = "h2ogpte-check-"
_SHORTEST = 8
"""Of a name that a server cut, so many characters must be left for it to be looked at."""


def name_of(token: str) -> str:
    """The name of a scratch collection: short, so that no server has to cut it."""
    return PREFIX + token[:6]


def description_of(token: str) -> str:
    """What its description says."""
    return (
        "Made by h2ogpte-migrate --check-server, and deleted at its end. If that did not end well, "
        f"the next one in the same folder deletes it. {token}"
    )


def document_name(token: str, number: int) -> str:
    """The name of a scratch document."""
    return f"check-{token[:12]}-{number}.txt"


def is_ours(name: str, token: str) -> bool:
    """Whether a document bears a name that was made for it."""
    return f"check-{token[:12]}-" in name


def recognised(place: Workplace, thing: Thing) -> Iterator[Collection]:
    """The owner's collections that hold the token of a scratch collection: itself, and targets."""
    for listed in _candidates(place, thing):
        try:
            found = place.gateway.collection(listed.id)
        except NotFound:
            continue
        described = str(found.get("description") or "")
        if thing.token in described and found.owner in ("", thing.owner):
            yield found
        elif not described and naming.normalise(listed.name) == thing.name:
            place.remarks.append(
                f"the collection {listed.name} ({listed.id}) has the name of one of this check and "
                "no description; it is left alone"
            )


def _candidates(place: Workplace, thing: Thing) -> List[Collection]:
    """Collections worth a look, by name; also where a server cut it."""
    names = (thing.name, f"(Migrated) {thing.name}")

    def fits(name: str) -> bool:
        stored = naming.normalise(name)
        if thing.name in stored:
            return True
        beginning = stored[len("(Migrated) ") :] if stored.startswith("(Migrated) ") else stored
        return len(beginning) >= _SHORTEST and any(full.startswith(stored) for full in names)

    return [
        item
        for item in place.gateway.own_collections()
        if item.owner in ("", thing.owner) and fits(item.name)
    ]
