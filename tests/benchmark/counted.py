"""``python -m tests.benchmark.counted FILE ARGS``: the command, what its database did counted into FILE.

A commit that wrote something waits for the disk (one fsync of the write-ahead log), unless it
was said that it need not be durable; one that wrote nothing does not wait. With
``BENCHMARK_FSYNC_S`` in the environment each wait takes that much longer: a slow disk.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from h2ogpte_migration import app
from h2ogpte_migration.tracking import database
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.store import Store

FSYNC_S = "BENCHMARK_FSYNC_S"

counts: Counter[str] = Counter()


def count() -> None:
    """Wrap what writes, asks and loads."""
    _count_commits(float(os.environ.get(FSYNC_S, "0")))
    _count_selects()
    load = Store.load

    def counted(self: Store, source_id: Any) -> Any:
        counts["loads"] += 1
        return load(self, source_id)

    Store.load = counted  # type: ignore[method-assign]


def _count_commits(fsync_s: float) -> None:
    commit = Database._commit
    changed = 0

    def counted(self: Database, group: Any) -> None:
        nonlocal changed  # under the database's lock
        changes = self._connection.total_changes
        waits = group.durable and changes > changed
        if waits and fsync_s:
            time.sleep(fsync_s)
        commit(self, group)
        changed = changes
        counts["fsyncs"] += waits
        counts["commits"] += 1
        counts["writes"] += group.parts

    Database._commit = counted  # type: ignore[method-assign]


def _count_selects() -> None:
    execute = database._Guarded.execute

    def counted(self: Any, sql: str, values: Any = ()) -> Any:
        counts["selects"] += sql.startswith("SELECT")
        return execute(self, sql, values)

    database._Guarded.execute = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    count()
    code = app.main(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(counts))
    sys.exit(code)
