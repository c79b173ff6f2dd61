"""What is on record about collections: questions, each one method. Nothing is written here."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from typing import (
    Dict,
    Iterator,
    List,
    Optional,
    Set,
)

from h2ogpte_migration.model import (
    Document,
    JobId,
    JobKind,
    Json,
    Permissions,
    SourceId,
    parse_time,
)
from h2ogpte_migration.states import JobStatus, StepName, TargetState
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.records import (
    Attempt,
    Intent,
    KeptWarning,
    Moved,
    Record,
    Tracked,
    Validation,
    Watched,
    recorded_rights,
)
from h2ogpte_migration.tracking.rows import (
    BRINGING_OVER,
    CHATS_OPEN,
    CONNECTED,
    JOB_MISSED,
    JOB_SEEN,
    has_done,
)

_ATTEMPTS = (
    "SELECT attempts.*, verdict, ignored, late_documents, findings, "
    "(SELECT group_concat(step, char(10)) FROM checkpoints WHERE attempt_id = id) AS steps_done "
    "FROM attempts LEFT JOIN validations ON attempt_id = id WHERE source_id = :id"
)
"""The attempts of a source, each with its validation and its checkpoints."""

_ROLLED_BACK, _ROLLING_BACK = (
    "EXISTS (SELECT 1 FROM attempts WHERE source_id = old_collection_id AND fate = 'live' "
    f"AND {has_done('id', step)})"
    for step in (StepName.ROLLED_BACK, StepName.ROLLBACK)
)
"""The conditions that what was moved is back in the source, and that moving it back was begun."""

_MADE = (
    "SELECT source_id, target_id FROM attempts WHERE target_id IS NOT NULL UNION "
    "SELECT old_collection_id, new_collection_id FROM collection_migrations "
    "WHERE coalesce(new_collection_id, '') != ''"
)
"""Every target ever made, with its source: also of rows that nothing else was noted about yet."""

_BY_COLUMN = {
    StepName.CONNECTORS: "connectors_migrated",
    StepName.CHATS: "chats_migrated",
}

_MOVED = (
    "SELECT attempts.id AS id, target_id, fate, intents.step AS step, intents.counts AS counts, "
    f"{has_done('attempts.id', StepName.ROLLED_BACK)} AS came_back, "
    + ", ".join(
        f"(origin = '{Attempt.LEGACY}' AND coalesce({column}, 0)) AS {step}"
        for step, column in _BY_COLUMN.items()
    )
    + " FROM attempts "
    "LEFT JOIN collection_migrations ON old_collection_id = attempts.source_id "
    "AND new_collection_id = target_id "
    "LEFT JOIN intents ON attempt_id = attempts.id AND intents.counts IS NOT NULL "
    f"AND intents.step IN ('{StepName.CONNECTORS}', '{StepName.CHATS}') "
    "WHERE attempts.source_id = :id ORDER BY attempts.id, intents.id"
)
"""What each attempt of a source moved to its target, a row for each move."""

_KEPT = (TargetState.SUPERSEDED.value, TargetState.FAILED.value, TargetState.ABANDONED.value)


def is_former(row: sqlite3.Row, live: Optional[sqlite3.Row]) -> bool:
    """Whether an attempt's target is there still, as far as is known, and another one is in use."""
    in_use = live["target_id"] if live is not None else None
    return row["fate"] in _KEPT and row["target_id"] not in (None, in_use)


class Questions:
    """What the tables of one database say about its collections."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def load(self, source_id: SourceId) -> Optional[Tracked]:
        """Everything on record about a source, or None."""
        row = self._db.row(
            "SELECT * FROM collection_migrations WHERE old_collection_id = :id", {"id": source_id}
        )
        return None if row is None else self._tracked(Record.from_row(row))

    def _tracked(self, record: Record) -> Tracked:
        rows = self._db.rows(_ATTEMPTS, {"id": record.source_id})
        live = next((row for row in rows if row["fate"] == TargetState.LIVE.value), None)
        known = any(row["target_id"] == record.target_id for row in rows)
        if live is None:
            return Tracked(record, None, (), known_target=known)
        values = {"attempt": live["id"]}
        intents = self._db.rows("SELECT * FROM intents WHERE attempt_id = :attempt", values)
        return Tracked(
            record,
            Attempt.from_row(live),
            tuple(Intent.from_row(intent) for intent in intents),
            Validation.from_row(live) if live["verdict"] is not None else None,
            frozenset((live["steps_done"] or "").splitlines()),
            former_targets=any(is_former(row, live) for row in rows),
            known_target=known,
        )

    def records(self, where: str = "1") -> Iterator[Record]:
        """Rows of the documented table, the newest attempt last.

        ``where`` is a condition of this project's own, never text from outside.
        """
        sql = (
            "SELECT rowid AS place, * FROM collection_migrations "
            f"WHERE ({where}) AND rowid > :place ORDER BY rowid"
        )
        for rows in self._db.batches(sql, {}):
            for row in rows:
                yield Record.from_row(row)

    def owners(self) -> Dict[str, int]:
        """How many sources are on record, by the name of their owner; counted by SQLite."""
        rows = self._db.rows(
            "SELECT coalesce(username, '') AS owner, count(*) AS n FROM collection_migrations "
            "GROUP BY owner"
        )
        return {row["owner"]: row["n"] for row in rows}

    def failed(self) -> Iterator[Record]:
        """Records whose import failed for good."""
        return self.records(f"job_status = '{JobStatus.FAILED}'")

    def unfinished(self, *, with_chats: bool) -> Iterator[Record]:
        """Records whose work is not over: what ``--verify`` looks at.

        Chats are a reason to look again only where they are asked for, or were, and did not move.
        """
        over = "import_completed AND connectors_migrated"
        over += " AND chats_migrated" if with_chats else ""
        return self.records(
            f"coalesce(job_status, '') != 'failed' AND NOT {_ROLLED_BACK} "
            f"AND (NOT ({over}) OR {BRINGING_OVER} OR {CHATS_OPEN} OR {_ROLLING_BACK})"
        )

    def standing(self) -> Iterator[Record]:
        """Records that neither failed nor were rolled back, finished or not."""
        return self.records(f"coalesce(job_status, '') != 'failed' AND NOT {_ROLLED_BACK}")

    def finished(self) -> Iterator[Record]:
        """Records that are done with, connectors moved: what a check alone looks at."""
        return self.records(f"{CONNECTED} AND NOT {_ROLLED_BACK}")

    def to_roll_back(self) -> Iterator[Record]:
        """Records whose documents were imported, and others of which something was moved before.

        That is in former targets, where a fresh migration failed or is under way.
        """
        begun_anew = (
            "EXISTS (SELECT 1 FROM attempts WHERE source_id = old_collection_id "
            f"AND fate = '{TargetState.SUPERSEDED.value}')"
        )
        other = f"coalesce(job_status, '') = 'failed' OR {begun_anew}"
        for record in self.records(
            f"NOT {_ROLLED_BACK} AND (coalesce(import_completed, 0) OR {other})"
        ):
            imported = record.import_completed and record.job_status != JobStatus.FAILED
            if imported or self._something_moved(record.source_id):
                yield record

    def _something_moved(self, source_id: SourceId) -> bool:
        """Whether something of a source was moved and did not come back, as far as is on record."""
        moved = self.moved_of(source_id)
        return any(sum(one.counts.values()) for one in moved if not one.came_back)

    def sources_of(self, target_id: str) -> List[SourceId]:
        """Sources that a collection is, or was, the target of."""
        rows = self._db.rows(
            "SELECT old_collection_id AS id FROM collection_migrations "
            "WHERE new_collection_id = :id UNION SELECT source_id FROM attempts WHERE target_id = :id",
            {"id": target_id},
        )
        return [SourceId(row["id"]) for row in rows]

    def history(self, source_id: SourceId) -> List[Attempt]:
        """Every attempt of a source, oldest first."""
        rows = self._db.rows(
            "SELECT * FROM attempts WHERE source_id = :id ORDER BY id", {"id": source_id}
        )
        return [Attempt.from_row(row) for row in rows]

    def count_given_up(self, source_id: SourceId) -> int:
        """How many targets were given up, or vanished, since people last asked for a fresh one."""
        row = self._db.row(
            "SELECT count(*) AS n FROM attempts WHERE source_id = :id "
            f"AND fate IN ('abandoned', 'vanished') AND origin != '{Attempt.LATE_DUPLICATE}' "
            "AND id >= coalesce((SELECT max(id) FROM attempts "
            f"WHERE source_id = :id AND origin = '{Attempt.RUN}'), 0)",
            {"id": source_id},
        )
        return int(row["n"]) if row else 0

    def past_targets(self) -> Dict[str, str]:
        """Every target ever made, current or not, with the source that it was made for."""
        rows = self._db.rows(
            "SELECT target_id, source_id FROM attempts WHERE target_id IS NOT NULL"
        )
        return {row["target_id"]: row["source_id"] for row in rows}

    def targets_by_source(self) -> Dict[str, List[str]]:
        """The targets ever made for each source, in use or not."""
        found: Dict[str, List[str]] = {}
        for row in self._db.rows(_MADE):
            found.setdefault(row["source_id"], []).append(row["target_id"])
        return found

    def targets_of(self, source_id: str) -> List[str]:
        """The targets ever made for one source, in use or not."""
        rows = self._db.rows(
            "SELECT target_id FROM attempts WHERE source_id = :id AND target_id IS NOT NULL UNION "
            "SELECT new_collection_id FROM collection_migrations "
            "WHERE old_collection_id = :id AND coalesce(new_collection_id, '') != ''",
            {"id": source_id},
        )
        return [row["target_id"] for row in rows]

    def moved_of(self, source_id: str) -> List[Moved]:
        """What each attempt of a source moved, oldest first.

        What version 1.2.0 moved was not counted: it stands as one.
        """
        found: Dict[int, Moved] = {}
        for row in self._db.rows(_MOVED, {"id": source_id}):
            moved = Moved(
                row["target_id"],
                TargetState(row["fate"]),
                bool(row["came_back"]),
                {step: 1 for step in _BY_COLUMN if row[step] and not row["step"]},
            )
            found.setdefault(row["id"], moved)
            if row["step"]:
                counts = found[row["id"]].counts
                counts[row["step"]] = counts.get(row["step"], 0) + int(
                    json.loads(row["counts"])["source"]
                )
        return list(found.values())

    def undone(self) -> Set[str]:
        """Sources whose migration was rolled back, or is being rolled back."""
        rows = self._db.rows(
            "SELECT source_id FROM attempts "
            f"WHERE fate = 'live' AND {has_done('id', StepName.ROLLBACK)}"
        )
        return {row["source_id"] for row in rows}

    def is_past_target(self, collection_id: str) -> bool:
        """Whether a collection is on record as a target that was made, current or not."""
        row = self._db.row("SELECT 1 FROM attempts WHERE target_id = :id", {"id": collection_id})
        return row is not None

    def reserved_names(self) -> Dict[str, Set[str]]:
        """Names that were given out for targets, by owner, whether used or not."""
        names: Dict[str, Set[str]] = {}
        for row in self._db.rows("SELECT owner, target_name FROM attempts"):
            names.setdefault(row["owner"], set()).add(row["target_name"])
        return names

    def record_of_target(self, target_id: str) -> Optional[Record]:
        """The record whose current target has this id."""
        row = self._db.row(
            "SELECT * FROM collection_migrations WHERE new_collection_id = :id", {"id": target_id}
        )
        return Record.from_row(row) if row else None

    def attempts_named(self, owner: str, target_name: str) -> List[Attempt]:
        """Attempts whose target was to bear a name."""
        rows = self._db.rows(
            "SELECT * FROM attempts WHERE owner = :owner AND target_name = :name ORDER BY id",
            {"owner": owner, "name": target_name},
        )
        return [Attempt.from_row(row) for row in rows]

    def names_in_doubt(self, attempt: Attempt) -> List[str]:
        """Names of the same owner's other targets that may exist by now, without a known id."""
        rows = self._db.rows(
            "SELECT target_name FROM attempts WHERE owner = :owner AND id != :id "
            "AND fate = 'live' AND target_id IS NULL",
            {"owner": attempt.owner, "id": attempt.id},
        )
        return [row["target_name"] for row in rows]

    def job_is_claimed(self, job_id: JobId) -> bool:
        """Whether a job is on record as ours, for whatever collection."""
        claimed = self._db.row(
            "SELECT 1 FROM jobs WHERE job_id = :job UNION ALL "
            "SELECT 1 FROM collection_migrations WHERE job_id = :job LIMIT 1",
            {"job": job_id},
        )
        return claimed is not None

    def import_in_doubt(self, owner: str) -> Optional[Intent]:
        """The import of an owner that was sent without an answer on record, if any."""
        row = self._db.row(
            f"SELECT * FROM intents WHERE owner = :owner AND step = '{StepName.IMPORT}' "
            "AND state = 'open' AND sends > 0",
            {"owner": owner},
        )
        return Intent.from_row(row) if row else None

    def warnings(self, source_id: SourceId) -> List[KeptWarning]:
        """Kept warnings of a source's live or last attempt."""
        rows = self._db.rows(
            "SELECT * FROM warnings WHERE attempt_id = "
            "(SELECT max(id) FROM attempts WHERE source_id = :id "
            f"AND origin != '{Attempt.LATE_DUPLICATE}') ORDER BY rowid",
            {"id": source_id},
        )
        return [KeptWarning(row["source_id"], row["step"], row["text"]) for row in rows]

    def former_targets(self, source_id: SourceId) -> List[Attempt]:
        """Attempts of a source whose targets may still hold something, oldest first."""
        rows = self._db.rows(
            "SELECT * FROM attempts WHERE source_id = :id ORDER BY id", {"id": source_id}
        )
        live = next((row for row in rows if row["fate"] == TargetState.LIVE.value), None)
        return [Attempt.from_row(row) for row in rows if is_former(row, live)]

    def spare_targets(self, source_id: SourceId) -> List[Attempt]:
        """Former targets of a source, and one that was rolled back, oldest first."""
        rows = self._db.rows(
            "SELECT * FROM attempts WHERE source_id = :id AND fate = 'live' "
            f"AND {has_done('id', StepName.ROLLED_BACK)} "
            f"AND NOT {has_done('id', StepName.TARGET_DELETED)}",
            {"id": source_id},
        )
        return [*self.former_targets(source_id), *(Attempt.from_row(row) for row in rows)]

    def is_in_use(self, collection_id: str) -> bool:
        """Whether a collection is a source, or the current target of one that is not rolled back."""
        row = self._db.row(
            "SELECT 1 FROM collection_migrations WHERE old_collection_id = :id "
            f"OR (new_collection_id = :id AND coalesce(job_status, '') != 'failed' "
            f"AND NOT {_ROLLED_BACK}) LIMIT 1",
            {"id": collection_id},
        )
        return row is not None

    def job_of(self, attempt: Attempt) -> Optional[JobId]:
        """The import job of an attempt, the last one claimed."""
        row = self._db.row(
            "SELECT job_id FROM jobs WHERE attempt_id = :id AND kind IN ('', :kind) "
            "ORDER BY rowid DESC LIMIT 1",
            {"id": attempt.id, "kind": JobKind.IMPORT},
        )
        return JobId(row["job_id"]) if row else None

    def sends(self, attempt: Attempt, step: str) -> int:
        """How often a request of a step may have reached the server, all intents together."""
        row = self._db.row(
            "SELECT coalesce(sum(sends), 0) AS n FROM intents "
            "WHERE attempt_id = :attempt AND step = :step",
            {"attempt": attempt.id, "step": step},
        )
        return int(row["n"]) if row else 0

    def sent_again(self, source_id: SourceId, step: str) -> bool:
        """Whether a request for a source's live attempt may have reached the server more than once."""
        row = self._db.row(
            "SELECT coalesce(sum(sends), 0) AS n FROM intents WHERE step = :step AND attempt_id = "
            "(SELECT id FROM attempts WHERE source_id = :source AND fate = 'live')",
            {"source": source_id, "step": step},
        )
        return row is not None and row["n"] > 1

    def job_watched(self, attempt: Attempt) -> Optional[Watched]:
        """How the job stood when it was seen to change last, by whatever run."""
        row = self._db.row(
            "SELECT * FROM checkpoints WHERE attempt_id = :attempt AND step = :step",
            {"attempt": attempt.id, "step": JOB_SEEN},
        )
        since = parse_time(row["done_at"]) if row else None
        if row is None or since is None:
            return None
        return Watched(json.loads(row["detail"]), since)

    def job_missed_since(self, attempt: Attempt) -> Optional[datetime]:
        """When the job did not show for the first time, to whatever run; None where it always did."""
        row = self._db.row(
            "SELECT done_at FROM checkpoints WHERE attempt_id = :attempt AND step = :step",
            {"attempt": attempt.id, "step": JOB_MISSED},
        )
        return parse_time(row["done_at"]) if row else None

    def late_rights(self, attempt: Attempt) -> Permissions:
        """What was about to be given to a target after its import, and may not have arrived."""
        row = self._db.row(
            "SELECT detail FROM checkpoints WHERE attempt_id = :attempt AND step = :step",
            {"attempt": attempt.id, "step": StepName.LATE_SHARES},
        )
        return recorded_rights(row["detail"]) if row else Permissions(is_public=False)

    def baseline(self, attempt: Attempt) -> Iterator[Document]:
        """The documents that the source had at submission, as a stream."""
        sql = (
            "SELECT document_id, name, status, rowid AS place FROM baseline "
            "WHERE attempt_id = :id AND rowid > :place ORDER BY rowid"
        )
        index = 0
        for rows in self._db.batches(sql, {"id": attempt.id}):
            for row in rows:
                yield Document(row["document_id"], row["name"], row["status"], index)
                index += 1

    def has_baseline(self, attempt: Attempt) -> bool:
        """Whether a baseline was taken for an attempt; it may be empty."""
        row = self._db.row(
            "SELECT 1 FROM attempts WHERE id = :id AND baseline_at IS NOT NULL", {"id": attempt.id}
        )
        return row is not None

    def moved_counts(self, attempt: Attempt, step: str) -> Optional[Json]:
        """The counts of a finished or open move of an attempt, if anything was moved."""
        row = self._db.row(
            "SELECT counts FROM intents WHERE attempt_id = :attempt AND step = :step "
            "AND counts IS NOT NULL ORDER BY id DESC LIMIT 1",
            {"attempt": attempt.id, "step": step},
        )
        return json.loads(row["counts"]) if row else None
