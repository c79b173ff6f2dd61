"""README and code say the same, both ways."""

from __future__ import annotations

import ast
import html
import re
import shlex
from pathlib import Path
from typing import Dict, List

import pytest

from h2ogpte_migration.cli.mappings import BUILT_IN
from h2ogpte_migration.cli.parse import FLAGS, parse
from h2ogpte_migration.errors import ExitCode
from h2ogpte_migration.results import OutcomeKind
from h2ogpte_migration.sandbox.sample import sample_world
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.states import STANDINGS
from h2ogpte_migration.ui import live
from tests.benchmark import test_request_budget as budget
from tests.support.command import run_command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def rows_after(header: str) -> Dict[str, List[str]]:
    """A table of the README, from its header line on, by first cell."""
    _, found, rest = README.partition(header + "\n")
    assert found, f"the README has no table {header!r}"
    lines = rest.splitlines()[1:]
    table = lines[: next(n for n, line in enumerate(lines) if not line.startswith("|"))]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: row[1:] for row in cells}


def commands(text: str = README) -> List[str]:
    """What is typed, in shells, crontabs and units."""
    blocks = re.findall(r"```(?:bash|cron|ini)\n(.*?)```", text, re.DOTALL)
    found = re.findall(r"(?:^|[ /])h2ogpte-migrate( --[^\n&]*)", "\n".join(blocks), re.MULTILINE)
    return [f"h2ogpte-migrate{words}".strip() for words in found]


def section(title: str) -> str:
    """A part of the README, up to the next one of its rank."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def flag_tables() -> Dict[str, str]:
    """The default of each flag, as the tables of the reference tell it."""
    rows = re.findall(r"^\| `(--[a-z-]+)[^`]*` \| ([^|]*)\|", section("All flags"), re.MULTILINE)
    assert len(dict(rows)) == len(rows), "a flag stands in two tables"
    return {name: default.strip() for name, default in rows}


def test_the_table_of_positions_is_the_one_of_the_code() -> None:
    table = rows_after("| position | meaning | next |")
    expected = {
        where.value: [standing.evidence, standing.following]
        for where, standing in STANDINGS.items()
    }
    assert table == expected


def test_the_exit_codes_are_the_ones_of_the_code() -> None:
    table = rows_after("| code | meaning |")
    assert sorted(int(code) for row in table for code in row.split(",")) == sorted(ExitCode)


def test_the_built_in_mapping_is_the_one_of_the_code() -> None:
    assert {key: value[0] for key, value in rows_after("| from | to |").items()} == BUILT_IN


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_is_understood(command: str, tmp_path: Path) -> None:
    env = {
        "H2OGPTE_URL": "https://h2ogpte.example.com",
        "H2OGPTE_ADMIN_KEY": "sk-a-key",
        "H2OGPTE_USER_KEY": "sk-another",
    }
    (tmp_path / "plan.csv").write_text("collection_id\nc-1\n", encoding="utf-8")
    (tmp_path / "questions.txt").write_text("What is attention?\n", encoding="utf-8")
    parse(shlex.split(command)[1:], env, tmp_path, lambda: "")


def test_every_flag_that_the_readme_names_exists() -> None:
    known = {name for flag in FLAGS for name in flag.name.split()} | {"--help", "--version"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--port", "--habit", "--habits"}
    assert named <= known | {"--no-copy-document"}


def test_the_reference_has_every_flag_and_its_default() -> None:
    told = flag_tables()
    assert sorted(told) == sorted(flag.name for flag in FLAGS)
    for flag in FLAGS:
        if flag.env:
            assert told[flag.name] == f"`{flag.env}`"
        elif flag.read is not None and flag.default:
            shown = f"{flag.default:g}" if isinstance(flag.default, float) else str(flag.default)
            assert told[flag.name] == shown


def test_the_requests_are_the_ones_that_are_counted() -> None:
    def told(what: str) -> List[int]:
        row = rows_after("| what | for each collection | for each owner |")[what]
        return [int(cell.split(",")[0]) for cell in row]

    key = sum(budget.ONCE_PER_OWNER.values())
    owner = sum(budget.OF_THE_OWNER.values()) + key
    submission = sum(budget.SUBMISSION.values())
    assert told("submission") == [submission, owner]
    waiting = submission + sum(budget.AFTERMATH.values())
    assert told("with `--wait-for-completion`") == [waiting, owner]
    overview = sum(budget.OVERVIEW.values()) + 1 + key
    assert told("`--verify` of finished jobs") == [sum(budget.VERIFICATION.values()), overview]


def test_the_words_for_how_a_collection_stands_are_the_ones_of_the_code() -> None:
    assert sorted(rows_after("| word | meaning |")) == sorted(kind.value for kind in OutcomeKind)


def test_the_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(pictures) == 2
    for name in pictures:
        assert 0 < (ROOT / name).stat().st_size < 300_000
    drawn = html.unescape((ROOT / "docs" / "live.svg").read_text(encoding="utf-8"))
    assert live.CALM.strip() in drawn.replace("\xa0", " ")
    assert "http" not in re.sub(r'xmlns="[^"]+"|<!--.*?-->', "", drawn)


def test_the_messages_of_the_troubleshooting_are_the_ones_of_the_code() -> None:
    said = [
        node.value
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    quoted = re.findall(r'\*\*"([^"]+)"\*\*', section("When something goes wrong"))
    pieces = [
        piece.strip(" ?:") for text in quoted for piece in " ".join(text.split()).split("...")
    ]
    assert len(quoted) > 12
    lost = [one for one in pieces if one and not any(one in text for text in said)]
    assert lost == []


def test_links_within_the_readme_lead_somewhere() -> None:
    heads = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors


@pytest.mark.parametrize(
    "parts",
    [
        ["You own a few collections", "You look after an organisation", "It runs by itself"],
        ["Before you retire a model"],
    ],
    ids=["three readers", "retiring a model"],
)
def test_the_examples_work_in_their_order(parts: List[str], tmp_path: Path) -> None:
    world = sample_world()
    world.times.import_s = world.times.move_s = 0.01
    server = SandboxServer(world)
    server.start()
    env = {
        "H2OGPTE_URL": server.url,
        "H2OGPTE_ADMIN_KEY": server.admin_key,
        "H2OGPTE_USER_KEY": world.key_of("anna"),
    }
    (tmp_path / "questions.txt").write_text("What is attention?\tattention.pdf\n", "utf-8")
    typed = [command for part in parts for command in commands(section(part))]
    assert len(typed) > 5
    try:
        for command in typed:
            ended = run_command(shlex.split(command)[1:], cwd=tmp_path, env=env)
            assert ended.code == 0, f"{command}\n{ended.text}"
            assert not ended.err, f"{command}\n{ended.err}"
    finally:
        server.stop()
    assert (tmp_path / "plan.html").stat().st_size > 10_000


def test_the_first_screen_has_a_command_that_migrates_and_one_that_tests() -> None:
    first, second = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)[:2]
    assert "--sandbox" in first
    assert "pip install ." in first
    assert "python -m pytest" in second
    assert second.partition("&& python")[2].strip() in CI, "CI runs what the README says"
