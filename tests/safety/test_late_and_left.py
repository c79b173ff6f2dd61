"""What comes late, and what is left to do when a run failed or was killed in between."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from h2ogpte_migration.sandbox.faults import call, reply

from .lab import CHATS, FORCE, Lab, clock, hurried, laboratory

__all__ = ["clock", "hurried"]

MOVE_CONNECTORS = "POST /collections/{collection_id}/migrate_scheduled_connectors"
MOVE_CHATS = "POST /collections/{collection_id}/migrate_chat_sessions_job"

pytestmark = pytest.mark.usefixtures("clock", "hurried")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with laboratory(tmp_path) as made:
        yield made


def late(lab: Lab) -> bool:
    """Whether the late document is in the target in use."""
    target = lab.current()
    return target is not None and any(m.document.name == "late.pdf" for m in target.documents)


def test_chats_of_a_former_target_that_could_not_be_brought_over_are_still_to_do(lab: Lab) -> None:
    lab.migrate()
    lab.submit(FORCE)
    first = lab.targets[0]
    lab.server.faults.add(reply(403), route=MOVE_CHATS, times=None)
    assert lab.verify().code == 1
    status = lab.command("--status", "--check")
    assert status.code == 1, status.text
    lab.server.faults.clear()
    assert lab.verify().code == 0
    assert lab.chats_of(first.id) == 0
    assert lab.command("--status", "--check").code == 0


def test_a_document_that_came_after_a_clean_validation_is_late_and_not_missing(lab: Lab) -> None:
    lab.submit()
    lab.server.faults.add(reply(403), route=MOVE_CONNECTORS, times=None)
    assert lab.verify().code == 1
    lab.server.faults.clear()
    lab.world.add_document(lab.source.id, "late.pdf")
    result = lab.verify()
    assert result.code == 0, result.text
    assert late(lab)


def test_what_a_connector_brings_until_it_is_moved_follows_it(lab: Lab) -> None:
    def bring() -> None:
        lab.world.add_document(lab.source.id, "late.pdf")

    lab.server.faults.add(call(bring), route=MOVE_CONNECTORS)
    result = lab.migrate()
    assert result.code == 0, result.text
    assert late(lab)
    assert "1 late document brought into the target" in result.text


def test_what_comes_that_late_and_can_only_be_copied_is_told(lab: Lab) -> None:
    def bring() -> None:
        lab.world.add_document(lab.source.id, "late.pdf")

    lab.server.faults.add(call(bring), route=MOVE_CONNECTORS)
    result = lab.migrate("--copy-document")
    assert "1 document came into the source while its connectors were moved" in result.text
    assert not late(lab)


def test_a_forced_run_after_a_rollback_forces(lab: Lab) -> None:
    lab.migrate()
    lab.server.faults.add(reply(403), route=MOVE_CONNECTORS, times=None)
    assert lab.migrate(FORCE).code == 1
    lab.server.faults.clear()
    assert lab.command("--rollback").code == 0
    before = len(lab.targets)
    assert lab.migrate(FORCE, CHATS).code == 0
    assert len(lab.targets) == before + 1
