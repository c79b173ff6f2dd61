"""What a plain collection costs in requests: the figures of the README's reference part.

A number that grows here is felt by every organisation, ten thousand times over.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator

import pytest

from h2ogpte_migration.app import main
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

README = Path(__file__).parents[2] / "README.md"
ONCE_PER_OWNER = Counter({"POST /admin/api_keys": 1, "DELETE /admin/api_keys/{key_id}": 1})
POLL = "GET /jobs/{job_id}"
C = "/collections/{collection_id}"

SUBMISSION = Counter(
    {
        f"GET {C}": 1,
        # "None" counts after a second look: of metadata, settings and shares as well.
        f"GET {C}/metadata": 2,
        # The source's, and the target's: a server may have defaults of its own.
        f"GET {C}/settings": 3,
        f"GET {C}/chat_settings": 2,
        "POST /collections": 1,
        f"GET {C}/permissions": 1,
        f"GET {C}/group_permissions": 2,
        f"GET {C}/documents": 1,
        f"POST {C}/import_collection_job": 1,
    }
)
# Whose the owner's key is, before it is used; and what else of that owner's was made meanwhile.
OF_THE_OWNER = Counter({"GET /rpc/meta": 1, "GET /collections": 2})
AFTERMATH = Counter(
    {
        f"GET {C}": 1,
        # The source once more than pages: nothing tells how many documents it has by now.
        f"GET {C}/documents": 3,
        f"GET {C}/scheduled_connectors": 2,
        f"GET {C}/chats": 2,
    }
)


@pytest.fixture
def busy_world(world: World) -> World:
    """One plain collection of somebody else than the administrator."""
    world.add_collection("anna", "Plain", documents=3)
    world.times.import_s = 0.2
    world.times.import_per_document_s = 0.0
    return world


@pytest.fixture
def busy(busy_world: World) -> Iterator[SandboxServer]:
    with SandboxServer(busy_world) as server:
        yield server


def run(server: SandboxServer, *args: str) -> Counter[str]:
    """Run a command; what it asked for the owner, without the run's own requests."""
    server.forget_requests()
    key = ["--url", server.url, "--admin-key", "sk-sandbox-admin", "--quiet"]
    assert main([*key, *args]) == 0
    return Counter(item.route for item in server.requests if item.username == "anna")


def readme_budget() -> Dict[str, int]:
    rows = re.findall(
        r"^\| (submission|with `--wait|`--verify`)[^|]*\| (\d+)", README.read_text(), re.M
    )
    return {name.strip("` "): int(number) for name, number in rows}


def test_submission_costs_fourteen_requests(busy: SandboxServer) -> None:
    asked = run(busy, "--all-users", "--use-model-mappings")
    assert asked == SUBMISSION + OF_THE_OWNER


def test_verification_of_a_finished_job_costs_seven_requests_of_nine(
    busy: SandboxServer, busy_world: World
) -> None:
    run(busy, "--all-users", "--use-model-mappings")
    busy_world.wait_until_idle()
    asked = run(busy, "--verify", "--migrate-chats")
    assert asked == AFTERMATH + Counter({POLL: 1, "GET /rpc/meta": 1, f"GET {C}/chats/count": 1})


def test_waiting_costs_twenty_one_requests_and_the_polls(busy: SandboxServer) -> None:
    asked = run(
        busy, "--all-users", "--use-model-mappings", "--wait-for-completion", "--migrate-chats"
    )
    polls = asked.pop(POLL)
    assert asked == SUBMISSION + AFTERMATH + OF_THE_OWNER
    assert 1 <= polls < 20


def test_one_temporary_key_per_owner_and_run_and_none_for_who_has_nothing_to_do(
    busy: SandboxServer, busy_world: World
) -> None:
    busy_world.add_collection("anna", "Second", documents=1)
    busy_world.add_collection("bertil", "Other", "intfloat/e5-large-v2", documents=1)
    run(busy, "--all-users", "--use-model-mappings")
    routes = Counter(item.route for item in busy.requests)
    assert routes & ONCE_PER_OWNER == ONCE_PER_OWNER
    assert routes["POST /admin/api_keys"] == 1
    assert routes["GET /admin/api_keys"] == 0, "the id of a key is known from its creation"


def test_discovery_costs_pages_not_collections(busy: SandboxServer, busy_world: World) -> None:
    for number in range(150):
        busy_world.add_collection("bertil", f"Other {number}", "intfloat/e5-large-v2")
    run(busy, "--all-users", "--use-model-mappings", "--dry-run")
    pages = Counter(item.route for item in busy.requests)["GET /collections/all"]
    assert pages <= 3


def test_requests_share_few_connections(busy: SandboxServer, busy_world: World) -> None:
    for number in range(20):
        busy_world.add_collection("anna", f"More {number}")
    run(busy, "--all-users", "--use-model-mappings", "--max-concurrent-requests", "4")
    assert len(busy.requests) > 100
    assert busy.peak_in_flight <= 4
    assert busy.connections <= 4
