"""The tables of the tracking database, each with its reason, and their numbered upgrades.

``collection_migrations`` is the documented table, exactly as version 1.2.0 makes it: its
columns and their order are a promise to the people who query it with ``sqlite3``. Whatever
else is needed stands in tables of its own. ``PRAGMA user_version`` carries the version:
0 is an empty file or a database of version 1.2.0.
"""

from __future__ import annotations

from typing import Tuple

DOCUMENTED_TABLE = """
CREATE TABLE IF NOT EXISTS collection_migrations (
    old_collection_id TEXT PRIMARY KEY,
    old_collection_name TEXT,
    new_collection_id TEXT,
    new_collection_name TEXT,
    old_model TEXT,
    new_model TEXT,
    job_id TEXT,
    job_status TEXT,
    user_id TEXT,
    username TEXT,
    created_at TIMESTAMP,
    completed_at TIMESTAMP,
    error TEXT,
    -- Step tracking
    collection_created BOOLEAN DEFAULT 0,
    permissions_copied BOOLEAN DEFAULT 0,
    import_submitted BOOLEAN DEFAULT 0,
    import_completed BOOLEAN DEFAULT 0,
    connectors_migrated BOOLEAN DEFAULT 0,
    chats_migrated BOOLEAN DEFAULT 0
)
"""

DOCUMENTED_COLUMNS: Tuple[str, ...] = (
    "old_collection_id",
    "old_collection_name",
    "new_collection_id",
    "new_collection_name",
    "old_model",
    "new_model",
    "job_id",
    "job_status",
    "user_id",
    "username",
    "created_at",
    "completed_at",
    "error",
    "collection_created",
    "permissions_copied",
    "import_submitted",
    "import_completed",
    "connectors_migrated",
    "chats_migrated",
)

_VERSION_1: Tuple[str, ...] = (
    # Facts about the database itself: the server that it is bound to.
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # A log of runs; also the identity that leases, keys and test chats hang on.
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        started_at TEXT NOT NULL,
        ended_at TEXT,
        heartbeat_at TEXT NOT NULL,
        host TEXT NOT NULL,
        machine TEXT NOT NULL,
        pid INTEGER NOT NULL,
        process_start TEXT NOT NULL,
        folder TEXT NOT NULL,
        version TEXT NOT NULL,
        command TEXT NOT NULL,
        exit_code INTEGER
    )
    """,
    # Who works on a source right now: one process at a time.
    """
    CREATE TABLE leases (
        source_id TEXT PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs (id),
        renewed_at TEXT NOT NULL
    )
    """,
    # Every target ever made, or begun, with what became of it. Rows are never deleted.
    """
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source_id TEXT NOT NULL,
        source_name TEXT NOT NULL,
        owner TEXT NOT NULL,
        target_name TEXT NOT NULL,
        target_id TEXT,
        target_created_at TEXT,
        model TEXT NOT NULL,
        import_options TEXT NOT NULL,
        source_facts TEXT,
        permissions TEXT,
        origin TEXT NOT NULL,
        adopted INTEGER NOT NULL DEFAULT 0,
        baseline_at TEXT,
        fate TEXT NOT NULL,
        reason TEXT,
        run_id INTEGER,
        created_at TEXT NOT NULL,
        ended_at TEXT
    )
    """,
    "CREATE UNIQUE INDEX attempts_live ON attempts (source_id) WHERE fate = 'live'",
    # A name that was given out stays taken: it is what a lost target is looked for by.
    """
    CREATE UNIQUE INDEX attempts_name ON attempts (owner, target_name)
        WHERE origin IN ('run', 'restart')
    """,
    "CREATE UNIQUE INDEX attempts_target ON attempts (target_id) WHERE target_id IS NOT NULL",
    # What is about to be sent, committed before it is sent. `sends` counts the requests
    # that may have reached the server.
    """
    CREATE TABLE intents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        attempt_id INTEGER NOT NULL REFERENCES attempts (id),
        source_id TEXT NOT NULL,
        owner TEXT NOT NULL,
        step TEXT NOT NULL,
        state TEXT NOT NULL,
        sends INTEGER NOT NULL DEFAULT 0,
        timed_out INTEGER NOT NULL DEFAULT 0,
        job_id TEXT,
        counts TEXT,
        opened_at TEXT NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX intents_open ON intents (attempt_id, step) WHERE state = 'open'",
    # Import jobs name no collection: of one owner, only one may be in doubt at a time.
    """
    CREATE UNIQUE INDEX intents_import ON intents (owner)
        WHERE step = 'import' AND state = 'open' AND sends > 0
    """,
    "CREATE INDEX intents_attempt ON intents (attempt_id)",
    # Server jobs that are ours; the primary key makes claiming one exclusive.
    """
    CREATE TABLE jobs (
        job_id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        attempt_id INTEGER NOT NULL REFERENCES attempts (id)
    )
    """,
    # The source's documents at submission, kept until the collection is settled.
    """
    CREATE TABLE baseline (
        attempt_id INTEGER NOT NULL REFERENCES attempts (id),
        document_id TEXT NOT NULL,
        name TEXT NOT NULL,
        status TEXT NOT NULL
    )
    """,
    "CREATE INDEX baseline_attempt ON baseline (attempt_id)",
    # The last validation of each attempt.
    """
    CREATE TABLE validations (
        attempt_id INTEGER PRIMARY KEY REFERENCES attempts (id),
        verdict TEXT NOT NULL,
        ignored INTEGER NOT NULL DEFAULT 0,
        late_documents INTEGER NOT NULL DEFAULT 0,
        findings TEXT NOT NULL,
        validated_at TEXT NOT NULL
    )
    """,
    # What could not be carried over: kept, not only scrolled by.
    """
    CREATE TABLE warnings (
        attempt_id INTEGER NOT NULL REFERENCES attempts (id),
        source_id TEXT NOT NULL,
        step TEXT NOT NULL,
        text TEXT NOT NULL,
        noted_at TEXT NOT NULL,
        PRIMARY KEY (attempt_id, text)
    )
    """,
    # Sources that a forced or retried run has begun afresh and that run has not ended:
    # the same run, started again, goes on instead of forcing twice.
    """
    CREATE TABLE marks (
        source_id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        run_id INTEGER NOT NULL REFERENCES runs (id)
    )
    """,
    # Temporary keys, recorded by name before they are made. Never the secret.
    """
    CREATE TABLE temp_keys (
        name TEXT PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs (id),
        username TEXT NOT NULL,
        key_id TEXT,
        state TEXT NOT NULL
    )
    """,
    # Test chats of the RAG check, recorded before they are made with the sessions that
    # the collection had then: without an id, the odd one out is ours.
    """
    CREATE TABLE test_chats (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id INTEGER NOT NULL REFERENCES runs (id),
        source_id TEXT NOT NULL,
        target_id TEXT NOT NULL,
        owner TEXT NOT NULL,
        known_sessions TEXT NOT NULL,
        question TEXT NOT NULL,
        session_id TEXT,
        state TEXT NOT NULL
    )
    """,
    "CREATE INDEX migrations_status ON collection_migrations (job_status)",
    "CREATE INDEX migrations_target ON collection_migrations (new_collection_id)",
)

_VERSION_2: Tuple[str, ...] = (
    # Steps beyond the documented columns that are done for an attempt: a new step needs no
    # column of its own.
    """
    CREATE TABLE checkpoints (
        attempt_id INTEGER NOT NULL REFERENCES attempts (id),
        step TEXT NOT NULL,
        done_at TEXT NOT NULL,
        detail TEXT,
        PRIMARY KEY (attempt_id, step)
    )
    """,
    # The history of a source is read whenever its record is.
    "CREATE INDEX attempts_source ON attempts (source_id)",
    # All names given out to an owner are read when another one is chosen.
    "CREATE INDEX attempts_owner ON attempts (owner, target_name)",
)

_VERSION_3: Tuple[str, ...] = (
    # When a test chat was asked for, by the server's clock: without an id, only a chat that was
    # opened within seconds of that can be ours.
    "ALTER TABLE test_chats ADD COLUMN asked_at TEXT",
)

_VERSION_4: Tuple[str, ...] = (
    # The last check of each attempt's retrieval: how many documents were looked for and found, in
    # the new index and, where it could be asked, in the old one; names and answers in `outcome`.
    # With the same seed the same documents are chosen. No text of a document is kept.
    """
    CREATE TABLE retrievals (
        attempt_id INTEGER PRIMARY KEY REFERENCES attempts (id),
        checked_at TEXT NOT NULL,
        seed INTEGER NOT NULL,
        documents INTEGER,
        found INTEGER,
        recall_at_1 REAL,
        recall_at_10 REAL,
        mrr REAL,
        old_documents INTEGER,
        old_found INTEGER,
        old_recall_at_1 REAL,
        old_recall_at_10 REAL,
        old_mrr REAL,
        lost INTEGER NOT NULL DEFAULT 0,
        min_recall REAL,
        accepted INTEGER NOT NULL DEFAULT 0,
        problem TEXT NOT NULL DEFAULT '',
        outcome TEXT NOT NULL
    )
    """,
)

UPGRADES: Tuple[Tuple[str, ...], ...] = (
    _VERSION_1,
    _VERSION_2,
    _VERSION_3,
    _VERSION_4,
)
"""``UPGRADES[n]`` brings a database of version n to version n + 1."""
VERSION = len(UPGRADES)
