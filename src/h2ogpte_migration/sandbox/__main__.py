"""``python -m h2ogpte_migration.sandbox``: a sample server that stays up, to rehearse against."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import List, Optional

from . import start_sample
from .cases import describe
from .server import SandboxServer

_COMMANDS = (
    "--admin-key {admin} --all-users --use-model-mappings --dry-run",
    "--admin-key {admin} --all-users --use-model-mappings --wait-for-completion --migrate-chats",
    "--user-key sk-sandbox-anna --use-model-mappings",
    '--user-key sk-sandbox-anna --verify --migrate-chats --verify-query "What is it about?"',
)


def main(argv: Optional[List[str]] = None) -> int:
    """Serve the sample organisation until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m h2ogpte_migration.sandbox",
        description="Run a small h2oGPTe stand-in with a sample organisation, on this host only.",
    )
    parser.add_argument("--port", type=int, default=8899, help="port on 127.0.0.1; 0 is any")
    parser.add_argument(
        "--habit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="let the server differ from what is assumed; may be repeated",
    )
    parser.add_argument(
        "--habits", action="store_true", help="print what is assumed of servers, and the habits"
    )
    arguments = parser.parse_args(argv)
    if arguments.habits:
        print(describe())
        return 0
    try:
        server = start_sample(arguments.port, arguments.habit)
    except ValueError as error:
        print(f"--habit: {error}", file=sys.stderr)
        return 2
    except (OSError, OverflowError) as error:
        print(f"Port {arguments.port} cannot be used: {error}", file=sys.stderr)
        return 2
    # Before anything is said: whoever reads the address may stop it at once.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(_introduction(server), flush=True)
    while not stop.wait(0.5):
        pass
    server.stop()
    return 0


def _introduction(server: SandboxServer) -> str:
    lines = [f"h2oGPTe sandbox at {server.url}, until Ctrl-C. Nothing is kept.", "", "Keys:"]
    for user in server.world.users.values():
        role = " (admin)" if user.is_admin else " (guest)" if user.is_guest else ""
        lines.append(f"  {server.world.key_of(user.username):36} {user.username}{role}")
    lines += ["", "To try, in an empty folder:"]
    start = f"  h2ogpte-migrate --url {server.url} "
    lines += [start + command.format(admin=server.admin_key) for command in _COMMANDS]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
