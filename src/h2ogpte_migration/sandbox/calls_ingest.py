"""Rules for bringing new documents in: upload files, ingest them, ingest plain text."""

from __future__ import annotations

import json
from typing import List, Optional, Tuple

from . import limits, render
from .calls import Call, Reply, route
from .model import JobKind, JsonObject, Membership, SandboxError, Upload


def _upload(call: Call) -> Upload:
    files = call.body
    if not (isinstance(files, list) and files and isinstance(files[0], list)):
        raise SandboxError(400, "A file is missing")
    name, text = files[0]
    upload = Upload(call.world.new_id(), name, call.user.username, text)
    call.world.uploads[upload.id] = upload
    return upload


@route("PUT", "/uploads")
def upload_file(call: Call) -> Reply:
    """Take a file, of which the text is kept."""
    upload = _upload(call)
    return Reply(200, {"id": upload.id, "filename": upload.name})


@route("PUT", "/rpc/fs")
def upload_file_by_rpc(call: Call) -> Reply:
    """Take a file as the client sends it."""
    return Reply(200, {"id": _upload(call).id})


def _start(
    call: Call, kind: JobKind, files: List[Tuple[str, str]], metadata: List[JsonObject]
) -> Reply:
    """Start a job that puts files, as names and texts, into the query's collection."""
    world = call.world
    if "collection_id" not in call.query:
        raise SandboxError(400, "'collection_id' is missing")
    target = world.changeable(call.user, call.query["collection_id"])
    limits.check_documents(call, target, len(files))
    job = world.start_job(kind.value, call.user, world.times.ingest_s, target_id=target.id)
    status = "agent_only" if call.query.get("ingest_mode") == "agent_only" else "completed"
    job.planned = [
        Membership(world.new_document(call.user, name, text), status, world.now(), about)
        for (name, text), about in zip(files, metadata)
    ]
    return Reply(201, render.job(world, job))


@route("POST", "/uploads/{upload_ids}/ingest/job")
def create_ingest_upload_job(call: Call) -> Reply:
    """Put uploaded files into a collection in a job."""
    uploads = call.world.uploads
    ids = call.path["upload_ids"].split(",")
    mine = [i for i in ids if i in uploads and uploads[i].username == call.user.username]
    if mine != ids:
        raise SandboxError(400, "Upload not found")
    given = (call.body if isinstance(call.body, dict) else {}).get("metadata") or {}
    files = [(uploads[i].name, uploads[i].text) for i in ids]
    reply = _start(call, JobKind.INGEST_UPLOADS, files, [dict(given.get(i) or {}) for i in ids])
    for upload_id in ids:
        del uploads[upload_id]
    return reply


@route("POST", "/ingest/plain_text/job")
def create_ingest_from_plain_text_job(call: Call) -> Reply:
    """Put a text into a collection in a job."""
    name = call.query.get("file_name")
    if not name or not isinstance(call.body, str):
        raise SandboxError(400, "'file_name' or the text is missing")
    metadata = _metadata(call.query.get("metadata"))
    return _start(call, JobKind.INGEST_TEXT, [(name, call.body)], [metadata])


def _metadata(text: Optional[str]) -> JsonObject:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SandboxError(400, "'metadata' must be a JSON object")
    return value
