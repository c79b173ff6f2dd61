"""One run against one server: put together, handed to a command, tidied up after."""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import (
    Callable,
    ContextManager,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Set,
)

from h2ogpte_migration.cli.flags import Options
from h2ogpte_migration.cli.rows import Mode
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import ExitCode, Interrupted, ServerError, ToolError
from h2ogpte_migration.gateway.rest import Gateway, Server
from h2ogpte_migration.gateway.transport import Transport
from h2ogpte_migration.migration import Migration, Shared
from h2ogpte_migration.model import Collection, Identity, ImportOptions, SourceId
from h2ogpte_migration.overview import Overview
from h2ogpte_migration.planner import Policy
from h2ogpte_migration.results import Result, RunResult
from h2ogpte_migration.run import preflight
from h2ogpte_migration.run.credentials import (
    DRY_RUN_EXPIRIES,
    DRY_RUN_EXPIRY,
    Credentials,
    KeyPolicy,
)
from h2ogpte_migration.run.scheduler import Limits, Scheduler
from h2ogpte_migration.run.signals import Stopper
from h2ogpte_migration.steps import ragcheck
from h2ogpte_migration.steps.pointers import Pointers
from h2ogpte_migration.tracking import Database, Tracking
from h2ogpte_migration.tracking.records import Record
from h2ogpte_migration.tracking.scratch import throw_away
from h2ogpte_migration.ui import progress
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.progress import Progress
from h2ogpte_migration.ui.text import plural

MOST_THREADS = 32
THREADS_A_REQUEST = 4
"""How many collections are worked on for each request that may be under way: most of them wait
for the disk, for a second look at what seems empty, or for their owner's key."""

log = logging.getLogger(__name__)


@dataclass
class Session:
    """A run that is logged in. A dry run has a throw-away copy of the tracking database."""

    options: Options
    console: Console
    progress: Progress
    clock: Clock
    stopper: Stopper
    transport: Transport
    gateway: Gateway
    identity: Identity
    credentials: Credentials
    tracking: Tracking
    shared: Shared
    _told: Set[str] = field(default_factory=set)

    @property
    def admin(self) -> bool:
        """Whether the given key may act for others."""
        return self.options.user_key is None

    # -- collections -------------------------------------------------------------------
    def migration(
        self, source: Collection, model: str, policy: Policy, record: Optional[Record]
    ) -> Migration:
        """A collection to work on, with its owner's key; ``record`` if it is on record already."""
        # An id on record is the one of that time: the collection may have changed hands.
        known = record.owner_id if record and record.owner == source.owner else None
        return Migration(
            self.shared,
            source,
            self.credentials.gateway_for(source.owner, known),
            owner_id=partial(self._owner_id, source.owner, known),
            model=model,
            policy=policy,
        )

    def tracked_migration(self, record: Record, policy: Policy) -> Migration:
        """A collection to work on as it is on record."""
        source = Collection(record.source_id, record.source_name, record.owner, record.source_model)
        return self.migration(source, record.target_model, policy, record)

    def _owner_id(self, owner: str, known: Optional[str]) -> Optional[str]:
        """The id of an owner, as far as it is known by now; nothing is asked for it."""
        if owner == self.identity.username:
            return self.identity.user_id
        return known or self.credentials.known_id(owner)

    def policy(self, *, verify: bool = False, rollback: bool = False) -> Policy:
        """What the command line asks of every collection."""
        options = self.options
        return Policy(
            import_options=import_options(options),
            verify=verify,
            wait=options.wait_for_completion,
            migrate_chats=options.migrate_chats,
            retry_failed=options.retry_failed,
            force=options.force_remigrate,
            ignore_validation=options.ignore_validation,
            look_again=verify and bool(options.collections),
            rollback=rollback,
            verify_query=options.verify_query,
            query_timeout_s=options.query_timeout,
            retrieval=options.retrieval,
        )

    def carry_out(
        self,
        migrations: List[Migration],
        importing: Set[str],
        remarks: Callable[[Migration, Result], Result] = lambda _, result: result,
        owner_ended: Callable[[List[Migration]], List[str]] = lambda _: [],
        first: Optional[Mapping[str, str]] = None,
    ) -> RunResult:
        """Bring collections forward within the limits of the command line.

        Args:
            importing: ids of sources whose import jobs run already.
            remarks: adds to each result what else there is to tell.
            owner_ended: what there is to tell when all of an owner's collections have ended;
                asked while their key is still there.
            first: by id of a source, the source whose migration has to end before it begins.
        """
        said: List[str] = []
        self._give_overviews(migrations, importing)
        # Some were made for what dead runs left of others.
        self.credentials.release_all_but({migration.source.owner for migration in migrations})

        def owner_done(owner: str) -> None:
            if self.clock.stop.is_set():
                return  # what came of everything is told first, and then all keys go together
            try:
                said.extend(owner_ended([m for m in migrations if m.source.owner == owner]))
            except (ServerError, Interrupted) as error:
                log.warning("no last look at %s: %s", owner, error)
            finally:
                self.credentials.release(owner)

        scheduler = Scheduler(
            _limits(self.options),
            self.progress,
            owner_done,
            self.clock.stop,
            remarks,
        )
        result = scheduler.run(migrations, importing, first)
        result.remarks += said
        result.remarks += self._keys_that_stay()
        result.requests = self.transport.requests_sent
        result.peak_requests = self.transport.peak_in_flight
        return result

    def _give_overviews(self, migrations: List[Migration], importing: Set[str]) -> None:
        """What was submitted before is looked after: listings tell of all of an owner's at once."""
        by_owner: Dict[str, List[Migration]] = {}
        for migration in migrations:
            if migration.policy.verify or migration.source.id in importing:
                by_owner.setdefault(migration.source.owner, []).append(migration)
        for together in by_owner.values():
            overview = Overview(together[0].gateway, self.clock, len(together))
            for migration in together:
                migration.overview = overview

    # -- before and after ----------------------------------------------------------------
    def check_rights(self, owners: Iterable[str]) -> None:
        """The key has to be an administrator's where collections of others are worked on.

        Raises:
            ToolError: it is not.
        """
        if self.admin and any(owner != self.identity.username for owner in owners):
            preflight.check_admin(self.gateway, self.identity)

    def sweep_leftovers(self) -> None:
        """Delete keys and test chats on record that no living run uses."""
        self.credentials.sweep()
        leftovers = self.tracking.leftovers
        for source_id in leftovers.sources_with_test_chats():
            for owner in {chat.owner for chat in leftovers.test_chats_left(source_id)}:
                if self.admin or owner == self.identity.username:
                    for text in self._sweep_test_chats(source_id, owner):
                        self.console.attention(f"Warning: {text}")

    def _sweep_test_chats(self, source_id: SourceId, owner: str) -> List[str]:
        """Delete what test chats of an owner are on record; returns what is in doubt, or left."""
        leftovers, doubts = self.tracking.leftovers, []
        try:
            gateway = self.credentials.gateway_for(owner, self._id_on_record(source_id, owner))
            doubts = ragcheck.sweep(
                gateway, leftovers, leftovers.test_chats_left(source_id, owner), self.clock
            )
        except ServerError as error:
            log.warning("test chats of %s could not be deleted: %s", source_id, error)
        left = leftovers.test_chats_left(source_id, owner)
        return doubts + [
            f"a test chat in {chat.target_id} may still exist, as it could not be deleted; the next "
            "run tries that again"
            for chat in left
        ]

    def _id_on_record(self, source_id: SourceId, owner: str) -> Optional[str]:
        """The id of an owner, who may have another name by now."""
        tracked = self.tracking.store.load(source_id)
        return tracked.record.owner_id if tracked and tracked.record.owner == owner else None

    def _keys_that_stay(self) -> List[str]:
        """What people have to do about temporary keys; each of them is told once."""
        new = {
            name: text for name, text in self.credentials.stay().items() if name not in self._told
        }
        self._told.update(new)
        return list(new.values())

    def clean_up(self) -> bool:
        """Delete what keys are left, and say which may still exist. False: people have to."""
        self.progress.close()
        try:
            left = self.credentials.close()
        except ToolError as error:
            self.console.attention(f"Temporary keys could not be tidied up: {error.message}")
            return True
        for name in left:
            log.warning("the temporary key '%s' may still exist", name)
        for text in self._keys_that_stay():
            self.console.attention(f"Attention: {text}.")
        stay = self.credentials.stay()
        number = sum(name not in stay for name in left)
        if number:
            keys, it = plural(number, "temporary key"), "it" if number == 1 else "them"
            self.console.attention(f"{keys} may still exist; the next run deletes {it}.")
        return not stay


def _limits(options: Options) -> Limits:
    jobs = options.max_concurrent_jobs if options.wait_for_completion else None
    # One job at a time means one collection at a time. With more of them, the next
    # collections are prepared while the jobs of others run. A verification begins
    # nothing, so it may look at all of them.
    begun = None if jobs is None or options.mode is Mode.VERIFY else 1 if jobs == 1 else 2 * jobs
    return Limits(
        workers=threads(options),
        jobs=jobs,
        begun=begun,
        begun_at_first=options.max_concurrent_requests,
        max_failures=options.max_failures,
    )


def threads(options: Options) -> int:
    """How many collections are worked on at a time."""
    requests = options.max_concurrent_requests
    return max(requests, min(THREADS_A_REQUEST * requests, MOST_THREADS))


def import_options(options: Options) -> ImportOptions:
    """How imports are asked to work."""
    return ImportOptions(
        copy_document=options.copy_document,
        skip_reparse=options.skip_reparse,
        ocr_model=None if options.skip_reparse else options.ocr_model,
    )


# -- opening -----------------------------------------------------------------------------
@contextmanager
def opened(options: Options, console: Console, stopper: Stopper) -> Iterator[Session]:
    """Check that database and server belong together, then log in: the first request."""
    preflight.somebody_to_ask(options)
    preflight.database_is_there(options)
    with _database(options) as database, closing(
        progress.choose(console, options.quiet, stopper.stop.is_set)
    ) as watched:
        yield _logged_in(options, console, watched, stopper, Tracking(database))


def _database(options: Options) -> ContextManager[Database]:
    """The tracking database; a throw-away one where the user's is not to be touched."""
    if options.check_server:
        return throw_away(options.db_path)
    if options.dry_run:
        return closing(Database.in_memory(options.db_path))
    return closing(Database.to_write(options.db_path))


def _logged_in(
    options: Options, console: Console, watched: Progress, stopper: Stopper, tracking: Tracking
) -> Session:
    preflight.check_binding(options, tracking)
    preflight.warn_about_transport(options, console)
    if options.key is None:
        raise ToolError("bug: a run without a key")
    clock = Clock(stopper.stop)
    transport = Transport(
        options.url,
        timeout_s=options.timeout,
        retries=options.retries,
        max_in_flight=options.max_concurrent_requests,
        ca_cert=str(options.cert) if options.cert else None,
        insecure=options.insecure,
        clock=clock,
    )
    transport.observer = watched.server
    server = Server(transport)
    gateway = server.as_key(options.key)
    identity = preflight.log_in(options, console, gateway)
    gateway = server.as_key(options.key, identity)
    label = preflight.begin_run(options, tracking)
    credentials = Credentials(
        server,
        gateway,
        identity.username,
        admin=options.user_key is None,
        records=tracking.leftovers,
        policy=KeyPolicy(label, DRY_RUN_EXPIRY, DRY_RUN_EXPIRIES)
        if options.dry_run
        else KeyPolicy(label, options.api_key_expiry),
        clock=clock,
        at_once=options.max_concurrent_requests,
    )
    return Session(
        options=options,
        console=console,
        progress=watched,
        clock=clock,
        stopper=stopper,
        transport=transport,
        gateway=gateway,
        identity=identity,
        credentials=credentials,
        tracking=tracking,
        shared=Shared(tracking, clock, pointers=Pointers(gateway, admin=options.user_key is None)),
    )


def target_models_exist(session: Session, models: Set[str]) -> None:
    """Refuse, before anything is written, models that the server does not have.

    Raises:
        ToolError: naming the models that are missing.
    """
    try:
        known = set(session.gateway.embedding_models())
    except ServerError as error:
        session.console.attention(f"The embedding models could not be listed: {error.message}")
        return
    missing = sorted(models - known)
    if missing and known:
        raise ToolError(
            f"The server has no embedding model {', '.join(missing)}.",
            f"It has: {', '.join(sorted(known))}.",
            ExitCode.USAGE,
        )
