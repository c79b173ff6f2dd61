"""Makes the scratch collection of a check: two documents, settings, metadata, a chat.

Each thing is on record before it is asked for. An answer that does not come is looked for, and
what surely was not done is asked for again, as in a migration.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, List, Optional, Tuple, TypeVar

from h2ogpte_migration import patience
from h2ogpte_migration.errors import (
    BadReply,
    NotFound,
    OutcomeUnknown,
    Rejected,
    ServerError,
    StepFailed,
    Unavailable,
)
from h2ogpte_migration.model import Collection, Document, Job, JobId, TargetId
from h2ogpte_migration.run.check import Workplace
from h2ogpte_migration.run.check import recognising as names
from h2ogpte_migration.sending import look_until
from h2ogpte_migration.steps.presence import read_documents, read_when_visible
from h2ogpte_migration.tracking.scratch import Kind, Thing

T = TypeVar("T")

TEXTS = (
    "Harbour pilots guide ships through narrow water. A pilot boards outside the breakwater, "
    "takes the helm as far as the berth, and leaves by the same ladder.",
    "Sourdough rises slowly. Flour, water and salt rest overnight at room temperature; in the "
    "morning the loaf is shaped once, and baked in a very hot oven.",
)
METADATA = {"made_by": "h2ogpte-migrate", "purpose": "check"}
SETTINGS = {"max_tokens_per_chunk": 256}
CHAT_SETTINGS = {"include_chat_history": "auto"}
INACTIVITY_DAYS = 365

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """The scratch collection with what is in it."""

    collection: Collection
    token: str
    chat_id: str


def make(place: Workplace, model: str) -> Made:
    """Make all of it.

    Raises:
        ServerError, StepFailed: something could not be made; what was made is on record.
        Interrupted: the user asked to stop.
    """
    token = uuid.uuid4().hex
    collection = _collection(place, token, model)
    _furnish(place, collection.id)
    _documents(place, collection.id, token)
    return Made(collection, token, _chat(place, collection.id, token))


def _collection(place: Workplace, token: str, model: str) -> Collection:
    request = {
        "name": names.name_of(token),
        "description": names.description_of(token),
        "embedding_model": model,
    }
    thing = _thing(place, Kind.COLLECTION, request["name"], token)
    made = _once(
        place,
        thing,
        lambda: place.gateway.create_collection(request),
        lambda: next(names.recognised(place, thing), None),
    )
    place.scratch.made(thing.number, made.id)
    log.info("made the scratch collection %s (%s)", request["name"], made.id)
    _note_visibility(place, made.id)
    found = read_when_visible(place.gateway, place.clock, made.id, patience.VISIBLE_WITHIN_S)
    with suppress(ServerError):
        added = sorted({**place.gateway.settings(made.id), **place.gateway.chat_settings(made.id)})
        place.notes.note("server_defaults", not added, ", ".join(added[:5]))
    return found


def _note_visibility(place: Workplace, collection_id: str) -> None:
    readable = True
    try:
        place.gateway.collection(collection_id)
    except NotFound:
        readable = False
    place.notes.note("collections_readable_after_s", readable)
    shows = any(item.id == collection_id for item in place.gateway.own_collections())
    place.notes.note("collections_listed_after_s", shows)


def _furnish(place: Workplace, collection_id: str) -> None:
    """Settings of several sorts; one that is refused is not compared later, and that is all."""
    gateway, ours = place.gateway, TargetId(collection_id)
    furniture: Dict[str, Callable[[], None]] = {
        "settings": lambda: gateway.set_settings(ours, SETTINGS),
        "chat settings": lambda: gateway.set_chat_settings(ours, CHAT_SETTINGS),
        "metadata": lambda: gateway.set_metadata(ours, METADATA),
        "the inactivity interval": partial(
            place.bench.set_inactivity_interval, collection_id, INACTIVITY_DAYS
        ),
    }
    for what, send in furniture.items():
        place.clock.check()
        try:
            send()
        except (Rejected, NotFound, Unavailable, BadReply) as error:
            place.remarks.append(f"{what} of a collection could not be set: {error.message}")


# -- documents ---------------------------------------------------------------------------
def _documents(place: Workplace, collection_id: str, token: str) -> None:
    things, jobs = [], []
    for number, text in enumerate(TEXTS, 1):
        thing = _thing(place, Kind.DOCUMENT, names.document_name(token, number), token)
        things.append(thing)
        send = partial(place.bench.ingest_text, collection_id, thing.name, text, METADATA)
        find = partial(_document_is_there, place, collection_id, thing.name)
        job_id = _once(place, thing, send, find)
        if job_id:
            place.scratch.job_started(thing.number, job_id)
            _note_job(place, job_id)
            jobs.append(job_id)
    rows = _when_all_are_good(place, collection_id, token, jobs)
    for thing, row in _paired(things, rows):
        place.scratch.made(thing.number, row.id)


_FOUND = JobId("")
"""In place of the job of a document that was found without one."""


def _note_job(place: Workplace, job_id: JobId) -> None:
    """Whether a job that was just started shows at once."""
    with suppress(ServerError):
        shows = any(job.id == job_id for job in place.gateway.jobs())
        place.notes.note("jobs_listed_after_s", shows)
        place.notes.note("jobs_readable_after_s", place.gateway.may_read_job(job_id))


def _document_is_there(place: Workplace, collection_id: str, name: str) -> Optional[JobId]:
    rows = read_documents(place.gateway, collection_id, list)
    return _FOUND if any(name.rpartition(".")[0] in row.name for row in rows) else None


def _when_all_are_good(
    place: Workplace, collection_id: str, token: str, jobs: List[JobId]
) -> List[Document]:
    """The documents, once the server has worked through them: what it lists decides, not its jobs.

    Raises:
        StepFailed: they did not get there.
    """
    clock, began = place.clock, place.clock.now()
    ended_at: Optional[float] = None
    looks = 0
    while True:
        # Somebody may have put another one there: what bears no name of ours is not ours.
        everything = read_documents(place.gateway, collection_id, list)
        rows = [row for row in everything if names.is_ours(row.name, token)]
        if len(rows) >= len(TEXTS) and all(row.good for row in rows):
            # Listed while the jobs ran, or at once when they had ended.
            place.notes.note("documents_listed_after_s", looks == 0)
            return rows
        looks += ended_at is not None
        if ended_at is None and all(_is_over(place, job_id) for job_id in jobs):
            ended_at = clock.now()
            continue
        waited = clock.now() - (began if ended_at is None else ended_at)
        pending = ended_at is None or any(row.pending for row in rows)
        if waited > (patience.SETTLE_PATIENCE_S if pending else patience.VISIBLE_WITHIN_S):
            raise StepFailed(_why_not(place, rows, jobs))
        clock.sleep(patience.poll_delay(clock.now() - began))


def _is_over(place: Workplace, job_id: JobId) -> bool:
    job = place.gateway.job(job_id)
    return job is not None and job.ended


def _why_not(place: Workplace, rows: List[Document], jobs: List[JobId]) -> str:
    states = ", ".join(f"{row.name}: {row.status}" for row in rows) or "none is listed"
    told = [job for job in map(place.gateway.job, jobs) if job is not None]
    errors = "; ".join(text for job in told for text in job.errors if job.state != Job.COMPLETED)
    return f"the documents of the check were not made ({states}) {errors}".rstrip()


def _paired(things: List[Thing], rows: List[Document]) -> List[Tuple[Thing, Document]]:
    """Which document is which; a server may have added to their names."""
    stems = [(thing, thing.name.rpartition(".")[0]) for thing in things]
    return [(thing, row) for thing, stem in stems for row in rows if stem in row.name]


# -- the chat ----------------------------------------------------------------------------
def _chat(place: Workplace, collection_id: str, token: str) -> str:
    gateway = place.gateway
    thing = _thing(place, Kind.CHAT, f"chat on {names.name_of(token)}", token)

    def find() -> Optional[str]:
        ids = place.chat_ids(collection_id)
        # Nobody has said anything in ours.
        return ids[0] if len(ids) == 1 and ids[0] and not gateway.chat_messages(ids[0]) else None

    chat_id = _once(place, thing, lambda: gateway.create_chat(collection_id), find)
    place.scratch.made(thing.number, chat_id)
    _note_chat(place, collection_id, chat_id)
    return chat_id


def _note_chat(place: Workplace, collection_id: str, chat_id: str) -> None:
    shows = chat_id in place.chat_ids(collection_id)
    place.notes.note("chats_listed_after_s", shows)
    readable = True
    try:
        place.bench.read("/chats/{session_id}", session_id=chat_id)
    except NotFound:
        readable = False
    place.notes.note("chats_readable_after_s", readable)
    # Those of other collections are old: nothing is to be said of a listing that lags behind.
    began = place.clock.now()
    while not shows and place.clock.now() - began < patience.VISIBLE_WITHIN_S:
        place.clock.sleep(patience.FIRST_POLL_S * 5)
        shows = chat_id in place.chat_ids(collection_id)


# -- exactly one of each -----------------------------------------------------------------
def _thing(place: Workplace, kind: str, name: str, token: str) -> Thing:
    """Commit that something is about to be made."""
    place.clock.check()
    number = place.scratch.about_to_make(kind, name, place.me, token)
    return next(thing for thing in place.scratch.left(kind, token) if thing.number == number)


def _once(
    place: Workplace, thing: Thing, send: Callable[[], T], find: Callable[[], Optional[T]]
) -> T:
    """Ask for something until it is there; what an unanswered request did is looked for first.

    Raises:
        Unavailable: no answer came, as often as it was asked for.
        ServerError: it was refused.
    """
    for attempt in range(patience.SENDS_PER_RUN):
        place.clock.check()
        try:
            return send()
        except OutcomeUnknown as error:
            found = look_until(
                place.clock, find, lambda made: made is not None, timed_out=error.timed_out
            )
            if found is not None:
                return found
        except ServerError:
            if not attempt:  # else an earlier request may come to effect late
                place.scratch.gone(thing.number)
            raise
    raise Unavailable(f"the server did not answer when the {thing.kind} {thing.name} was asked for")
