"""Figures, not verdicts: ``python -m tests.benchmark [--json] [--profile FILE]``.

An organisation on a sandbox whose every reply takes 20 ms, worked on by the real command. Server
and command have a process each. Requests are counted by the server, and seconds are taken from
the first to the last of them; CPU and memory are the command's, from the start of Python. Beside
the seconds stands the limit: no tool can be done before requests x latency / workers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Dict, List

from tests.benchmark.world import LATENCY_S, Organisation

WORKERS = 8
ADMIN_KEY = "sk-sandbox-admin"
START_LIMIT_S = 0.35
"""CPU of a run with nothing to do, over the bare interpreter's."""
START_CPU_S = 0.25
"""What is left out of the CPU for each request: about that of a run with nothing to do."""
MEMORY_LIMIT_MB = 60
HERE = Path(__file__).parents[2]


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
    cpu_ms_per_request: float
    fsyncs: int
    commits: int
    selects: int
    loads: int
    peak_memory_mb: float
    peak_requests_in_flight: int
    connections: int


class Bench:
    """One server, one folder, several commands one after the other."""

    def __init__(self, organisation: Organisation, profile: str = "") -> None:
        self.organisation = organisation
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        self.profile = profile

    def close(self) -> None:
        self.organisation.close()
        self.folder.cleanup()

    def run(self, scenario: str, collections: int, *args: str) -> Figures:
        """Run the command and count."""
        self.organisation.tell("forget")
        counts = Path(self.folder.name, "counts")
        command = [sys.executable]
        if self.profile:
            command += ["-m", "cProfile", "-o", f"{self.profile}.{scenario.replace(' ', '_')}"]
        command += ["-m", "tests.benchmark.counted", str(counts), "--url", self.organisation.url]
        command += ["--admin-key", "--quiet", "--max-concurrent-requests", str(WORKERS), *args]
        process = subprocess.Popen(command, cwd=self.folder.name, env=_environment())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.WEXITSTATUS(status)
        told = self.organisation.tell("report")
        sent = told["requests"]
        seconds = max(ended for _, _, ended in sent) - min(started for _, started, _ in sent)
        ideal = len(sent) * LATENCY_S / WORKERS
        cpu_s = usage.ru_utime + usage.ru_stime
        counted = Counter(json.loads(counts.read_text()))
        return Figures(
            scenario=scenario,
            exit_code=process.returncode,
            collections=collections,
            requests=len(sent),
            requests_per_collection=round(len(sent) / max(1, collections), 2),
            seconds=round(seconds, 2),
            ideal_seconds=round(ideal, 2),
            over_ideal=round(seconds / ideal, 2),
            process_cpu_seconds=round(cpu_s, 2),
            cpu_ms_per_request=round(1000 * max(0.0, cpu_s - START_CPU_S) / len(sent), 2),
            fsyncs=counted["fsyncs"],
            commits=counted["commits"],
            selects=counted["selects"],
            loads=counted["loads"],
            peak_memory_mb=round(usage.ru_maxrss / 1024, 1),
            peak_requests_in_flight=told["peak"],
            connections=told["connections"],
        )


def _environment() -> Dict[str, str]:
    """That of an installed command: its modules are compiled once, not at each start."""
    env = {**os.environ, "H2OGPTE_ADMIN_KEY": ADMIN_KEY, "PYTHONPATH": str(HERE)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


MAPPED = ("--all-users", "--use-model-mappings")


def submit_and_verify(collections: int, users: int, profile: str) -> List[Figures]:
    """The default mode: preview, submit, verify; and once more, with nothing left to do."""
    bench = Bench(Organisation(collections, users), profile)
    try:
        figures = [bench.run("dry run", collections, *MAPPED, "--dry-run")]
        figures.append(bench.run("submit", collections, *MAPPED))
        bench.organisation.tell("wait")
        figures.append(bench.run("verify", collections, "--verify", "--migrate-chats"))
        figures.append(bench.run("verify, nothing to do", collections, "--verify"))
        figures.append(bench.run("migrate, nothing to do", collections, *MAPPED))
        return figures
    finally:
        bench.close()


def waiting(collections: int, users: int, profile: str) -> List[Figures]:
    """All in one, eight imports at a time."""
    bench = Bench(Organisation(collections, users), profile)
    wait = ("--wait-for-completion", "--max-concurrent-jobs", "8", "--migrate-chats")
    try:
        return [bench.run("wait, 8 jobs", collections, *MAPPED, *wait)]
    finally:
        bench.close()


def sparse(collections: int, users: int, profile: str) -> List[Figures]:
    """One user in ten owns something to migrate."""
    bench = Bench(Organisation(collections * 10, users * 10, mapped_every=10), profile)
    try:
        return [bench.run("one user in ten", collections, *MAPPED)]
    finally:
        bench.close()


def makespan(profile: str) -> Dict[str, float]:
    """40 imports of 2 s, 8 at a time: from the first submission to the last job's end."""
    import_s = 2.0
    bench = Bench(Organisation(40, 10, import_s=import_s), profile)
    try:
        wait = ("--wait-for-completion", "--max-concurrent-jobs", "8")
        bench.run("makespan", 40, *MAPPED, *wait)
        submitted = [
            started
            for route, started, _ in bench.organisation.tell("report")["requests"]
            if route.endswith("/import_collection_job")
        ]
        took = max(submitted) + import_s - min(submitted)
        ideal = 40 * import_s / 8
        return {"seconds": round(took, 2), "ideal_seconds": ideal, "over_ideal": took / ideal}
    finally:
        bench.close()


def start_up() -> Dict[str, float]:
    """CPU seconds of what must be instant, beside the bare interpreter's."""
    tool = ["-m", "h2ogpte_migration"]
    empty = Organisation(0, 1)
    preview = [*tool, "--url", empty.url, "--admin-key", *MAPPED, "--dry-run"]
    cases = {
        "python -c pass": ["-c", "pass"],
        "--version": [*tool, "--version"],
        "--help": [*tool, "--help"],
        "a wrong flag": [*tool, "--nonsense"],
        "--status, no database": [*tool, "--status"],
        "dry run, nothing in scope": preview,
    }
    try:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            figures = {
                name: round(min(_cpu(words, folder) for _ in range(5)), 3)
                for name, words in cases.items()
            }
    finally:
        empty.close()
    over = figures["dry run, nothing in scope"] - figures["python -c pass"]
    return {**figures, "over the interpreter": round(over, 3), "limit": START_LIMIT_S}


def _cpu(words: List[str], folder: str) -> float:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *words], cwd=folder, env=_environment(), **quiet)
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
            f"({item.requests_per_collection:5.2f} each)  {item.seconds:6.2f} s, limit "
            f"{item.ideal_seconds:6.2f} ({item.over_ideal:4.2f} x)  "
            f"CPU {item.process_cpu_seconds:5.2f} s ({item.cpu_ms_per_request:4.2f} ms each)  "
            f"{item.fsyncs:5} fsyncs, {item.commits} commits, {item.selects} SELECTs, "
            f"{item.loads} loads  "
            f"{item.peak_memory_mb:5.1f} MB of {MEMORY_LIMIT_MB}  {item.connections} connections"
        )
    print(json.dumps(others, indent=2))


if __name__ == "__main__":
    main()
