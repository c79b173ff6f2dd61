"""``--status``: what the database says, without server, key or client."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from h2ogpte_migration import __version__, report
from h2ogpte_migration.cli.again import MOST_IDS, again, continued, verification
from h2ogpte_migration.cli.flags import DEFAULT_DB, PROGRAM, Options
from h2ogpte_migration.cli.rows import Mode
from h2ogpte_migration.errors import ExitCode, ToolError
from h2ogpte_migration.report.document import fields_of
from h2ogpte_migration.results import OVER, OutcomeKind
from h2ogpte_migration.states import Position
from h2ogpte_migration.tracking import Database, Tracking
from h2ogpte_migration.tracking.accounts import Counts, Filter
from h2ogpte_migration.tracking.database import refuse_an_empty_file
from h2ogpte_migration.tracking.records import RunInfo
from h2ogpte_migration.tracking.runs import is_migration
from h2ogpte_migration.ui import status
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.text import did_you_mean, safe, shell

SCHEMA = "h2ogpte-migrate/status/1"
"""Grows with every change that could break a reader; new fields do not count as such."""

WATCH_EVERY_S = 1.0
WATCH_PLAIN_EVERY_S = 30.0
_WARNINGS_IN_JSON = 200


def run(options: Options, console: Console) -> int:
    """Tell how everything stands; returns the exit code."""
    refuse_an_empty_file(options.db_path)
    if not options.db_path.exists():
        raise ToolError(
            f"There is no tracking database {options.db_path.absolute()}.",
            "Name it with --db-path, or run a migration first.",
            ExitCode.USAGE,
        )
    if options.watch:
        _watch(options, console)
    return _once(options, console)


def _once(options: Options, console: Console) -> int:
    with closing(Database.to_read(options.db_path)) as database:
        asked = _StatusQuery(options, Tracking(database))
        if options.json:
            console.result(json.dumps(asked.for_machines(), indent=2, ensure_ascii=True))
        else:
            _print(asked, console)
        unknown = asked.unknown()
        for text in unknown:
            (console.error if options.json else console.attention)(text)
        not_well = asked.open or unknown
        code = ExitCode.ATTENTION if options.check and not_well else ExitCode.OK
        if options.report is not None and not _written(asked, options.report, console):
            code = ExitCode.ATTENTION
    return code


def _print(asked: _StatusQuery, console: Console) -> None:
    """The lines; in quiet mode only where something is open."""
    say = console.attention if asked.open else console.info
    for note in asked.options.notes:
        console.info(note)
    columns = shutil.get_terminal_size((100, 24)).columns
    for text in status.lines(asked.view(), columns, ascii_only=console.ascii_only):
        say(text)


def _written(asked: _StatusQuery, path: Path, console: Console) -> bool:
    try:
        report.write(path, asked.report())
    except OSError as error:
        name = safe(str(path))
        console.attention(f"The report {name} could not be written: {error.strerror}.")
        return False
    if not asked.options.json:
        console.info(f"Report: {safe(str(path))}")
    return True


# -- while others work ---------------------------------------------------------------------
def _watch(options: Options, console: Console) -> None:
    """Show it again and again, until Ctrl-C ends the command."""
    if not console.watched:
        while True:
            _once(options, console)
            time.sleep(WATCH_PLAIN_EVERY_S)
    from h2ogpte_migration.ui.screen import drawing

    with drawing(console) as show:
        while True:
            show(_screenful(options, console))
            time.sleep(WATCH_EVERY_S)


def _screenful(options: Options, console: Console) -> List[str]:
    size = shutil.get_terminal_size()
    with closing(Database.to_read(options.db_path)) as database:
        view = _StatusQuery(options, Tracking(database)).view()
        told = list(status.lines(view, size.columns, ascii_only=console.ascii_only))
    return told[: max(1, size.lines - 2)]


class _StatusQuery:
    """What was asked for, and the database that answers."""

    def __init__(self, options: Options, tracking: Tracking) -> None:
        self.options = options
        self._tracking = tracking
        self._scope = Filter(options.users, options.collections)
        self._not_begun = 0
        self._now = datetime.now(timezone.utc)
        self.counts: Counts = tracking.accounts.counts(self._scope)
        if not options.users and not options.collections:
            self._not_begun = max(0, tracking.runs.scope() - self.counts.total)
            self.counts.not_begun(self._not_begun)
        self._runs = tracking.runs.last()
        self._living = tracking.runs.living()

    @property
    def open(self) -> int:
        """How many are not done."""
        return self.counts.total - sum(self.counts.kinds.get(kind, 0) for kind in OVER)

    @property
    def _needs_count(self) -> int:
        calm = (
            OutcomeKind.DONE,
            OutcomeKind.ROLLED_BACK,
            OutcomeKind.RUNNING,
            OutcomeKind.LEASED_ELSEWHERE,
        )
        kinds = self.counts.kinds.items()
        return sum(number for kind, number in kinds if kind not in calm) - self._not_begun

    def unknown(self) -> List[str]:
        """What was asked for by name or id and is not on record: a line each."""
        accounts = self._tracking.accounts
        owners = accounts.counts().owners if self.options.users else {}
        told = [
            f"No collection of {safe(user)} is on record{did_you_mean(user, owners) or '.'}"
            for user in self.options.users
            if user not in owners
        ]
        ids = accounts.not_on_record(self.options.collections)
        return told + [f"The collection {safe(one)} is not on record." for one in ids]

    # -- for people ------------------------------------------------------------------------
    def view(self) -> status.View:
        """What people are shown."""
        accounts, most = self._tracking.accounts, None if self.options.all else status.MOST_LISTED
        number, kept = accounts.warnings(self._scope, most)
        # Whose they are is not on record yet, and the tables are to add up.
        rest = {"(not begun)": (0, self._not_begun)} if self._not_begun else {}
        return status.View(
            server=self._tracking.runs.bound_server() or "",
            database=str(self._tracking.database.path),
            scope=", ".join((*self.options.users, *self.options.collections)),
            now=self._now,
            recorded_at=self._recorded_at(),
            last_run=self._last_run(),
            counts=self.counts.kinds,
            owners={**self.counts.owners, **rest},
            models={**self.counts.models, **rest},
            needs=accounts.needing(self._scope, most) if self._needs_count else [],
            needs_count=self._needs_count,
            warnings=[f"{item.source_name or item.source_id}: {item.text}" for item in kept],
            warnings_count=number,
            following=self._following(),
            listed=accounts.rows(self._scope) if self.options.all else (),
            retrieval=accounts.retrieval(self._scope).words,
        )

    def _recorded_at(self) -> str:
        """When the newest run wrote last: now, if it lives."""
        last = self._runs[0] if self._runs else None
        if last is None:
            return ""
        if last.id in self._living:
            return self._now.isoformat()
        return last.ended_at or last.started_at

    def _last_run(self) -> str:
        last = self._runs[0] if self._runs else None
        if last is None:
            return ""
        when = status.clock(last.ended_at or last.started_at, self._now)
        return f"last run: {_end_of(last, last.id in self._living)} {when}"

    def _following(self) -> str:
        """What to type next: complete, but for the key, which comes from the environment."""
        kinds = self.counts.kinds
        failed = any(kinds.get(kind) for kind in (OutcomeKind.FAILED, OutcomeKind.HELD))
        before = any(kinds.get(kind) for kind in (OutcomeKind.INTERRUPTED, OutcomeKind.NOT_STARTED))
        migration = self._last_migration()
        if self._living:
            return ""
        if self.counts.positions.get(Position.ROLLING_BACK):
            return self._rollback(migration)
        if migration is not None and (before or failed):
            begun_anew = (Position.FAILED, Position.HELD)
            fresh = any(self.counts.positions.get(where) for where in begun_anew)
            retry = ["--retry-failed"] if fresh else []
            afresh = self._tracking.runs.is_beginning_afresh(migration.command)
            command = continued(migration.command, afresh)
            return _there(migration, again(command, (), *retry))
        return self._verification(migration) if self.open else ""

    def _last_migration(self) -> Optional[RunInfo]:
        for run in self._tracking.runs.last(1000):
            words = run.command.split()
            if words[:1] == [PROGRAM] and is_migration(run.command) and "--sandbox" not in words:
                return run
        return None

    def _rollback(self, migration: Optional[RunInfo]) -> str:
        """What goes on with rollbacks that did not end, so many at a time.

        By their ids: without a scope everything that was ever migrated would be brought back.
        """
        needing = self._tracking.accounts.needing(self._scope)
        begun = [row.source_id for row in needing if row.position == Position.ROLLING_BACK]
        return self._verification(migration, Mode.ROLLBACK, begun[:MOST_IDS]) if begun else ""

    def _verification(
        self,
        migration: Optional[RunInfo],
        mode: Mode = Mode.VERIFY,
        ids: Sequence[str] = (),
    ) -> str:
        server = self._tracking.runs.bound_server() or "https://..."
        command = migration.command if migration is not None else ""
        told = verification(command, server, mode, ids)
        if migration is not None and told:
            return _there(migration, told)
        key = "--user-key" if "--user-key" in command.split() else "--admin-key"
        path = self.options.db_path
        database = ["--db-path", str(path)] if path != DEFAULT_DB else []
        scope = ["--collections", ",".join(ids)] if ids else []
        return shell(PROGRAM, "--url", server, key, mode.value, *scope, *database)

    # -- for machines and files ------------------------------------------------------------
    def for_machines(self) -> Dict[str, Any]:
        """The same as a JSON object."""
        accounts, counts = self._tracking.accounts, self.counts
        number, kept = accounts.warnings(self._scope, _WARNINGS_IN_JSON)
        rows = list(accounts.rows(self._scope))
        told = {
            "schema": SCHEMA,
            "as_of": self._now.isoformat(timespec="seconds"),
            "recorded_at": self._recorded_at() or None,
            "database": str(self._tracking.database.path),
            "server": self._tracking.runs.bound_server(),
            "total": counts.total,
            "open": self.open,
            "counts": {kind.value: counts.kinds.get(kind, 0) for kind in OutcomeKind},
            "positions": {where.value: counts.positions.get(where, 0) for where in Position},
            "owners": _done_and_open(counts.owners),
            "models": _done_and_open(counts.models),
            "unfinished": [fields_of(row) for row in rows if row.kind != OutcomeKind.DONE],
            "retrieval": asdict(accounts.retrieval(self._scope)),
            "warning_count": number,
            "warnings": [asdict(item) for item in kept],
            "runs": [{**asdict(run), "living": run.id in self._living} for run in self._runs],
            "next": self._following() or None,
        }
        if self.options.all:
            told["collections"] = [fields_of(row) for row in rows]
        return told

    def report(self) -> report.Report:
        """How everything stands, for a file."""
        return report.Report(
            about="status",
            written_at=self._now.isoformat(timespec="seconds"),
            version=__version__,
            server=self._tracking.runs.bound_server() or "",
            database=str(self._tracking.database.path),
            command=self.options.command(),
            rows=list(self._tracking.accounts.rows(self._scope)),
            following=tuple(filter(None, [self._following()])),
        )


def _done_and_open(table: Dict[str, Any]) -> Dict[str, Any]:
    return {name: {"done": done, "open": still} for name, (done, still) in sorted(table.items())}


def _end_of(run: RunInfo, living: bool) -> str:
    if living:
        return "working since"
    if run.exit_code in (None, ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HUNG_UP):
        return "interrupted"
    return "ended well" if run.exit_code == ExitCode.OK else f"exit {run.exit_code}"


def _there(run: RunInfo, command: str) -> str:
    """A command with the paths of a run, which hold in the folder in which that was typed."""
    if run.folder and Path(run.folder) != Path.cwd():
        return f"cd {shell(run.folder)} && {command}"
    return command
