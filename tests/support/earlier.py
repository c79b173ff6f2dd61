"""Databases that earlier runs left: of this tool, or of version 1.2.0."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, Optional

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection, Job, JobKind
from h2ogpte_migration.sandbox.world import World

from .terminal import GEMMA, M3, MAPPED, WAIT, Operator

TABLE = """
CREATE TABLE collection_migrations (
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
FLAGS = {
    "created": (1, 1, 0, 0, 0, 0),
    "importing": (1, 1, 1, 0, 0, 0),
    "failed": (1, 1, 1, 0, 0, 0),
    "imported": (1, 1, 1, 1, 0, 0),
    "connected": (1, 1, 1, 1, 1, 0),
    "finished": (1, 1, 1, 1, 1, 1),
}
STATUS = {"created": "pending", "importing": "submitted", "failed": "failed"}
IMPORT = {
    "copy_document": False,
    "preserve_document_status": True,
    "preserve_metadata": True,
    "copy_lifecycle_settings": True,
}


def write_row(path: Path, **columns: Any) -> None:
    """Put a row into a database as version 1.2.0 makes it."""
    names = ", ".join(columns)
    marks = ", ".join("?" for _ in columns)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(TABLE.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
        connection.execute(
            f"INSERT INTO collection_migrations ({names}) VALUES ({marks})",
            tuple(columns.values()),
        )


def loaded_source(world: World, owner: str = "anna", name: str = "Alpha") -> Collection:
    """A collection with two of everything."""
    return world.add_collection(
        owner,
        name,
        M3,
        documents=2,
        connectors=2,
        chats=2,
        shares={"bertil": ["read"]} if owner != "bertil" else None,
    )


def by_version_1_2_0(
    operator: Operator, state: str, source: Optional[Collection] = None, model: str = GEMMA
) -> Collection:
    """A collection, by default a new one, that version 1.2.0 has brought into a state."""
    world = operator.world
    source = source or loaded_source(world)
    name = f"(Migrated) {source.name} - 20260316_225645"
    target = world.add_collection("anna", name, model, documents=0)
    job = _import_by_hand(world, source, target, state) if FLAGS[state][2] else None
    if state in ("connected", "finished"):
        target.connectors, source.connectors = source.connectors, []
    if state == "finished":
        for session in world.sessions_of(source.id):
            session.collection_id = target.id
    _write(operator, source, target, job, state)
    return source


def _import_by_hand(world: World, source: Collection, target: Collection, state: str) -> Job:
    target.shares = dict(source.shares)
    if state in ("importing", "failed"):
        fate = Fate.NEVER_END if state == "importing" else Fate.FAIL
        world.set_fate(source.id, fate, times=1)
    job = world.start_import(world.users["anna"], source, target.id, dict(IMPORT))
    if state != "importing":
        world.wait_until_idle()
    return job


def _write(
    operator: Operator, source: Collection, target: Collection, job: Any, state: str
) -> None:
    columns: Dict[str, Any] = {
        "old_collection_id": source.id,
        "old_collection_name": source.name,
        "new_collection_id": target.id,
        "new_collection_name": target.name,
        "old_model": source.embedding_model,
        "new_model": target.embedding_model,
        "job_id": job.id if job else None,
        "job_status": STATUS.get(state, "completed"),
        "user_id": operator.world.users["anna"].id,
        "username": "anna",
        "created_at": "2026-03-16 22:56:45.123456",
    }
    names = (
        "collection_created",
        "permissions_copied",
        "import_submitted",
        "import_completed",
        "connectors_migrated",
        "chats_migrated",
    )
    write_row(operator.db, **columns, **dict(zip(names, FLAGS[state])))


def by_this_tool(operator: Operator, state: str) -> Collection:
    """A collection that this tool has brought into a state."""
    world = operator.world
    source = loaded_source(world)
    scope = ("--users", "anna", MAPPED)
    if state == "created":
        world.set_fate(source.id, Fate.REFUSE, times=1)
        operator.admin(*scope, code=1)
    elif state == "importing":
        world.set_fate(source.id, Fate.NEVER_END, times=1)
        operator.admin(*scope)
    elif state == "failed":
        world.set_fate(source.id, Fate.FAIL, times=1)
        operator.admin(*scope, WAIT, code=1)
    elif state == "imported":
        world.set_fate(source.id, Fate.REFUSE, times=1, kind=JobKind.MOVE_CONNECTORS)
        operator.admin(*scope, WAIT, code=1)
    else:
        operator.admin(*scope, WAIT, *(["--migrate-chats"] if state == "finished" else []))
    row = operator.row(source.id)
    names = ("collection_created", "permissions_copied", "import_submitted")
    later = ("import_completed", "connectors_migrated", "chats_migrated")
    assert tuple(row[name] for name in names + later) == FLAGS[state]
    assert row["job_status"] == STATUS.get(state, "completed")
    return source


def let_jobs_end(world: World) -> None:
    """Let the jobs that would run for long, or for ever, succeed now."""
    for job in world.jobs.values():
        if job.running:
            job.fate = Fate.SUCCEED
            job.duration_s = 0.0
    world.wait_until_idle()
