"""``--status``: what the database says, without server, key or client."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from typing import Any, Dict, List, Tuple

from h2ogpte_migration.cli.flags import Options
from h2ogpte_migration.errors import ExitCode, ToolError
from h2ogpte_migration.states import STANDINGS, Position
from h2ogpte_migration.tracking import Database, Tracking
from h2ogpte_migration.tracking.records import Tracked
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.text import shell


def run(options: Options, console: Console) -> int:
    """Print counts, what is not finished, and the last runs; returns the exit code."""
    if not options.db_path.exists():
        raise ToolError(
            f"There is no tracking database {options.db_path}.",
            "Name it with --db-path, or run a migration first.",
            ExitCode.USAGE,
        )
    with closing(Database.to_read(options.db_path)) as database:
        report = _report(Tracking(database))
    if options.json:
        console.result(json.dumps(report, indent=2, ensure_ascii=True))
    else:
        _print(report, options, console)
    return ExitCode.OK


def _report(tracking: Tracking) -> Dict[str, Any]:
    store, runs = tracking.store, tracking.runs
    counts: Counter[str] = Counter()
    unfinished: List[Dict[str, Any]] = []
    counts.update({where.value: number for where, number in store.over().items()})
    for tracked in store.not_over():
        where = tracked.position
        counts[where.value] += 1
        unfinished.append(_row(tracked, where, tracking))
    kept = store.kept_warnings()
    return {
        "database": str(tracking.database.path),
        "server": runs.bound_server(),
        "counts": {where.value: counts[where.value] for where in Position if counts[where.value]},
        "total": sum(counts.values()),
        "unfinished": unfinished,
        "warning_count": len(kept),
        "warnings": [asdict(item) for item in kept[:200]],
        "runs": [asdict(run) for run in runs.last()],
    }


def _row(tracked: Tracked, where: Position, tracking: Tracking) -> Dict[str, Any]:
    record, standing = tracked.record, STANDINGS[where]
    holder = tracking.leases.holder(record.source_id)
    return {
        "source_id": record.source_id,
        "source_name": record.source_name,
        "target_id": record.target_id,
        "owner": record.owner,
        "position": where.value,
        "job_status": record.job_status,
        "reason": record.error or standing.evidence,
        "next": f"being worked on by {holder}" if holder else standing.advice,
    }


def _print(report: Dict[str, Any], options: Options, console: Console) -> None:
    console.info(f"Tracking database: {report['database']}")
    if report["server"]:
        console.info(f"Server: {report['server']}")
    counts = ", ".join(f"{number} {where}" for where, number in report["counts"].items())
    console.info(f"Collections: {report['total']}" + (f" ({counts})" if counts else ""))
    if report["unfinished"]:
        rows = [_cells(row) for row in report["unfinished"]]
        console.table(("collection", "id", "owner", "position", "reason", "next"), rows)
    for item in report["warnings"][:20]:
        console.attention(f"Warning for {item['source_id']}: {item['text']}")
    if report["warning_count"] > 20:
        console.info(f"{report['warning_count'] - 20} more warnings: --status --json")
    for run in report["runs"]:
        console.info(_run_line(run))
    if any(row["position"] == Position.IMPORTING.value for row in report["unfinished"]):
        words = shell("h2ogpte-migrate", "--verify", "--db-path", str(options.db_path))
        console.info(f"Next: {words} --url ... and a key")


def _cells(row: Dict[str, Any]) -> Tuple[str, ...]:
    keys = ("source_name", "source_id", "owner", "position", "reason", "next")
    return tuple(str(row[key] or "") for key in keys)


def _run_line(run: Dict[str, Any]) -> str:
    end = "running or interrupted" if run["ended_at"] is None else f"exit {run['exit_code']}"
    return f"Run {run['id']} of {run['started_at']} on {run['host']}: {end}: {run['command']}"
