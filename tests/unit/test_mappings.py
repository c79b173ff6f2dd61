"""The built-in table of models, and tables in files. (Bad files: test_cli_bad_input.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from h2ogpte_migration.cli.mappings import BUILT_IN, load
from h2ogpte_migration.errors import ExitCode, UsageError


def test_the_built_in_table_is_the_documented_one() -> None:
    assert dict(BUILT_IN) == {
        "BAAI/bge-m3": "h2oai/embeddinggemma-300m-qat-q8_0-unquantized",
        "BAAI/bge-large-en-v1.5": "mixedbread-ai/mxbai-embed-large-v1",
    }


def test_no_built_in_target_is_a_source_as_well() -> None:
    assert not set(BUILT_IN) & set(BUILT_IN.values())


def test_tables_can_not_be_changed(tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    file.write_text('{"a": "b"}')
    for table in (BUILT_IN, load(file)):
        changeable: Any = table
        with pytest.raises(TypeError):
            changeable["x"] = "y"


def test_a_file_keeps_its_order_and_its_letters(tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    file.write_text('\ufeff{"z/ä": "b", "a": "b", "c": "d"}', encoding="utf-8")
    assert list(load(file).items()) == [("z/ä", "b"), ("a", "b"), ("c", "d")]


def test_every_mistake_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    file.write_text('{"a": "a", "b": 3, "c": "\\u202e", "d": "e", "d": "f", "x": ["y"]}')
    with pytest.raises(UsageError) as caught:
        load(file)
    assert caught.value.exit_code is ExitCode.USAGE
    assert len(caught.value.mistakes) == 5
    assert all(str(file) in mistake for mistake in caught.value.mistakes)
