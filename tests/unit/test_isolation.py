"""What a test may count on: a folder, a home and an environment that no other one has seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TWICE = pytest.mark.parametrize("turn", ["first", "second"])


@TWICE
def test_a_folder_and_a_home_are_empty_and_belong_to_one_test(tmp_path: Path, turn: str) -> None:
    home = Path.home()
    assert Path.cwd() == tmp_path
    assert home == Path(os.environ["HOME"]) != tmp_path
    assert tmp_path not in home.parents
    for folder in (tmp_path, home):
        assert list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "left").mkdir()
        (folder / "left" / "file").touch()
    os.chdir("/")


@TWICE
def test_settings_of_others_are_not_seen(turn: str) -> None:
    left = ["H2OGPTE_TIMEOUT", "h2ogpte_Retries", "NO_PROXY", "no_proxy"]
    assert not any("PROXY" in name.upper() or "H2OGPTE" in name.upper() for name in os.environ)
    os.environ.update(dict.fromkeys(left, "left"))


_places = []


@TWICE
def test_what_a_test_left_is_gone_before_the_next_one(tmp_path: Path, turn: str) -> None:
    for place in _places:
        assert not place.exists()
    for place in (tmp_path, Path.home()):
        (place / "left").touch()
        _places.append(place)
