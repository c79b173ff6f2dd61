"""What only a check of the server asks for: making documents, and looking at replies as they are.

The same rules hold as for ``rest``.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Mapping, Optional

from h2ogpte_migration.errors import NotFound, OutcomeUnknown
from h2ogpte_migration.gateway.calls import Calls
from h2ogpte_migration.gateway.rest import COLLECTION
from h2ogpte_migration.model import JobId, Json

_DOCUMENT = "/documents/{document_id}"
_INGEST = "/ingest/plain_text/job"


class Workbench(Calls):
    """The server as one key sees it, with these operations."""

    @classmethod
    def beside(cls, other: Calls) -> Workbench:
        """With the key and the connections of a gateway."""
        return cls(other._transport, other._keys, other._sizes, other._chat, other._good_keys)

    def ingest_text(
        self, collection_id: str, name: str, text: str, metadata: Mapping[str, Any]
    ) -> JobId:
        """Start the job that makes a document of a text. NOT repeatable.

        Wire: create_ingest_from_plain_text_job.
        """
        job = self._request(
            "POST",
            _INGEST,
            query={
                "collection_id": collection_id,
                "file_name": name,
                "metadata": json.dumps(dict(metadata)),
            },
            text=text,
            repeatable=False,
            expect=dict,
        )
        if not isinstance(job.get("id"), str) or not job["id"]:
            route = f"POST {_INGEST}"
            raise OutcomeUnknown(f"{route}: the server did not say what it began.", route=route)
        return JobId(job["id"])

    def set_inactivity_interval(self, collection_id: str, days: int) -> None:
        """Repeatable. Wire: update_collection_inactivity_interval."""
        self._request(
            "PUT",
            f"{COLLECTION}/inactivity_interval",
            path={"collection_id": collection_id},
            body={"inactivity_interval": days},
            repeatable=True,
        )

    def change_description(self, collection_id: str, description: str) -> None:
        """Send the description alone, which a server may take as an order to blank the rest.

        Repeatable. Wire: update_collection.
        """
        self._request(
            "PATCH",
            COLLECTION,
            path={"collection_id": collection_id},
            body={"description": description},
            repeatable=True,
        )

    def document(self, document_id: str) -> Optional[Json]:
        """A document, wherever it is; None where there is no such document. Repeatable.

        Wire: get_document.
        """
        with suppress(NotFound):
            found: Json = self._request(
                "GET", _DOCUMENT, path={"document_id": document_id}, repeatable=True, expect=dict
            )
            return found
        return None

    def delete_document(self, document_id: str) -> None:
        """Delete a document wherever it is. Repeatable: 404 counts as done. Wire: delete_document."""
        with suppress(NotFound):
            self._request("DELETE", _DOCUMENT, path={"document_id": document_id}, repeatable=True)

    def read(self, template: str, query: Optional[Mapping[str, Any]] = None, **path: str) -> Any:
        """The JSON of a reply, as it is. Repeatable."""
        return self._request("GET", template, path=path, query=query, repeatable=True)
