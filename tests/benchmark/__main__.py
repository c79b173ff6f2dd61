"""Figures, not verdicts: ``python -m tests.benchmark [--json] [--profile FILE]``.

An organisation on a sandbox whose every reply takes 20 ms, worked on by the real command in a
process of its own. Requests are counted by the server, times are taken from its first to its
last request, so that the start of Python does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Dict, List

from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

LATENCY_S = 0.02
WORKERS = 8
ADMIN_KEY = "sk-sandbox-admin"


@dataclass(frozen=True)
class Figures:
    """What one command cost."""

    scenario: str
    exit_code: int
    collections: int
    requests: int
    requests_per_collection: float
    seconds: float
    ideal_seconds: float
    over_ideal: float
    process_cpu_seconds: float
    peak_memory_mb: float
    peak_requests_in_flight: int
    connections: int


def organisation(collections: int, users: int, *, mapped_every: int = 1) -> World:
    """Users with equally many collections; every n-th user's are on a mapped model."""
    world = World()
    world.add_user("admin", admin=True)
    for number in range(users):
        world.add_user(f"user{number:04}")
    for number in range(collections):
        owner = number % users
        model = "BAAI/bge-m3" if owner % mapped_every == 0 else "intfloat/e5-large-v2"
        world.add_collection(f"user{owner:04}", f"Collection {number:05}", model, documents=3)
    world.times.import_s = 0.05
    world.times.import_per_document_s = 0.0
    world.times.move_s = 0.01
    world.habits.latency_s = LATENCY_S
    return world


class Bench:
    """One server, one folder, several commands one after the other."""

    def __init__(self, world: World, profile: str = "") -> None:
        self.world = world
        self.server = SandboxServer(world)
        self.server.start()
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        self.profile = profile

    def close(self) -> None:
        self.server.stop()
        self.folder.cleanup()

    def run(self, scenario: str, collections: int, *args: str) -> Figures:
        """Run the command and count."""
        self.server.forget_requests()
        command = [sys.executable]
        if self.profile:
            command += ["-m", "cProfile", "-o", f"{self.profile}.{scenario.replace(' ', '_')}"]
        command += ["-m", "h2ogpte_migration", "--url", self.server.url, "--admin-key", "--quiet"]
        command += ["--max-concurrent-requests", str(WORKERS), *args]
        env = {**os.environ, "H2OGPTE_ADMIN_KEY": ADMIN_KEY}
        process = subprocess.Popen(command, cwd=self.folder.name, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.WEXITSTATUS(status)
        sent = list(self.server.requests)
        seconds = max(item.ended for item in sent) - min(item.started for item in sent)
        ideal = len(sent) * LATENCY_S / WORKERS
        return Figures(
            scenario=scenario,
            exit_code=process.returncode,
            collections=collections,
            requests=len(sent),
            requests_per_collection=round(len(sent) / max(1, collections), 2),
            seconds=round(seconds, 2),
            ideal_seconds=round(ideal, 2),
            over_ideal=round(seconds / ideal, 2),
            process_cpu_seconds=round(usage.ru_utime + usage.ru_stime, 2),
            peak_memory_mb=round(usage.ru_maxrss / 1024, 1),
            peak_requests_in_flight=self.server.peak_in_flight,
            connections=self.server.connections,
        )


MAPPED = ("--all-users", "--use-model-mappings")


def submit_and_verify(collections: int, users: int, profile: str) -> List[Figures]:
    """The default mode: preview, submit, verify."""
    bench = Bench(organisation(collections, users), profile)
    try:
        figures = [bench.run("dry run", collections, *MAPPED, "--dry-run")]
        figures.append(bench.run("submit", collections, *MAPPED))
        bench.world.wait_until_idle()
        figures.append(bench.run("verify", collections, "--verify", "--migrate-chats"))
        figures.append(bench.run("verify, nothing to do", collections, "--verify"))
        return figures
    finally:
        bench.close()


def waiting(collections: int, users: int, profile: str) -> List[Figures]:
    """All in one, eight imports at a time."""
    bench = Bench(organisation(collections, users), profile)
    wait = ("--wait-for-completion", "--max-concurrent-jobs", "8", "--migrate-chats")
    try:
        return [bench.run("wait", collections, *MAPPED, *wait)]
    finally:
        bench.close()


def sparse(collections: int, users: int, profile: str) -> List[Figures]:
    """One user in ten owns something to migrate."""
    bench = Bench(organisation(collections * 10, users * 10, mapped_every=10), profile)
    try:
        return [bench.run("one user in ten", collections, *MAPPED)]
    finally:
        bench.close()


def makespan(profile: str) -> Dict[str, float]:
    """40 imports of 2 s, 8 at a time: from the first submission to the last job's end."""
    world = organisation(40, 10)
    world.times.import_s = 2.0
    bench = Bench(world, profile)
    try:
        wait = ("--wait-for-completion", "--max-concurrent-jobs", "8")
        bench.run("makespan", 40, *MAPPED, *wait)
        submitted = [
            item.started
            for item in bench.server.requests
            if item.route.endswith("/import_collection_job")
        ]
        took = max(submitted) + world.times.import_s - min(submitted)
        ideal = 40 * world.times.import_s / 8
        return {"seconds": round(took, 2), "ideal_seconds": ideal, "over_ideal": took / ideal}
    finally:
        bench.close()


def start_up() -> Dict[str, float]:
    """CPU seconds of what must be instant, beside the bare interpreter's."""
    cases = {
        "python -c pass": ["-c", "pass"],
        "--version": ["-m", "h2ogpte_migration", "--version"],
        "--help": ["-m", "h2ogpte_migration", "--help"],
        "a wrong flag": ["-m", "h2ogpte_migration", "--nonsense"],
        "--status, no database": ["-m", "h2ogpte_migration", "--status"],
    }
    return {name: round(min(_cpu(words) for _ in range(3)), 3) for name, words in cases.items()}


def _cpu(words: List[str]) -> float:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *words], **quiet)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.WEXITSTATUS(status)
    return usage.ru_utime + usage.ru_stime


def tracked(number: int) -> Dict[str, float]:
    """A database of many finished collections: --status, and --verify with nothing to do."""
    from tests.benchmark.many import fill

    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / "migration_tracking.db"
        fill(path, number)
        began = time.perf_counter()
        words = [sys.executable, "-m", "h2ogpte_migration", "--status", "--db-path", str(path)]
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        return {"collections": number, "status_seconds": round(time.perf_counter() - began, 2)}


def main() -> None:
    """Measure, then print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    parser.add_argument("--profile", default="", help="write cProfile data to FILE.SCENARIO")
    parser.add_argument("--collections", type=int, default=200)
    parser.add_argument("--users", type=int, default=20)
    asked = parser.parse_args()
    parts: List[Callable[[int, int, str], List[Figures]]] = [submit_and_verify, waiting, sparse]
    figures = [
        item for part in parts for item in part(asked.collections, asked.users, asked.profile)
    ]
    others = {"makespan": makespan(""), "start": start_up(), "tracked": tracked(50_000)}
    if asked.json:
        print(json.dumps({"runs": [asdict(item) for item in figures], **others}, indent=2))
        return
    for item in figures:
        print(
            f"{item.scenario:24} exit {item.exit_code}  {item.requests:6} requests "
            f"({item.requests_per_collection:5.2f} each)  {item.seconds:6.2f} s = "
            f"{item.over_ideal:4.2f} x ideal  CPU {item.process_cpu_seconds:5.1f} s  "
            f"{item.peak_memory_mb:5.0f} MB  {item.connections} connections"
        )
    print(json.dumps(others, indent=2))


if __name__ == "__main__":
    main()
