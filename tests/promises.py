"""What the tool promises, one row per promise: the table that the tests are held against.

A row says where the promise stands (a section of the description of the tool, or of the design
of version 2), and what it is. The tests that show it carry its id::

    @pytest.mark.promise("scope.users")

``python -m tests.promises`` prints the table with their names; ``tests/docs`` fails if a row
has no test, or a test names a promise that is not here.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

HERE = Path(__file__).parent

FLOW = "Per-collection flow"
MODES = "Execution modes"
OLD = "What happens to the old collection"
WHY = "Why connectors and chats are separate"
RESUME = "Resume"
ITEMS = "What gets migrated"
ADMIN = "Authentication: admin"
SELF = "Authentication: self-service"
MODELS = "Model mappings"
FLAGS = "Flag reference"
DRY = "Example: dry run"
VERIFY = "Example: verify"
RETRY = "Example: retry failed"
FORCE = "Example: force re-migration"
MOVE = "Example: manual moves"
TABLE = "Database: resume table"
FILES = "Output files"
ONCE = "Version 2: exactly once"
CHECKS = "Version 2: validation"
FAULTS = "Version 2: faults, bad input, secrets"
NEW = "Version 2: differences and additions"


@dataclass(frozen=True)
class Promise:
    """One row."""

    id: str
    section: str
    text: str


def _rows(*rows: Tuple[str, str, str]) -> Tuple[Promise, ...]:
    return tuple(Promise(*row) for row in rows)


PROMISES: Tuple[Promise, ...] = _rows(
    # -- flow and modes
    ("wait.does-everything", FLOW, "One waiting run takes a collection through all steps; each sets its column."),
    ("parallel.submits-and-exits", MODES, "Without waiting, all imports are submitted and the command ends while they run."),
    ("parallel.moves-wait-for-verify", MODES, "Connectors stay in the source until --verify finds the import done."),
    ("migrate-chats.deferred", MODES, "--migrate-chats without waiting moves no chat; --verify --migrate-chats does."),
    ("migrate-chats.opt-in", MODES, "Chats stay in the source unless --migrate-chats is given."),
    ("wait.one-at-a-time", MODES, "Waiting takes one collection at a time, to its end."),
    ("max-concurrent-jobs.reached-and-kept", MODES, "N import jobs run at once, never more; jobs found running count."),
    ("max-concurrent-jobs.needs-wait", FLAGS, "--max-concurrent-jobs has no effect without waiting."),
    ("max-concurrent-requests.kept", NEW, "--max-concurrent-requests bounds the requests in flight."),
    ("modes.same-end", MODES, "All modes come to the same end state."),
    ("failure.others-go-on", MODES, "One collection's failure does not stop the others."),
    # -- the old collection
    ("old.stays", OLD, "The old collection is not deleted."),
    ("old.unchanged", OLD, "Nothing of it changes, but for the connectors and chats that move."),
    ("old.documents-shared", OLD, "By default both collections refer to the same documents, which survive the old one."),
    ("failed-import.moves-nothing", WHY, "An import that is refused, fails, is canceled or partly fails moves nothing; exit 1."),
    # -- what gets migrated
    ("migrated.documents", ITEMS, "All documents arrive, by one server job."),
    ("migrated.document-metadata", ITEMS, "Documents keep their metadata."),
    ("migrated.ingest-modes", ITEMS, "agent_only documents stay agent_only."),
    ("migrated.lifecycle", ITEMS, "Expiry, inactivity interval and size limit are taken over."),
    ("migrated.public", ITEMS, "Public collections stay public with the same rights; an empty list stays empty."),
    ("migrated.user-shares", ITEMS, "Users keep their rights, also where a share has no list."),
    ("migrated.group-shares", ITEMS, "Groups keep their rights."),
    ("migrated.late-shares", NEW, "What the source grants, or withdraws, while its import runs follows with the validation; what people gave on the target stays."),
    ("migrated.before-the-import", ITEMS, "Create, permissions, import, connectors, chats: in this order."),
    ("migrated.settings", ITEMS, "Collection settings arrive, with keys that no client knows."),
    ("migrated.chat-settings", ITEMS, "Chat settings arrive, with keys that no client knows."),
    ("migrated.name", ITEMS, "The target is named (Migrated) NAME - YYYYMMDD_HHMMSS, uniquely, without stacking."),
    ("migrated.description", ITEMS, "The description is taken over."),
    ("migrated.collection-metadata", ITEMS, "The collection's own metadata are taken over."),
    ("migrated.rag-type", ITEMS, "rag_type is taken over, also a value unknown to the client."),
    ("migrated.prompt-template", ITEMS, "The prompt template is taken over."),
    ("migrated.workspace", ITEMS, "The workspace is taken over; an invalid one falls back to the owner's default."),
    ("migrated.encryption", ITEMS, "Vector encryption and the exemption from chat expiry are taken over."),
    ("migrated.connectors", ITEMS, "Scheduled connectors move after the import."),
    ("migrated.chats", ITEMS, "Chats of all users move, if asked for."),
    ("migrated.warnings-are-kept", ITEMS, "What can't be carried over is a warning in summary and status."),
    # -- authentication
    ("admin.temporary-keys", ADMIN, "Owners get one temporary key per run, gone afterwards, after failures too."),
    ("admin.keys-only-where-needed", ADMIN, "Keys are made only for owners of something to migrate."),
    ("admin.keys-that-stay", NEW, "A key of an earlier run that the server does not delete is for people: named, with what to do, exit 1."),
    ("admin.keys-go-early", NEW, "A temporary key goes as soon as its owner's work in the run is done."),
    ("admin.own-collections", ADMIN, "The admin's own collections use the admin's key."),
    ("self-service.own-only", SELF, "A user key migrates what its user owns, not what is shared or public."),
    ("self-service.no-keys", SELF, "A user key makes no other keys and uses no admin call."),
    ("self-service.collections", SELF, "--collections narrows it down."),
    ("self-service.others-refused", SELF, "Collections of others are named and not touched; exit 1."),
    # -- models
    ("models.mapped", MODELS, "The built-in table replaces its models."),
    ("models.unmapped-skipped", MODELS, "Other models are skipped with the reason."),
    ("models.mappings-file", NEW, "A table of one's own replaces the built-in one."),
    ("models.target", FLAGS, "--target-model takes every collection to one model."),
    ("models.target-leaves-alone", NEW, "What has that model already is left alone, unless named by id or source model."),
    ("models.source", FLAGS, "--source-model keeps to collections with that model."),
    ("models.unknown-refused", FAULTS, "A model that the server lacks is refused before anything is written."),
    # -- scope
    ("scope.users", FLAGS, "--users takes the collections of the named users."),
    ("scope.users-exact", FLAGS, "Users are exact names, whatever else carries them."),
    ("scope.unknown-users-named", FAULTS, "Unknown users are named, exit 1; a user without collections is no failure."),
    ("scope.all-users", FLAGS, "--all-users takes everybody's collections, the admin's too."),
    ("scope.guests-counted", NEW, "Guests are skipped and counted."),
    ("scope.collections", FLAGS, "--collections takes exactly the given ids."),
    ("scope.owners-detected", FLAGS, "Their owners are looked up."),
    ("scope.ids-exact", FLAGS, "An id is exact, although names of others carry it."),
    ("scope.duplicates-count-once", FLAGS, "An id given twice counts once."),
    ("scope.unknown-ids-named", FAULTS, "Unknown ids are named, exit 1; the others are migrated."),
    ("scope.collections-file", FLAGS, "A file of ids: comments, byte order mark, CRLF; - is standard input."),
    ("scope.table-of-ids", NEW, "A CSV table with a column collection_id serves as well."),
    ("scope.never-a-target", NEW, "A tracked target with the wanted model is no source, not even when forced."),
    ("scope.target-stands-for-source", NEW, "For another model the target is migrated on, and stands for its source."),
    ("scope.lost-database", ONCE, "A target of an unknown database is reported, nothing started, exit 1; force overrides."),
    # -- flags of documents and keys
    ("flag.copy-document", FLAGS, "--copy-document makes documents of the target's own."),
    ("flag.skip-reparse", FLAGS, "--skip-reparse embeds chunks anew and leaves the OCR model alone."),
    ("flag.ocr-model", FLAGS, "--ocr-model (default auto) applies to import and target; a change is a warning."),
    ("flag.api-key-expiry", FLAGS, "--api-key-expiry bounds the life of temporary keys; 30 days by default."),
    # -- verify
    ("verify.finishes-imports", VERIFY, "Ended imports are validated, connectors moved, columns and times set."),
    ("verify.begins-nothing", VERIFY, "No new migration is begun."),
    ("verify.nothing-twice", VERIFY, "Verifying again does nothing again."),
    ("verify.all-as-admin", VERIFY, "Without scope, or for all users, an admin verifies everything open."),
    ("verify.by-users", VERIFY, "--users scopes it."),
    ("verify.by-collections", VERIFY, "--collections scopes it, for admins and owners."),
    ("verify.by-file", VERIFY, "--collections-file scopes it."),
    ("verify.own-account", VERIFY, "A user key verifies the own account only."),
    ("verify.unknown-named", VERIFY, "What was never migrated, or is not one's own, is named; exit 1."),
    ("verify.counts", VERIFY, "The summary counts completed, failed, canceled and running; the reasons are told."),
    ("verify.running-is-well", VERIFY, "A running import is no failure, and moves nothing."),
    ("verify.wait", NEW, "--verify --wait-for-completion waits for every import."),
    ("verify.db-path", FILES, "Another database knows nothing; --db-path from elsewhere knows all."),
    ("verify.interrupted-before-import", VERIFY, "What never got its import is named; the migration command continues it."),
    # -- dry run
    ("dry-run.shows-all", DRY, "Models, permissions, lifecycle, documents, import settings, skips: all are shown."),
    ("dry-run.no-write", DRY, "Nothing changes at the server but temporary keys, and no database appears."),
    ("dry-run.keys-expire", NEW, "Its keys expire within the hour."),
    ("dry-run.database-untouched", DRY, "A database that is there, of either version, keeps its bytes."),
    ("dry-run.not-found-named", DRY, "What is not there is named; exit 1."),
    ("dry-run.next-command", NEW, "The command that does it is told, without keys."),
    # -- resume
    ("resume.created", TABLE, "Created, not submitted: same target, permissions again, import."),
    ("resume.importing", TABLE, "Submitted: a parallel run leaves it and points to --verify."),
    ("resume.importing-waited-for", NEW, "Submitted: a waiting run waits for it."),
    ("resume.imported", TABLE, "Imported: the connectors move."),
    ("resume.connected", TABLE, "Connectors moved: chats move with --migrate-chats."),
    ("resume.finished", TABLE, "Fully done: nothing happens."),
    ("resume.failed", TABLE, "Failed: left alone, exit 1, until --retry-failed."),
    ("resume.recovery-commands", RESUME, "A skipped collection names the commands that bring back what was moved."),
    ("resume.says-what-it-found", NEW, "A resumed run says first what it found."),
    ("legacy.continued", TABLE, "A database of version 1.2.0 continues, and keeps its documented columns."),
    # -- retry and force
    ("retry.new-target", RETRY, "--retry-failed makes a new target; the old one stays."),
    ("retry.only-failed", RETRY, "What is completed, submitted or running is not retried; what is new is begun."),
    ("retry.names-the-old-target", RETRY, "The failed target's id is logged."),
    ("retry.waits-and-moves", RETRY, "With waiting, a retry goes all the way, in self-service too."),
    ("retry.not-for-moves", FLAGS, "Failed moves need no retry: --verify does them."),
    ("retry.counts-held", CHECKS, "What is held counts as failed for a retry."),
    ("force.any-state", TABLE, "--force-remigrate makes a new target from any state; the row is overwritten."),
    ("force.recovery-commands", FORCE, "The commands that bring back connectors and chats are logged, and work; none if none needed."),
    ("force.not-twice", ONCE, "An interrupted forced or retried run continues instead of starting over."),
    ("history.nothing-forgotten", ONCE, "Every target ever made stays on record with its fate."),
    # -- moves
    ("move.connectors", MOVE, "--move-connectors moves the connectors and nothing else."),
    ("move.chats", MOVE, "--move-chats moves the chats and nothing else."),
    ("move.both", MOVE, "Both in one command."),
    ("move.admin-impersonates", MOVE, "An admin works with a temporary key of the owner."),
    ("move.nothing-is-success", MOVE, "Nothing to move is a success."),
    ("move.one-owner", FLAGS, "Both collections must have one owner."),
    ("move.own-only", FLAGS, "A user moves only between own collections."),
    ("move.must-exist", FLAGS, "Both must exist; nothing is moved otherwise."),
    ("move.refused-combinations", FLAGS, "Moves go with no migration or verify flag, and need two different ids."),
    # -- RAG
    ("rag.asks-and-deletes", FLAGS, "Each completed migration is asked in a test chat, which is deleted."),
    ("rag.shows-the-answer", FLAGS, "References are counted and the answer's beginning is shown and logged."),
    ("rag.informational", FLAGS, "Whatever the answer, nothing is held back."),
    ("rag.deletes-in-any-case", FLAGS, "The test chat goes in any case."),
    ("rag.not-for-empty", CHECKS, "Collections without documents are not asked."),
    ("rag.completed-only", FLAGS, "What failed is not asked."),
    ("rag.every-collection", FLAGS, "The same question goes to all; named ones can be asked again."),
    ("rag.needs-verify-or-wait", FLAGS, "--verify-query needs --verify or waiting."),
    # -- validation
    ("held.missing", CHECKS, "Missing documents hold connectors and chats back; exit 1."),
    ("held.copied-by-name", CHECKS, "Copies are compared by name."),
    ("held.duplicated", CHECKS, "Doubled documents hold back."),
    ("held.newly-bad", CHECKS, "Documents that went bad hold back."),
    ("held.wrong-model", CHECKS, "A wrong model holds back."),
    ("held.bad-before-is-no-fault", CHECKS, "What was bad before is told and holds nothing back."),
    ("held.says-what-fits", CHECKS, "The message names the ways out."),
    ("held.clean-verify-frees", CHECKS, "A later clean validation frees."),
    ("held.ignored", CHECKS, "--ignore-validation frees, on record."),
    ("held.retried", CHECKS, "--retry-failed makes a fresh target."),
    ("held.plain-rerun-stays", CHECKS, "The same command again stays held and makes nothing new."),
    ("retrieval.compares", NEW, "--verify-retrieval looks for documents in the new index and in the old one, and tells both."),
    ("retrieval.names-what-is-lost", NEW, "What was found before and is not now is named, and holds nothing back by itself."),
    ("retrieval.finished-ones", NEW, "With --verify, and alone, it looks at what is finished."),
    ("retrieval.cost", NEW, "It costs two requests at most for each document and index, beside the listing of chunks."),
    ("retrieval.never-fails", NEW, "A server that can't do it is a kept warning, and no failure."),
    ("retrieval.old-model-gone", NEW, "Without the old model there are new numbers only."),
    ("retrieval.min-recall", NEW, "--min-recall holds connectors and chats back until enough is found."),
    ("retrieval.accepted", NEW, "--ignore-validation accepts what is not found."),
    ("retrieval.questions", NEW, "--verify-queries shows the first five of old and new side by side."),
    ("errors-but-complete.is-completed", CHECKS, "Errors with nothing amiss are completed with a kept warning."),
    ("validation.late-documents", CHECKS, "Late documents are told as left behind, kept, and hold nothing back."),
    ("validation.unsettled-waits", CHECKS, "Documents in the works are looked at again later."),
    ("validation.lifecycle-warned", CHECKS, "Differing lifecycle settings are kept warnings."),
    ("validation.settings-warned", CHECKS, "Differing metadata, rag_type and rights are kept warnings."),
    ("vanished.target", ONCE, "A target deleted after its import is failed, and can be retried."),
    ("vanished.source", ONCE, "A source deleted after submission leaves nothing stuck."),
    ("vanished.job", ONCE, "Without a job's record the documents decide."),
    # -- status
    ("status.table", NEW, "--status shows counts, a table of what is open, and the next command."),
    ("status.json", NEW, "--status --json tells machines the same."),
    ("status.kept-warnings", NEW, "It shows the kept warnings."),
    ("status.no-server", NEW, "It needs no server and no key."),
    ("status.without-the-client", NEW, "It does not load the client."),
    ("status.changes-nothing", NEW, "It leaves a database of version 1.2.0 as it is."),
    ("status.no-database", NEW, "Without a database: exit 2, and none is made."),
    ("status.db-path", FLAGS, "--db-path names another database."),
    # -- around a run
    ("preflight.told", FAULTS, "Server, version, key, models and scope are told before the first write."),
    ("preflight.key", FAULTS, "An invalid key is refused, without being shown."),
    ("preflight.admin-rights", FAULTS, "A key of no administrator is refused as an admin's."),
    ("preflight.unreachable", FAULTS, "A server that is not there is told in a line or two."),
    ("breaker.stops", FAULTS, "After five failures alike nothing new is started, in either mode."),
    ("breaker.limit", FAULTS, "--max-failures sets the number; 0 never stops."),
    ("breaker.success-resets", FAULTS, "A success in between resets the count."),
    ("binding.refused", NEW, "A database of another server is refused with both names, and nothing is sent."),
    ("binding.rebind", NEW, "--rebind-server takes over the new address."),
    ("binding.normalised", NEW, "The same address in other letters is the same server."),
    ("log.file-name", FILES, "migration_YYYYMMDD_HHMMSS.log in the current folder, in UTC, for its owner only."),
    ("log.collection-prefix", FLAGS, "Log lines carry [Collection Name]."),
    ("log.jobs-and-errors", FILES, "The log has times, job ids and errors."),
    ("runs.log-of-runs", NEW, "The database logs runs: times, host, version, command without keys, exit code."),
    ("secrets.nowhere", FAULTS, "Keys are in no output, log or database."),
    ("untrusted.names", FAULTS, "Names reach terminal and log harmless, and the server unchanged."),
    ("failure.unreadable-owner", ONCE, "An owner who can't be impersonated: nothing touched, reported, others go on."),
    ("exit.codes", NEW, "0 done, 1 attention, 2 usage."),
    ("exit.skips-are-no-failure", FAULTS, "What a filter leaves out is listed and no failure."),
    ("usage.nothing-sent", FAULTS, "A bad line is refused with all its mistakes; nothing is sent or left."),
    ("output.quiet", NEW, "--quiet prints only what needs attention."),
    ("output.summary", NEW, "The summary says where all went, with times, the slowest and the concurrency."),
    ("env.variables-and-file", NEW, "Address and key come from the environment or .env of the current folder."),
    ("check-server.works-through", NEW, "--check-server migrates a scratch collection of one's own and tells what differs."),
    ("check-server.leaves-nothing", NEW, "Whatever a check made is gone: at its end, after Ctrl-C, or with the next one after a kill."),
    ("check-server.others", NEW, "A check touches nothing that it did not make."),
    ("rollback.comes-back", NEW, "--rollback brings connectors and chats back, verified by counts, and later plain runs leave it alone."),
    ("sandbox.try-it", NEW, "--sandbox needs no server, key or database."),
    # -- interruptions
    ("killed.import-wait", ONCE, "Killed in the wait for an import, then again: one target, the same job, nothing doubled."),
    ("killed.same-end", ONCE, "Killed at any step, then again: the end is that of an undisturbed run."),
    ("interrupted.first-signal", ONCE, "Ctrl-C or SIGTERM: jobs go on, keys go, summary, next command, 130 or 143."),
    ("leases.several-terminals", ONCE, "Several terminals on one database do nothing twice."),
)  # fmt: skip


# -- the tests, read without running them ----------------------------------------------------
def marked_tests(folder: Path = HERE) -> Mapping[str, Sequence[str]]:
    """Names of tests by the promise that they are marked with."""
    found: Dict[str, List[str]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for function in ast.walk(ast.parse(text)) if "promise(" in text else ():
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                for promise in _promises_of(function):
                    found[promise].append(f"{path.relative_to(folder)}::{function.name}")
    return found


def _promises_of(function: ast.FunctionDef) -> Iterator[str]:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.dump(mark.func).count("attr='promise'"):
            yield from (ast.literal_eval(word) for word in mark.args)


def table() -> str:
    """The table with the tests of each row, as text."""
    tests = marked_tests()
    lines = []
    for row in PROMISES:
        lines.append(f"{row.id} ({row.section}): {row.text}")
        lines += [f"    {name}" for name in tests.get(row.id, ["NO TEST"])]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
