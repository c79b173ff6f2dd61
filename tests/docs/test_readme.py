"""README and code say the same, both ways."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Dict, List

import pytest

from h2ogpte_migration.cli.mappings import BUILT_IN
from h2ogpte_migration.cli.parse import FLAGS, parse
from h2ogpte_migration.errors import ExitCode
from h2ogpte_migration.states import STANDINGS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
CI = (Path(__file__).parents[2] / ".ci" / "run").read_text(encoding="utf-8")


def rows_after(header: str) -> Dict[str, List[str]]:
    """A table of the README, from its header line on, by first cell."""
    _, found, rest = README.partition(header + "\n")
    assert found, f"the README has no table {header!r}"
    lines = rest.splitlines()[1:]
    table = lines[: next(n for n, line in enumerate(lines) if not line.startswith("|"))]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: row[1:] for row in cells}


def commands() -> List[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.startswith("h2ogpte-migrate ")]


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
    parse(shlex.split(command)[1:], env, tmp_path, lambda: "")


def test_every_flag_that_the_readme_names_exists() -> None:
    known = {name for flag in FLAGS for name in flag.name.split()} | {"--help", "--version"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--port", "--habit", "--habits"}
    assert named <= known | {"--no-copy-document"}


def test_the_first_screen_has_a_command_that_migrates_and_one_that_tests() -> None:
    first, second = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)[:2]
    assert "--sandbox" in first
    assert "pip install ." in first
    assert "python -m pytest" in second
    assert second.split("&&")[1].strip() in CI, "CI runs what the README says"
