"""The end-to-end tests at a server that is otherwise: ``python -m tests.e2e``.

Runs pytest once for every value of every habit (``--habit``), one after the other, and prints a line
for each. Names of habits narrow it down; what follows ``--`` goes to pytest, such as files or ``-k``.

    python -m tests.e2e                                 everything: takes hours
    python -m tests.e2e --core                          some tests of each kind of run
    python -m tests.e2e page_cap -- tests/e2e/test_modes.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import List, Sequence

from h2ogpte_migration.sandbox.cases import CASES, Case

CORE = (
    "tests/e2e/test_modes.py::test_sequential_run_does_it_all[forked]",
    "tests/e2e/test_verify.py::test_verify_finishes_what_was_submitted[forked]",
    "tests/e2e/test_what_is_migrated.py::test_documents_with_metadata_and_ingest_modes[parallel]",
    "tests/e2e/test_what_is_migrated.py::test_user_and_group_permissions",
    "tests/e2e/test_what_is_migrated.py::test_connectors_and_chats_of_all_users_move",
)


def main(argv: Sequence[str]) -> int:
    """Run the tests under each habit; returns 1 where some failed."""
    words, more = _split(list(argv))
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=__doc__)
    parser.add_argument("habits", nargs="*", help="names of habits; all by default")
    parser.add_argument("--core", action="store_true", help="run some tests of each kind only")
    asked = parser.parse_args(words)
    tests = [*(CORE if asked.core else [] if more else ["tests/e2e"]), *more]
    cases = [c for c in CASES if not asked.habits or c.assumption.habit in asked.habits]
    failed = [case.name for case in cases if not _passes(case, tests)]
    print(f"{len(cases) - len(failed)} of {len(cases)} passed", *failed, sep="\n")
    return 1 if failed else 0


def _split(argv: List[str]) -> tuple[List[str], List[str]]:
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _passes(case: Case, tests: Sequence[str]) -> bool:
    began = time.monotonic()
    habits = [word for setting in case.words for word in ("--habit", setting)]
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "--show-capture=no"]
    ran = subprocess.run(
        [*command, *habits, *tests], stdout=subprocess.PIPE, encoding="utf-8", check=False
    )
    lines = [line for line in ran.stdout.splitlines() if line]
    print(f"{case.name}: {lines[-1] if lines else ''} ({time.monotonic() - began:.0f} s)")
    if ran.returncode:
        print(*(f"  {line}" for line in lines if line.startswith(("FAILED", "ERROR"))), sep="\n")
    sys.stdout.flush()
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
