"""Which end-to-end tests say something else at a server that is otherwise, and why.

Everything that is not here holds under every habit.
"""

from __future__ import annotations

import re
from typing import Dict, Sequence, Tuple

_SETTINGS = "that setting is not given to the target, with a kept warning"
_KEYS = "no key can be made with the default life time; --api-key-expiry is named"
_STANDS_STILL = "a job that stands still is waited for, 15 minutes long"
_QUOTA = "the owner has more than the quota allows"

_OF_ONE = "submit_and_verify|an_owner|test_connectors_and_chats|test_documents_are_copied"

OTHERWISE: Dict[str, Tuple[Tuple[str, str], ...]] = {
    "server_version=1.6.40": (("", "nothing is begun at a server that is too old"),),
    "key_lifetime_cap_days=0": (("^(?!an_owner)", _KEYS),),
    "collections_per_user": ((f"^(?!{_OF_ONE})", _QUOTA),),
    "empty_listings=list_documents_for_collection": (
        ("", "what is counted and never listed is not imported"),
    ),
    "import_flags_ignored=preserve_metadata": (
        ("documents_with_metadata", "the server brings none, which is a kept warning"),
    ),
    "import_flags_ignored=preserve_document_status": (
        ("documents_with_metadata", "the server brings another, which is a kept warning"),
    ),
    "import_flags_ignored=copy_lifecycle": (
        ("lifecycle", "the server brings none, which is a kept warning"),
    ),
    "broken_operations=get_collection_group_permissions": (
        ("permissions", "what can't be read is not copied, with a kept warning"),
    ),
    "broken_operations=get_collection_permissions": (
        ("permissions|submit_and_verify", "what can't be read is not copied, with a kept warning"),
    ),
    "broken_operations=get_collection_settings": (
        ("settings|ocr_model", "what can't be read is not copied, with a kept warning"),
    ),
    "refused_settings": (("settings|ocr_model", _SETTINGS),),
    "server_defaults=forced": (("settings", "they stay, with a kept warning"),),
    "vex_encryption_ignored": (("encryption", "nothing is imported into a target without it"),),
    "names_normalised=lower": (
        ("", "the tests look for targets by the letters of their names; see safety/test_target.py"),
    ),
    "name_limit": (("name|what_is_migrated", "names are shorter there"),),
    "bad_documents_arrive": (
        ("bad_before", "a document that stays away is missing, and holds back"),
    ),
    "job_success_word": (("", _STANDS_STILL),),
    "zombie_jobs": (("", _STANDS_STILL),),
    "failed_job_brings_rest": (
        ("bad_before", "a document that stays away is missing, and holds back"),
    ),
}
"""By the beginning of a habit's setting: patterns of names of tests, each with the reason."""


def reason_to_leave_out(test: str, habits: Sequence[str]) -> str:
    """Why a test does not hold under these habits; empty where it does."""
    name = test.rpartition("::")[2]
    for habit in habits:
        for beginning, tests in OTHERWISE.items():
            if _fits(habit, beginning):
                for pattern, reason in tests:
                    if re.search(pattern, name):
                        return f"{habit}: {reason}"
    return ""


def _fits(habit: str, beginning: str) -> bool:
    # An operation that is struck once only is another matter than one that always is.
    return habit.startswith(beginning) and not habit[len(beginning) :].startswith(":")
