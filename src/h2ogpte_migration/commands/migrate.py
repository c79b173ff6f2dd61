"""The migration: find the scope, check, then bring every collection forward."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import List, Mapping, Optional, Set, Tuple

from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import SourceId, spelled
from h2ogpte_migration.results import OWN_TARGET
from h2ogpte_migration.run import closing, former
from h2ogpte_migration.run.discovery import Discovered, discover, unknown_targets
from h2ogpte_migration.run.scope import Selected
from h2ogpte_migration.run.session import Session, target_models_exist
from h2ogpte_migration.states import STANDINGS, Position
from h2ogpte_migration.tracking.records import Tracked
from h2ogpte_migration.ui.text import plural


def run(session: Session) -> int:
    """Migrate everything that the command line names; returns the exit code."""
    found = discover(session)
    target_models_exist(session, {item.model for item in found.selected})
    tracked = {item.collection.id: _on_record(session, item) for item in found.selected}
    _announce(session, found, tracked)
    session.sweep_leftovers()
    migrations, importing = _migrations(session, found, tracked)
    migrations += _sources_gone(session, found)
    seen = {item.id for item in found.scope.listed}
    result = session.carry_out(
        migrations,
        importing,
        lambda migration, outcome: former.remarks(session, migration, outcome),
        lambda ended: unknown_targets(session, ended, seen),
    )
    if not session.clock.stop.is_set() and not result.stopped_early:
        session.tracking.runs.end_starts([migration.source.id for migration in migrations])
    result.results += [*found.left_out, *found.missing]
    result.guests = found.scope.guests
    return closing.tell(session, result)


def _on_record(session: Session, item: Selected) -> Optional[Tracked]:
    return session.tracking.store.load(SourceId(item.collection.id))


def _announce(
    session: Session, found: Discovered, tracked: Mapping[str, Optional[Tracked]]
) -> None:
    """The scope in words, before the first write; a resumed run says what it found."""
    say = session.console.info
    models = ", ".join(sorted({item.model for item in found.selected}))
    if models:
        say(f"Target models, all of them on the server: {models}.")
    say(f"Tracking database: {session.options.db_path}, writable.")
    skipped = sum(row.cause != OWN_TARGET for row in found.left_out)
    say(
        f"Scope: {plural(len(found.selected), 'collection')} to migrate, "
        f"{skipped} skipped, {len(found.missing)} not available."
    )
    if found.scope.guests:
        say(f"Skipped: {plural(found.scope.guests, 'guest account')}.")
    begun = session.tracking.accounts.total()
    session.tracking.runs.record_scope(begun + sum(one is None for one in tracked.values()))
    counts = Counter(STANDINGS[one.position].resumed for one in tracked.values() if one)
    del counts[""]
    if counts:
        words = ", ".join(f"{number} {standing}" for standing, number in counts.items())
        say(f"Found from earlier runs: {words}.")


def _migrations(
    session: Session, found: Discovered, known: Mapping[str, Optional[Tracked]]
) -> Tuple[List[Migration], Set[str]]:
    """In the order in which they are begun: what runs already comes first."""
    policy, importing = session.policy(), set()
    listed = {item.id for item in found.scope.listed}
    migrations = []
    for item in found.selected:
        tracked = known[item.collection.id]
        if tracked and tracked.position in (Position.SUBMITTING, Position.IMPORTING):
            importing.add(item.collection.id)
        record = tracked.record if tracked else None
        # What was finished is only looked at where its target is not among what is there.
        over = tracked is not None and tracked.position in (Position.CONNECTED, Position.FINISHED)
        doubtful = over and record is not None and record.target_id not in listed
        how = replace(policy, look_again=True) if doubtful else policy
        migrations.append(session.migration(item.collection, item.model, how, record))
    migrations.sort(key=lambda migration: migration.source.id not in importing)
    return migrations, importing


def _sources_gone(session: Session, found: Discovered) -> List[Migration]:
    """Tracked migrations of this scope that are not over, and whose source is not listed.

    Worked on, they turn out to be without a source, and come to the end that is left for them:
    nothing of them is begun afresh.
    """
    policy = replace(session.policy(), force=False, retry_failed=False)
    options, listed = session.options, {item.id for item in found.scope.collections}
    named = spelled(options.collections)
    migrations = []
    for record in session.tracking.store.unfinished(with_chats=options.migrate_chats):
        in_scope = (
            record.source_id in named
            if options.collections
            else options.all_users
            or record.owner in options.users
            or (not session.admin and record.owner == session.identity.username)
        )
        if in_scope and record.source_id not in listed:
            migrations.append(session.tracked_migration(record, policy))
    return migrations
