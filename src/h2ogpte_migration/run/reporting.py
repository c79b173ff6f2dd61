"""A run's ``--report``: its results, with the evidence that is on record about each."""

from __future__ import annotations

from dataclasses import replace
from typing import AbstractSet, List, Sequence, Union

from h2ogpte_migration import __version__, report
from h2ogpte_migration.checked import ServerCheck
from h2ogpte_migration.errors import TrackingError
from h2ogpte_migration.model import spelled
from h2ogpte_migration.report.check import parts as check_parts
from h2ogpte_migration.results import OWN_TARGET, Result, RunResult
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.tracking.accounts import Accounts
from h2ogpte_migration.tracking.records import utc_now
from h2ogpte_migration.ui.summary import Following
from h2ogpte_migration.ui.text import safe


def write(
    session: Session,
    result: RunResult,
    about: str,
    following: Sequence[Following],
    notes: Sequence[str] = (),
) -> None:
    """Write the report that was asked for, if one was; ``notes`` are what to think of before.

    One that can't be written is a remark of the run, and nothing worse: the work is done.
    """
    options = session.options
    if options.report is None:
        return
    remarks = [
        *([f"Stopped early: {result.stopped_early}"] if result.stopped_early else []),
        *result.remarks,
    ]
    try:
        told = report.Report(
            about=about,
            written_at=utc_now(),
            version=__version__,
            server=options.url,
            database=str(options.db_path),
            command=options.command(),
            rows=with_evidence(
                _told(result, spelled(options.collections)), session.tracking.accounts
            ),
            exit_code=session.stopper.answer(result.exit_code),
            remarks=tuple(remarks),
            notes=tuple(notes),
            following=tuple(dict.fromkeys(item.command for item in following)),
        )
        report.write(options.report, told)
    except (OSError, TrackingError) as error:
        result.remarks.append(_not_written(session, error))
    else:
        session.console.info(f"Report: {safe(str(options.report))}")


def _told(result: RunResult, asked: AbstractSet[str]) -> List[Result]:
    """The results without the tool's own targets, which nobody takes for work to do."""
    return [row for row in result.results if row.cause != OWN_TARGET or row.source_id in asked]


def write_check(session: Session, check: ServerCheck) -> bool:
    """Write the report of a check of the server, if one was asked for; False: it can't be."""
    path = session.options.report
    if path is None:
        return True
    try:
        report.write_parts(path, check_parts(path, check, session.stopper.answer(check.exit_code)))
    except OSError as error:
        _not_written(session, error)
        return False
    session.console.info(f"Report: {safe(str(path))}")
    return True


def _not_written(session: Session, error: Union[OSError, TrackingError]) -> str:
    """Say it aloud; returns what was said."""
    words = error.strerror if isinstance(error, OSError) else error.message
    text = f"The report {safe(str(session.options.report))} could not be written: {words}."
    session.console.attention(text)
    return text


def with_evidence(results: List[Result], accounts: Accounts) -> List[Result]:
    """The results, each with what the database has on record about it, its warnings too."""
    wanted = {row.source_id for row in results}
    kept = {row.source_id: row for row in accounts.rows() if row.source_id in wanted}
    return [_joined(row, kept[row.source_id]) if row.source_id in kept else row for row in results]


def _joined(seen: Result, kept: Result) -> Result:
    return replace(seen, recorded=kept.recorded, warnings=seen.warnings or kept.warnings)
