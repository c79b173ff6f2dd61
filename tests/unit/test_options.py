"""The flag table, what is derived from it, and command lines that are right."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping

import pytest
from tests.support.each import each

from h2ogpte_migration import __version__
from h2ogpte_migration.cli import help as cli
from h2ogpte_migration.cli import mappings as model_mappings
from h2ogpte_migration.cli.again import again
from h2ogpte_migration.cli.flags import BY_NAME
from h2ogpte_migration.cli.parse import (
    FLAGS,
    RULES,
    Flag,
    Mode,
    Options,
    env_example,
    parse,
)
from h2ogpte_migration.cli.rows import Group
from h2ogpte_migration.errors import UsageError
from h2ogpte_migration.redact import Secret
from h2ogpte_migration.retrieval import Question, RetrievalCheck

REPOSITORY = Path(__file__).parents[2]
KEY = "sk-options-key"
ENV = {"H2OGPTE_ADMIN_KEY": KEY, "H2OGPTE_USER_KEY": KEY}
ADMIN = ["--url", "https://h.example.com", "--admin-key"]
USER = ["--url", "https://h.example.com", "--user-key"]

# A line for each mode, to which a flag of that mode may be added.
LINES: Mapping[Mode, List[str]] = {
    Mode.MIGRATE: [*ADMIN, "--users", "jane", "--use-model-mappings"],
    Mode.VERIFY: [*ADMIN, "--verify"],
    Mode.MOVE: [*ADMIN, "--move-chats", "--from", "a", "--to", "b"],
    Mode.STATUS: ["--status"],
    Mode.ROLLBACK: [*ADMIN, "--rollback"],
    Mode.CLEANUP: [*ADMIN, "--cleanup", "--yes"],
    Mode.CHECK: [*USER, "--check-server", "--target-model", "new/model"],
}


def read(words: List[str], cwd: Path, env: Mapping[str, str] = ENV, stdin: str = "") -> Options:
    return parse(words, env, cwd, lambda: stdin)


@pytest.mark.parametrize(
    ("env", "typed"), [({}, True), ({"H2OGPTE_ADMIN_KEY": "other"}, True), (ENV, False)]
)
def test_a_typed_key_is_known_as_such_where_the_environment_lacks_it(
    tmp_path: Path, env: Mapping[str, str], typed: bool
) -> None:
    assert read([*ADMIN, KEY, "--verify"], tmp_path, env).key_typed is typed
    assert read([*ADMIN, "--verify"], tmp_path).key_typed is False


# -- the table -------------------------------------------------------------------------------------


def test_every_flag_is_fully_described() -> None:
    each(FLAGS, is_fully_described, name=lambda row: row.name)


def is_fully_described(row: Flag) -> None:
    assert row.name.startswith("--")
    assert row.help.endswith((".", ").")), "a sentence"
    assert row.group in Group
    assert row.modes <= frozenset(Mode)
    assert row.modes
    assert bool(row.metavar) == (row.read is not None)
    if row.read is None:
        assert row.default is False
    if row.selects:
        assert row.modes == {row.selects}


def test_names_and_fields_are_unique_and_complete() -> None:
    assert len(BY_NAME) == len(FLAGS)
    assert {row.attribute for row in FLAGS} | {
        "mappings",
        "ocr_model_given",
        "key_typed",
        "questions",
        "notes",
    } == {column.name for column in fields(Options)}
    assert [row.name for row in FLAGS if row.secret] == ["--admin-key", "--user-key"]


def test_rules_say_what_to_do() -> None:
    assert all("--" in message and message.endswith(".") for _, message in RULES)


def test_env_example_is_the_committed_file() -> None:
    assert (REPOSITORY / ".env.example").read_text(encoding="utf-8") == env_example()


def test_options_can_not_be_changed(tmp_path: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        read(["--status"], tmp_path).quiet = True  # type: ignore[misc]


# -- values ----------------------------------------------------------------------------------------

GOOD = [
    ("", {"timeout": 60.0, "retries": 5, "max_concurrent_requests": 8, "max_failures": 5}),
    ("", {"db_path": Path("migration_tracking.db"), "api_key_expiry": "30 days"}),
    ("", {"ocr_model": "auto", "ocr_model_given": False, "copy_document": False}),
    ("", {"mappings": model_mappings.BUILT_IN, "max_concurrent_jobs": 1, "verify_query": None}),
    ("--ocr-model auto", {"ocr_model": "auto", "ocr_model_given": True}),
    ("--copy-document", {"copy_document": True}),
    ("--no-copy-document", {"copy_document": False}),
    ("--no-copy-document --skip-reparse", {"skip_reparse": True}),
    ("--skip-reparse --ocr-model off", {"skip_reparse": True, "ocr_model": "off"}),
    ("--timeout 0.5", {"timeout": 0.5}),
    ("--timeout 86400", {"timeout": 86400.0}),
    ("--retries 0 --max-failures 0", {"retries": 0, "max_failures": 0}),
    ("--max-concurrent-jobs 1000", {"max_concurrent_jobs": 1000}),
    ("--api-key-expiry '  7   days '", {"api_key_expiry": "7 days"}),
    ("--api-key-expiry '1 hour'", {"api_key_expiry": "1 hour"}),
    ("--cert chain.crt --db-path sub/my.db", {"db_path": Path("sub/my.db")}),
    ("--cert=chain.crt", {"cert": Path("chain.crt")}),
    ("--wait-for-completion --verify-query 'why?\nwhen?'", {"verify_query": "why?\nwhen?"}),
    ("--wait-for-completion --verify-query=-x", {"verify_query": "-x"}),
    ("--insecure --quiet --rebind-server", {"insecure": True, "quiet": True}),
]


@pytest.mark.parametrize(("words", "expected"), GOOD)
def test_values_arrive(words: str, expected: Dict[str, Any], folder: Path) -> None:
    found = read(LINES[Mode.MIGRATE] + shlex.split(words), folder)
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(["--status", "--db-path=~/x.db"], tmp_path).db_path == tmp_path / "x.db"


URLS = [
    ("https://h.example.com/", "https://h.example.com"),
    ("HTTPS://H.Example.com//", "https://h.example.com"),
    ("http://localhost:8080", "http://localhost:8080"),
    ("http://[::1]:8080/", "http://[::1]:8080"),
    ("http://10.0.0.1", "http://10.0.0.1"),
    ("https://h.example.com/Base/Path/", "https://h.example.com/Base/Path"),
    ("https://h_1.example.com.", "https://h_1.example.com."),
]


@pytest.mark.parametrize(("given", "expected"), URLS)
def test_urls_are_normalised(given: str, expected: str, tmp_path: Path) -> None:
    assert read(["--verify", "--url", given, "--user-key"], tmp_path).url == expected


QUESTIONS = b"\xef\xbb\xbfWho signs?\tContract.pdf\r\n\r\n#1 of what?\rWho signs?\t Contract.pdf\n"
LISTS = [
    ("--users 'john.doe, jane smith,,john.doe'", "users", ("john.doe", "jane smith")),
    ("--collections ' b,a , b'", "collections", ("b", "a")),
    ("--collections 'a/b,a?b,a%2fb#'", "collections", ("a/b", "a?b", "a%2fb#")),
    ("--collections-file ids.txt", "collections", ("col-1", "col-2", "col-3")),
    ("--collections-file plan.csv", "collections", ("col-2", "col-1")),
    ("--collections-file semicolons.csv", "collections", ("col-1",)),
    ("--collections-file tabs.csv", "collections", ("col-1",)),
    ("--collections-file -", "collections", ("from-stdin",)),
    ("--collections-file report.csv", "collections", ("col-1", "col-4")),
    (
        "--collections-file report.csv",
        "notes",
        (
            "Left out: 3 rows of report.csv with the outcome skipped or not available. Empty that "
            "cell to take one.",
        ),
    ),
    ("--collections-file plan.csv", "notes", ()),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "ids.txt").write_bytes(
        b"\xef\xbb\xbf# mine\r\ncol-1\r\n\r\n  col-2  # why\r\ncol-1\rcol-3"
    )
    (tmp_path / "plan.csv").write_bytes(
        b'\xef\xbb\xbf# plan\r\nname,Collection_ID ,model\r\n"a, ""b""\r\nc",col-2,m\r\n,,\r\n'
        b"x\r\ny,col-1,m\r\nz,col-2,m\r\n"
    )
    (tmp_path / "semicolons.csv").write_bytes(b'"collection_id";"name"\n"col-1";"a,b"\n')
    (tmp_path / "report.csv").write_bytes(
        b"collection_id;name;outcome\ncol-1;a;planned\ncol-2;b;Skipped\n;nobody;not available\n"
        b"col-3;c;not available\ncol-4;d;\n"
    )
    (tmp_path / "tabs.csv").write_bytes(b"name\tcollection_id\na,b\tcol-1\n")
    (tmp_path / "models.json").write_bytes(b'{"old/a": "new/a", "old/b": "new/a"}')
    (tmp_path / "chain.crt").write_text(certificate())
    (tmp_path / "questions.txt").write_bytes(QUESTIONS)
    return tmp_path


def certificate() -> str:
    """Some authority's certificate."""
    certifi = pytest.importorskip("certifi")
    pem = Path(certifi.where()).read_text(encoding="utf-8")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return pem[pem.index(begin) : pem.index(end)] + end + "\n"


@pytest.mark.parametrize(("words", "attribute", "expected"), LISTS)
def test_lists_keep_their_order_and_lose_doubles(
    words: str, attribute: str, expected: Any, folder: Path
) -> None:
    line = [*ADMIN, "--verify", *shlex.split(words)]
    assert getattr(read(line, folder, stdin="from-stdin\n"), attribute) == expected


def test_mappings_come_from_the_file(folder: Path) -> None:
    found = read([*USER, "--model-mappings-file", "models.json"], folder)
    assert found.mappings == {"old/a": "new/a", "old/b": "new/a"}


def test_a_target_model_has_no_mappings(tmp_path: Path) -> None:
    found = read([*USER, "--target-model", "new", "--source-model", "old"], tmp_path)
    assert (found.mappings, found.target_model, found.source_model) == (None, "new", "old")


# -- the check of the retrieval ---------------------------------------------------------------------


def test_the_number_of_documents_may_be_left_out(tmp_path: Path) -> None:
    line = [*ADMIN, "--verify", "--verify-retrieval"]
    assert read(line, tmp_path).retrieval == RetrievalCheck(10)
    assert read([*line, "25"], tmp_path).retrieval == RetrievalCheck(25)
    assert read([*line, "--min-recall", "1"], tmp_path).retrieval == RetrievalCheck(10, (), 1.0)
    assert read(line[:-1], tmp_path).retrieval is None


def test_questions_are_read_from_the_file_each_once(folder: Path) -> None:
    found = read([*ADMIN, "--verify", "--verify-queries", "questions.txt"], folder)
    asked = (Question("Who signs?", "Contract.pdf"), Question("#1 of what?"))
    assert found.retrieval == RetrievalCheck(0, asked)


@pytest.mark.parametrize("words", ["--verify-retrieval", "--verify-queries questions.txt"])
def test_a_check_alone_looks_at_what_is_finished(words: str, folder: Path) -> None:
    found = read([*ADMIN, *shlex.split(words), "--users", "jane"], folder)
    assert (found.mode, found.verify) == (Mode.VERIFY, False)
    assert read(shlex.split(found.command())[1:], folder) == found
    waiting = [*LINES[Mode.MIGRATE], *shlex.split(words), "--wait-for-completion"]
    assert read(waiting, folder).mode is Mode.MIGRATE


def test_the_command_that_migrates_afresh_leaves_the_check_alone(folder: Path) -> None:
    found = read([*ADMIN, "--verify-retrieval"], folder)
    again = found.command(add=["--collections", "x", "--target-model", "m", "--retry-failed"])
    assert "--target-model m" in again


# -- where values come from ------------------------------------------------------------------------


def test_flag_wins_over_environment_wins_over_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "\ufeffH2OGPTE_URL='https://file.example.com'\nH2OGPTE_USER_KEY=sk-from-$file\n",
        encoding="utf-8",
    )
    env = {"H2OGPTE_URL": "https://env.example.com"}
    line = ["--verify", "--user-key"]
    assert read(line, tmp_path, {}).url == "https://file.example.com"
    assert read(line, tmp_path, {}).user_key == Secret("sk-from-$file")
    assert read(line, tmp_path, env).url == "https://env.example.com"
    assert read([*line, "--url", "http://flag"], tmp_path, env).url == "http://flag"
    assert read(["--verify", "--user-key", "sk-flag-key", "--url=http://x"], tmp_path).user_key == (
        Secret("sk-flag-key")
    )


def test_a_key_in_the_environment_counts_only_behind_its_flag(tmp_path: Path) -> None:
    found = read([*USER, "--verify"], tmp_path)
    assert found.admin_key is None
    assert found.user_key == Secret(KEY)
    assert found.key == found.user_key


def test_an_env_folder_is_no_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert read([*USER, "--verify"], tmp_path).verify


def test_status_needs_nothing_and_ignores_the_servers_variables(tmp_path: Path) -> None:
    found = read(["--status", "--json"], tmp_path, {"H2OGPTE_URL": "nonsense"})
    assert (found.mode, found.url, found.json) == (Mode.STATUS, "", True)


def test_sandbox_needs_no_server_and_no_key(tmp_path: Path) -> None:
    line = ["--sandbox", "--all-users", "--use-model-mappings"]
    found = read(line, tmp_path, {"H2OGPTE_URL": "https://real.example.com"})
    assert (found.url, found.key, found.sandbox) == ("", None, True)
    assert read(["--sandbox", "--user-key", KEY, "--verify"], tmp_path).user_key == Secret(KEY)


@pytest.mark.parametrize(("mode", "line"), LINES.items(), ids=lambda part: str(part)[:12])
def test_modes_are_told(mode: Mode, line: List[str], tmp_path: Path) -> None:
    assert read(line, tmp_path).mode is mode


def test_nothing_of_a_key_shows_in_the_options(tmp_path: Path) -> None:
    assert KEY not in repr(read([*USER, "--verify"], tmp_path))


# -- the command that continues --------------------------------------------------------------------

EXTRAS = {
    "--users": "a b,c",
    "--collections": "x,y",
    "--collections-file": "ids.txt",
    "--cert": "chain.crt",
    "--model-mappings-file": "models.json",
    "--target-model": "new/model",
    "--source-model": "old model",
    "--max-concurrent-jobs": "7",
    "--max-concurrent-requests": "9",
    "--max-failures": "0",
    "--retries": "1",
    "--timeout": "2.25",
    "--ocr-model": "auto",
    "--verify-query": '-what\'s "it"? $HOME',
    "--verify-retrieval": "25",
    "--verify-queries": "questions.txt",
    "--min-recall": "0.75",
    "--db-path": "sub/my db",
    "--api-key-expiry": "2 hours",
    "--query-timeout": "9",
    "--log-file": "all runs.log",
    "--log-level": "info",
    "--report": "plan.csv",
}
LOOKS = ("--verify-query", "--verify-retrieval", "--verify-queries", "--min-recall")
SWITCHES = [row.name for row in FLAGS if row.read is None and not row.selects]


def lines_of_each_flag() -> List[List[str]]:
    """Every flag in every mode that it belongs to, with what it needs."""
    found = []
    for mode, base in LINES.items():
        for row in FLAGS:
            if mode not in row.modes or row.name in base:
                continue
            words = (
                [*base, f"{row.name}={EXTRAS[row.name]}"]
                if row.read and row.name in EXTRAS
                else None
            )
            if row.name in SWITCHES:
                words = [*base, row.name]
            if words:
                found.append(compatible(words, row))
    return found


def compatible(words: List[str], row: Flag) -> List[str]:
    """The line without what excludes the flag, and with what it needs."""
    if row.choice == "scope" and "--users" in words:
        at = words.index("--users")
        words = words[:at] + words[at + 2 :]
    if row.choice == "model" or row.name == "--source-model":
        words = [word for word in words if word != "--use-model-mappings"]
    if row.name == "--source-model" and "--target-model" not in words:
        words = [*words, "--target-model", "new"]
    if row.name in LOOKS and "--verify" not in words:
        words = [*words, "--wait-for-completion"]
    if row.name == "--min-recall":
        words = [*words, "--verify-retrieval"]
    if row.name == "--query-timeout" and "--verify" in words:
        words = [*words, "--verify-query", "what"]
    if row.name == "--report" and "--check-server" in words:
        words = [*words[:-1], "--report=check.html"]
    if row.name == "--sandbox":
        words = words[len(ADMIN) :]
    return words


def test_the_command_brings_the_same_options_again(folder: Path) -> None:
    def comes_again(line: List[str]) -> None:
        found = read(line, folder)
        words = shlex.split(found.command())
        assert words[0] == "h2ogpte-migrate"
        assert read(words[1:], folder) == found
        assert KEY not in found.command()

    each(lines_of_each_flag(), comes_again, name=shlex.join)


def test_the_round_trip_has_seen_every_flag() -> None:
    seen = {word.partition("=")[0] for line in lines_of_each_flag() for word in line}
    missing = set(BY_NAME) - seen - {"--user-key", "--move-connectors"}
    assert missing == set()


def test_a_key_given_by_value_is_left_out_of_the_command(tmp_path: Path) -> None:
    found = read(["--url", "http://h", "--user-key", "sk-by-value", "--verify"], tmp_path)
    assert found.command() == "h2ogpte-migrate --url http://h --user-key --verify"


def test_a_check_of_the_server_needs_a_target_model_and_writes_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read([*USER, "--check-server", "--report", "check.csv"], tmp_path)
    assert any("--check-server needs --target-model" in each for each in caught.value.mistakes)
    assert any(".json or an .html" in each for each in caught.value.mistakes)


def test_ids_from_standard_input_are_written_out(tmp_path: Path) -> None:
    found = read([*ADMIN, "--verify", "--collections-file", "-"], tmp_path, stdin="a\nb\n")
    assert "--collections a,b --verify" in found.command()


def test_a_migration_turns_into_its_verification(tmp_path: Path) -> None:
    line = [*LINES[Mode.MIGRATE], *shlex.split("--retry-failed --ocr-model off --timeout 5")]
    expected = (
        "h2ogpte-migrate --url https://h.example.com --admin-key --users jane --timeout 5.0 "
        "--verify --migrate-chats"
    )
    found = read(line, tmp_path)
    assert found.command(add=["--verify", "--migrate-chats"]) == expected
    assert read(shlex.split(expected)[1:], tmp_path).verify


def test_added_flags_displace_and_named_ones_go(tmp_path: Path) -> None:
    found = read([*LINES[Mode.MIGRATE], "--quiet", "--retry-failed"], tmp_path)
    command = found.command(without=["--quiet"], add=["--collections", "a,b", "--retry-failed"])
    assert command == (
        "h2ogpte-migrate --url https://h.example.com --admin-key --use-model-mappings "
        "--collections a,b --retry-failed"
    )


def test_a_sandboxs_own_address_and_key_stay_out_of_the_command(tmp_path: Path) -> None:
    found = read(["--sandbox", "--verify"], tmp_path)
    running = replace(found, url="http://127.0.0.1:5", admin_key=Secret("sk-sandbox-key"))
    assert running.command() == "h2ogpte-migrate --sandbox --verify"


# -- help, version, cost ---------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [20, 80, 110, 500])
def test_help_shows_every_flag_in_its_group(columns: int) -> None:
    text = cli.help_text(columns)
    for row in FLAGS:
        assert f"  {row.name}" in text
    # A heading may be broken between two words.
    folded = " ".join(text.split())
    assert all(group.value in folded for group in Group)
    assert "(default: 60)" in text
    assert "H2OGPTE_URL" in text


@pytest.mark.parametrize(
    ("argv", "start"),
    [
        (["--help"], "Usage: h2ogpte-migrate"),
        (["--url", "bad", "-h"], "Usage: h2ogpte-migrate"),
        (["--version"], f"h2ogpte-migrate {__version__}"),
    ],
)
def test_help_and_version_answer_and_leave(
    argv: List[str], start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main_parse(argv)
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(start)


def test_main_parse_reads_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("H2OGPTE_URL", "https://env.example.com")
    monkeypatch.setenv("H2OGPTE_USER_KEY", KEY)
    assert cli.main_parse(["--verify", "--user-key"]).url == "https://env.example.com"


HEAVY = ("h2ogpte", "rich", "dotenv", "aiohttp", "pydantic", "urllib3", "websockets", "sqlite3")
LOAD = """
import sys
from h2ogpte_migration.cli import help as cli
from h2ogpte_migration.errors import UsageError
cli.help_text()
try:
    cli.main_parse(["--bogus", "--url", "x"])
except UsageError:
    print([name for name in {heavy!r} if name in sys.modules])
"""


def test_help_and_usage_errors_load_nothing_heavy(tmp_path: Path) -> None:
    script = LOAD.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, stdout=subprocess.PIPE
    )
    assert done.stdout.decode().strip() == "[]"


def test_a_command_on_record_is_typed_again_for_a_few_and_aloud() -> None:
    run = "h2ogpte-migrate --url http://x --admin-key --users 'a b,c' --copy-document --quiet"
    assert again(run, ["1", "2"], "--retry-failed") == (
        "h2ogpte-migrate --url http://x --admin-key --copy-document --collections 1,2 "
        "--retry-failed"
    )
    forced = f"{run} --force-remigrate --retry-failed"
    assert again(forced, (), "--retry-failed") == (
        "h2ogpte-migrate --url http://x --admin-key --users 'a b,c' --copy-document --retry-failed"
    )
    odd = "h2ogpte-migrate --user-key --collections-file $'a\\x0ab'"
    assert again(odd, ["1"], "--retry-failed") == f"{odd} --retry-failed"
