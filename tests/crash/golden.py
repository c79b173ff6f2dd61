"""What an undisturbed run does, in which order: requests that change something, and commits.

Exactly-once rests on this order. Each mode's is kept as text in ``golden/``; a test compares.
Where it changes on purpose, rewrite it, look at the difference, and say why in the commit::

    python -m tests.crash.golden [MODE ...]

Only the outside is looked at: what the server is asked for, and what ``Database.transaction``
commits. Ids are told as the names of what they belong to; times are left out. A job ends when it
has been asked about twice, so that no clock decides how often that is.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from h2ogpte_migration.sandbox.faults import Action, Faults, Request
from h2ogpte_migration.sandbox.world import World
from tests.crash.experiment import beginning
from tests.crash.lab import Lab, Plan
from tests.crash.modes import MODES, Mode

FOLDER = Path(__file__).with_name("golden")
IN_PARALLEL = ("concurrent", "parallel", "verify", "force-parallel", "rollback")
"""Modes with several workers: the order holds within one collection, or one owner's keys."""
ASKED_TWICE = 2
_NEVER_S = 1e6
_UNIQUE = r"(?<=h2ogpte-check)-[0-9a-f]{6}"


@dataclass(frozen=True)
class Event:
    """One request or commit. ``about``: ids of sources, owners of keys, or the run."""

    when: float
    about: Tuple[str, ...]
    words: str


class Observer(Faults):
    """Notes requests that change something as they arrive, and ends jobs that were asked about."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._names: Dict[str, str] = {}
        self._about: Dict[str, str] = {}
        self._asked: Dict[str, int] = {}
        self.events: List[Event] = []

    def choose(self, request: Request) -> Optional[Action]:
        """Look at a request before it is worked on; nothing happens to it."""
        with self._world.lock:
            self._learn()
            job = self._world.jobs.get(request.path.rsplit("/", 1)[-1])
            if job is not None and not request.mutating:
                self._asked[job.id] = self._asked.get(job.id, 0) + 1
                if self._asked[job.id] >= ASKED_TWICE:
                    job.duration_s = 0.0
        if request.mutating:
            self.events.append(self._event(request))
        return None

    def source_name(self, about: str) -> str:
        """The name of a source by its id; other words stay what they are."""
        self._learn()
        return self._names.get(about, about).strip("<>")

    def _learn(self) -> None:
        """Names of everything there is now; what has gone keeps its name."""
        world = self._world
        for collection in world.collections.values():
            # The name of a check's collection is another one each time.
            name = re.sub(_UNIQUE, "", collection.name)
            if name.startswith("(Migrated) "):
                name = name.rpartition(" - ")[0] or name
            self._names[collection.id] = f"<{name}>"
            self._about.setdefault(collection.id, name.replace("(Migrated) ", ""))
        for group_id, name in world.groups.items():
            self._names[group_id] = f"<group {name}>"
        for user in world.users.values():
            self._names[user.id] = f"<{user.username}>"
        for key in world.keys.values():
            self._names[key.id] = f"<key of {key.username}>"
            self._about[key.id] = f"keys of {key.username}"
        for session in world.sessions.values():
            if session.collection_id in self._about:
                self._names[session.id] = f"<chat of {self._about[session.collection_id]}>"
                self._about[session.id] = self._about[session.collection_id]
        for job in world.jobs.values():
            self._names[job.id] = f"<{job.kind}>"

    def _event(self, request: Request) -> Event:
        parts = [self._names.get(p, p) for p in request.path.split("/") if p not in ("api", "v1")]
        words = f"{request.method} {'/'.join(parts)}"
        known = [self._names[v] for v in _texts([request.query, request.body]) if v in self._names]
        words += "".join(f" {name}" for name in dict.fromkeys(known))
        ids = [*request.path.split("/"), *_texts([request.query, request.body])]
        about = [self._about[i] for i in ids if i in self._about]
        for text in _texts(request.body):
            if text.startswith("(Migrated) "):
                named = text.rpartition(" - ")[0]
                about.append(re.sub(_UNIQUE, "", named.replace("(Migrated) ", "")))
                words += f" <{re.sub(_UNIQUE, '', named)}>"
        owners = [self._names[i] for i in ids if self._names.get(i) and "api_key" in request.path]
        about += [f"keys of {owner.strip('<>')}" for owner in owners if not about]
        by = f" (by {request.username})"
        return Event(request.started, (*dict.fromkeys(about[:1] or ["run"]),), words + by)


def _texts(value: object) -> List[str]:
    """All texts in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def record(lab: Lab, mode: Mode) -> str:
    """Run a mode's command undisturbed; its order, as it is kept."""
    if mode.name == "concurrent":
        mode = replace(mode, notes=False)  # a job for each: who waits for one is chance
    trial = lab.trial(*beginning(lab, mode))
    trial.world.times.import_s = trial.world.times.move_s = _NEVER_S
    observer = Observer(trial.world)
    trial.server.faults, before = observer, trial.server.faults
    into = trial.folder / "recorded"
    try:
        result = trial.run(mode.args(trial), Plan(record_into=str(into)))
    finally:
        trial.server.faults = before
    assert result.code == 0, trial.story()
    events = [*observer.events, *_commits(into, observer)]
    events.sort(key=lambda event: event.when)
    return _grouped(events) if mode.name in IN_PARALLEL else _in_a_row(events)


def _commits(into: Path, observer: Observer) -> List[Event]:
    lines = [json.loads(line) for line in into.read_text(encoding="utf-8").splitlines()]
    return [
        Event(
            line["when"],
            tuple(sorted(observer.source_name(about) for about in line["about"])) or ("run",),
            "commit: " + _wrote(line["wrote"]),
        )
        for line in lines
    ]


def _wrote(words: Sequence[str]) -> str:
    """What a commit wrote; a new database is told as such, whatever tables there are by now."""
    if len(words) > 1 and all(one.startswith("CREATE ") for one in words):
        return "the tables of a new database"
    return "; ".join(words) or "nothing but times"


def _in_a_row(events: Sequence[Event]) -> str:
    return "".join(f"[{', '.join(event.about)}] {event.words}\n" for event in events)


def _grouped(events: Sequence[Event]) -> str:
    groups: Dict[str, List[str]] = {}
    for event in events:
        for about in event.about:
            groups.setdefault(about, []).append(event.words)
    return "\n".join(
        f"== {about}\n" + "".join(line + "\n" for line in groups[about]) for about in sorted(groups)
    )


def path_of(mode: Mode) -> Path:
    """Where a mode's order is kept."""
    return FOLDER / f"{mode.name}.txt"


def main(names: Sequence[str]) -> None:
    """Rewrite what is kept, of all modes or those named."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder)).open() as lab:
        for mode in MODES:
            if not names or mode.name in names:
                path_of(mode).write_text(record(lab, mode), encoding="utf-8")
                print(f"written: {path_of(mode)}")


if __name__ == "__main__":
    main(sys.argv[1:])
