"""Rules for the jobs of a migration, and for looking after jobs."""

from __future__ import annotations

from typing import List

from . import limits, render
from .calls import NO_CONTENT, Call, Reply, route
from .model import Job, JobKind, JsonObject, SandboxError, User
from .world import World

_FLAGS = (
    "migrate_scheduled_connectors",
    "copy_lifecycle_settings",
    "skip_reparse",
    "copy_document",
    "preserve_document_status",
    "preserve_metadata",
    "gen_doc_summaries",
    "gen_doc_questions",
    "keep_tables_as_one_chunk",
    "chunk_by_page",
    "handwriting_check",
)
_TEXTS = ("ocr_model", "tesseract_lang", "ingest_mode")


@route("POST", "/collections/{collection_id}/import_collection_job")
def create_import_collection_to_collection_job(call: Call) -> Reply:
    """Import the body's collection into the path's; done twice, the documents are there twice."""
    world = call.world
    target = world.owned(call.user, call.id)
    source = world.readable(call.user, call.required("source_collection_id"))
    how = _import_parameters(call)
    if source.id == target.id:
        raise SandboxError(400, "A collection cannot be imported into itself")
    if how["skip_reparse"] and how["copy_document"]:
        raise SandboxError(400, "skip_reparse cannot be combined with copy_document")
    limits.check_import(call, source, target, how)
    if how["migrate_scheduled_connectors"]:
        world.owned(call.user, source.id)
    return Reply(201, render.job(world, world.start_import(call.user, source, target.id, how)))


def _import_parameters(call: Call) -> JsonObject:
    ignored = [name.strip() for name in call.world.habits.import_flags_ignored.split(",")]
    how: JsonObject = {name: call.flag(name) and name not in ignored for name in _FLAGS}
    how.update({name: call.query[name] for name in _TEXTS if name in call.query})
    return how


@route("POST", "/collections/{collection_id}/migrate_scheduled_connectors")
def migrate_scheduled_connectors_to_collection(call: Call) -> Reply:
    """Move connectors from the body's collection to the path's."""
    target = call.id
    return _move(call, JobKind.MOVE_CONNECTORS, call.required("src_collection_id"), target)


@route("POST", "/collections/{collection_id}/migrate_chat_sessions_job")
def create_migrate_collection_chat_sessions_job(call: Call) -> Reply:
    """Move chats from the path's collection to the body's: the other way round."""
    source = call.id
    return _move(call, JobKind.MOVE_CHATS, source, call.required("target_collection_id"))


def _move(call: Call, kind: JobKind, source_id: str, target_id: str) -> Reply:
    world = call.world
    world.owned(call.user, source_id)
    world.owned(call.user, target_id)
    if source_id == target_id:
        raise SandboxError(400, "Source and target are the same collection")
    job = world.start_job(
        kind.value, call.user, world.times.move_s, source_id=source_id, target_id=target_id
    )
    return Reply(201, render.job(world, job))


# -- looking after jobs


def _listed(world: World, user: User, *, everybody: bool = False) -> List[Job]:
    """Return the jobs of a user that listings show, the newest first."""
    hidden_after_s = world.habits.hide_ended_jobs_after_s
    now = world.now()
    jobs = [
        job
        for job in world.jobs.values()
        if (job.username == user.username or everybody)
        and not world.too_new(job.created_at, world.habits.jobs_listed_after_s)
        and (job.ended_at is None or hidden_after_s is None or job.ended_at + hidden_after_s >= now)
    ]
    return jobs[::-1]


def _own_job(call: Call) -> Job:
    job = call.world.jobs.get(call.path["job_id"])
    habits = call.world.habits
    visible = call.user.is_admin and habits.admin_reads_jobs
    if job is not None and call.world.too_new(job.created_at, habits.jobs_readable_after_s):
        job = None
    if job is None or not (visible or job.username == call.user.username):
        raise SandboxError(habits.unknown_job_status, "Job not found")
    return job


@route("GET", "/jobs")
def list_jobs(call: Call) -> Reply:
    """List the caller's jobs, all at once."""
    everybody = call.world.habits.jobs_of_others_listed
    jobs = _listed(call.world, call.user, everybody=everybody)
    return Reply(200, [render.job(call.world, job) for job in jobs])


@route("GET", "/user_jobs")
def list_user_jobs(call: Call) -> Reply:
    """List everybody's jobs, for admins."""
    world = call.world
    world.require_admin(call.user)
    return Reply(
        200,
        [
            {
                "username": user.username,
                "user_id": user.id,
                "jobs": [render.job(world, job) for job in _listed(world, user)],
            }
            for user in world.users.values()
        ],
    )


@route("GET", "/jobs/{job_id}")
def get_job(call: Call) -> Reply:
    """Return a job of the caller."""
    return Reply(200, render.job(call.world, _own_job(call)))


@route("DELETE", "/jobs/{job_id}")
def delete_job(call: Call) -> Reply:
    """Remove a job's record."""
    call.world.drop_job(_own_job(call).id)
    return NO_CONTENT


@route("POST", "/jobs/{job_id}/cancel")
def cancel_job(call: Call) -> Reply:
    """Cancel a job; what it did so far stays."""
    job = _own_job(call)
    call.world.cancel(job, call.user.username)
    return Reply(200, render.job(call.world, job))
