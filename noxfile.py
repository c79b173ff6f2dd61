"""The whole matrix of interpreters and clients: ``nox``. What is not on this machine is left out.

    pip install nox
    nox                              everything, one session after the other
    nox -s tests-3.8                 the suite on one Python, with the newest client
    nox -s oldest_client             the suite with the oldest supported client, on the oldest Python
    nox -s habits                    the end-to-end tests at servers that are otherwise
    nox -s clients                   each client in between: it installs, and the sandbox migrates

With pyenv, name the interpreters first: ``PYENV_VERSION=3.13.0:3.12.1:... nox``.
"""

from __future__ import annotations

import nox

PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
OLDEST_CLIENT = "1.6.57"
CLIENTS = (
    OLDEST_CLIENT,
    "1.6.58.post4",
    "1.6.59",
    "1.6.60",
    "1.6.61",
    "1.6.62",
    "1.6.63",
    "1.6.64",
    "1.7.0",
    "1.7.1",
    "1.7.2",
    "1.7.3.post2",
    "1.7.4",
    "1.7.5",
)
"""The last build of each version from the oldest supported one on; the newest is what ``tests`` gets."""
ASK = (
    "--sandbox",
    "--all-users",
    "--use-model-mappings",
    "--wait-for-completion",
    "--max-concurrent-jobs",
    "4",
    "--migrate-chats",
    "--verify-query",
    "What is it about?",
)

# Newer releases of virtualenv do not make environments for Python 3.8 any more.
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.stop_on_first_error = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite with the newest client that this Python takes."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "pytest", "-n", "6", *session.posargs)


@nox.session(python=PYTHONS[0])
def oldest_client(session: nox.Session) -> None:
    """The suite with the oldest client that is supported."""
    session.install(f"h2ogpte=={OLDEST_CLIENT}", "-e", ".[dev]")
    session.run("python", "-m", "pytest", "-n", "6", *session.posargs)


@nox.session
def habits(session: nox.Session) -> None:
    """Migrations end to end under every habit of the sandbox, each alone."""
    session.install("-e", ".[dev]")
    tests = ("tests/e2e/test_every_habit.py", "tests/safety/test_every_habit.py")
    session.run("python", "-m", "pytest", "-n", "4", "-m", "slow", *tests, *session.posargs)


@nox.session(python=[PYTHONS[0], PYTHONS[-1]])
@nox.parametrize("client", CLIENTS)
def clients(session: nox.Session, client: str) -> None:
    """One client: it installs, and a migration asks its question.

    1.7.0 to 1.7.4 can't be imported below Python 3.10: there the question alone is lost, with a
    line that says so.
    """
    session.install(f"h2ogpte=={client}", ".")
    session.chdir(session.create_tmp())
    said = str(session.run("h2ogpte-migrate", *ASK, silent=True))
    unusable = session.python == PYTHONS[0] and ("1.7.0" <= client < "1.7.5")
    wanted = "The h2ogpte client, which asks the question, can't be used" if unusable else "passed"
    if wanted not in said or "Traceback" in said:
        session.error(f"h2ogpte {client} on Python {session.python}:\n{said}")
