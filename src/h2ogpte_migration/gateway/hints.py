"""Requests about what else knows a collection: keys, tasks, assistants, graphs, tags. All repeatable.

None of it is needed to migrate; servers differ in whether they have these operations.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Mapping

from h2ogpte_migration.gateway.calls import Calls, named, text
from h2ogpte_migration.model import Json


class Hints(Calls):
    """Reads what points at collections, as their ids: one for each thing that points there."""

    def collections_of_keys(self) -> Iterator[str]:
        """Collections that living API keys of anybody are bound to (admin).

        Wire: list_all_api_keys; ``collection_id`` is there for a key that is bound to one.
        """
        for row in self._listing("/admin/api_keys").each_once():
            if row.get("is_active") is not False and text(row, "collection_id"):
                yield text(row, "collection_id")

    def collections_of_all_tasks(self) -> Iterator[str]:
        """Collections of everybody's scheduled tasks (admin). Wire: list_scheduled_tasks_by_admin."""
        return self._tasks("/admin/scheduled_tasks", {})

    def collections_of_tasks(self) -> Iterator[str]:
        """Collections of the own scheduled tasks. Wire: list_scheduled_tasks."""
        return self._tasks("/scheduled_tasks", {"has_collection": True})

    def collections_of_assistants(self) -> Iterator[str]:
        """Collections that the own assistants are connected to: a request for each assistant.

        Wire: list_ai_assistants, list_ai_assistant_collections.
        """
        for assistant in self._listing("/ai_assistants").each_once():
            path = {"assistant_id": text(assistant, "id")}
            template = "/ai_assistants/{assistant_id}/collections"
            query = {"offset": 0, "limit": 100}
            for link in named(self._array(template, path, query), "collection_id"):
                yield text(link, "collection_id")

    def has_graph(self, collection_id: str) -> bool:
        """Whether a knowledge graph was built, or is being built. Wire: get_collection_graph_status."""
        status = text(
            self._object("/graph/{collection_id}/status", collection_id=collection_id), "status"
        )
        return status.strip().lower() in ("ready", "building")

    def document_metadata(self, document_id: str) -> Json:
        """Metadata of a document as raw JSON. Wire: get_document_metadata."""
        return self._object("/documents/{document_id}/metadata", document_id=document_id)

    def tags(self) -> List[str]:
        """Names of all tags that the caller sees. Wire: GET /tags, as the client sends it."""
        return [text(row, "name") for row in named(self._array("/tags", {}), "name")]

    def count_tagged(self, collection_id: str, names: List[str]) -> int:
        """How many documents of a collection have one of the tags.

        Wire: GET /tags/{tag_names}/documents, as the client sends it.
        """
        rows = self._array(
            "/tags/{tag_names}/documents",
            {"tag_names": ",".join(names)},
            {"collection_id": collection_id},
        )
        return len({text(row, "id") for row in named(rows, "id")})

    def _tasks(self, template: str, query: Mapping[str, Any]) -> Iterator[str]:
        for row in self._listing(template, query, items="items").each_once():
            config = row.get("task_config")
            if isinstance(config, dict) and text(config, "collection_id"):
                yield text(config, "collection_id")
