"""What is on record about many collections at once, for status and reports: counted or in rows.

Reads only. The tables are joined by SQLite and counted there: they may hold 50,000 collections.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from h2ogpte_migration.model import Json, id_forms, parse_time, spelled
from h2ogpte_migration.results import OVER, OutcomeKind, Recorded, Result
from h2ogpte_migration.retrieval import Overall
from h2ogpte_migration.states import (
    STANDINGS,
    Evidence,
    Position,
    StepName,
    Verdict,
    position,
    settled,
)
from h2ogpte_migration.tracking import retrievals
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.records import Attempt, KeptWarning
from h2ogpte_migration.tracking.rows import (
    BRINGING_OVER,
    CHATS_OPEN,
    CONNECTED,
    COUNTED,
    has_done,
)
from h2ogpte_migration.tracking.runs import Runs

_BATCH = 5000
_MARK = "\x1f"
"""Between several texts in one cell."""

_ROLLED_BACK = has_done("a.id", StepName.ROLLED_BACK)
_ROLLING_BACK = has_done("a.id", StepName.ROLLBACK)

# What a position is told by. Where there is an attempt, its target counts: the row of a source
# is written over when it is begun anew.
_STANDING = f"""
    coalesce(m.username, '') AS owner, coalesce(m.new_model, '') AS model,
    coalesce(m.job_status, '') AS job_status, coalesce(m.job_id, '') != '' AS has_job,
    a.id IS NULL AS untraced, coalesce(a.origin, 'legacy') = 'legacy' AS legacy,
    CASE WHEN a.id IS NULL THEN coalesce(m.new_collection_id, '') != ''
         ELSE a.target_id IS NOT NULL END AS has_target,
    coalesce(m.collection_created, 0) AS created, coalesce(m.permissions_copied, 0) AS shared,
    coalesce(m.import_submitted, 0) AS submitted, coalesce(m.import_completed, 0) AS imported,
    coalesce(m.connectors_migrated, 0) AS connected, coalesce(m.chats_migrated, 0) AS chatted,
    (SELECT max(state = 'open' AND sends > 0) FROM intents
      WHERE attempt_id = a.id AND step = '{StepName.IMPORT}') AS import_sent,
    coalesce(v.verdict, '') AS verdict, coalesce(v.ignored, 0) AS ignored,
    {_ROLLING_BACK} AS rolling_back,
    {_ROLLED_BACK} AS rolled_back,
    {BRINGING_OVER} AS bringing_over, {CHATS_OPEN} AS chats_open,
    coalesce(m.error, '') != '' AS has_error, coalesce(l.run_id, 0) AS run_id
"""
_STANDING_NAMES = (
    "owner, model, job_status, has_job, untraced, legacy, has_target, created, shared, submitted, "
    "imported, connected, chatted, import_sent, verdict, ignored, "
    "rolling_back, rolled_back, bringing_over, chats_open, has_error, run_id"
)
_FROM_LIVE = """
    FROM collection_migrations m
    LEFT JOIN attempts a ON a.source_id = m.old_collection_id AND a.fate = 'live'
    LEFT JOIN validations v ON v.attempt_id = a.id
    LEFT JOIN leases l ON l.source_id = m.old_collection_id
"""
# What is kept of an attempt that has failed is told too: the last one, if none is live.
_DETAILS = f"""
    m.rowid AS place, m.old_collection_id, m.old_collection_name, m.new_collection_id,
    m.new_collection_name, m.old_model, m.error,
    coalesce(z.created_at, m.created_at) AS begun_at, m.completed_at, z.ended_at, z.source_facts,
    y.validated_at, y.verdict AS last_verdict, y.ignored AS last_ignored, y.findings,
    (SELECT max(opened_at) FROM intents WHERE attempt_id = z.id) AS acted_at,
    (SELECT detail FROM checkpoints WHERE attempt_id = z.id AND step = :counted) AS counted,
    (SELECT group_concat(text, :mark) FROM warnings WHERE attempt_id = z.id) AS warnings,
    (SELECT counts FROM intents WHERE attempt_id = z.id AND step = '{StepName.CONNECTORS}'
        AND state = 'done' AND counts IS NOT NULL ORDER BY id DESC LIMIT 1) AS connectors,
    (SELECT counts FROM intents WHERE attempt_id = z.id AND step = '{StepName.CHATS}'
        AND state = 'done' AND counts IS NOT NULL ORDER BY id DESC LIMIT 1) AS chats,
    r.outcome AS retrieval, r.checked_at AS retrieval_at
"""
_FROM_LAST = f"""
    LEFT JOIN (SELECT source_id, max(id) AS id FROM attempts
               WHERE origin != '{Attempt.LATE_DUPLICATE}'
               GROUP BY source_id) latest ON latest.source_id = m.old_collection_id
    LEFT JOIN attempts z ON z.id = coalesce(a.id, latest.id)
    LEFT JOIN validations y ON y.attempt_id = z.id
    LEFT JOIN retrievals r ON r.attempt_id = z.id
"""
_IMPORTING = (
    "coalesce(m.job_status, '') != 'failed' AND coalesce(m.import_submitted, 0) "
    "AND NOT coalesce(m.import_completed, 0) AND coalesce(m.job_id, '') != ''"
)
_HELD = (
    "coalesce(v.verdict, '') = 'held' AND NOT coalesce(v.ignored, 0) "
    "AND NOT coalesce(m.connectors_migrated, 0)"
)
_RANK = (
    f"CASE WHEN m.job_status = 'failed' THEN 0 WHEN {_HELD} THEN 1 "
    "WHEN coalesce(m.error, '') != '' THEN 2 ELSE 3 END"
)

KINDS: Dict[Position, OutcomeKind] = {
    Position.NEW: OutcomeKind.NOT_STARTED,
    Position.IMPORTING: OutcomeKind.RUNNING,
    Position.HELD: OutcomeKind.HELD,
    Position.CONNECTED: OutcomeKind.DONE,
    Position.FINISHED: OutcomeKind.DONE,
    Position.ROLLED_BACK: OutcomeKind.ROLLED_BACK,
    Position.FAILED: OutcomeKind.FAILED,
    Position.INCONSISTENT: OutcomeKind.FAILED,
}
"""What a position alone says. The others are failed, pending or interrupted, as the rest tells."""


@dataclass(frozen=True)
class Filter:
    """Which collections: of these owners, or with these ids (source or target); empty: all."""

    users: Tuple[str, ...] = ()
    collections: Tuple[str, ...] = ()

    def where(self) -> Tuple[str, Dict[str, str]]:
        """A condition and its values. One value for all names: there may be thousands."""
        parts, values = ["1"], {}
        if self.users:
            parts.append(_among("coalesce(m.username, '')", "users"))
            values["users"] = _listed(self.users)
        if self.collections:
            ids = "m.old_collection_id", "coalesce(m.new_collection_id, '')"
            parts.append("(" + " OR ".join(_among(name, "ids") for name in ids) + ")")
            values["ids"] = _listed(spelled(self.collections))
        return " AND ".join(parts), values


def _among(column: str, name: str) -> str:
    return f"instr(:{name}, :mark || {column} || :mark) > 0"


def _listed(names: Iterable[str]) -> str:
    return _MARK + _MARK.join(names) + _MARK


EVERYTHING = Filter()


@dataclass
class Counts:
    """How many collections stand how; ``owners`` and ``models`` give (done, open) of each."""

    kinds: Dict[OutcomeKind, int] = field(default_factory=dict)
    positions: Dict[Position, int] = field(default_factory=dict)
    owners: Dict[str, Tuple[int, int]] = field(default_factory=dict)
    models: Dict[str, Tuple[int, int]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.kinds.values())

    def not_begun(self, n: int) -> None:
        """So many more that were asked for and are not on record yet."""
        if n:
            self.kinds[OutcomeKind.NOT_STARTED] = self.kinds.get(OutcomeKind.NOT_STARTED, 0) + n
            self.positions[Position.NEW] = self.positions.get(Position.NEW, 0) + n

    def add(self, kind: OutcomeKind, where: Position, owner: str, model: str, n: int) -> None:
        """So many more that stand alike."""
        self.kinds[kind] = self.kinds.get(kind, 0) + n
        self.positions[where] = self.positions.get(where, 0) + n
        for table, name in ((self.owners, owner), (self.models, model)):
            done, still = table.get(name, (0, 0))
            table[name] = (done + n, still) if kind in OVER else (done, still + n)


class Accounts:
    """All collections of one database, as status and reports tell them."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._db = database
        self._runs = runs

    def counts(self, scope: Filter = EVERYTHING) -> Counts:
        """Where how many stand: SQLite groups those that stand alike."""
        where, values = scope.where()
        counts, living = Counts(), self._runs.living()
        rows = self._db.rows(
            f"SELECT count(*) AS n, {_STANDING_NAMES} FROM "
            f"(SELECT {_STANDING} {_FROM_LIVE} WHERE {where}) GROUP BY {_STANDING_NAMES}",
            {"mark": _MARK, **values},
        )
        for row in rows:
            standing = position(_evidence(row))
            kind = _kind(standing, row, row["run_id"] in living)
            counts.add(kind, standing, row["owner"], row["model"], row["n"])
        return counts

    def total(self) -> int:
        """How many collections are on record."""
        row = self._db.row("SELECT count(*) AS n FROM collection_migrations", {})
        return int(row["n"]) if row else 0

    def not_on_record(self, ids: Sequence[str]) -> List[str]:
        """Those of some ids that are no source's and no current target's."""
        if not ids:
            return []
        sql = "SELECT old_collection_id AS old, new_collection_id AS new FROM collection_migrations"
        known = {value for row in self._db.rows(sql, {}) for value in (row["old"], row["new"])}
        return [one for one in ids if known.isdisjoint(id_forms(one))]

    def needing(self, scope: Filter = EVERYTHING, limit: Optional[int] = None) -> List[Result]:
        """What people have to look at, the worst first: not done, and nobody works on it."""
        where, values = scope.where()
        living = ", ".join(map(str, sorted(self._runs.living()))) or "-1"
        rows = self._db.rows(
            f"SELECT {_DETAILS}, {_STANDING} {_FROM_LIVE} {_FROM_LAST} WHERE {where} "
            f"AND (NOT ({CONNECTED} AND NOT ({BRINGING_OVER} OR {CHATS_OPEN})) "
            f"OR {_ROLLING_BACK}) "
            f"AND NOT ({_IMPORTING}) AND NOT ({_ROLLED_BACK}) "
            f"AND coalesce(l.run_id, 0) NOT IN ({living}) "
            f"ORDER BY {_RANK}, m.error, m.rowid LIMIT :limit",
            {**self._values(values), "limit": -1 if limit is None else limit},
        )
        return [_result(row, False) for row in rows]

    def rows(self, scope: Filter = EVERYTHING) -> Iterator[Result]:
        """Everything on record about each collection, in the order in which they were begun."""
        where, values = scope.where()
        living = self._runs.living()
        sql = (
            f"SELECT {_DETAILS}, {_STANDING} {_FROM_LIVE} {_FROM_LAST} "
            f"WHERE {where} AND m.rowid > :place ORDER BY m.rowid"
        )
        for rows in self._db.batches(sql, self._values(values), _BATCH):
            for row in rows:
                yield _result(row, row["run_id"] in living)

    def warnings(
        self, scope: Filter = EVERYTHING, limit: Optional[int] = None
    ) -> Tuple[int, List[KeptWarning]]:
        """How many warnings are kept of live attempts, and the newest of them."""
        where, values = scope.where()
        origin = (
            "FROM warnings w JOIN attempts a ON a.id = w.attempt_id AND a.fate = 'live' "
            f"JOIN collection_migrations m ON m.old_collection_id = a.source_id WHERE {where}"
        )
        given = {"mark": _MARK, **values}
        counted = self._db.row(f"SELECT count(*) AS n {origin}", given)
        rows = self._db.rows(
            f"SELECT w.*, m.old_collection_name AS name {origin} "
            "ORDER BY w.rowid DESC LIMIT :limit",
            {**given, "limit": -1 if limit is None else limit},
        )
        kept = [
            KeptWarning(row["source_id"], row["step"], row["text"], row["name"] or "")
            for row in rows
        ]
        return (counted["n"] if counted else 0), kept

    def retrieval(self, scope: Filter = EVERYTHING) -> Overall:
        """What the last checks of the retrieval came to, together: added up by SQLite."""
        where, values = scope.where()
        row = self._db.row(
            "SELECT count(r.found) AS collections, count(*) - count(r.found) AS unchecked, "
            "sum(r.documents) AS documents, sum(r.found) AS found, "
            "sum(r.old_documents) AS comparable, sum(r.old_found) AS found_before, "
            f"sum(r.lost) AS lost {_FROM_LIVE} JOIN retrievals r ON r.attempt_id = a.id "
            f"WHERE {where}",
            {"mark": _MARK, **values},
        )
        names = [item.name for item in fields(Overall)]
        return Overall(**{name: (row[name] if row else 0) or 0 for name in names})

    @staticmethod
    def _values(values: Dict[str, str]) -> Dict[str, Any]:
        return {"mark": _MARK, "counted": COUNTED, **values}


def _evidence(row: sqlite3.Row) -> Evidence:
    sent = row["import_sent"]
    unknown = None if row["legacy"] else False
    held = row["verdict"] == Verdict.HELD and not row["ignored"]
    return Evidence(
        has_attempt=not row["untraced"] or bool(row["has_target"]),
        has_target=bool(row["has_target"]),
        has_job=bool(row["has_job"]),
        job_status=row["job_status"],
        collection_created=bool(row["created"]),
        permissions_copied=bool(row["shared"]),
        import_submitted=bool(row["submitted"]),
        import_completed=bool(row["imported"]),
        connectors_migrated=bool(row["connected"]),
        chats_migrated=bool(row["chatted"]),
        import_intent_sent=unknown if sent is None else bool(sent),
        held=held and not row["connected"],
        validated=settled(row["verdict"], bool(row["ignored"])),
        rolling_back=bool(row["rolling_back"]),
        rolled_back=bool(row["rolled_back"]),
    )


def _kind(where: Position, row: sqlite3.Row, worked_on: bool) -> OutcomeKind:
    """How a collection stands in the words that a run would use."""
    kind = KINDS.get(where)
    if kind == OutcomeKind.DONE and row["chats_open"]:
        kind = OutcomeKind.FAILED if row["has_error"] else OutcomeKind.INTERRUPTED
    elif kind == OutcomeKind.DONE and row["bringing_over"]:
        kind = OutcomeKind.INTERRUPTED
    if worked_on and kind not in (OutcomeKind.DONE, OutcomeKind.RUNNING):
        return OutcomeKind.LEASED_ELSEWHERE
    if kind is not None:
        return kind
    if row["has_error"]:
        return OutcomeKind.FAILED
    unsettled = where == Position.IMPORTED and row["verdict"] == Verdict.PENDING
    return OutcomeKind.DOCUMENTS_PENDING if unsettled else OutcomeKind.INTERRUPTED


def _result(row: sqlite3.Row, worked_on: bool) -> Result:
    where = position(_evidence(row))
    kind = _kind(where, row, worked_on)
    over = kind in OVER
    warnings = row["warnings"]
    return Result(
        kind,
        row["old_collection_id"],
        row["old_collection_name"] or "",
        row["owner"],
        row["old_model"] or "",
        target_id=row["new_collection_id"] or None,
        target_name=row["new_collection_name"] or "",
        target_model=row["model"],
        position=where,
        reason=row["error"] or ("" if over else _evidence_of(where, row)),
        hint="--verify" if row["chats_open"] else STANDINGS[where].advice,
        needs_attention=not over
        and kind not in (OutcomeKind.RUNNING, OutcomeKind.LEASED_ELSEWHERE),
        earlier=True,
        warnings=tuple(warnings.split(_MARK)) if warnings else (),
        recorded=_recorded(row),
    )


def _evidence_of(where: Position, row: sqlite3.Row) -> str:
    if row["chats_open"]:
        return "the move of its chats was begun, and is not over"
    if row["bringing_over"]:
        return "what a former target holds is still to be brought over"
    return STANDINGS[where].evidence


def _recorded(row: sqlite3.Row) -> Recorded:
    facts = _json(row["source_facts"])
    before, after = _pair(row["counted"])
    times = {name: _utc(row[name]) for name in ("begun_at", "completed_at", "validated_at")}
    later = [_utc(row["ended_at"]), _utc(row["acted_at"]), *times.values()]
    return Recorded(
        begun_at=times["begun_at"],
        imported_at=times["completed_at"],
        validated_at=times["validated_at"],
        since=max(later),
        verdict=row["last_verdict"] or "",
        accepted=bool(row["last_ignored"]),
        documents_before=_number(facts.get("documents")) if before is None else before,
        documents_after=after,
        size_bytes=_number(facts.get("size_bytes")),
        connectors_moved=_number(_json(row["connectors"]).get("source")),
        chats_moved=_number(_json(row["chats"]).get("source")),
        retrieval=retrievals.read(row["retrieval"], _utc(row["retrieval_at"]))
        if row["retrieval"]
        else None,
    )


def _json(text: Optional[str]) -> Json:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}


def _pair(text: Optional[str]) -> Tuple[Optional[int], Optional[int]]:
    before, after = json.loads(text) if text else (None, None)
    return before, after


def _number(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@lru_cache(maxsize=10_000)
def _utc(text: Optional[str]) -> str:
    """A time of the database in one form, whichever version wrote it."""
    time = parse_time(text)
    return time.isoformat(timespec="seconds") if time else ""
