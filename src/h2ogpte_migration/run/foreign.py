"""Targets that another database may have made, found by what their names say of the source."""

from __future__ import annotations

from typing import Dict, Iterable, List, Tuple

from h2ogpte_migration import naming
from h2ogpte_migration.model import Collection


class Targets:
    """A server may keep a name in another form, and a name that it did not take was shortened.

    Args:
        targets: the ones to find.
        listed: all that is there: a shortened name that is the whole one of another is that one's.
    """

    def __init__(self, targets: Iterable[Collection], listed: Iterable[Collection]) -> None:
        self._by_name: Dict[Tuple[str, str], List[Collection]] = {}
        self._shortened: Dict[str, Dict[str, List[Collection]]] = {}
        plain, longest = set(), 0
        for item in listed:
            if naming.matches_migrated_name(item.name):
                longest = max(longest, len(item.name))
            else:
                plain.add(_key(item))
        for target in targets:
            key = _key(target)
            self._by_name.setdefault(key, []).append(target)
            if key not in plain and naming.may_be_shortened(target.name, longest):
                of_owner = self._shortened.setdefault(target.owner, {})
                of_owner.setdefault(key[1], []).append(target)

    def of(self, source: Collection, model: str) -> List[Collection]:
        """Those that may be the target of a source, with the model that it was to have, or one
        that can't be read."""
        key = _key(source)
        found = list(self._by_name.get(key, ()))
        for start, targets in self._shortened.get(source.owner, {}).items():
            if start and start != key[1] and key[1].startswith(start):
                found += targets
        return [item for item in found if item.model in ("", model) and item.id != source.id]


def _key(collection: Collection) -> Tuple[str, str]:
    return collection.owner, naming.folded(naming.undecorate(collection.name))
