"""Figures, not verdicts: ``python -m tests.benchmark [--only PART ...] [--json] [--profile FILE]``.

An organisation on a sandbox whose every reply takes its time, worked on by the real command. Server
and command have a process each. Requests are counted by the server, and seconds are taken from
the first to the last of them; CPU and memory are the command's, from the start of Python. Beside
the seconds stands the limit: no tool can be done before requests x latency / workers. Where other
things run on the machine, only what is counted can be compared: requests, fsyncs, SELECTs, loads.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional

from tests.benchmark.counted import FSYNC_S
from tests.benchmark.many import fill
from tests.benchmark.world import Organisation, Shape

WORKERS = 8
ADMIN_KEY = "sk-sandbox-admin"
START_LIMIT_S = 0.35
"""CPU of a run with nothing to do, over the bare interpreter's."""
START_CPU_S = 0.25
"""What is left out of the CPU for each request: about that of a run with nothing to do."""
SLOW_FSYNC_S = 0.005
POLL = "GET /jobs/{job_id}"
HERE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Figures:
    """What one command cost."""

    scenario: str
    exit_code: int
    collections: int
    requests: int
    requests_per_collection: float
    most_polls_in_a_second: int
    wall_seconds: float
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

    def __str__(self) -> str:
        return (
            f"{self.scenario:24} exit {self.exit_code:3} {self.requests:6} requests "
            f"({self.requests_per_collection:5.2f} each, {self.most_polls_in_a_second:3} polls in a "
            f"second) {self.seconds:6.2f} s (process {self.wall_seconds:.2f}), limit {self.ideal_seconds:6.2f} "
            f"({self.over_ideal:4.2f} x), CPU {self.process_cpu_seconds:5.2f} s "
            f"({self.cpu_ms_per_request:4.2f} ms a request), {self.fsyncs} fsyncs, "
            f"{self.commits} commits, {self.selects} SELECTs, {self.loads} loads, "
            f"{self.peak_memory_mb:5.1f} MB, {self.connections} connections"
        )


class Bench:
    """One server, one folder, several commands one after the other."""

    def __init__(self, shape: Shape, profile: str = "") -> None:
        self.shape = shape
        self.organisation = Organisation(shape)
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        self.profile = profile

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.organisation.close()
        self.folder.cleanup()

    def run(
        self,
        scenario: str,
        *args: str,
        collections: int = 0,
        fsync_s: float = 0.0,
        interrupt_after_s: Optional[float] = None,
    ) -> Figures:
        """Run the command and count.

        Args:
            collections: how many it works on, where these are not all.
        """
        self.organisation.tell("forget")
        counts = Path(self.folder.name, "counts")
        command = [sys.executable]
        if self.profile:
            command += ["-m", "cProfile", "-o", f"{self.profile}.{scenario.replace(' ', '_')}"]
        command += ["-m", "tests.benchmark.counted", str(counts), "--url", self.organisation.url]
        command += ["--admin-key", "--quiet", "--max-concurrent-requests", str(WORKERS), *args]
        env = {**_environment(), FSYNC_S: str(fsync_s)}
        quiet = {"stdout": subprocess.DEVNULL}
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=self.folder.name, env=env, **quiet)
        if interrupt_after_s is not None:
            threading.Timer(interrupt_after_s, process.send_signal, [signal.SIGINT]).start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.WEXITSTATUS(status)
        told = self.organisation.tell("report")
        sent = told["requests"]
        seconds = max(ended for _, _, ended in sent) - min(started for _, started, _ in sent)
        ideal = len(sent) * self.shape.latency_s / WORKERS
        cpu_s = usage.ru_utime + usage.ru_stime
        counted = Counter(json.loads(counts.read_text()))
        return Figures(
            scenario=scenario,
            exit_code=process.returncode,
            collections=collections or self.shape.collections,
            requests=len(sent),
            requests_per_collection=round(
                len(sent) / max(1, collections or self.shape.collections), 2
            ),
            most_polls_in_a_second=_most_in_a_second(
                [started for route, started, _ in sent if route == POLL]
            ),
            wall_seconds=round(wall, 2),
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


def _most_in_a_second(times: List[float]) -> int:
    times = sorted(times)
    return max((bisect_left(times, at + 1) - n for n, at in enumerate(times)), default=0)


def _environment() -> Dict[str, str]:
    """That of an installed command: its modules are compiled once, not at each start."""
    env = {**os.environ, "H2OGPTE_ADMIN_KEY": ADMIN_KEY, "PYTHONPATH": str(HERE)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


MAPPED = ("--all-users", "--use-model-mappings")


def submit_and_verify(shape: Shape, profile: str) -> List[Figures]:
    """The default mode: preview, submit, verify; and once more, with nothing left to do."""
    with Bench(shape, profile) as bench:
        figures = [bench.run("dry run", *MAPPED, "--dry-run")]
        figures.append(bench.run("submit", *MAPPED))
        bench.organisation.tell("wait")
        figures.append(bench.run("verify", "--verify", "--migrate-chats"))
        figures.append(bench.run("verify, nothing to do", "--verify"))
        figures.append(bench.run("migrate, nothing to do", *MAPPED))
        return figures


def waiting(shape: Shape, profile: str) -> List[Figures]:
    """All in one, eight imports at a time."""
    wait = ("--wait-for-completion", "--max-concurrent-jobs", "8", "--migrate-chats")
    with Bench(shape, profile) as bench:
        return [bench.run("wait, 8 jobs", *MAPPED, *wait)]


def sparse(shape: Shape, profile: str) -> List[Figures]:
    """One user in ten owns something to migrate."""
    many = Shape(shape.collections * 10, shape.users * 10, mapped_every=10)
    with Bench(many, profile) as bench:
        return [bench.run("one user in ten", *MAPPED, collections=shape.collections)]


def slow_disk(shape: Shape, profile: str) -> List[Figures]:
    """Each commit waits 5 ms longer."""
    with Bench(shape, profile) as bench:
        figures = [bench.run("submit, slow disk", *MAPPED, fsync_s=SLOW_FSYNC_S)]
        bench.organisation.tell("wait")
        verify = ("--verify", "--migrate-chats")
        return [*figures, bench.run("verify, slow disk", *verify, fsync_s=SLOW_FSYNC_S)]


def scale(_: Shape, profile: str) -> List[Figures]:
    """5,000 collections of 200 owners, on a server that answers at once."""
    with Bench(Shape(5000, 200, latency_s=0.005), profile) as bench:
        figures = [bench.run("submit 5,000", *MAPPED)]
        bench.organisation.tell("wait")
        return [*figures, bench.run("verify 5,000", "--verify", "--migrate-chats")]


def documents(_: Shape, profile: str) -> List[Figures]:
    """200,000 documents in one collection."""
    with Bench(Shape(1, 1, documents=200_000, latency_s=0.001), profile) as bench:
        figures = [bench.run("submit 200,000 documents", *MAPPED)]
        bench.organisation.tell("wait")
        return [*figures, bench.run("verify 200,000 documents", "--verify")]


def polling(_: Shape, profile: str) -> List[Figures]:
    """1,000 running jobs, watched for twenty seconds."""
    with Bench(Shape(1000, 50, import_s=1e6, latency_s=0.001), profile) as bench:
        bench.run("submit", *MAPPED)
        wait = ("--verify", "--wait-for-completion", "--max-concurrent-jobs", "1000")
        return [bench.run("1,000 running jobs", *wait, interrupt_after_s=20)]


def tracked(_: Shape, profile: str) -> List[Figures]:
    """A database of 50,000 finished collections: --verify with nothing to do."""
    with Bench(Shape(0, 1), profile) as bench:
        fill(Path(bench.folder.name) / "migration_tracking.db", 50_000, unfinished=0)
        return [bench.run("verify, 50,000 tracked", "--verify", collections=50_000)]


PARTS: Dict[str, Callable[[Shape, str], List[Figures]]] = {
    "default": submit_and_verify,
    "wait": waiting,
    "sparse": sparse,
    "slow-disk": slow_disk,
    "scale": scale,
    "documents": documents,
    "polling": polling,
    "tracked": tracked,
}


def makespan() -> Dict[str, float]:
    """40 imports of 2 s, 8 at a time: from the first submission to the last job's end."""
    shape = Shape(40, 10, import_s=2.0)
    with Bench(shape) as bench:
        bench.run("makespan", *MAPPED, "--wait-for-completion", "--max-concurrent-jobs", "8")
        submitted = [
            started
            for route, started, _ in bench.organisation.tell("report")["requests"]
            if route.endswith("/import_collection_job")
        ]
        took = max(submitted) + shape.import_s - min(submitted)
        ideal = 40 * shape.import_s / 8
        return {"seconds": round(took, 2), "ideal_seconds": ideal, "over_ideal": took / ideal}


def start_up() -> Dict[str, float]:
    """CPU seconds of what must be instant, beside the bare interpreter's."""
    tool = ["-m", "h2ogpte_migration"]
    empty = Organisation(Shape(0, 1))
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


def status() -> Dict[str, float]:
    """--status over a database of 50,000 collections, by the clock."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / "migration_tracking.db"
        fill(path, 50_000)
        began = time.perf_counter()
        words = [sys.executable, "-m", "h2ogpte_migration", "--status", "--db-path", str(path)]
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        return {"collections": 50_000, "seconds": round(time.perf_counter() - began, 2)}


OTHERS: Dict[str, Callable[[], Dict[str, float]]] = {
    "makespan": makespan,
    "start": start_up,
    "status": status,
}


def main() -> None:
    """Measure, then print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    parser.add_argument("--profile", default="", help="write cProfile data to FILE.SCENARIO")
    parser.add_argument("--collections", type=int, default=200)
    parser.add_argument("--users", type=int, default=20)
    names = [*PARTS, *OTHERS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="parts to measure")
    asked = parser.parse_args()
    shape = Shape(asked.collections, asked.users)
    runs: List[Figures] = []
    others: Dict[str, Dict[str, float]] = {}
    for name in asked.only:
        if name in OTHERS:
            others[name] = OTHERS[name]()
            continue
        for figures in PARTS[name](shape, asked.profile):
            runs.append(figures)
            if not asked.json:
                print(figures, flush=True)
    if asked.json:
        print(json.dumps({"runs": [asdict(item) for item in runs], **others}, indent=2))
    elif others:
        print(json.dumps(others, indent=2))


if __name__ == "__main__":
    main()
