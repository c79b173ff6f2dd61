"""Whether everything of the scratch collection arrived in its target."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List

from h2ogpte_migration.checked import Compared
from h2ogpte_migration.errors import ServerError
from h2ogpte_migration.naming import is_target_name_of
from h2ogpte_migration.run.check import Workplace
from h2ogpte_migration.run.check.making import Made

_UNREAD = "(could not be read)"
_OF_THE_TOOL = "ocr_model"
"""A setting that the migration itself may set."""


def compare(place: Workplace, made: Made, target_id: str) -> List[Compared]:
    """What the source holds beside what the target holds."""
    gateway, source_id = place.gateway, made.collection.id
    by_id = not place.session.options.copy_document
    looks: Dict[str, Callable[[str], Any]] = {
        "description": lambda one: gateway.collection(one).get("description"),
        "settings": lambda one: _without_the_tools(gateway.settings(one)),
        "chat settings": gateway.chat_settings,
        "metadata": gateway.metadata,
        "RAG type": lambda one: gateway.collection(one).get("rag_type"),
        "workspace": lambda one: gateway.collection(one).get("workspace"),
        "inactivity interval": lambda one: gateway.collection(one).get("inactivity_interval"),
        "documents": lambda one: sorted(
            [*([row.id] if by_id else []), row.name, row.status] for row in gateway.documents(one)
        ),
        "metadata of documents": lambda one: _document_metadata(place, one),
    }
    found = [
        Compared(what, _read(look, source_id), _read(look, target_id))
        for what, look in looks.items()
    ]
    name = _read(lambda one: gateway.collection(one).name, target_id)
    fits = is_target_name_of(json.loads(name), made.collection.name) if name != _UNREAD else False
    wanted = name if fits else f"(Migrated) {made.collection.name} - ..."
    chats = _read(lambda one: sorted(row["id"] for row in gateway.chats(one)), target_id)
    return [Compared("name", wanted, name), *found, Compared("chat", _text([made.chat_id]), chats)]


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
