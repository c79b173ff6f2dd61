"""Every flag, declared once; and a command line as a frozen value.

The fields of ``Options`` are the rows of the flag table: name, type, default, environment
variable, help, group, modes. Parser, help, ``.env.example``, most refusals and the command that
continues a run derive from them. How words become options is in ``parse``.
"""
# The fields' defaults are rows of the table, each made once; nothing in them is changed.
# ruff: noqa: RUF009

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import (
    AbstractSet,
    Any,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from h2ogpte_migration.cli import values
from h2ogpte_migration.cli.rows import Flag, Group, Mode
from h2ogpte_migration.redact import Secret
from h2ogpte_migration.retrieval import Question, RetrievalCheck
from h2ogpte_migration.ui.text import shell

PROGRAM = "h2ogpte-migrate"
DEFAULT_DB = Path("migration_tracking.db")


_ALL = frozenset(Mode)
_SERVER = _ALL - {Mode.STATUS}
_COLLECTIONS = frozenset({Mode.MIGRATE, Mode.VERIFY})
_SCOPED = _COLLECTIONS | {Mode.ROLLBACK, Mode.CLEANUP}
_MIGRATE = frozenset({Mode.MIGRATE})
_VERIFY = frozenset({Mode.VERIFY})
_MOVE = frozenset({Mode.MOVE})
_STATUS = frozenset({Mode.STATUS})
_CLEANUP = frozenset({Mode.CLEANUP})
_ROLLBACK = frozenset({Mode.ROLLBACK})
_CHECK = frozenset({Mode.CHECK})


def _flag(
    name: str, group: Group, modes: FrozenSet[Mode], help: str, default: Any = False, **more: Any
) -> Any:
    """A field of ``Options`` that is a row of the table as well."""
    return field(default=default, metadata={"flag": Flag(name, group, modes, help, **more)})


@dataclass(frozen=True)
class Options:
    """A command line that makes sense, with everything that it names already read.

    ``mappings`` holds the models to replace (None with ``--target-model``); ``collections`` holds
    the ids of ``--collections`` or of ``--collections-file``. With ``--sandbox`` the composition
    root fills in ``url`` and the missing key.
    """

    url: str = _flag(
        "--url",
        Group.SERVER,
        _SERVER,
        "Address of the h2oGPTe server; may have a base path.",
        "",
        metavar="URL",
        read=values.url,
        env="H2OGPTE_URL",
    )
    admin_key: Optional[Secret] = _flag(
        "--admin-key",
        Group.SERVER,
        _SERVER,
        "Key of an administrator: works on everybody's collections, with short-lived keys made "
        "for their owners. Better given without a value: then it is read from the variable.",
        None,
        metavar="[KEY]",
        read=values.secret,
        env="H2OGPTE_ADMIN_KEY",
        choice="key",
        secret=True,
    )
    user_key: Optional[Secret] = _flag(
        "--user-key",
        Group.SERVER,
        _SERVER,
        "Your own key: works on the collections that you own. Without a value it is read from "
        "the variable.",
        None,
        metavar="[KEY]",
        read=values.secret,
        env="H2OGPTE_USER_KEY",
        choice="key",
        secret=True,
    )
    cert: Optional[Path] = _flag(
        "--cert",
        Group.SERVER,
        _SERVER,
        "PEM file of the authorities to trust instead of the system's.",
        None,
        metavar="FILE",
        read=values.path,
    )
    insecure: bool = _flag(
        "--insecure",
        Group.SERVER,
        _SERVER,
        "Do not verify the server's TLS certificate: whoever is in between can read the key.",
    )
    rebind_server: bool = _flag(
        "--rebind-server",
        Group.SERVER,
        _SERVER,
        "The server that the tracking database belongs to has a new address: take over --url.",
    )
    sandbox: bool = _flag(
        "--sandbox",
        Group.SERVER,
        _SERVER,
        "Run against a built-in throw-away server with sample collections: nothing real is "
        "touched.",
    )
    users: Tuple[str, ...] = _flag(
        "--users",
        Group.SCOPE,
        _SCOPED | _STATUS,
        "The collections of these users, with commas between them (administrators only).",
        (),
        metavar="NAMES",
        read=values.names,
        choice="scope",
    )
    all_users: bool = _flag(
        "--all-users",
        Group.SCOPE,
        _SCOPED,
        "The collections of everybody but guests (administrators only).",
        choice="scope",
    )
    collections: Tuple[str, ...] = _flag(
        "--collections",
        Group.SCOPE,
        _SCOPED | _STATUS,
        "The collections with these ids, with commas between them; owners are looked up.",
        (),
        metavar="IDS",
        read=values.collection_ids,
        choice="scope",
    )
    collections_file: Optional[str] = _flag(
        "--collections-file",
        Group.SCOPE,
        _SCOPED | _STATUS,
        "The same from a file: one id per line, # begins a comment; or a CSV table with a column "
        "collection_id. With - the list is read from standard input.",
        None,
        metavar="FILE",
        read=values.path_text,
        choice="scope",
    )
    use_model_mappings: bool = _flag(
        "--use-model-mappings",
        Group.MODELS,
        _MIGRATE,
        "Replace the models of the built-in table; collections with other models are skipped.",
        choice="model",
    )
    model_mappings_file: Optional[Path] = _flag(
        "--model-mappings-file",
        Group.MODELS,
        _MIGRATE,
        "The same with a table of your own: a JSON object from old model to new model.",
        None,
        metavar="FILE",
        read=values.path,
        choice="model",
    )
    target_model: str = _flag(
        "--target-model",
        Group.MODELS,
        _MIGRATE | _CHECK,
        "The new model for all chosen collections.",
        "",
        metavar="MODEL",
        read=values.text,
        choice="model",
    )
    source_model: str = _flag(
        "--source-model",
        Group.MODELS,
        _MIGRATE | _CHECK,
        "Only collections that have this model now (with --target-model).",
        "",
        metavar="MODEL",
        read=values.text,
    )
    dry_run: bool = _flag(
        "--dry-run",
        Group.RUN,
        frozenset({Mode.MIGRATE, Mode.ROLLBACK, Mode.CLEANUP}),
        "Show what would be done; change nothing on the server and in the database.",
    )
    wait_for_completion: bool = _flag(
        "--wait-for-completion",
        Group.RUN,
        _COLLECTIONS,
        "Take each collection through all steps before the command ends. Without it imports are "
        "started only, and --verify finishes them later. With --verify: wait for running imports.",
    )
    max_concurrent_jobs: int = _flag(
        "--max-concurrent-jobs",
        Group.RUN,
        _COLLECTIONS,
        "Import jobs on the server at one time; has an effect with --wait-for-completion only.",
        1,
        metavar="N",
        read=values.whole(1, 1000),
    )
    migrate_chats: bool = _flag(
        "--migrate-chats",
        Group.RUN,
        _COLLECTIONS,
        "Move chat sessions too, after the connectors: at once with --wait-for-completion, "
        "otherwise by --verify --migrate-chats.",
    )
    retry_failed: bool = _flag(
        "--retry-failed",
        Group.AGAIN,
        _MIGRATE,
        "Also start afresh what failed or was held back, each with a new target.",
    )
    force_remigrate: bool = _flag(
        "--force-remigrate",
        Group.AGAIN,
        _MIGRATE,
        "Make a new target for every chosen collection, whatever was done before.",
    )
    copy_document: bool = _flag(
        "--copy-document",
        Group.DOCUMENTS,
        _MIGRATE | _CHECK,
        "Copy the documents, instead of letting both collections refer to the same ones "
        "(--no-copy-document, the default).",
        negation="--no-copy-document",
    )
    skip_reparse: bool = _flag(
        "--skip-reparse",
        Group.DOCUMENTS,
        _MIGRATE | _CHECK,
        "Embed the existing chunks anew without parsing the documents again: much faster.",
    )
    ocr_model: str = _flag(
        "--ocr-model",
        Group.DOCUMENTS,
        _MIGRATE | _CHECK,
        "OCR model for parsing the documents again, such as auto, off or tesseract; of no effect "
        "with --skip-reparse.",
        "auto",
        metavar="MODEL",
        read=values.text,
    )
    verify: bool = _flag(
        "--verify",
        Group.CHECK,
        _VERIFY,
        "Look after imports that were started earlier: check what they brought, then move the "
        "connectors. Without a scope: everything open in the database.",
        selects=Mode.VERIFY,
    )
    check_server: bool = _flag(
        "--check-server",
        Group.CHECK,
        _CHECK,
        "Before anything is migrated: make a small collection of your own on this server, migrate it "
        "to --target-model, compare, tell what differs from what this tool assumes of servers, and "
        "delete all of it.",
        selects=Mode.CHECK,
    )
    verify_query: Optional[str] = _flag(
        "--verify-query",
        Group.CHECK,
        _COLLECTIONS,
        "Ask each new collection this question in a chat of its own, which is deleted afterwards; "
        "the answer is shown and holds nothing back.",
        None,
        metavar="TEXT",
        read=values.question,
    )
    query_timeout: float = _flag(
        "--query-timeout",
        Group.CHECK,
        _COLLECTIONS,
        "Seconds to wait for the answer to --verify-query.",
        300.0,
        metavar="SECONDS",
        read=values.seconds,
    )
    verify_retrieval: int = _flag(
        "--verify-retrieval",
        Group.CHECK,
        _COLLECTIONS,
        "Look for so many documents of each new collection (10 if no number is given) by passages "
        "of theirs, and in the old collection as well: is all found that was found before? With "
        "--verify or --wait-for-completion, finished ones too; alone: the finished ones.",
        0,
        metavar="[N]",
        read=values.whole(1, 100),
        bare="10",
    )
    verify_queries: Optional[Path] = _flag(
        "--verify-queries",
        Group.CHECK,
        _COLLECTIONS,
        "The same with your own questions, one a line, each perhaps with a tab and the name of the "
        "document that it should find; the first five of old and new are shown side by side.",
        None,
        metavar="FILE",
        read=values.path,
    )
    min_recall: Optional[float] = _flag(
        "--min-recall",
        Group.CHECK,
        _COLLECTIONS,
        "Hold connectors and chats back where less than this share of the documents is found, "
        "such as 0.9, or where that can't be checked. Without it nothing is held back.",
        None,
        metavar="SHARE",
        read=values.share,
    )
    ignore_validation: bool = _flag(
        "--ignore-validation",
        Group.CHECK,
        _COLLECTIONS,
        "Move connectors and chats even where the check found something; this is recorded.",
    )
    move_connectors: bool = _flag(
        "--move-connectors",
        Group.MOVE,
        _MOVE,
        "Move the scheduled connectors from one collection to another.",
        selects=Mode.MOVE,
    )
    move_chats: bool = _flag(
        "--move-chats",
        Group.MOVE,
        _MOVE,
        "Move the chat sessions from one collection to another.",
        selects=Mode.MOVE,
    )
    from_id: str = _flag(
        "--from",
        Group.MOVE,
        _MOVE,
        "The collection that gives them up.",
        "",
        metavar="ID",
        read=values.collection_id,
    )
    to_id: str = _flag(
        "--to",
        Group.MOVE,
        _MOVE,
        "The collection that receives them.",
        "",
        metavar="ID",
        read=values.collection_id,
    )
    status: bool = _flag(
        "--status",
        Group.LOOK,
        _STATUS,
        "Show what the tracking database knows; needs no server and no key.",
        selects=Mode.STATUS,
    )
    all: bool = _flag(
        "--all",
        Group.LOOK,
        _STATUS,
        "Name every collection in the status, also those that are done: old and new id.",
    )
    check: bool = _flag(
        "--check",
        Group.LOOK,
        _STATUS,
        "End with exit code 1 while any collection is open: not done, whatever the reason.",
    )
    watch: bool = _flag(
        "--watch",
        Group.LOOK,
        _STATUS,
        "Show the status again every second while other commands work; Ctrl-C ends it.",
    )
    json: bool = _flag("--json", Group.LOOK, _STATUS, "Print the status as JSON.")
    rollback: bool = _flag(
        "--rollback",
        Group.MOVE,
        _ROLLBACK,
        "Bring connectors and chats back from the new collections to the old ones. The new ones "
        "stay; --force-remigrate migrates such a collection anew.",
        selects=Mode.ROLLBACK,
    )
    cleanup: bool = _flag(
        "--cleanup",
        Group.LOOK,
        _CLEANUP,
        "Delete targets that failed, were superseded, abandoned or rolled back, after listing them "
        "and asking. Never what still holds anything that is nowhere else.",
        selects=Mode.CLEANUP,
    )
    yes: bool = _flag("--yes", Group.LOOK, _CLEANUP, "Delete without asking, for scripts.")
    report: Optional[Path] = _flag(
        "--report",
        Group.LOOK,
        _COLLECTIONS | _STATUS | _CHECK,
        "Write what happened to this .json, .csv or .html file; with --dry-run what would happen, "
        "with --status how everything stands, with --check-server what was found (no .csv then).",
        None,
        metavar="FILE",
        read=values.report_path,
    )
    db_path: Path = _flag(
        "--db-path",
        Group.GENERAL,
        _ALL,
        "The tracking database; use the same one for every command of a migration.",
        DEFAULT_DB,
        metavar="FILE",
        read=values.path,
    )
    api_key_expiry: str = _flag(
        "--api-key-expiry",
        Group.GENERAL,
        _SERVER,
        "How long the keys made for owners live at most.",
        "30 days",
        metavar="TIME",
        read=values.expiry,
    )
    timeout: float = _flag(
        "--timeout",
        Group.GENERAL,
        _SERVER,
        "Seconds to wait for an answer to one request.",
        60.0,
        metavar="SECONDS",
        read=values.seconds,
    )
    retries: int = _flag(
        "--retries",
        Group.GENERAL,
        _SERVER,
        "How often a request that may be repeated is repeated.",
        5,
        metavar="N",
        read=values.whole(0, 100),
    )
    max_concurrent_requests: int = _flag(
        "--max-concurrent-requests",
        Group.GENERAL,
        _SERVER,
        "Requests to the server at one time.",
        8,
        metavar="N",
        read=values.whole(1, 256),
    )
    max_failures: int = _flag(
        "--max-failures",
        Group.GENERAL,
        _COLLECTIONS,
        "Start nothing new after so many failures of the same kind in a row; 0 means never stop.",
        5,
        metavar="N",
        read=values.whole(0, 1_000_000),
    )
    details: bool = _flag(
        "--details",
        Group.GENERAL,
        _SCOPED,
        "Print a line for each collection, and reasons and warnings in full.",
    )
    quiet: bool = _flag(
        "--quiet",
        Group.GENERAL,
        _ALL,
        "Print only what needs attention: when something changed since the last quiet run, and "
        "once a day while something is open.",
    )
    log_file: Optional[Path] = _flag(
        "--log-file",
        Group.GENERAL,
        _SERVER,
        "Append the log to this file, one for all runs; by default each run makes its own.",
        None,
        metavar="FILE",
        read=values.path,
    )
    log_level: str = _flag(
        "--log-level",
        Group.GENERAL,
        _SERVER,
        "How much is logged: debug, info, warning or error.",
        "debug",
        metavar="LEVEL",
        read=values.log_level,
    )
    # Derived, with no flag of their own:
    mappings: Optional[Mapping[str, str]] = None
    ocr_model_given: bool = False
    key_typed: bool = False
    """Whether the key stood on the line, and no variable holds it for the next command."""
    questions: Tuple[Question, ...] = ()
    notes: Tuple[str, ...] = ()
    """What to tell of the files that were read, before anything is done."""

    @cached_property
    def mode(self) -> Mode:
        """What this run is for."""
        return mode_of({row.attribute for row in FLAGS if self._has(row)})

    @property
    def retrieval(self) -> Optional[RetrievalCheck]:
        """What is to be checked of the retrieval; None for nothing."""
        if not self.verify_retrieval and self.verify_queries is None:
            return None
        return RetrievalCheck(self.verify_retrieval, self.questions, self.min_recall)

    @property
    def key(self) -> Optional[Secret]:
        """The key that was given, of either kind."""
        return self.admin_key or self.user_key

    @property
    def key_flag(self) -> Flag:
        """The flag of the key that was given, or would be."""
        return BY_NAME["--admin-key" if self.admin_key or not self.user_key else "--user-key"]

    def command(self, *, without: Iterable[str] = (), add: Sequence[str] = ()) -> str:
        """The command line that repeats or continues this run, to be pasted into a shell.

        Keys are left out, so that they are read from the environment. Whatever does not go with
        the added flags (another mode, another scope) is dropped: ``add=["--verify"]`` is enough
        to turn a migration into its verification.

        Args:
            without: names of flags to leave out.
            add: words to append, flags and their values.
        """
        added = [BY_NAME[word] for word in add if word in BY_NAME]
        dropped = {BY_NAME[name].attribute for name in without} | _displaced_by(added)
        kept = {row.attribute for row in FLAGS if self._has(row)} - dropped
        chosen = {row.attribute for row in added if row.selects}
        chosen = chosen or kept | {row.attribute for row in added}
        rows = [row for row in FLAGS if row.attribute in kept and mode_of(chosen) in row.modes]
        return shell(PROGRAM, *(word for row in rows for word in self._words(row)), *add)

    def _has(self, row: Flag) -> bool:
        """Whether the row is needed to come to these options again."""
        if self.sandbox and row.attribute in ("url", "admin_key"):
            return False
        if row.attribute == "collections":
            return bool(self.collections) and self.collections_file in (None, "-")
        if row.attribute == "collections_file":
            return self.collections_file not in (None, "-")
        if row.attribute == "ocr_model":
            return self.ocr_model_given
        return bool(getattr(self, row.attribute) != row.default)

    def _words(self, row: Flag) -> List[str]:
        """The row as words of a command line."""
        if row.read is None or row.secret:
            return [row.name]
        value = _written(getattr(self, row.attribute))
        return [f"{row.name}={value}"] if value.startswith("-") else [row.name, value]


def _written(value: Any) -> str:
    """A value as it is written behind its flag."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


FLAGS: Tuple[Flag, ...] = tuple(
    replace(column.metadata["flag"], attribute=column.name, default=column.default)
    for column in fields(Options)
    if "flag" in column.metadata
)
BY_NAME: Mapping[str, Flag] = {row.name: row for row in FLAGS}


CHECKS = frozenset({"verify_retrieval", "verify_queries"})
"""Checks of what is finished; where nothing asks for a migration, they are what a run is for."""


_SELECTING = tuple((row.attribute, row.selects) for row in FLAGS if row.selects)
_MIGRATING = frozenset(
    row.attribute for row in FLAGS if Mode.MIGRATE in row.modes and Mode.VERIFY not in row.modes
)


def mode_of(attributes: AbstractSet[str]) -> Mode:
    """The mode that the given fields choose; the first one, if they choose several."""
    selected = (mode for attribute, mode in _SELECTING if attribute in attributes)
    alone = CHECKS & attributes and not attributes & (_MIGRATING | {"wait_for_completion"})
    return next(selected, Mode.VERIFY if alone else Mode.MIGRATE)


def _displaced_by(added: Sequence[Flag]) -> Set[str]:
    """The fields whose flags make no sense next to the added ones."""
    names = {row.attribute for row in added}
    choices = {row.choice for row in added if row.choice}
    return names | {row.attribute for row in FLAGS if row.choice in choices}


def env_example() -> str:
    """The content of ``.env.example``."""
    parts = [
        "# Copy this file to .env in the folder where you run h2ogpte-migrate, and fill it in.",
        "# Flags and the environment win over it. Keep it to yourself: it holds keys.",
    ]
    for row in FLAGS:
        if row.env:
            parts += ["", f"# {row.name}: {row.help}", f"{row.env}="]
    return "\n".join(parts) + "\n"
