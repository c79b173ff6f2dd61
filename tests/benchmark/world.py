"""The organisation that is measured, on a server in a process of its own.

``python -m tests.benchmark.world SHAPE`` (JSON of ``Shape``) serves it and obeys one JSON line after
the other on its standard input, so that nothing of it counts as the tool's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any, Dict


@dataclass(frozen=True)
class Shape:
    """An organisation. Every n-th user's collections are on a mapped model."""

    collections: int
    users: int
    mapped_every: int = 1
    documents: int = 3
    import_s: float = 0.05
    latency_s: float = 0.02


def serve(shape: Shape) -> None:
    """Serve until the standard input ends."""
    from h2ogpte_migration.sandbox.server import SandboxServer
    from h2ogpte_migration.sandbox.world import World

    world = World()
    world.add_user("admin", admin=True)
    for number in range(shape.users):
        world.add_user(f"user{number:04}")
    for number in range(shape.collections):
        owner = number % shape.users
        model = "BAAI/bge-m3" if owner % shape.mapped_every == 0 else "intfloat/e5-large-v2"
        world.add_collection(
            f"user{owner:04}", f"Collection {number:05}", model, documents=shape.documents
        )
    world.times.import_s = shape.import_s
    world.times.import_per_document_s = 0.0
    world.times.move_s = 0.01
    world.habits.latency_s = shape.latency_s
    with SandboxServer(world) as server:
        print(json.dumps(server.url), flush=True)
        for line in sys.stdin:
            print(json.dumps(_obey(server, json.loads(line))), flush=True)


def _obey(server: Any, order: str) -> Dict[str, Any]:
    if order == "forget":
        server.forget_requests()
        return {}
    if order == "wait":
        server.world.wait_until_idle()
        return {}
    return {
        "requests": [[item.route, item.started, item.ended] for item in list(server.requests)],
        "peak": server.peak_in_flight,
        "connections": server.connections,
    }


class Organisation:
    """The other process, seen from the one that measures."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmark.world", json.dumps(asdict(shape))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url: str = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def tell(self, order: str) -> Dict[str, Any]:
        """``forget`` (the requests so far), ``wait`` (for the jobs), or ``report``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: Dict[str, Any] = self._answer()
        return answer

    def close(self) -> None:
        self._process.communicate()


if __name__ == "__main__":
    serve(Shape(**json.loads(sys.argv[1])))
