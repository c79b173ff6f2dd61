"""What a run works with: put together once by ``app``, handed to one runner."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Callable, List, Optional

from h2ogpte_migration.credentials import Credentials
from h2ogpte_migration.errors import ServerError, ToolError
from h2ogpte_migration.flags import Options
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Identity, ImportOptions
from h2ogpte_migration.pipeline import Outcome, Pipeline, Work
from h2ogpte_migration.planner import Policy
from h2ogpte_migration.runners.scheduler import Limits, RunResult, Scheduler
from h2ogpte_migration.runners.waiting import StoppableWaiter
from h2ogpte_migration.tracking.runs import Runs
from h2ogpte_migration.tracking.store import Store
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.progress import Progress


@dataclass
class Session:
    """One run against one server. ``store``, ``runs`` and ``pipeline`` are None in a preview
    without a database."""

    options: Options
    console: Console
    progress: Progress
    stop: threading.Event
    waiter: StoppableWaiter
    gateway: Gateway
    identity: Identity
    credentials: Credentials
    store: Optional[Store]
    runs: Optional[Runs]
    pipeline: Optional[Pipeline]
    problems: List[str] = field(default_factory=list)

    @property
    def admin(self) -> bool:
        """Whether the given key may act for others."""
        return self.options.user_key is None

    def owner_id(self, owner: str, known: Optional[str]) -> Optional[str]:
        """The id of an owner, as far as it is known by now; nothing is asked for it."""
        if owner == self.identity.username:
            return self.identity.user_id
        return known or self.credentials.known_id(owner)

    def policy(self, *, verify: bool) -> Policy:
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
            verify_query=options.verify_query,
            query_timeout_s=options.timeout,
        )

    def scheduler(
        self, remarks: Callable[[Work, Outcome], List[str]] = lambda _work, _outcome: []
    ) -> Scheduler:
        """A scheduler with the limits of the command line."""
        if self.pipeline is None:
            raise ToolError("bug: a preview has no pipeline")
        options = self.options
        workers = options.max_concurrent_requests
        jobs = options.max_concurrent_jobs if options.wait_for_completion else None
        # One job at a time means one collection at a time. With more of them, the next
        # collections are prepared while the jobs of others run. A verification begins
        # nothing, so it may look at all of them.
        begun = None if jobs is None or options.verify else 1 if jobs == 1 else 2 * jobs
        limits = Limits(
            workers=max(workers, min(begun or 0, 32)),
            jobs=jobs,
            begun=begun,
            max_failures=options.max_failures,
        )
        return Scheduler(
            self.pipeline, limits, self.progress, self.credentials.release, self.stop, remarks
        )


@dataclass(frozen=True)
class RunSummary:
    """What a runner hands to the summary: outcomes and everything beside them."""

    result: RunResult
    skipped: tuple[tuple[str, str, str], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    guests: int = 0


def import_options(options: Options) -> ImportOptions:
    """How imports are asked to work."""
    return ImportOptions(
        copy_document=options.copy_document,
        skip_reparse=options.skip_reparse,
        ocr_model=None if options.skip_reparse else options.ocr_model,
    )


def target_models_exist(session: Session, models: set[str]) -> None:
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
        )
