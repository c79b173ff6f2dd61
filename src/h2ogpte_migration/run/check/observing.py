"""Looks at the habits of a server, by reading and at things of the check alone.

Each look is for itself: one that fails tells nothing, and the check goes on. What was seen while
things were made is noted where they are made.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from h2ogpte_migration.checked import ServerCheck
from h2ogpte_migration.errors import (
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    ServerError,
    Unavailable,
)
from h2ogpte_migration.model import JobId, SourceId, TargetId, parse_time
from h2ogpte_migration.run import preflight
from h2ogpte_migration.run.check import Workplace
from h2ogpte_migration.run.check import recognising as names
from h2ogpte_migration.run.check.making import CHAT_SETTINGS, SETTINGS, Made
from h2ogpte_migration.steps.presence import read_documents

_COLLECTION = "/collections/{collection_id}"
_RUNNING = ("in progress", "in_progress", "running")
_CLOCKS_AGREE_S = 120.0
_QUICK_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scene:
    """What there is to look at: source and target, and the job that filled it."""

    place: Workplace
    made: Made
    target_id: Optional[str]
    import_job: Optional[JobId]

    def raw(self, collection_id: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.place.bench.read(_COLLECTION, collection_id=collection_id)
        return found

    def note(self, habit: str, holds: Optional[bool], seen: object = "") -> None:
        self.place.notes.note(habit, holds, str(seen))


def look(scene: Scene) -> None:
    """Look at everything that can be seen with a finished scratch migration, or a failed one."""
    for one in _LOOKS:
        try:
            one(scene)
        except ServerError as error:
            log.info("%s: could not tell: %s", one.__name__, error.message)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.info("%s: could not tell: a reply of another form (%s)", one.__name__, error)


# -- records -----------------------------------------------------------------------------
def _records(scene: Scene) -> None:
    place, source_id = scene.place, scene.made.collection.id
    raw = scene.raw(source_id)
    scene.note("collection_has_metadata", bool(raw.get("metadata_dict")))
    count = raw.get("document_count")
    there = len(read_documents(place.gateway, source_id, list))
    scene.note("stale_document_counts", count == there, f"counts {count}, lists {there}")
    stamp = str(raw.get("created_at") or "")
    if stamp:
        form = "Z" if stamp.endswith("Z") else "an offset" if "+" in stamp[10:] else "no zone"
        scene.note("timestamps", form == "Z", f"{form}, as in {stamp}")
    owner_is_listed = any(s.grantee == place.me for s in place.gateway.user_shares(source_id))
    scene.note("permissions_include_owner", owner_is_listed)


def _asked_name(scene: Scene) -> str:
    return names.name_of(scene.made.token)


def _listings(scene: Scene) -> None:
    def rows(**query: Any) -> List[Mapping[str, Any]]:
        order = {"sort_column": "name", "ascending": True, "current_user_only": True}
        found: List[Mapping[str, Any]] = scene.place.bench.read("/collections", {**order, **query})
        return found

    everything = rows(offset=0, limit=100)
    row = next((r for r in everything if r.get("id") == scene.made.collection.id), None)
    if row is not None:
        scene.note("listings_are_sparse", bool(row.get("metadata_dict")))
    if len(everything) < 2:
        return
    first = rows(offset=0, limit=1)
    scene.note("limit_ignored", len(first) == 1, f"{len(first)} rows for a limit of 1")
    second = rows(offset=1, limit=1)
    if len(first) == len(second) == 1:
        scene.note("offset_ignored", first[0].get("id") != second[0].get("id"))
    if len(everything) == 100:
        scene.note("page_cap", True, "a page of 100 rows came")
    rows(offset=0, limit=500)  # what is asked for in a migration
    scene.note("refused_limit_above", True, "500 are taken")


def _long_pages(scene: Scene) -> None:
    try:
        scene.place.bench.read("/collections", {"offset": 0, "limit": 500})
    except Rejected as error:
        scene.note("refused_limit_above", False, f"{error.status} for a limit of 500")


def _ids(scene: Scene) -> None:
    source_id = scene.made.collection.id
    if source_id.upper() == source_id:
        return
    try:
        scene.raw(source_id.upper())
    except NotFound:
        scene.note("ids_ignore_case", True)
    else:
        scene.note("ids_ignore_case", False)


def _operations(scene: Scene) -> None:
    """Things that may point at a collection; a path that is not there is 404."""
    missing = []
    query = {"offset": 0, "limit": 1}
    for template in ("/scheduled_tasks", "/ai_assistants", "/tags"):
        try:
            scene.place.bench.read(template, query)
        except NotFound:
            missing.append(template)
        except Unavailable as error:
            scene.note("broken_operations", False, f"{template}: {error.status or 'no answer'}")
    scene.note("missing_operations", not missing, ", ".join(missing))


# -- settings ----------------------------------------------------------------------------
def _settings(scene: Scene) -> None:
    gateway, source_id = scene.place.gateway, scene.made.collection.id
    added = sorted(set(gateway.settings(source_id)) - set(SETTINGS))
    added += sorted(set(gateway.chat_settings(source_id)) - set(CHAT_SETTINGS))
    scene.note("server_defaults", not added, ", ".join(added[:5]))  # those that came back


def _patch(scene: Scene) -> None:
    """On the scratch collection only, which gets back at once what it lost."""
    place, source_id = scene.place, scene.made.collection.id
    described, name = names.description_of(scene.made.token), _asked_name(scene)
    place.clock.check()
    place.bench.change_description(source_id, described)
    kept = scene.raw(source_id).get("name")
    scene.note("patch_blanks", kept == name, "" if kept else "the name was blanked")
    if kept != name:
        place.gateway.describe(TargetId(source_id), name=name, description=described)


def _target_name(scene: Scene) -> None:
    if scene.target_id is None:
        return
    stored = str(scene.raw(scene.target_id).get("name"))
    attempts = scene.place.session.tracking.store.history(SourceId(scene.made.collection.id))
    asked = next((a.target_name for a in attempts if a.target_id == scene.target_id), stored)
    whole = stored == asked and scene.made.collection.name in stored
    seen = f"{len(stored)} characters, {'whole' if whole else stored}"
    scene.note("name_limit", whole, seen)


# -- jobs --------------------------------------------------------------------------------
def _jobs(scene: Scene) -> None:
    job_id = scene.import_job
    if job_id is None:
        return
    shown = {job.id for job in scene.place.gateway.jobs()}
    scene.note("hide_ended_jobs_after_s", job_id in shown)
    try:
        raw = scene.place.bench.read("/jobs/{job_id}", job_id=job_id)
    except (NotFound, Rejected, Unavailable):
        scene.note("forget_ended_jobs_after_s", False)
        return
    scene.note("forget_ended_jobs_after_s", True)
    word = str(raw.get("overall_status"))
    scene.note("job_words_in_capitals", word == word.lower(), word)
    over = word.lower().startswith(("complete", "fail", "cancel"))
    running = word.lower() in _RUNNING
    ended = [job.ended for job in map(scene.place.gateway.job, scene.place.scratch.jobs()) if job]
    scene.note("zombie_jobs", all(ended) if over or running else None)
    scene.note("job_success_word", None if running else word.lower() == "completed", word)
    progress = raw.get("progress")
    if isinstance(progress, (int, float)) and progress > 0:
        scene.note("percentages", progress <= 1, progress)


def _unknown_job(scene: Scene) -> None:
    try:
        scene.place.bench.read("/jobs/{job_id}", job_id=str(uuid.uuid4()))
    except NotFound:
        scene.note("unknown_job_status", True)
    except (Rejected, Unavailable) as error:
        scene.note("unknown_job_status", False, error.status)


def _import_flags(scene: Scene) -> None:
    """Whether what was asked of the import is so."""
    if scene.target_id is None or scene.import_job is None:
        return
    source, target = scene.raw(scene.made.collection.id), scene.raw(scene.target_id)
    lost = []
    if source.get("inactivity_interval") != target.get("inactivity_interval"):
        lost.append("copy_lifecycle_settings")
    one, other = (
        scene.place.bench.read(f"{_COLLECTION}/documents", {"limit": 100}, collection_id=which)
        for which in (scene.made.collection.id, scene.target_id)
    )
    if _of_documents(one) != _of_documents(other):
        lost.append("preserve_metadata")
    tried = "metadata and lifecycle settings were tried, the status of documents was not"
    scene.note("import_flags_ignored", not lost, ", ".join(lost) or tried)


def _of_documents(rows: List[Mapping[str, Any]]) -> Dict[str, Any]:
    return {str(row.get("name")): row.get("metadata_dict") or {} for row in rows}


# -- who may do what ---------------------------------------------------------------------
def _refusals(scene: Scene) -> None:
    """Something that only administrators may read."""
    if scene.place.session.admin:
        return
    try:
        scene.place.bench.read("/admin/api_keys", {"offset": 0, "limit": 1})
    except Forbidden as error:
        scene.note("forbidden_is_401", False, error.status)
    except Rejected as error:
        scene.note("forbidden_is_401", error.status == 403 or None, error.status)


def _as_admin(scene: Scene) -> None:
    place = scene.place
    if not place.session.admin:
        return
    users = {user.username for user in place.gateway.users()}
    scene.note("users_include_caller", place.me in users)
    name = scene.made.collection.name
    found = any(c.id == scene.made.collection.id for c in place.gateway.all_collections(name))
    if found:
        loud = place.gateway.all_collections(name.upper())
        match = any(c.id == scene.made.collection.id for c in loud)
        scene.note("filter_ignores_case", match)


def key_habits(place: Workplace, key_id: str) -> None:
    """After a key was deleted."""
    shown = [key for key in place.gateway.keys(place.me) if key.id == key_id]
    place.notes.note("deleted_keys_listed", not shown)
    try:
        place.gateway.delete_key(key_id)
    except (Conflict, NotFound, Rejected) as error:
        place.notes.note("missing_key_delete_status", error.status == 409, str(error.status))
    else:
        place.notes.note("missing_key_delete_status", False, "taken")


# -- the whole ---------------------------------------------------------------------------
def _identity(scene: Scene) -> None:
    place = scene.place
    version = place.session.identity.server_version
    numbers = preflight.numbers(version)
    known = numbers and numbers >= preflight.OLDEST_SERVER and numbers[:2] <= preflight.NEWEST_TRIED
    scene.note("server_version", bool(known) if numbers else None, version)
    theirs = place.gateway.server_time()
    if theirs is not None:
        off_s = abs((place.clock.utc() - theirs).total_seconds())
        made_at = parse_time(scene.raw(scene.made.collection.id).get("created_at"))
        if made_at is not None:
            off_s = max(off_s, abs((theirs - made_at).total_seconds()) - 3600.0)
        scene.note("clock_offset_h", off_s < _CLOCKS_AGREE_S, f"{off_s:.0f} s apart")


def summed_up(check: ServerCheck, place: Workplace) -> None:
    """What follows from the check as a whole."""
    if check.latency_s is not None:
        quick = check.latency_s < _QUICK_S
        place.notes.note("latency_s", quick, f"{check.latency_s * 1000:.0f} ms")
    if any("could not be read" in remark for remark in place.remarks):
        place.notes.note("broken_operations", False, "see the notes")
    if "quota" in check.reason:
        place.notes.note("collections_per_user", False, check.reason)
    if check.worked:
        place.notes.note("collections_per_user", True, "two more fit")
        place.notes.note("documents_per_user", True, "two more fit")


_LOOKS: Tuple[Callable[[Scene], None], ...] = (
    _records,
    _long_pages,
    _listings,
    _ids,
    _operations,
    _settings,
    _target_name,
    _jobs,
    _unknown_job,
    _import_flags,
    _refusals,
    _as_admin,
    _identity,
    _patch,
)
