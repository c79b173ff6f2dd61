"""Whether everything of the scratch collection arrived in its target."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List

from h2ogpte_migration import patience
from h2ogpte_migration.checked import Compared
from h2ogpte_migration.errors import ServerError
from h2ogpte_migration.naming import is_target_name_of
from h2ogpte_migration.run.check import Workplace
from h2ogpte_migration.run.check.making import Made
from h2ogpte_migration.steps.presence import read_documents

_UNREAD = "(could not be read)"
_OF_THE_TOOL = "ocr_model"
"""A setting that the migration itself may set."""


_FIELDS = ("description", "rag_type", "workspace", "inactivity_interval")
"""Fields of a collection's record."""
CONTENT = ("documents", "chat")
"""What has to be the same for the migration to have worked."""


def compare(place: Workplace, made: Made, target_id: str) -> List[Compared]:
    """What the source holds beside what the target holds; content may take a while to show."""
    clock, began = place.clock, place.clock.now()
    while True:
        found = _compared(place, made, target_id)
        content_arrived = all(one.same for one in found if one.what in CONTENT)
        waited_s = clock.now() - began
        if content_arrived or waited_s > patience.VISIBLE_WITHIN_S:
            return found
        clock.sleep(patience.SECOND_LOOK_S)


def _compared(place: Workplace, made: Made, target_id: str) -> List[Compared]:
    gateway, source_id = place.gateway, made.collection.id
    by_id = not place.session.options.copy_document
    source, target = gateway.collection(source_id), gateway.collection(target_id)
    looks: Dict[str, Callable[[str], Any]] = {
        "settings": lambda one: _without_the_tools(gateway.settings(one)),
        "chat settings": gateway.chat_settings,
        "metadata": gateway.metadata,
        "documents": lambda one: sorted(
            [*([row.id] if by_id else []), row.name, row.status]
            for row in read_documents(gateway, one, list)
        ),
        "metadata of documents": lambda one: _document_metadata(place, one),
    }
    fits = is_target_name_of(target.name, made.collection.name)
    wanted = target.name if fits else f"(Migrated) {made.collection.name} - ..."
    chats = _read(lambda one: sorted(place.chat_ids(one)), target_id)
    return [
        Compared("name", wanted, target.name),
        *(Compared(name, _text(source.get(name)), _text(target.get(name))) for name in _FIELDS),
        *(
            Compared(what, _read(look, source_id), _read(look, target_id))
            for what, look in looks.items()
        ),
        Compared("chat", _text([made.chat_id]), chats),
    ]


def _without_the_tools(settings: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in settings.items() if key != _OF_THE_TOOL}


def _document_metadata(place: Workplace, collection_id: str) -> List[Any]:
    template = "/collections/{collection_id}/documents"
    rows = place.bench.read(template, {"limit": 100}, collection_id=collection_id)
    return sorted([row.get("name"), row.get("metadata_dict") or {}] for row in rows)


def _read(look: Callable[[str], Any], collection_id: str) -> str:
    try:
        return _text(look(collection_id))
    except ServerError:
        return _UNREAD


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
