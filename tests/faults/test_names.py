"""Names and messages written by strangers: nothing of them acts on a log, a terminal or a shell."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from h2ogpte_migration.model import Collection
from h2ogpte_migration.naming import undecorate
from h2ogpte_migration.results import OutcomeKind
from h2ogpte_migration.results import Result as Outcome
from h2ogpte_migration.sandbox import chat
from h2ogpte_migration.sandbox.faults import Request, reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.jobs import JobWorld
from h2ogpte_migration.sandbox.world import World
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.live import LiveProgress
from h2ogpte_migration.ui.text import safe

from .harness import LARGE, M3, Result, difference, run, serving, settled

HOSTILE: Dict[str, str] = {
    "newlines": "two\nlines\r\nand\rmore\x0b\x0c\x1c\u2028\u2029\x85end",
    "forged log line": "x\n2026-01-01T00:00:00.000Z ERROR   worker_0 [Other] all is lost",
    "ansi": "\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1H \x9b1m",
    "osc": "\x1b]0;title\x07 \x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "carriage return": "good news\rbad",
    "backspaces": "bad\x08\x08\x08good\x7f",
    "bidi": "\u202egnp.exe\u202c \u2066x\u2069 \u200f\u061c",
    "zero width": "inv\u200bisi\u2060ble\ufeff",
    "markup": "[bold red]markup[/] [/nothing] [link=file:///x]y[/link] [[ ]]",
    "brackets": "] [x] - [Other collection",
    "percent": "100 % %s %d %(x)s %n {0} {name} \\n \\x1b",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f4c4 \u0434\u043e\u043a e\u0301",
    "long": "long " * 2000,
    "flag": "--all-users",
    "short flag": "-x",
    "sql": "'; DROP TABLE collection_migrations; --",
    "shell": "$(touch pwned) `touch pwned`; touch pwned & touch pwned | \"'\\ !! ~ * #",
    "decorated": "(Migrated) Reports - 20260101_000000",
    "twice decorated": "(Migrated) (Migrated) Reports - 20260101_000000 - 20260101_000001",
    "formula": '=HYPERLINK("http://evil.example","x")',
    "path": "../../../etc/passwd",
    "html": "<script>alert(1)</script>&amp;<!--",
    "nul": "nul\x00nul",
    "blanks": "  outer  and   inner  ",
    "quotes": "\"double\" 'single' `back`",
}

USERS = [
    "evil\x1b[31m\nuser",
    "o'brien; touch pwned",
    "user [admin]",
    "100%s",
    "a/b?c#d e",
    "\u202eeve",
]

_EVENT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) +\S"
)


def _hostile_world() -> World:
    """Everything that can have a name has a hostile one."""
    world = World()
    world.times.import_s = world.times.move_s = 0.02
    world.add_user("admin", admin=True)
    for number, user in enumerate(USERS):
        world.add_user(user, groups=[HOSTILE["ansi"]], key=f"sk-sandbox-{number}")
    for number, name in enumerate(HOSTILE.values()):
        owner = USERS[number % len(USERS)]
        other = USERS[(number + 1) % len(USERS)]
        collection = world.add_collection(
            owner,
            name,
            (M3, LARGE)[number % 2],
            documents=[name, f"{name}.pdf"],
            document_metadata={name: name},
            chats={other: 1},
            shares={other: ["read"]},
            group_shares={HOSTILE["ansi"]: ["read"]},
            metadata={name: name},
            description=name,
            settings={"note": name},
            chat_settings={"system_prompt": name},
        )
        world.add_connector(collection.id, name)
    return world


def _words(url: str, *more: str) -> List[str]:
    words = ["--url", url, "--admin-key", "sk-sandbox-admin", "--use-model-mappings"]
    return [*words, *more]


WAIT = ("--wait-for-completion", "--max-concurrent-jobs", "4", "--migrate-chats")


def _harmless(text: str) -> None:
    """Nothing in ``text`` acts on a terminal."""
    bad = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}
    assert not bad, sorted(map(repr, bad))


def _one_line_per_event(log: str) -> None:
    assert log.endswith("\n")
    for line in log[:-1].split("\n"):
        assert _EVENT.match(line), line[:200]
    _harmless(log)


def _safe_to_paste(result: Result, folder: Path) -> int:
    """Every command that was printed is one command, and does nothing but that."""
    commands = re.findall(r"^(?:Next: |  )?(h2ogpte-migrate .*)$", result.out, re.M)
    for command in commands:
        assert shlex.split(command)[0] == "h2ogpte-migrate"
        bash = shutil.which("bash")
        if bash is None:
            continue
        subprocess.run([bash, "-n", "-c", command], check=True)
        script = f"h2ogpte-migrate() {{ printf '%s\\0' \"$@\"; }}; {command}"
        done = subprocess.run([bash, "-c", script], check=True, cwd=folder, stdout=subprocess.PIPE)
        assert not (folder / "pwned").exists()
        assert done.stdout.count(b"\0") >= 4
    return len(commands)


def _all_is_well(result: Result) -> None:
    _harmless(result.text)
    _one_line_per_event(result.log)


_ends: Dict[str, Dict[str, Any]] = {}


def _undisturbed_end(folder: Path) -> Dict[str, Any]:
    """How the hostile world ends when nothing disturbs it; run once a process."""
    if "undisturbed" not in _ends:
        with serving(_hostile_world()) as server:
            assert run(folder, *_words(server.url, "--all-users", *WAIT)).code == 0
            _ends["undisturbed"] = settled(server.world)
    return _ends["undisturbed"]


def test_hostile_names_migrate_like_any_others(clock: Any, tmp_path: Path) -> None:
    with serving(_hostile_world()) as server:
        result = run(tmp_path / "run", *_words(server.url, "--all-users", *WAIT))
        assert result.code == 0, result.text
        _ends["undisturbed"] = settled(server.world)
        for name in HOSTILE.values():
            source = server.world.find(name)
            targets = [
                c
                for c in server.world.collections.values()
                if c.username == source.username and c.metadata == {name: name} and c is not source
            ]
            assert len(targets) == 1, name[:50]
            target = targets[0]
            assert undecorate(target.name) == undecorate(name)
            assert [m.document.name for m in target.documents] == [name, f"{name}.pdf"]
            assert target.documents[0].metadata == {name: name}
            assert (target.description, target.settings["note"]) == (name, name)
            assert [c.type for c in target.connectors] == [name]
            assert target.shares == source.shares
            assert target.group_shares == source.group_shares
            assert len(server.world.sessions_of(target.id)) == 1
    _all_is_well(result)
    for name in HOSTILE.values():
        assert result.log.count(f" [{safe(name)}] ") > 10, safe(name)
    database = Database.to_read(tmp_path / "run" / "migration_tracking.db")
    rows = database.rows("SELECT old_collection_name AS name FROM collection_migrations")
    database.close()
    assert {row["name"] for row in rows} == set(HOSTILE.values())


@pytest.mark.parametrize("more", [("--dry-run",), ("--quiet",), ()], ids=["dry", "quiet", "plain"])
def test_what_is_printed_about_hostile_names_is_harmless(
    more: Tuple[str, ...], clock: Any, tmp_path: Path
) -> None:
    with serving(_hostile_world()) as server:
        result = run(tmp_path / "run", *_words(server.url, "--all-users", *more))
    assert result.code == 0, result.text
    _all_is_well(result)
    assert _safe_to_paste(result, tmp_path) == (0 if more == ("--quiet",) else 1)
    if more != ("--dry-run",):
        status = run(tmp_path / "run", "--status", "--all")
        _harmless(status.text)
        assert len(status.out.splitlines()) > len(HOSTILE)
        _harmless(run(tmp_path / "run", "--status", "--json").text)


@pytest.mark.parametrize("user", USERS)
def test_commands_that_name_hostile_users_can_be_pasted(
    user: str, clock: Any, tmp_path: Path
) -> None:
    with serving(_hostile_world()) as server:
        folder = tmp_path / "a 'folder' $(touch pwned)"
        words = _words(server.url, "--users", user, "--db-path", str(folder / "x y.db"))
        result = run(folder, *words)
    _harmless(result.text)
    # What can't be typed is refused; such a user's collections are named by their ids.
    assert result.code == (0 if user.isprintable() else 2), result.text
    assert _safe_to_paste(result, tmp_path) == (1 if user.isprintable() else 0), result.text


def test_commands_of_failed_collections_can_be_pasted(clock: Any, tmp_path: Path) -> None:
    with serving(_hostile_world()) as server:
        server.faults.add(reply(400, message="no"), route="POST /collections", times=None)
        result = run(tmp_path, *_words(server.url, "--all-users", "--max-failures", "0"))
    assert result.code == 1
    assert _safe_to_paste(result, tmp_path) == 1
    _all_is_well(result)


ROLES = ("refused", "failing", "holed", "asked")
"""What a collection's message is about: no import, a failed one, one with holes, or a chat's answer."""


def _world_of_messages(turn: int) -> Tuple[World, Dict[str, str], Dict[str, List[str]]]:
    """A collection for each message; the messages by their names, and these by their roles."""
    world = World()
    world.times.import_s = world.times.move_s = 0.02
    world.add_user("admin", admin=True)
    world.add_user("anna")
    messages: Dict[str, str] = {}
    names: Dict[str, List[str]] = {role: [] for role in ROLES}
    for number, words in enumerate(HOSTILE.values()):
        role = ROLES[(number + turn) % len(ROLES)]
        name = f"Case {number:02}"
        made = world.add_collection(
            "anna",
            name,
            M3,
            metadata={"a": 1},
            documents=[words, words + "2"],
            connectors=int(role == "holed"),
        )
        fates = {"failing": Fate.FAIL, "holed": Fate.LOSE_SOME, "asked": Fate.ERRORS_ONLY}
        if role in fates:
            world.set_fate(made.id, fates[role])
        messages[name] = words
        names[role].append(name)
    return world, messages, names


@pytest.mark.parametrize(
    "turn", [0, *(pytest.param(turn, marks=pytest.mark.slow) for turn in range(1, len(ROLES)))]
)
def test_hostile_messages_of_the_server_are_harmless(
    turn: int, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each as a refusal of metadata and in one role; in each of the others it is slow."""
    world, messages, names = _world_of_messages(turn)
    end, response = JobWorld._end, chat._response

    def words_about(collection_id: Any) -> str:
        called = world.collections[collection_id].name
        return next(words for name, words in messages.items() if name in called)

    def end_with_words(self: Any, job: Any, status: str, when: float, error: Any = None) -> None:
        end(self, job, status, when, words_about(job.source_id) if error else None)

    def answer_with_words(kind: str, session_id: str, *more: Any) -> Any:
        words = words_about(world.sessions[session_id].collection_id)
        return {**response(kind, session_id, *more), "body": words}

    monkeypatch.setattr(JobWorld, "_end", end_with_words)
    monkeypatch.setattr(chat, "_response", answer_with_words)
    with serving(world) as server:
        for name, words in messages.items():
            is_source = partial(_has, "source_collection_id", world.find(name).id)
            about = partial(_is_about_target_of, world, name)
            metadata = "PUT /collections/{collection_id}/metadata"
            server.faults.add(reply(400, message=words), route=metadata, when=about)
            if name in names["refused"]:
                imports = "POST /collections/{collection_id}/import_collection_job"
                refusal = reply(403, message=words)
                server.faults.add(refusal, route=imports, when=is_source, times=None)
        more = ("--verify-query", "Is it well?", "--max-failures", "0")
        result = run(tmp_path, *_words(server.url, "--all-users", *WAIT, *more))
    assert result.code == 1
    done, failed = len(names["asked"]), len(names["refused"]) + len(names["failing"])
    summary = f"Summary: {done} done, {failed} failed, {len(names['holed'])} held."
    assert summary in result.out, result.text
    _all_is_well(result)
    _harmless(run(tmp_path, "--status").text)


def _has(field: str, value: str, request: Request) -> bool:
    return bool(request.body[field] == value)


def _is_about_target_of(world: World, name: str, request: Request) -> bool:
    return any(target.id in request.path for target in world.targets_of(name))


def test_the_same_hostile_world_ends_the_same_when_it_is_interrupted_by_errors(
    clock: Any, tmp_path: Path
) -> None:
    """The part of it that belongs to some users."""
    some = USERS[1:3]
    wanted = _undisturbed_end(tmp_path / "a")
    with serving(_hostile_world()) as server:
        for route, skip in (
            ("POST /collections", 2),
            ("POST /collections", 6),
            ("POST /collections/{collection_id}/import_collection_job", 4),
            ("POST /admin/api_keys", 1),
            ("PUT /collections/{collection_id}/permissions/{username}", 2),
        ):
            server.faults.add(reply(502, after=True, html=True), route=route, skip=skip)
        result = run(tmp_path / "b", *_words(server.url, "--users", ",".join(some), *WAIT))
        got = settled(server.world)
        struck = [rule.hits for rule in server.faults.rules]
    assert result.code == 0, result.text
    assert struck == [1] * len(struck)
    theirs = tuple(user + "/" for user in some)
    ends = [
        {
            **end,
            "collections": {k: v for k, v in end["collections"].items() if k.startswith(theirs)},
        }
        for end in (wanted, got)
    ]
    wrong = difference(*ends)
    assert not wrong, wrong


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_live_display_shows_hostile_names_harmlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = _Terminal()
    progress = LiveProgress(Console(screen, screen))
    sources = [Collection(f"c{n}", name, name, "old") for n, name in enumerate(HOSTILE.values())]
    progress.started(sources)
    for source in sources:
        progress.working(source, "creating")
        progress.warning(source, source.name)
        failed = OutcomeKind.FAILED
        progress.finished(Outcome(failed, source.id, source.name, reason=source.name))
    progress.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert screen.getvalue() != shown  # the display's own sequences are all of one kind
    assert "\x1b" not in shown
    _harmless(shown.replace("\r", ""))
