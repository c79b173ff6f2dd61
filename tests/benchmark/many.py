"""A tracking database of many migrated collections, filled in one go."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from h2ogpte_migration.tracking.database import Database


def fill(path: Path, number: int, *, unfinished: int = 20) -> None:
    """Make ``number`` records; the last few of them are still importing."""
    Database.to_write(path).close()
    connection = sqlite3.connect(str(path))
    now = "2026-01-01T00:00:00+00:00"
    with connection:
        connection.executemany(
            "INSERT INTO collection_migrations VALUES "
            "(?, ?, ?, ?, 'a', 'b', ?, ?, 'u', ?, ?, ?, NULL, 1, 1, 1, ?, ?, ?)",
            (
                (
                    f"source-{n}",
                    f"Collection {n}",
                    f"target-{n}",
                    f"(Migrated) Collection {n} - 20260101_000000",
                    f"job-{n}",
                    "completed" if n < number - unfinished else "submitted",
                    f"user{n % 500}",
                    now,
                    now,
                    int(n < number - unfinished),
                    int(n < number - unfinished),
                    int(n < number - unfinished),
                )
                for n in range(number)
            ),
        )
        connection.executemany(
            "INSERT INTO attempts (source_id, source_name, owner, target_name, target_id, model, "
            "import_options, origin, fate, created_at) "
            "VALUES (?, ?, ?, ?, ?, 'b', '{}', 'run', 'live', ?)",
            (
                (
                    f"source-{n}",
                    f"Collection {n}",
                    f"user{n % 500}",
                    f"(Migrated) Collection {n} - 20260101_000000",
                    f"target-{n}",
                    now,
                )
                for n in range(number)
            ),
        )
    connection.close()
