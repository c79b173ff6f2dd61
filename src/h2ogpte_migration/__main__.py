"""The command ``h2ogpte-migrate``, also as ``python -m h2ogpte_migration``."""

import signal
from typing import NoReturn


def run() -> NoReturn:
    """Run the command; ends the process with its exit code.

    Until everything is imported, Ctrl-C ends the process as the system does: without a traceback.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # a shell may have it ignored, and that is kept
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from h2ogpte_migration import app

    signal.signal(signal.SIGINT, handler)
    app.run()


if __name__ == "__main__":
    run()
