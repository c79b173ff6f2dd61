"""What is checked before the first write: database, server, key, rights."""

from __future__ import annotations

import ipaddress
import re
import sys
import uuid
from typing import Optional, Tuple
from urllib.parse import urlsplit

from h2ogpte_migration import __version__
from h2ogpte_migration.cli.flags import Options
from h2ogpte_migration.cli.rows import Mode
from h2ogpte_migration.errors import (
    BadReply,
    ExitCode,
    NotFound,
    Rejected,
    ServerError,
    TlsRefused,
    ToolError,
    Unauthorized,
    UsageError,
)
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Identity
from h2ogpte_migration.tracking import Tracking
from h2ogpte_migration.tracking.database import refuse_an_empty_file
from h2ogpte_migration.tracking.runs import other_server
from h2ogpte_migration.ui.console import Console

NOT_ALLOWED = (401, 403, 404)
"""What servers answer to those who may not; some hide what is not for everybody."""
EACH_SANDBOX_IS_NEW = (
    "Each command with --sandbox has a server of its own. For several commands on one, start "
    "python -m h2ogpte_migration.sandbox, and use the address and keys that it prints."
)
OLDEST_SERVER = (1, 6, 57)
NEWEST_TRIED = (1, 7)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalise_url(url: str) -> str:
    """A url as it names a server: lower-case host, no default port, no trailing slash."""
    parts = urlsplit(url)
    port = parts.port
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def check_binding(options: Options, tracking: Tracking) -> None:
    """Refuse a database that speaks of another server, before anything is sent.

    Raises:
        ToolError: with both names (exit 2).
    """
    if options.rebind_server:
        return
    bound, asked = tracking.runs.bound_server(), normalise_url(options.url)
    if bound is not None and bound != asked:
        refusal = other_server(str(tracking.database.path), bound, asked)
        refusal.hint = EACH_SANDBOX_IS_NEW if options.sandbox else refusal.hint
        raise refusal


def warn_about_transport(options: Options, console: Console) -> None:
    """Say aloud what weakens the protection of the key."""
    parts = urlsplit(options.url)
    host = parts.hostname or ""
    if parts.scheme == "http" and not _is_this_computer(host):
        console.attention(f"Warning: the key is sent to {host} unencrypted (http).")
    if options.insecure:
        console.attention("Warning: the server's certificate is not verified (--insecure).")


def _is_this_computer(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # not just any name that begins like an address


def log_in(options: Options, console: Console, gateway: Gateway) -> Identity:
    """The first request: the server is there, and the key valid.

    Raises:
        ToolError: what is wrong with server or key.
    """
    try:
        identity = gateway.identity()
    except Unauthorized as error:
        raise ToolError(
            f"The server does not take the key: {error.message}",
            "Check the key, and that it belongs to this server.",
            ExitCode.USAGE,
        ) from error
    except (Rejected, NotFound, BadReply, TlsRefused) as error:
        raise ToolError(
            f"There is no h2oGPTe to talk to at {options.url}: {error.message}",
            error.hint or "Check --url.",
            ExitCode.USAGE,
        ) from error
    console.info(
        f"Server: {options.url}, version {identity.server_version or 'unknown'}; "
        f"key: {identity.username}{' (guest)' if identity.is_guest else ''}."
    )
    check_version(identity.server_version, console)
    return identity


def check_version(text: str, console: Console) -> None:
    """Refuse a server that would ignore what it is asked for; warn of one that nobody tried.

    Raises:
        ToolError: it is too old.
    """
    version = numbers(text)
    if version is None:
        console.info("The server's version can't be read; it is taken for a recent one.")
    elif version < OLDEST_SERVER:
        raise ToolError(
            f"The server's version {text} is older than {_dotted(OLDEST_SERVER)}: it would ignore "
            "some of what an import is asked for, such as --skip-reparse. Nothing was changed.",
            "Update the server first.",
        )
    elif version[:2] > NEWEST_TRIED:
        console.attention(
            f"Warning: the server's version {text} is newer than what this tool was made for "
            f"({_dotted(NEWEST_TRIED)}): look at the first migrated collections."
        )


def numbers(version: str) -> Optional[Tuple[int, ...]]:
    """A version as numbers: ``1.6.57-rc1`` is (1, 6, 57); None where it does not begin like a version."""
    match = re.match(r"\s*v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", version)
    return None if match is None else tuple(int(part or 0) for part in match.groups())


def _dotted(version: Tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def check_admin(gateway: Gateway, identity: Identity) -> None:
    """Make sure that the key may act for others, where no listing has shown it yet.

    Raises:
        ToolError: it is no administrator's.
    """
    try:
        next(iter(gateway.users()), None)
    except (Rejected, NotFound, Unauthorized) as error:
        raise no_admin(identity, error) from error


def no_admin(identity: Identity, error: ServerError) -> ToolError:
    """The refusal to go on with ``--admin-key`` and a key that is no administrator's, if it is."""
    if error.status not in NOT_ALLOWED:
        return ToolError(
            f"What an administrator may ask was refused to {identity.username}: {error.message}",
            "Nothing was changed. Look at the server, or use --user-key for your own collections.",
            ExitCode.USAGE,
        )
    return ToolError(
        f"The key given with --admin-key belongs to {identity.username}, who is no "
        f"administrator: {error.message}",
        "Use --user-key to migrate your own collections.",
        ExitCode.USAGE,
    )


def database_is_there(options: Options) -> None:
    """Without a database a verification looks at nothing, and would be green for ever.

    Raises:
        ToolError: with the path looked for (exit 2); no file is made.
    """
    if options.mode not in (Mode.VERIFY, Mode.ROLLBACK, Mode.CLEANUP):
        return
    refuse_an_empty_file(options.db_path)
    if not options.db_path.exists():
        raise ToolError(
            f"There is no tracking database {options.db_path.absolute()}: nothing to work on.",
            EACH_SANDBOX_IS_NEW
            if options.sandbox
            else "Run it in the folder of the migration, or name the file with --db-path.",
            ExitCode.USAGE,
        )


def somebody_to_ask(options: Options) -> None:
    """Who cleans up is asked before anything is deleted: in a terminal, unless the answer is given.

    Raises:
        UsageError: there is nobody to ask.
    """
    nobody = sys.stdin is None or not sys.stdin.isatty()
    if options.mode is Mode.CLEANUP and nobody and not options.yes and not options.dry_run:
        raise UsageError(["--cleanup asks before it deletes: run it in a terminal, or add --yes."])


def begin_run(options: Options, tracking: Tracking) -> str:
    """Bind the database and enter the run into its log; returns a label for keys.

    A dry run does so in its throw-away copy, where what others left is none of its business.
    """
    unique, runs = uuid.uuid4().hex[:8], tracking.runs
    if options.dry_run:
        tracking.leftovers.forget()
        runs.begin(__version__, options.command(), beside_others=True)
        return f"preview-{unique}"
    runs.bind_server(normalise_url(options.url), rebind=options.rebind_server)
    return f"run-{runs.begin(__version__, options.command())}-{unique}"
