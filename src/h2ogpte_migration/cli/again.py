"""Commands that are on record, once more: with other flags, or for a few collections only."""

from __future__ import annotations

import shlex
from typing import AbstractSet, List, Sequence

from h2ogpte_migration.cli.flags import BY_NAME, FLAGS
from h2ogpte_migration.cli.mappings import BUILT_IN
from h2ogpte_migration.cli.rows import Mode
from h2ogpte_migration.ui.text import shell

MOST_IDS = 10
"""Up to so many collections are named by id in a command; more make it unreadable."""
MOST_IDS_A_COMMAND = 100
"""The same where nothing else names them: more of them take more commands."""


def again(command: str, ids: Sequence[str], *flags: str) -> str:
    """A command that is on record, once more with these flags: aloud, and of these ids if any.

    One with a word that only a shell could read (``$'..'``) keeps its scope. What was forced is
    not forced again where only what failed is asked for.
    """
    words = _words(command)
    if not words:
        return " ".join([command, *(flag for flag in flags if flag not in command.split())])
    dropped = {"--quiet", *flags}
    dropped |= {"--force-remigrate"} if "--retry-failed" in flags else set()
    if ids:
        dropped |= {row.name for row in FLAGS if row.choice == "scope"}
    scope = ["--collections", ",".join(ids)] if ids else []
    return shell(*_without(words, dropped), *scope, *flags)


def continued(command: str, afresh: bool) -> str:
    """A migration on record, to continue it: what it forced or retried is not begun once more.

    One with a word that only a shell could read stays as it is.

    Args:
        afresh: whether that run did not come to its end, and goes on by the same command.
    """
    words = _words(command)
    dropped = {"--force-remigrate", "--retry-failed"}
    return command if afresh or not words else shell(*_without(words, dropped))


def migrates(command: str, source_model: str, target_model: str) -> bool:
    """Whether a migration on record leads from one model to the other, as far as its words tell."""
    words = _words(command)
    if "--use-model-mappings" in words:
        return BUILT_IN.get(source_model) == target_model
    named = dict(zip(words, words[1:]))
    models = {"--source-model": source_model, "--target-model": target_model}
    return all(named.get(flag, model) == model for flag, model in models.items())


def verification(
    command: str, server: str, mode: Mode = Mode.VERIFY, ids: Sequence[str] = ()
) -> str:
    """What looks after everything that was begun, as a migration on record reaches the server.

    Args:
        mode: or what brings it back.
        ids: of these alone.

    Nothing where the command has a word that only a shell could read.
    """
    words = _words(command)
    if not words:
        return ""
    dropped = {row.name for row in FLAGS if row.choice == "scope" or mode not in row.modes}
    program, *kept = _without(words, dropped | {"--quiet", "--url", "--rebind-server"})
    scope = ["--collections", ",".join(ids)] if ids else []
    return shell(program, "--url", server, *kept, mode.value, *scope)


def _words(command: str) -> List[str]:
    """A command's words; none where a word is quoted in a way that only a shell could read."""
    return shlex.split(command) if "$'" not in command else []


def _without(words: Sequence[str], dropped: AbstractSet[str]) -> List[str]:
    """Words of a command without these flags and their values."""
    kept: List[str] = []
    for number, word in enumerate(words):
        row = BY_NAME.get(words[number - 1]) if number else None
        is_value = row is not None and row.read is not None and not word.startswith("-")
        name = row.name if row is not None and is_value else word.partition("=")[0]
        if name not in dropped:
            kept.append(word)
    return kept
