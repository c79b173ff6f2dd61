"""What a crontab sees: silence while nothing changed, exit codes, one log; and first causes only."""

from __future__ import annotations

import re
from typing import List

import pytest

from h2ogpte_migration import __version__
from h2ogpte_migration.commands import migrate
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.world import World
from tests.support.terminal import M3, MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)
VERIFY, QUIET = "--verify", "--quiet"


@pytest.fixture
def open_ones(operator: Operator, world: World) -> List[str]:
    """Return the names of two imports that failed, beside one that went well."""
    for name in ("Bad", "Worse", "Good"):
        source = world.add_collection("anna", name, M3)
        if name != "Good":
            world.set_fate(source.id, Fate.FAIL, times=1)
    operator.admin(*SCOPE, WAIT, code=1)
    return ["Bad", "Worse"]


def tell_the_last_report_was(operator: Operator, days_ago: int) -> None:
    """Set the clock of the last quiet report back."""
    operator.sql(
        "UPDATE meta SET value = replace(value, substr(value, 1, 10), date('now', ?)) "
        "WHERE key = 'quiet_report_told'",
        f"-{days_ago} days",
    )


def test_verify_is_no_success_while_an_import_is_failed(
    operator: Operator, open_ones: List[str]
) -> None:
    said = operator.admin(VERIFY, code=1).out
    assert "NEEDS YOU (2)" in said
    assert all(name in said for name in open_ones)
    assert "Summary: 2 failed." in said
    assert operator.admin(VERIFY, "--users", "bertil", code=None).out.count("Bad") == 0


def test_the_next_command_of_a_verify_mends_it(operator: Operator, open_ones: List[str]) -> None:
    said = operator.admin(VERIFY, code=1).out
    (command,) = re.findall(r"^Next: h2ogpte-migrate (.*)$", said, re.M)
    words = command.split()
    words = words[words.index("--admin-key") + 1 :]
    assert MAPPED in words, "as it was migrated"
    assert "--users" not in words
    operator.admin(*words, WAIT)
    assert operator.admin(VERIFY).code == 0


def test_quiet_speaks_once_then_after_a_day_and_when_it_is_over(
    operator: Operator, world: World, open_ones: List[str]
) -> None:
    first = operator.admin(VERIFY, QUIET, code=1).out.splitlines()
    assert first[0] == "h2ogpte-migrate: 2 failed of 3"
    assert any(line.startswith("Next: h2ogpte-migrate") for line in first)
    assert first[-1] == f"Log: {operator.logs[-1]}"
    assert operator.admin(VERIFY, QUIET, code=1).text == "", "nothing changed"
    tell_the_last_report_was(operator, 2)
    assert operator.admin(VERIFY, QUIET, code=1).out.splitlines()[0] == first[0], "a day later"
    assert operator.admin(VERIFY, QUIET, code=1).text == ""
    operator.admin(*SCOPE, WAIT, "--retry-failed")
    over = operator.admin(VERIFY, QUIET).out
    assert over.startswith("h2ogpte-migrate: nothing failed or held of 3\n")
    assert operator.admin(VERIFY, QUIET).text == ""


def test_who_is_named_by_an_id_in_capitals_counts(
    operator: Operator, world: World, open_ones: List[str]
) -> None:
    one, other = (world.find(name, "anna").id for name in open_ones)
    said = operator.admin(VERIFY, QUIET, "--collections", f"{one.upper()},{other}", code=1).out
    assert said.splitlines()[0] == "h2ogpte-migrate: 2 failed of 2"


def test_quiet_keeps_its_warnings_of_every_run_to_itself(
    operator: Operator, world: World, open_ones: List[str]
) -> None:
    hint = "not verified (--insecure)"
    assert hint in operator.admin(VERIFY, QUIET, "--insecure", code=1).out
    assert operator.admin(VERIFY, QUIET, "--insecure", code=1).text == ""
    assert hint in operator.log


def test_what_a_former_target_still_holds_is_told_in_quiet_runs_too(
    operator: Operator, world: World
) -> None:
    world.add_collection("anna", "Alpha", M3, chats={"anna": 2})
    operator.admin(*SCOPE, WAIT, "--migrate-chats")
    said = operator.admin(*SCOPE, WAIT, "--force-remigrate", QUIET).out
    assert "Left behind: Alpha" in said
    assert said.splitlines()[0] == "h2ogpte-migrate: nothing failed or held of 1, but see below"
    assert operator.admin(VERIFY, QUIET).text == "", (
        "no later run tells of it, and none takes it back"
    )


def test_what_is_said_of_a_run_as_a_whole_is_told_in_quiet_runs_too(
    operator: Operator, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = "Alpha was migrated twice"
    monkeypatch.setattr(migrate, "unknown_targets", lambda *_: [twice])
    world.add_collection("anna", "Alpha", M3)
    said = operator.admin(*SCOPE, WAIT, QUIET, code=1).out.splitlines()
    assert said[0] == "h2ogpte-migrate: nothing failed or held of 1, but see below"
    assert f"Attention: {twice}" in said
    assert operator.admin(*SCOPE, WAIT, QUIET, code=1).text == "", "nothing changed"


def test_an_error_is_never_quiet(operator: Operator) -> None:
    said = operator.admin(VERIFY, QUIET, code=2)
    assert "no tracking database" in said.err


def test_one_log_for_all_runs(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    operator.admin(*SCOPE, WAIT, "--log-file", "all.log", "--log-level", "info")
    operator.admin(VERIFY, "--log-file", "all.log", "--log-level", "error")
    path = operator.folder / "all.log"
    text = path.read_text(encoding="utf-8")
    heads = re.findall(rf"h2ogpte-migrate {re.escape(__version__)}: (h2ogpte-migrate .*)", text)
    assert len(heads) == 2
    assert "--users anna" in heads[0]
    assert "--verify" in heads[1]
    assert f"h2ogpte-migrate {__version__}" in text.splitlines()[0], "on top"
    assert " DEBUG " not in text
    assert text.splitlines()[-1].endswith(heads[1]), "an uneventful run logs nothing else"
    assert operator.server.admin_key not in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert operator.logs == []


# -- first causes ------------------------------------------------------------------------------
def test_a_misspelt_flag_is_the_only_mistake(operator: Operator) -> None:
    said = operator.plain("--verfy", code=2).err.splitlines()
    assert said == ["Error: There is no flag --verfy: did you mean --verify?", "See --help."]


def test_what_is_missing_is_told_where_nothing_is_misspelt(operator: Operator) -> None:
    said = operator.plain("--users", "anna", code=2).err
    assert "The server is missing" in said
    assert "A key is missing" in said


def test_a_user_almost_named_right_is_suggested(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    said = operator.admin("--users", "annna", MAPPED, code=1).out
    assert "Not available: annna: no such user; did you mean anna?" in said
    assert "did you mean" not in operator.admin("--users", "xyz", MAPPED, code=1).out


def test_another_unknown_user_is_news(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    quiet = ("--verify", "--quiet")
    operator.admin("--users", "anna", MAPPED)
    for user, told in (("annna", True), ("annna", False), ("anja", True)):
        said = operator.admin("--users", user, *quiet, code=1).out
        assert (f"Not available: {user}: nothing of this user is on record" in said) == told


def test_a_wrong_model_is_a_matter_of_configuration(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    said = operator.admin("--users", "anna", "--target-model", "no/such", code=2).err
    assert "no embedding model no/such" in said
    assert operator.changes() == {}


def test_held_again_does_not_advise_what_was_just_tried(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3, documents=3)
    world.set_fate(source.id, Fate.LOSE_SOME, times=1)
    operator.admin(*SCOPE, WAIT, code=1)
    said = operator.admin(VERIFY, code=1).out
    (line,) = [line for line in said.splitlines() if line.startswith("Held: Alpha")]
    assert "Mend it and run --verify again" in line
    commands = [line for line in said.splitlines() if line.startswith("  h2ogpte-migrate")]
    assert len(commands) == 2
    assert "--verify --ignore-validation" in commands[0]
    assert "--retry-failed" in commands[1]
    assert not any(command.rstrip().endswith("--verify") for command in commands)
