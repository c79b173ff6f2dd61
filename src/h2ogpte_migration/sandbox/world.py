"""The world: a small h2oGPTe in memory, with builders, interventions and snapshots; no HTTP."""

from __future__ import annotations

import re
import time
from typing import Any, Callable, Dict, List, Optional

from .build import Builders
from .habits import ChatFate
from .model import ALL_RIGHTS, ApiKey, Collection, Job, JobKind, JsonObject, SandboxError

_STAMP = re.compile(r" - \d{8}_\d{6}$")


class World(Builders):
    """Everything that a stand-in server knows.

    What people and admins do to a real server behind the tool's back is a method here.
    All methods may be called from any thread.

    Args:
        clock: seconds since the epoch; a test may bring its own.
        seed: of the generator of ids.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, seed: int = 0) -> None:
        super().__init__(clock=clock, seed=seed)

    # -- interventions

    def delete_collection(self, collection_id: str) -> None:
        """Delete a collection behind everybody's back."""
        with self.lock:
            self.drop_collection(collection_id)

    def remove_document(self, collection_id: str, document_id: str) -> None:
        """Take a document out of a collection."""
        with self.lock:
            collection = self.collection(collection_id)
            collection.documents = [m for m in collection.documents if m.document.id != document_id]
            self.touch(collection)

    def change_owner(self, collection_id: str, username: str) -> None:
        """Give a collection to somebody else."""
        with self.lock:
            collection = self.collection(collection_id)
            collection.username = username
            collection.shares.pop(username, None)

    def delete_user(self, username: str, *, collections: bool = False) -> None:
        """Delete a user and her keys; her collections stay without an owner, or go, too."""
        with self.lock:
            del self.users[username]
            for key in self.keys.values():
                if key.username == username:
                    key.deleted = True
            owned = [c.id for c in self.collections.values() if c.username == username]
            for collection_id in owned if collections else []:
                self.drop_collection(collection_id)

    def archive_chat(self, session_id: str) -> None:
        """Archive a chat session."""
        with self.lock:
            self.sessions[session_id].archived = True

    def set_document_status(self, collection_id: str, document_id: str, status: str) -> None:
        """Change the status of a document in one collection."""
        with self.lock:
            for membership in self.collection(collection_id).documents:
                if membership.document.id == document_id:
                    membership.status = status

    def cancel_job(self, job_id: str, by: str = "admin") -> None:
        """Cancel a job."""
        with self.lock:
            self.advance()
            self.cancel(self.jobs[job_id], by)

    def forget_job(self, job_id: str) -> None:
        """Remove a job's record; what it did stays, what it had to do does not happen."""
        with self.lock:
            self.advance()
            self.drop_job(job_id)

    def add_job(self, username: str, kind: str = JobKind.OTHER.value, *, lasts_s: float = 0) -> Job:
        """Add a job that has nothing to do with collections, of any kind."""
        with self.lock:
            return self.start_job(kind, self.users[username], lasts_s)

    def expire_key(self, secret: str) -> None:
        """Let a key expire now."""
        with self.lock:
            self.keys[secret].expires_at = self.now()

    def expire_keys(self, username: str, *, name: Optional[str] = None) -> int:
        """Let all living keys of a user expire now, or those of one name; return how many."""
        with self.lock:
            keys = [k for k in self.alive_keys() if k.username == username]
            keys = [k for k in keys if name is None or k.name == name]
            for key in keys:
                key.expires_at = self.now()
            return len(keys)

    def set_chat_fate(self, fate: ChatFate, collection_id: Optional[str] = None) -> None:
        """Decide how questions are answered, on one collection or on all."""
        with self.lock:
            self.chat_fates[collection_id] = fate

    def refresh_counts(self) -> None:
        """Bring stale document counts up to date."""
        with self.lock:
            for collection in self.collections.values():
                collection.counted_documents = len(collection.documents)

    # -- looking

    def alive_keys(self) -> List[ApiKey]:
        """Return the keys that open something."""
        with self.lock:
            return [key for key in self.keys.values() if self.key_is_alive(key)]

    def find(self, name: str, owner: Optional[str] = None) -> Collection:
        """Return the one collection of that name."""
        with self.lock:
            found = [
                c
                for c in self.collections.values()
                if c.name == name and owner in (None, c.username)
            ]
        if len(found) != 1:
            raise SandboxError(404, f"{len(found)} collections are named {name!r}")
        return found[0]

    def targets_of(self, name: str, owner: Optional[str] = None) -> List[Collection]:
        """Return the collections that are named like migrations of ``name``, oldest first."""
        wanted = "(Migrated) " + name
        with self.lock:
            self.advance()
            found = [
                c
                for c in self.collections.values()
                if _STAMP.sub("", c.name) == wanted and owner in (None, c.username)
            ]
        return sorted(found, key=lambda c: c.created_at)

    def import_jobs(self, source_id: Optional[str] = None) -> List[Job]:
        """Return the import jobs, oldest first, all or those of one source."""
        with self.lock:
            self.advance()
            jobs = [j for j in self.jobs.values() if j.kind == JobKind.IMPORT]
        return [j for j in jobs if source_id in (None, j.source_id)]

    def wait_until_idle(self, timeout_s: float = 30.0) -> None:
        """Wait until every job has ended; for worlds on the real clock."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with self.lock:
                self.advance()
                if not any(job.running for job in self.jobs.values()):
                    return
            time.sleep(0.01)
        raise TimeoutError("jobs still run")

    def snapshot(self) -> JsonObject:
        """Return the state without ids and times, to compare the ends of two runs.

        Collections are keyed by ``owner/name`` without the time stamp of a target's name; those
        of one key are a list in a stable order.
        """
        with self.lock:
            self.advance()
            collections: Dict[str, List[JsonObject]] = {}
            for collection in self.collections.values():
                key = collection.username + "/" + _STAMP.sub("", collection.name)
                collections.setdefault(key, []).append(self._portrait(collection))
            for same_name in collections.values():
                same_name.sort(key=repr)
            return {
                "collections": dict(sorted(collections.items())),
                "keys": sorted(k.username + "/" + k.name for k in self.alive_keys()),
                "loose_chats": sorted(
                    s.username + "/" + str(s.name)
                    for s in self.sessions.values()
                    if s.collection_id not in self.collections
                ),
                "running_jobs": sum(job.running for job in self.jobs.values()),
            }

    def _portrait(self, collection: Collection) -> JsonObject:
        prompt = self.prompts.get(collection.prompt_template_id or "")
        plain: Dict[str, Any] = {
            name: getattr(collection, name)
            for name in (
                "description",
                "embedding_model",
                "workspace",
                "rag_type",
                "thumbnail",
                "size_limit",
                "expiry_date",
                "inactivity_interval",
                "vex_encryption",
                "exempt_from_chat_expiry",
                "settings",
                "chat_settings",
                "metadata",
                "is_public",
            )
        }
        return {
            **plain,
            "prompt_template": prompt.name if prompt else None,
            "documents": sorted(
                (m.document.name, m.status, repr(sorted(m.metadata.items())))
                for m in collection.documents
            ),
            "public_permissions": _plain_rights(collection.public_permissions),
            "shares": dict(sorted(collection.shares.items())),
            "group_shares": {self.groups[g]: r for g, r in collection.group_shares.items()},
            "connectors": sorted(c.type + " " + repr(c.config) for c in collection.connectors),
            "chats": sorted(
                s.username + "/" + str(s.name) for s in self.sessions_of(collection.id)
            ),
        }


def _plain_rights(rights: Optional[List[str]]) -> Optional[List[str]]:
    """Return rights so that "none given" and "all of them listed" are the same."""
    return None if rights is None or sorted(rights) == sorted(ALL_RIGHTS) else sorted(rights)
