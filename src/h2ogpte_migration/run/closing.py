"""The end of a run: its results in words, what to type next, and the exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Iterator, List, Sequence, Tuple

from h2ogpte_migration.cli.again import MOST_IDS, MOST_IDS_A_COMMAND, again, continued, migrates
from h2ogpte_migration.cli.flags import DEFAULT_DB, PROGRAM, Options
from h2ogpte_migration.cli.rows import Mode
from h2ogpte_migration.errors import TrackingError
from h2ogpte_migration.model import SourceId, spelled
from h2ogpte_migration.results import NEGLECTED, SOURCE_DELETED, OutcomeKind, Result, RunResult
from h2ogpte_migration.run import reporting
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.states import BEFORE_IMPORT, Position
from h2ogpte_migration.ui import logs, plan, summary
from h2ogpte_migration.ui.summary import Following, Line, SummaryOptions
from h2ogpte_migration.ui.text import shell

_LOOKS = ("--verify", "--verify-query", "--verify-retrieval", "--verify-queries", "--min-recall")


def tell(session: Session, result: RunResult) -> int:
    """Say what came of everything; returns the exit code.

    Raises:
        TrackingError, Unauthorized: what ended the run; all that is known was told before.
    """
    session.progress.close()
    try:
        result.results = [_with_warnings(session, row) for row in result.results]
    except TrackingError as error:
        result.fatal = result.fatal or error
    following = tuple(_following(session, result.results))
    told = summary.lines(result, summary_options(session, following))
    if session.options.quiet:
        _tell_quietly(session, result, told)
    else:
        say(session, told)
    reporting.write(session, result, "run", following)
    if result.fatal is not None:
        raise result.fatal
    return result.exit_code


def _with_warnings(session: Session, row: Result) -> Result:
    kept = session.tracking.store.warnings(SourceId(row.source_id))
    return replace(row, warnings=tuple(item.text for item in kept))


def tell_plan(session: Session, result: RunResult) -> int:
    """Say what would be done; returns the exit code."""
    session.progress.close()
    options = _aloud(session)
    idle = session.clock.stop.is_set() or not plan.worked_on(result)
    # The sandbox's own database is gone when the command ends.
    without = ["--dry-run", "--report", *(["--db-path"] if options.sandbox else [])]
    following = () if idle else (Following("", options.command(without=without)),)
    with_chats = options.migrate_chats or options.rollback
    how = summary_options(session, following)
    keys_made = session.credentials.keys_made
    say(session, plan.lines(result, how, with_chats=with_chats, keys_made=keys_made))
    notes = plan.thoughts(result, how, with_chats=with_chats)
    reporting.write(session, result, "dry run", following, notes)
    return result.exit_code


def summary_options(session: Session, following: Tuple[Following, ...]) -> SummaryOptions:
    """How this run's summary is told."""
    options = session.options
    words = [PROGRAM, "--status"]
    words += [] if options.db_path == DEFAULT_DB else ["--db-path", str(options.db_path)]
    return SummaryOptions(
        width=session.console.width,
        details=options.details,
        status=shell(*words),
        asked=spelled(options.collections),
        following=following,
        beside=_of_the_key(options),
    )


def _of_the_key(options: Options) -> str:
    """What commands to type leave out, as others may read them: the key."""
    flag = options.key_flag
    typed = f"The key is not repeated here: type it after {flag.name}, or put it into {flag.env}."
    return typed if options.key_typed else ""


def say(session: Session, told: Sequence[Line]) -> None:
    """Print lines, each as loudly as it is; a folded one has several."""
    for line in told:
        for text in line.text.split("\n"):
            (session.console.attention if line.attention else session.console.info)(text)


# -- a quiet run -------------------------------------------------------------------------
def _tell_quietly(session: Session, result: RunResult, told: Sequence[Line]) -> None:
    """Speak where something changed, or once a day while something is open; else not at all."""
    console, runs = session.console, session.tracking.runs
    if result.fatal is not None:
        console.let_go()
        say(session, told)
        return  # an error is never quiet, and what it leaves is told anew by the next run
    open_now = sorted(
        [row.source_id or row.source_name, row.kind.value]
        for row in result.results
        if _is_open(row)
    )
    open_now += [["", text] for text in (result.breaker, *result.remarks) if text]
    news = any(_is_news(row) for row in result.results if not row.needs_attention)
    interrupted = session.clock.stop.is_set()
    now = datetime.now(timezone.utc)
    due = runs.quiet_report_is_due(json.dumps(open_now), bool(open_now), now)
    if not (due or news or interrupted):
        console.drop()
        return
    total = result.total or sum(row.kind != OutcomeKind.SKIPPED for row in result.results)
    console.attention_first(summary.headline(result, total))
    console.let_go()
    say(session, told)
    if logs.current() is not None:
        console.attention(f"Log: {logs.current()}")
    runs.record_quiet_report(json.dumps(open_now), now)


def _is_open(row: Result) -> bool:
    unfinished = (OutcomeKind.INTERRUPTED, OutcomeKind.NOT_STARTED)
    left_for_now = bool(row.left_behind) and row.kind != OutcomeKind.DONE
    return row.needs_attention or row.kind in unfinished or left_for_now


def _is_news(row: Result) -> bool:
    """Whether there is something to tell that no later run tells again."""
    if row.kind == OutcomeKind.DONE and row.earlier:
        return False
    return bool(row.warnings) or (bool(row.left_behind) and row.kind == OutcomeKind.DONE)


# -- what comes next -----------------------------------------------------------------------
def _following(session: Session, results: Sequence[Result]) -> Iterator[Following]:
    """What continues from here, for each group that is left; nothing where all is done."""
    options = _aloud(session)
    if options.sandbox:
        return  # its server is gone when the command ends
    kinds = {result.kind for result in results}
    if OutcomeKind.INTERRUPTED in kinds or session.clock.stop.is_set():
        yield Following("to continue", options.command())
        return
    failed = [row for row in results if row.kind == OutcomeKind.FAILED]
    if OutcomeKind.NOT_STARTED in kinds:
        yield Following("to continue", options.command())
    else:
        yield from _continued(session, [row for row in failed if row.position != Position.FAILED])
    lost = [row for row in failed if row.position == Position.FAILED]
    # Who wants back what a former target holds does not want a new one: the way is told there.
    yield from _afresh(session, [row for row in lost if not _comes_back_by_hand(options, row)])
    held = [row for row in results if row.kind == OutcomeKind.HELD]
    yield from _held(session, [row for row in held if row.position != Position.FINISHED])
    begun = [row for row in results if row.kind == OutcomeKind.LEFT and row.needs_attention]
    half_back = [row.source_id for row in begun if row.position == Position.ROLLING_BACK]
    yield from _ways_out(session, [("--rollback", one) for one in half_back])
    if options.mode is Mode.VERIFY and any(row.position in BEFORE_IMPORT for row in begun):
        runs = session.tracking.runs
        for last in runs.migrations()[:1]:
            command = continued(last, runs.is_beginning_afresh(last))
            yield Following("to continue what was interrupted", command)
    yield from _neglected(session, [row for row in results if row.cause == NEGLECTED])
    if not options.migrate_chats and any(_chats_are_behind(row) for row in results):
        command = _verification(session, "--migrate-chats")
        yield Following("to bring over the chats that former targets hold", command)
    if OutcomeKind.RUNNING in kinds or OutcomeKind.DOCUMENTS_PENDING in kinds:
        yield Following("to look after the imports", _verification(session))


def _continued(session: Session, failed: List[Result]) -> Iterator[Following]:
    """A run that has ended: what it made afresh, the same command would make once more."""
    options = _aloud(session)
    unbegun = [row.source_id for row in failed if _was_not_begun(session, row)]
    for start in range(0, len(unbegun), MOST_IDS_A_COMMAND):
        # Nothing on record tells them: whoever is not named here is forgotten.
        ids = ",".join(unbegun[start : start + MOST_IDS_A_COMMAND])
        command = options.command(add=["--collections", ids])
        yield Following("to begin afresh what could not be begun", command)
    ways_out = [row.way_out for row in failed if row.way_out]
    yield from _ways_out(session, ways_out)
    stuck = sum(row.cause == SOURCE_DELETED and not row.way_out for row in failed)
    if len(unbegun) + len(ways_out) + stuck < len(failed):
        plain = options.command(without=["--force-remigrate", "--retry-failed"])
        yield Following("to continue", plain)


def _neglected(session: Session, rows: List[Result]) -> Iterator[Following]:
    """What another command holds, by id: what this one was asked for may be done for the others."""
    options = _aloud(session)
    for start in range(0, len(rows), MOST_IDS_A_COMMAND):
        ids = ",".join(row.source_id for row in rows[start : start + MOST_IDS_A_COMMAND])
        command = options.command(add=["--collections", ids])
        yield Following("once nothing else works on it", command)


def _ways_out(session: Session, ways_out: Sequence[Tuple[str, ...]]) -> Iterator[Following]:
    """What helps where the same command would fail alike: rollbacks in one, moves one by one."""
    options, rollback = _aloud(session), "--rollback"
    rolled = [way[-1] for way in ways_out if way[0] == rollback]
    if rolled:
        ids = ",".join(dict.fromkeys(",".join(rolled).split(",")))
        command = options.command(add=[rollback, "--collections", ids])
        yield Following("to bring back what is not in its source yet", command)
    moves = list(dict.fromkeys(way for way in ways_out if way[0] != rollback))
    for way in moves[:MOST_IDS]:
        yield Following("to bring what is further on", options.command(add=way))
    if len(moves) > MOST_IDS:
        plain = options.command(without=["--force-remigrate", "--retry-failed"])
        yield Following(f"after that, to see the {len(moves) - MOST_IDS} others", plain)


def _was_not_begun(session: Session, row: Result) -> bool:
    """Whether a forced, or retried, run left it as it had stood before."""
    start = session.policy().forced_start
    if start is None or row.position == Position.NEW:
        return False
    if not session.options.force_remigrate and row.position != Position.HELD:
        return False  # nothing to retry
    options, runs = session.options, session.tracking.runs
    mapped = (options.mappings or {}).get(row.source_model, "")
    model = options.target_model or mapped
    return not runs.has_started(SourceId(row.source_id), start, model)


def _comes_back_by_hand(options: Options, row: Result) -> bool:
    return options.rollback and any("--move-" in text for text in row.left_behind)


def _chats_are_behind(row: Result) -> bool:
    """Whether a former target of a finished migration holds chats: the command beside it says so."""
    return row.kind == OutcomeKind.DONE and any("--move-chats" in text for text in row.left_behind)


def _aloud(session: Session) -> Options:
    """The command line as somebody types it who wants to see what happens."""
    options = session.options
    return replace(options, quiet=False) if options.quiet else options


def _verification(session: Session, *more: str) -> str:
    options = _aloud(session)
    if options.verify:
        return options.command(add=list(more))
    chats = ["--migrate-chats"] if options.migrate_chats else []
    return options.command(without=["--migrate-chats"], add=["--verify", *chats, *more])


_FORCED = ("--force-remigrate",)
"""What no command after this run says again: it would begin what went well once more."""


def _afresh(session: Session, failed: List[Result]) -> Iterator[Following]:
    """Fresh attempts for imports that failed."""
    options = _aloud(session)
    if not failed:
        return
    purpose = "to try failed imports afresh"
    if options.mode is Mode.MIGRATE:
        again = [] if options.retry_failed else ["--retry-failed"]
        yield Following(purpose, options.command(without=_FORCED, add=again))
        return
    for command in _migrations_of(session, failed):
        yield Following(purpose, command)


def _held(session: Session, held: List[Result]) -> Iterator[Following]:
    """What may be done about held collections; not what this very run has tried."""
    options = session.options
    if not held:
        return
    if options.mode is not Mode.VERIFY:
        yield Following("once what is missing was mended", _verification(session))
    elif not options.ignore_validation:
        command = _verification(session, "--ignore-validation")
        yield Following("to accept what is held as it is", command)
    if not options.retry_failed:
        begun_anew = [
            row for row in held if row.position == Position.HELD and row.cause != SOURCE_DELETED
        ]
        for command in _migrations_of(session, begun_anew):
            yield Following("to migrate what is held afresh", command)


def _few_ids(rows: List[Result]) -> List[str]:
    return [row.source_id for row in rows] if len(rows) <= MOST_IDS else []


def _migrations_of(session: Session, rows: List[Result]) -> Iterator[str]:
    """Commands that migrate these afresh, as they were migrated; by id while they are few.

    Where some were migrated on, one command does not lead all of them to their models.
    """
    options = _aloud(session)
    if not rows:
        return
    if options.mode is Mode.MIGRATE:
        yield options.command(without=_FORCED, add=["--retry-failed"])
        return
    for command in session.tracking.runs.migrations():
        its: List[Result] = []
        others: List[Result] = []
        for row in rows:
            leads = migrates(command, row.source_model, row.target_model)
            (its if leads else others).append(row)
        if its:
            yield again(command, _few_ids(its), "--retry-failed")
        rows = others
    if len(rows) > MOST_IDS:
        return
    for model in dict.fromkeys(row.target_model for row in rows):
        ids = ",".join(row.source_id for row in rows if row.target_model == model)
        yield options.command(
            without=[*_LOOKS, "--rollback", "--ignore-validation", "--users", "--all-users"],
            add=["--collections", ids, "--target-model", model, "--retry-failed"],
        )
