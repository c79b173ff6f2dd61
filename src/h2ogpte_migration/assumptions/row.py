"""A row of the table of assumptions, and the words that rows share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Tuple

Settings = Mapping[str, Any]

# -- operations of the contract ----------------------------------------------------------
LISTINGS = "list_collections, list_all_collections, list_documents_for_collection, and others"
CREATE = "create_collection"
IMPORT = "create_import_collection_to_collection_job"
MOVES = "migrate_scheduled_connectors_to_collection, create_migrate_collection_chat_sessions_job"
JOBS = "get_job, list_jobs, list_user_jobs"
KEYS = "create_api_key_for_user, list_all_api_keys"
CHATS = "list_chat_sessions_for_collection, create_migrate_collection_chat_sessions_job"
POINTERS = "list_scheduled_tasks, list_scheduled_tasks_by_admin, list_ai_assistants"

# -- where the tests are -----------------------------------------------------------------
EVERY = "safety/test_every_habit.py::test_a_migration_ends_well_under_each_habit_alone"
"""Tries each of them."""
PRESENCE = "safety/test_presence_of_things.py::"
TARGET = "safety/test_target.py::"
LIFECYCLE = "safety/test_lifecycle.py::"
RIGHTS = "safety/test_rights.py::"
SURPRISES = "faults/test_surprises.py::"
SERVER = "safety/test_server_habits.py::"


@dataclass(frozen=True)
class Assumption:
    """What is taken for granted, and what happens where it is not so.

    Args:
        habit: the sandbox's switch.
        assumed: what we assume.
        operations: ids of the operations of the contract that it is about.
        otherwise: what else a server may do.
        values: values of the switch, other than its default, to try.
        along: other switches that go with them, such as the one that this one refines.
        then: what the tool does at a server that is otherwise.
        shown_by: the tests of that, as paths below ``tests``.
    """

    habit: str
    assumed: str
    operations: str
    otherwise: str
    values: Tuple[Any, ...]
    along: Settings
    then: str
    shown_by: Tuple[str, ...]


def habit(
    name: str,
    assumed: str,
    operations: str,
    otherwise: str,
    *values: Any,
    then: str = "",
    shown_by: Tuple[str, ...] = (),
    **along: Any,
) -> Assumption:
    """A row; see ``Assumption``. ``EVERY`` shows all of them."""
    return Assumption(name, assumed, operations, otherwise, values, along, then, (EVERY, *shown_by))
