"""``python -m tests.benchmark.counted FILE ARGS``: the command, its commits counted into FILE.

A commit that wrote something waits for the disk (one fsync of the write-ahead log); one that
wrote nothing does not, and is not counted.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from h2ogpte_migration import app
from h2ogpte_migration.tracking.database import Database

commits = 0


def count_commits() -> None:
    plain = Database.transaction

    @contextmanager
    def counted(self: Database) -> Iterator[Any]:
        global commits
        with plain(self) as connection:
            before = connection.total_changes
            yield connection
            wrote = connection.total_changes > before
        commits += wrote

    Database.transaction = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    count_commits()
    code = app.main(sys.argv[2:])
    Path(sys.argv[1]).write_text(str(commits))
    sys.exit(code)
