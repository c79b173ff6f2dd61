"""Rules for chunks: list them, encode texts, find the chunks that are alike."""

from __future__ import annotations

from typing import Any, Iterable, List, Tuple

from .calls import Call, Reply, route
from .model import Collection, JsonObject, SandboxError
from .passages import Chunk, chunks_of, dimensions, embed, in_disorder, ranked

_Scored = Tuple[float, Chunk]


def _chunk(item: Chunk) -> JsonObject:
    return {
        "id": item.id,
        "text": item.text,
        "name": item.document_name,
        "size": len(item.text.encode("utf-8", "replace")),
        "pages": str(item.page),
    }


def _found(rows: Iterable[_Scored]) -> Reply:
    return Reply(
        200, [{**_chunk(c), "topic": c.document_id, "score": round(s, 6)} for s, c in rows]
    )


def _page(call: Call, rows: List[_Scored]) -> Reply:
    body = call.object()
    offset, limit = (body.get(name, default) for name, default in (("offset", 0), ("limit", 100)))
    if not (isinstance(offset, int) and isinstance(limit, int) and min(offset, limit) >= 0):
        raise SandboxError(400, "'offset' and 'limit' must be numbers")
    return _found(rows[offset : offset + min(limit, call.world.habits.page_cap)])


def _among(call: Call, home: Collection) -> List[Chunk]:
    """Return the chunks of the documents that the body asks for: none named means all."""
    topics = call.strings("topics")
    return [chunk for chunk in chunks_of(home) if not topics or chunk.document_id in topics]


@route("GET", "/documents/{document_id}/chunks")
def list_document_chunks(call: Call) -> Reply:
    """List the chunks of a document in the collection that the query names."""
    if "collection_id" not in call.query:
        raise SandboxError(400, "'collection_id' is missing")
    home = call.world.readable(call.user, call.query["collection_id"])
    document_id = call.path["document_id"]
    if not any(m.document.id == document_id for m in home.documents):
        raise SandboxError(404, "Document not found")
    return _found((1.0, chunk) for chunk in chunks_of(home) if chunk.document_id == document_id)


@route("GET", "/collections/{collection_id}/chunks/{chunk_ids}")
def get_collection_chunks(call: Call) -> Reply:
    """Return chunks by their ids, all of which must be there."""
    home = call.world.readable(call.user, call.id)
    by_id = {str(chunk.id): chunk for chunk in chunks_of(home)}
    wanted = call.path["chunk_ids"].split(",")
    if any(chunk_id not in by_id for chunk_id in wanted):
        raise SandboxError(400, "One or more chunks could not be found")
    return Reply(200, [_chunk(by_id[chunk_id]) for chunk_id in wanted])


@route("POST", "/embedding_models/{model_id}/encode_chunks_for_retrieval")
def encode_chunks_for_retrieval(call: Call) -> Reply:
    """Return the vectors of texts, by a model of this server."""
    model = call.path["model_id"]
    if model not in call.world.models:
        raise SandboxError(400, f"Unknown embedding model: {model}")
    return Reply(200, [list(embed(model, text)) for text in call.strings("chunks")])


@route("POST", "/collections/{collection_id}/chunks/match")
def match_collection_chunks(call: Call) -> Reply:
    """Find the chunks that are nearest to vectors of the collection's own model."""
    home = call.world.readable(call.user, call.id)
    vectors = _vectors(call, home.embedding_model)
    rows = ranked(home.embedding_model, _among(call, home), vectors)
    cut_off = call.object().get("cut_off") or 0
    if cut_off:
        rows = [row for row in rows if 1 - row[0] <= cut_off]
    broken = call.world.habits.broken_index if home.imported else ""
    if broken:
        rows = [] if broken == "empty" else in_disorder(rows)
    return _page(call, rows)


def _vectors(call: Call, model: str) -> List[List[float]]:
    vectors: List[Any] = call.required("vectors", list)
    size = dimensions(model)
    for vector in vectors:
        if not (isinstance(vector, list) and len(vector) == size):
            raise SandboxError(400, f"A vector of {model} has {size} dimensions")
    return vectors


@route("POST", "/collections/{collection_id}/chunks/search")
def search_collection_chunks(call: Call) -> Reply:
    """Find the chunks that share words with a text."""
    home = call.world.readable(call.user, call.id)
    wanted = set(call.required("query").lower().split())
    rows = [
        (len(wanted & set(chunk.text.lower().split())) / max(1, len(wanted)), chunk)
        for chunk in _among(call, home)
    ]
    found = [row for row in rows if row[0]]
    return _page(call, sorted(found, key=lambda row: (-row[0], row[1].id)))
