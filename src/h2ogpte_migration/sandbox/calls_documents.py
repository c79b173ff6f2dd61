"""Rules for documents: put them into collections, take them out, read and change them."""

from __future__ import annotations

import re
from typing import List

from . import limits, render
from .calls import NO_CONTENT, Call, Reply, route
from .model import Collection, Document, JobKind, JsonObject, Membership, SandboxError

_HOW = ("copy_document", "preserve_metadata")


def _target(call: Call) -> Collection:
    """Return the collection whose documents the caller is about to change."""
    return call.world.changeable(call.user, call.id)


def _target_of_one_more(call: Call) -> Collection:
    target = _target(call)
    limits.check_documents(call, target, 1)
    return target


def _how(call: Call) -> JsonObject:
    how: JsonObject = {name: call.flag(name) for name in _HOW}
    how["ingest_mode"] = call.query.get("ingest_mode")
    return how


# -- in collections


@route("PUT", "/collections/{collection_id}/documents/{document_id}")
def insert_document_into_collection(call: Call) -> Reply:
    """Put a stored document into one more collection; done twice, it is there twice."""
    target = _target_of_one_more(call)
    document = call.world.readable_document(call.user, call.path["document_id"])
    call.world.insert_document(call.user, target, document.id, _how(call))
    return NO_CONTENT


@route("POST", "/collections/{collection_id}/documents/insert_job")
def create_insert_document_to_collection_job(call: Call) -> Reply:
    """Put a stored document into one more collection in a job."""
    world, target = call.world, _target_of_one_more(call)
    document = world.readable_document(call.user, call.required("document_id"))
    job = world.start_job(
        JobKind.INSERT_DOCUMENT.value,
        call.user,
        world.times.insert_s,
        target_id=target.id,
        params={**_how(call), "document_id": document.id},
    )
    return Reply(201, render.job(world, job))


@route("DELETE", "/collections/{collection_id}/documents/{document_id}")
def delete_document_from_collection(call: Call) -> Reply:
    """Take a document out of a collection; elsewhere it stays."""
    target = _target(call)
    document_id = call.path["document_id"]
    if not any(m.document.id == document_id for m in target.documents):
        raise SandboxError(400, "The document is not in the collection")
    call.world.take_out(target, [document_id])
    return NO_CONTENT


@route("POST", "/collections/{collection_id}/documents/delete_job")
def create_delete_document_from_collection_job(call: Call) -> Reply:
    """Take documents out of a collection in a job."""
    world, target = call.world, _target(call)
    job = world.start_job(
        JobKind.REMOVE_DOCUMENTS.value,
        call.user,
        world.times.delete_s,
        target_id=target.id,
        params={"document_ids": call.strings("document_ids")},
    )
    return Reply(201, render.job(world, job))


# -- by themselves


def _document(call: Call) -> Document:
    return call.world.readable_document(call.user, call.path["document_id"])


def _own(call: Call, document_id: str) -> Document:
    document = call.world.readable_document(call.user, document_id)
    if document.username != call.user.username:
        raise SandboxError(403, "Only the owner of the document may do this")
    return document


def _first_line(call: Call, document: Document) -> Membership:
    """Return the document's line in the oldest collection that the caller may read."""
    found = call.world.memberships(document.id)
    readable = [line for home, line in found if call.world.may_read(call.user, home)]
    return (readable or [line for _, line in found])[0]


@route("GET", "/documents/{document_id}")
def get_document(call: Call) -> Reply:
    """Return a document."""
    return Reply(200, render.document(call.world, _first_line(call, _document(call))))


@route("PATCH", "/documents/{document_id}")
def update_document(call: Call) -> Reply:
    """Change name or URI, whichever is given."""
    document = _own(call, call.path["document_id"])
    body = call.object()
    document.name = body.get("name") or document.name
    document.uri = body.get("uri") or document.uri
    return Reply(200, render.document(call.world, _first_line(call, document)))


@route("DELETE", "/documents/{document_id}")
def delete_document(call: Call) -> Reply:
    """Delete a document, wherever it is."""
    call.world.drop_documents([_own(call, call.path["document_id"]).id])
    return NO_CONTENT


@route("POST", "/documents/delete_job")
def create_delete_document_job(call: Call) -> Reply:
    """Delete documents of the caller in a job, wherever they are."""
    world = call.world
    ids = [_own(call, document_id).id for document_id in call.strings("document_ids")]
    job = world.start_job(
        JobKind.DELETE_DOCUMENTS.value,
        call.user,
        world.times.delete_s,
        params={"document_ids": ids},
    )
    return Reply(201, render.job(world, job))


@route("GET", "/documents/{document_id}/metadata")
def get_document_metadata(call: Call) -> Reply:
    """Return a document's metadata."""
    return Reply(200, _first_line(call, _document(call)).metadata)


@route("PUT", "/documents/{document_id}/metadata")
def update_document_metadata(call: Call) -> Reply:
    """Replace a document's metadata, wherever it is."""
    document = _own(call, call.path["document_id"])
    metadata = dict(call.object())
    for _, line in call.world.memberships(document.id):
        line.metadata = dict(metadata)
    return NO_CONTENT


def _nothing(call: Call) -> Reply:
    _document(call)
    return Reply(200, {})


@route("GET", "/documents/{document_id}/internal_metadata")
def get_document_internal_metadata(call: Call) -> Reply:
    """Return what the parser noted: nothing."""
    return _nothing(call)


@route("GET", "/documents/{document_id}/user_source_file")
def get_document_user_source_file(call: Call) -> Reply:
    """Return where the user's file is: nowhere."""
    return _nothing(call)


@route("GET", "/documents/{document_id}/page_ocr_model")
def get_document_page_ocr_model(call: Call) -> Reply:
    """Return which model read which page: none."""
    return _nothing(call)


@route("GET", "/documents/{document_id}/guardrails_settings")
def get_document_guardrails_settings(call: Call) -> Reply:
    """Return the guardrails of the document: none."""
    return _nothing(call)


# -- tags


@route("POST", "/documents/{document_id}/tags")
def create_tag_on_document(call: Call) -> Reply:
    """Give a document a tag."""
    document = _own(call, call.path["document_id"])
    name = call.required("name")
    if name not in document.tags:
        document.tags.append(name)
    return Reply(201, _tag(name))


@route("DELETE", "/documents/{document_id}/tags/{tag_name}")
def delete_tag_from_document(call: Call) -> Reply:
    """Take a tag from a document."""
    document, name = _own(call, call.path["document_id"]), call.path["tag_name"]
    if name not in document.tags:
        raise SandboxError(404, "Tag not found")
    document.tags.remove(name)
    return Reply(200, {"document_id": document.id, "tag_id": _tag(name)["id"]})


@route("GET", "/tags")
def list_tags(call: Call) -> Reply:
    """List the tags of the documents that the caller may read."""
    names = {name for line in _readable_lines(call) for name in line.document.tags}
    return Reply(200, [_tag(name) for name in sorted(names)])


@route("GET", "/tags/{tag_names}/documents")
def list_documents_for_tags(call: Call) -> Reply:
    """List the documents of a collection that have one of the tags."""
    wanted = set(call.path["tag_names"].split(","))
    home = call.world.readable(call.user, call.query.get("collection_id", ""))
    rows = [line for line in home.documents if wanted & set(line.document.tags)]
    return Reply(200, [render.document(call.world, line) for line in rows])


def _readable_lines(call: Call) -> List[Membership]:
    world = call.world
    return [
        line
        for home in world.collections.values()
        if world.may_read(call.user, home)
        for line in home.documents
    ]


def _tag(name: str) -> JsonObject:
    return {"id": "tag-" + re.sub(r"\W+", "-", name), "name": name, "format": ""}
