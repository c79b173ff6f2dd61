"""Whatever is named to type next is a command line that is taken, in every combination."""

from __future__ import annotations

import itertools
import shlex
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List

import pytest

from h2ogpte_migration.cli.mappings import BUILT_IN
from h2ogpte_migration.cli.parse import Options, parse
from h2ogpte_migration.results import NEGLECTED, OutcomeKind, Result
from h2ogpte_migration.run import closing
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.states import Position

ENV = {"H2OGPTE_ADMIN_KEY": "sk-next", "H2OGPTE_USER_KEY": "sk-next"}
ADMIN = ["--url", "https://h.example.com", "--admin-key"]
USER = ["--url", "https://h.example.com", "--user-key"]
MIGRATIONS = [
    [*ADMIN, "--users", "o'hara,anna maria", "--use-model-mappings"],
    [*ADMIN, "--all-users", "--source-model", "old/m", "--target-model", "new/m"],
    [*USER, "--collections", "c1,c2", "--target-model", "new/m"],
    [*USER, "--use-model-mappings"],
]
VERIFICATIONS = [[*USER, "--verify"], [*ADMIN, "--verify", "--users", "jane"]]
WAIT = ["--wait-for-completion", "--max-concurrent-jobs", "4"]
MORE = [
    [],
    WAIT,
    ["--migrate-chats"],
    [*WAIT, "--verify-query", "What?", "--query-timeout", "9"],
    [*WAIT, "--verify-retrieval", "5", "--min-recall", "0.9"],
    ["--db-path", "my own.db", "--report", "r.html", "--log-file", "l.log", "--quiet"],
    ["--details", "--insecure", "--timeout", "5", "--retries", "1", "--max-failures", "0"],
]
FRESH = [[], ["--retry-failed"], ["--force-remigrate"]]
DOCUMENTS = [["--copy-document", "--ocr-model", "off"], ["--skip-reparse"]]
BEHIND = ("d9 still holds 2 chats; to bring it over: h2ogpte-migrate --move-chats",)


def read(words: List[str], cwd: Path) -> Options:
    return parse(words, ENV, cwd, lambda: "")


def left(kind: OutcomeKind, where: Position, **more: Any) -> Result:
    return Result(kind, "c1", "Alpha", "anna", target_model="new/m", position=where, **more)


LEFT = [
    left(OutcomeKind.FAILED, Position.FAILED, needs_attention=True),
    left(OutcomeKind.FAILED, Position.SHARED, needs_attention=True),
    left(OutcomeKind.HELD, Position.HELD, needs_attention=True),
    left(OutcomeKind.NOT_STARTED, Position.NEW),
    left(OutcomeKind.RUNNING, Position.IMPORTING),
    left(OutcomeKind.LEASED_ELSEWHERE, Position.CONNECTED, cause=NEGLECTED, needs_attention=True),
    left(OutcomeKind.LEFT, Position.SHARED, needs_attention=True),
    left(OutcomeKind.DONE, Position.FINISHED, left_behind=BEHIND),
]


def named(options: Options, last: str, afresh: bool) -> List[str]:
    """The commands for each thing that may be left, and for all of them at once."""
    groups = [[row] for row in LEFT] + [LEFT]
    session = session_of(options, last, afresh)
    return [each.command for rows in groups for each in closing._following(session, rows)]


def session_of(options: Options, last: str, afresh: bool, *before: str) -> Any:
    """What the end of a run asks of its session; ``before`` are migrations older than the last."""
    runs = SimpleNamespace(
        migrations=lambda: [last, *before] if last else [],
        is_beginning_afresh=lambda _: afresh,
        has_started=lambda *_: not afresh,
    )
    session: Any = SimpleNamespace(
        options=options,
        policy=lambda: Session.policy(session),
        tracking=SimpleNamespace(runs=runs),
        clock=SimpleNamespace(stop=threading.Event()),
    )
    return session


@pytest.mark.parametrize("more", MORE, ids=" ".join)
def test_what_a_migration_names(tmp_path: Path, more: List[str]) -> None:
    commands = set()
    for line, fresh, documents in itertools.product(MIGRATIONS, FRESH, DOCUMENTS):
        options = read([*line, *more, *fresh, *documents], tmp_path)
        commands |= set(named(options, "", False))
    assert len(commands) > 20
    for command in commands:
        assert not read(shlex.split(command)[1:], tmp_path).quiet, "typed to be seen"


@pytest.mark.parametrize("more", MORE, ids=" ".join)
def test_what_a_verification_names(tmp_path: Path, more: List[str]) -> None:
    migrations = [
        read([*line, *more, *fresh], tmp_path).command()
        for line, fresh in itertools.product(MIGRATIONS[:3], FRESH)
    ]
    verifications = [read([*line, *more], tmp_path) for line in VERIFICATIONS]
    for afresh in (False, True):
        commands = set()
        for options, last in itertools.product(verifications, migrations):
            commands |= set(named(options, last, afresh))
        assert len(commands) > 5
        for command in commands:
            read(shlex.split(command)[1:], tmp_path)


@pytest.mark.parametrize("how_many", [1, 11, 250])
def test_everything_that_a_forced_run_could_not_begin_is_named(
    tmp_path: Path, how_many: int
) -> None:
    words = [*ADMIN, "--all-users", "--use-model-mappings", "--force-remigrate"]
    ids = [f"c{number}" for number in range(how_many)]
    failed = left(OutcomeKind.FAILED, Position.FINISHED, needs_attention=True)
    rows = [replace(failed, source_id=ident) for ident in ids]
    session = session_of(read(words, tmp_path), "", True)
    found: List[str] = []
    for each in closing._following(session, rows):
        options = read(shlex.split(each.command)[1:], tmp_path)
        assert options.force_remigrate
        found += options.collections
    assert found == ids


FIRST = "h2ogpte-migrate --admin-key --all-users --source-model A --target-model B --skip-reparse"
SECOND = "h2ogpte-migrate --admin-key --all-users --source-model B --target-model C"
ANY = "h2ogpte-migrate --admin-key --all-users --target-model C"
MAPPED = "h2ogpte-migrate --admin-key --all-users --use-model-mappings"


@pytest.mark.parametrize("where", [Position.FAILED, Position.HELD])
@pytest.mark.parametrize(
    ("on_record", "models", "wanted"),
    [
        pytest.param([SECOND, FIRST], "AB BC", [[SECOND, "c1"], [FIRST, "c0"]], id="a chain"),
        pytest.param([SECOND, FIRST], "AB AB", [[FIRST, "c0,c1"]], id="of the first link alone"),
        pytest.param([ANY, FIRST], "AB BC", [[ANY, "c1"], [FIRST, "c0"]], id="whatever it had"),
        pytest.param([SECOND, MAPPED], "BC AB", [[SECOND, "c0"], ["B", "c1"]], id="of none"),
        pytest.param([SECOND], "AB BC", [[SECOND, "c1"], ["B", "c0"]], id="by model"),
    ],
)
def test_what_failed_is_retried_by_the_migration_that_led_to_its_model(
    tmp_path: Path, where: Position, on_record: List[str], models: str, wanted: List[List[str]]
) -> None:
    kind = OutcomeKind.HELD if where == Position.HELD else OutcomeKind.FAILED
    bad = left(kind, where, needs_attention=True)
    rows = [
        replace(bad, source_id=f"c{number}", source_model=source, target_model=target)
        for number, (source, target) in enumerate(models.split())
    ]
    options = read([*ADMIN, "--verify", "--ignore-validation"], tmp_path)
    session = session_of(options, on_record[0], False, *on_record[1:])
    named = [shlex.split(each.command) for each in closing._following(session, rows)]
    named = [words for words in named if "--retry-failed" in words]
    for words, (begins, ids) in zip(named, wanted):
        assert words[words.index("--collections") + 1] == ids
        assert words[words.index("--target-model") + 1] == begins.split(" --target-model ")[-1][0]
        assert (" --skip-reparse" in begins) == ("--skip-reparse" in words), "as it was migrated"
    assert len(named) == len(wanted)


def test_the_mapping_that_is_built_in_leads_from_its_models_only(tmp_path: Path) -> None:
    bad = left(
        OutcomeKind.FAILED, Position.FAILED, needs_attention=True, source_model="BAAI/bge-m3"
    )
    mapped = replace(bad, target_model=BUILT_IN["BAAI/bge-m3"])
    session = session_of(read([*ADMIN, "--verify"], tmp_path), MAPPED, False)
    (command, other) = [each.command for each in closing._following(session, [mapped, bad])]
    assert "--use-model-mappings" in command
    assert "--target-model new/m" in other
