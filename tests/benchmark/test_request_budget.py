"""What a plain collection costs in requests: the figures of the README's reference part.

A number that grows here is felt by every organisation, ten thousand times over.
"""

from __future__ import annotations

from collections import Counter
from typing import Iterator, Tuple

import pytest

from h2ogpte_migration.app import main
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

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
# What can't be known otherwise: the target, both listings of documents, connectors and chats.
NEEDED = Counter(
    {
        f"GET {C}": 1,
        f"GET {C}/documents": 2,
        f"GET {C}/scheduled_connectors": 1,
        f"GET {C}/chats": 1,
    }
)
# "None" is never believed from one look.
SAFETY = Counter(
    {
        f"GET {C}/scheduled_connectors": 1,
        f"GET {C}/chats": 1,
    }
)
# With whom the source was shared while its import ran is to be shared the target as well.
SHARED_SINCE = Counter({f"GET {C}/permissions": 1, f"GET {C}/group_permissions": 1})
# In another run than that of the submission the target's settings are compared once more.
VERIFICATION = NEEDED + SAFETY + SHARED_SINCE + Counter({f"GET {C}/settings": 1})
# Once more than pages: nothing tells how many documents the source has by now.
# Whether its listing is as long as its count is asked of the source where no listing tells the count.
SOURCE_COUNT = Counter({f"GET {C}": 1})
# Whether the source is public by now is asked there as well.
AFTERMATH = NEEDED + SAFETY + SHARED_SINCE + Counter({f"GET {C}": 2, f"GET {C}/documents": 1})
# What tells of all of an owner's collections at once: which jobs have ended, the counts, and
# which assistants point at them.
ASSISTANTS = Counter({"GET /ai_assistants": 1})
COUNTS = Counter({"GET /collections": 2})
OVERVIEW = Counter({"GET /jobs": 1}) + COUNTS + ASSISTANTS
# A single one is asked for its counts, and its source's listing read to the end.
INSTEAD_OF_COUNTS = SOURCE_COUNT + Counter({f"GET {C}/documents": 1, f"GET {C}/chats/count": 1})
# Whether it is public as well.
INSTEAD_OF_COUNTS += SOURCE_COUNT


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


@pytest.mark.parametrize("collections", [1, 3])
def test_submission_costs_fourteen_requests_a_collection_and_three_an_owner(
    busy: SandboxServer, busy_world: World, collections: int
) -> None:
    for number in range(1, collections):
        busy_world.add_collection("anna", f"More {number}", documents=3)
    asked = run(busy, "--all-users", "--use-model-mappings")
    of_all = Counter({route: collections * count for route, count in SUBMISSION.items()})
    assert asked == of_all + OF_THE_OWNER


@pytest.mark.parametrize("collections", [1, 2, 5])
def test_verification_costs_ten_requests_a_collection_and_five_an_owner(
    busy: SandboxServer, busy_world: World, collections: int
) -> None:
    for number in range(1, collections):
        busy_world.add_collection("anna", f"More {number}", documents=3)
    run(busy, "--all-users", "--use-model-mappings")
    busy_world.wait_until_idle()
    asked = run(busy, "--verify", "--migrate-chats")
    of_all = Counter({route: collections * count for route, count in VERIFICATION.items()})
    of_all += OVERVIEW + Counter({"GET /rpc/meta": 1})
    if collections == 1:
        of_all = of_all - COUNTS + INSTEAD_OF_COUNTS
    assert asked == of_all


@pytest.mark.parametrize(
    "again", [("--verify", "--migrate-chats"), ("--all-users", "--use-model-mappings")]
)
def test_with_nothing_left_to_do_no_collection_costs_a_request_and_no_owner_a_key(
    busy: SandboxServer, busy_world: World, again: Tuple[str, ...]
) -> None:
    run(busy, "--all-users", "--use-model-mappings")
    busy_world.wait_until_idle()
    run(busy, "--verify", "--migrate-chats")
    assert run(busy, *again) == Counter()
    whole = [item.route for item in busy.requests]
    assert len(whole) <= 4, whole
    assert "POST /admin/api_keys" not in whole


def test_waiting_costs_twenty_six_requests_and_the_polls(busy: SandboxServer) -> None:
    asked = run(
        busy, "--all-users", "--use-model-mappings", "--wait-for-completion", "--migrate-chats"
    )
    polls = asked.pop(POLL)
    assert asked == SUBMISSION + AFTERMATH + OF_THE_OWNER + ASSISTANTS
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
