"""What a row of the flag table is: its section of the help, the modes in which it means something."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable, FrozenSet, Optional


class Mode(Enum):
    """What a run is for."""

    MIGRATE = "a migration"
    VERIFY = "--verify"
    MOVE = "--move-connectors or --move-chats"
    STATUS = "--status"
    ROLLBACK = "--rollback"
    CLEANUP = "--cleanup"
    CHECK = "--check-server"


class Group(Enum):
    """The sections of the help, in their order."""

    SERVER = "Server and key (needed, unless --status or --sandbox)"
    SCOPE = "Which collections (one of these)"
    MODELS = "Which embedding models (one of --use-model-mappings, --model-mappings-file, --target-model)"
    RUN = "How to run"
    AGAIN = "Running again"
    DOCUMENTS = "How documents are taken over"
    CHECK = "Checking"
    MOVE = "Going back, and moving by hand"
    LOOK = "Looking and cleaning up"
    GENERAL = "Files, limits and output"


@dataclass(frozen=True)
class Flag:
    """One row of the table.

    Args:
        name: the flag itself.
        group: the section of the help where it stands.
        modes: the modes in which it means something; elsewhere it is refused.
        help: what it does, as a sentence.
        metavar: what its value is called in the help; empty for a switch.
        read: how its value is read; None for a switch.
        env: the environment variable that may hold its value.
        choice: flags with the same word here exclude each other.
        selects: the mode that the flag chooses.
        secret: whether its value must never be written anywhere.
        negation: a second flag that states the default.
        bare: the value of the flag where it stands without one.
        attribute: its field in ``Options`` (filled in from there).
    """

    name: str
    group: Group
    modes: FrozenSet[Mode]
    help: str
    metavar: str = ""
    read: Optional[Callable[[str], Any]] = None
    env: str = ""
    choice: str = ""
    selects: Optional[Mode] = None
    secret: bool = False
    negation: str = ""
    bare: str = ""
    attribute: str = ""
    default: Any = None
