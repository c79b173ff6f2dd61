"""Removes what checks made: at the end of one, and at the beginning for those that were killed.

Only what is on record by its id goes, or what bears the token on record. A collection that holds
anything else by then is left alone. What can't be removed, or not yet told, stays on record.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable, Iterable, List, Optional, Set

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import NotFound, ServerError
from h2ogpte_migration.model import Document, JobId, SourceId
from h2ogpte_migration.run.check import Workplace
from h2ogpte_migration.run.check import recognising as names
from h2ogpte_migration.run.teardown import Teardown
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps.presence import read_documents
from h2ogpte_migration.tracking.scratch import Kind, Thing
from h2ogpte_migration.ui.text import plural, safe

log = logging.getLogger(__name__)


class Remover:
    """Removes everything on record.

    What an earlier check asked for without an answer counts as asked for right now: how long ago
    that was, only the time of day could tell, and nothing is decided by that.
    Waits go on after the user asked to stop, but for ``patience.STOP_PATIENCE_S`` in all.
    """

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._gateway = place.gateway
        self._scratch = place.scratch
        self._clock = Clock(threading.Event())
        self._out_of_time = Teardown(place.clock).out_of_time
        self._all_shows_at = self._clock.now() + patience.VISIBLE_WITHIN_S
        self._seen: Set[str] = set()
        """Ids of collections and chats that the server has shown: what is not found of them is gone."""

    def remove_all(self) -> List[str]:
        """Returns what is still there, or may be, each in words; empty is clean."""
        left: List[str] = []
        for thing in self._scratch.left(Kind.COLLECTION):
            what = f"the scratch collection {thing.name} of {safe(thing.owner)}"
            if thing.owner != self._place.me:
                left.append(f"{what}: only a key of {safe(thing.owner)} can delete it")
                continue
            try:
                left += [f"{what}: {why}" for why in self._remove(thing)]
            except ServerError as error:
                left.append(f"{what}: {error.message}")
        return left + self._keys_left()

    def _keys_left(self) -> List[str]:
        credentials = self._place.session.credentials
        credentials.close()
        return [
            f"the temporary key '{key.name}'"
            + ("" if self._place.session.admin else ": only --admin-key can delete it")
            for key in credentials.left()
        ]

    # -- one scratch collection, its targets and what is in them -------------------------
    def _remove(self, thing: Thing) -> List[str]:
        self._await_jobs(thing.token)
        homes = self._homes(thing)
        if homes is None:
            return ["whether it exists could not be told yet"]
        documents = self._document_ids(thing.token, homes)
        why = [words for home in homes for words in self._foreign(thing.token, home, documents)]
        if why:
            return why
        chats = self._scratch.left(Kind.CHAT, thing.token)
        why = [words for chat in chats for words in self._remove_chat(chat, homes)]
        why += [words for home in homes for words in self._delete(home)]
        why += [words for one in sorted(documents) for words in self._delete_document(one)]
        if why:
            return why
        for kind in (Kind.CHAT, Kind.DOCUMENT, Kind.COLLECTION):  # the collection comes last
            for item in self._scratch.left(kind, thing.token):
                self._scratch.gone(item.number)
        log.info("removed %s: %s", thing.name, plural(len(homes), "collection"))
        return []

    def _await_jobs(self, token: str) -> None:
        """Nothing may come into being after its collection was deleted."""
        in_doubt = [
            thing for thing in self._scratch.left(Kind.DOCUMENT, token) if not thing.made_id
        ]
        jobs = [thing.job_id for thing in in_doubt if thing.job_id]
        self._await(jobs, patience.MOVE_SETTLED_S)
        self._await(self._scratch.jobs(), patience.SECOND_LOOK_AFTER_TIMEOUT_S)
        if len(jobs) < len(in_doubt):
            self._wait_until_all_shows()

    def _await(self, jobs: Iterable[JobId], most_s: float) -> None:
        began = self._clock.now()
        open_jobs = list(jobs)
        while open_jobs:
            open_jobs = [job_id for job_id in open_jobs if self._runs(job_id)]
            waited_s = self._clock.now() - began
            if not open_jobs or waited_s > most_s or self._out_of_time():
                return
            self._clock.pause(patience.poll_delay(waited_s))

    def _runs(self, job_id: JobId) -> bool:
        job = self._gateway.job(job_id)
        return job is not None and not job.ended

    def _wait_until_all_shows(self) -> None:
        """What was asked for without an answer may still come to effect."""
        while self._clock.now() < self._all_shows_at and not self._out_of_time():
            self._clock.pause(min(1.0, self._all_shows_at - self._clock.now()))

    # -- which they are ------------------------------------------------------------------
    def _homes(self, thing: Thing) -> Optional[List[str]]:
        """Ids of the targets, then of the scratch collection; None: nobody can tell yet."""
        store = self._place.session.tracking.store
        attempts = store.history(SourceId(thing.made_id)) if thing.made_id else []
        doubtful = not thing.made_id or any(
            attempt.target_id is None or store.sends(attempt, StepName.CREATE) > 1
            for attempt in attempts
        )
        known = [str(attempt.target_id) for attempt in attempts if attempt.target_id]
        known += [thing.made_id] if thing.made_id else []
        began = self._clock.now()
        while True:
            waited_s = self._clock.now() - began  # a look says how it was when it began
            found = [item.id for item in names.recognised(self._place, thing)]
            self._seen.update(found)
            if not doubtful or waited_s > patience.VISIBLE_WITHIN_S:
                return list(dict.fromkeys([*(one for one in found if one not in known), *known]))
            if self._out_of_time():
                return None
            self._clock.sleep(patience.second_look(timed_out=False))

    def _document_ids(self, token: str, homes: List[str]) -> Set[str]:
        """Ids of our documents: on record, or by their names in what is ours."""
        ids = {thing.made_id for thing in self._scratch.left(Kind.DOCUMENT, token)}
        for home in homes:
            ids.update(row.id for row in self._documents(home) if names.is_ours(row.name, token))
        return {one for one in ids if one}

    def _documents(self, home: str) -> List[Document]:
        try:
            rows: List[Document] = read_documents(self._gateway, home, list)
        except NotFound:
            return []
        self._seen.add(home)
        return rows

    def _foreign(self, token: str, home: str, documents: Set[str]) -> List[str]:
        """What somebody else put there meanwhile; then it is left alone."""
        foreign = [row for row in self._documents(home) if row.id not in documents]
        if foreign:
            return [f"{home} holds {plural(len(foreign), 'document')} that the check did not make"]
        known = {thing.made_id for thing in self._scratch.left(Kind.CHAT, token)}
        others = [one for one in self._chats(home) if one not in known]
        alone = others[0] if len(others) == 1 else ""
        if None in known and alone and not self._gateway.chat_messages(alone):
            return []  # its creation was never answered
        if others:
            return [f"{home} holds {plural(len(others), 'chat')} that the check did not make"]
        return []

    def _chats(self, home: str) -> List[str]:
        try:
            ids = self._place.chat_ids(home)
        except NotFound:
            return []
        self._seen.update(ids)
        return ids

    # -- going ---------------------------------------------------------------------------
    def _remove_chat(self, chat: Thing, homes: List[str]) -> List[str]:
        if chat.made_id:
            return self._until_gone(self._gateway.delete_chat, chat.made_id)
        for home in homes:
            for session_id in self._chats(home):  # one at most, and empty: see _foreign
                self._gateway.delete_chat(session_id)
        return []

    def _delete(self, home: str) -> List[str]:
        why = self._until_gone(self._gateway.delete_collection, home)
        began = self._clock.now()
        while not why:
            try:
                self._gateway.collection(home)
            except ServerError:  # the server has said that it is deleted; nothing contradicts
                return []
            waited_s = self._clock.now() - began
            if waited_s > patience.VISIBLE_WITHIN_S or self._out_of_time():
                return [f"{home} is still there, although the server said that it was deleted"]
            self._clock.pause(patience.poll_delay(waited_s))
        return why

    def _until_gone(self, delete: Callable[[str], bool], ident: str) -> List[str]:
        """Delete it as soon as it shows: "not there" of what was just made means "not there yet"."""
        while not delete(ident) and ident not in self._seen:
            if self._clock.now() >= self._all_shows_at:
                return []
            if self._out_of_time():
                return [f"whether {ident} exists could not be told yet"]
            self._clock.pause(
                min(patience.SECOND_LOOK_S / 2, self._all_shows_at - self._clock.now())
            )
        return []

    def _delete_document(self, document_id: str) -> List[str]:
        """Documents go with their collections; one that stayed is deleted by itself."""
        bench = self._place.bench
        if bench.document(document_id) is None:
            return []
        bench.delete_document(document_id)
        return [] if bench.document(document_id) is None else [f"its document {document_id}"]
