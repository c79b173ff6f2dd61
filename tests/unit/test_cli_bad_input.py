"""Whatever can be wrong with a command line is refused before anything is made or sent."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

import pytest
from tests.support.each import each

from h2ogpte_migration.cli.parse import parse
from h2ogpte_migration.errors import ExitCode, UsageError

KEY = "sk-top-secret-key"
SERVER = ["--url", "https://h2ogpte.example.com", "--admin-key", KEY]
USER = ["--url", "https://h2ogpte.example.com", "--user-key", KEY]
MODELS = ["--use-model-mappings"]
SCOPE = ["--users", "jane"]

# What the folder holds in which the bad command lines are tried.
FILES: Mapping[str, bytes] = {
    "empty.txt": b"",
    "hostile.txt": b"why\x1b[31m?\nx\tno\x07name\n",
    "many.txt": b"".join(b"question %d\n" % number for number in range(101)),
    "plain.txt": b"why?\n",
    "blank.txt": b" \r\n\n",
    "bom.txt": b"\xef\xbb\xbf",
    "comments.txt": b"# nothing\n  # else\n",
    "zero.txt": b"col-1\0\n",
    "latin1.txt": b"col-\xe9\n",
    "utf16.txt": "col-1\n".encode("utf-16"),
    "spaces.txt": b"col-1 col-2\n",
    "commas.txt": b"col-1,col-2\n",
    "slash.txt": b"col-1\n../users\n",
    "many_bad.txt": b"a 1\na 2\na 3\na 4\na 5\na 6\na 7\n",
    "control.txt": b"col-\x1b[2J\n",
    "table_without_rows.csv": b"collection_id,name\n",
    "table_left_out.csv": b"collection_id,outcome\ncol-1,skipped\n",
    "table_other_column.csv": b"id,name\ncol-1,Alpha\n",
    "not_json.json": b"{",
    "list.json": b"[]",
    "nothing.json": b"{}",
    "twice.json": b'{"a": "b", "a": "c"}',
    "itself.json": b'{"a": "a"}',
    "chain.json": b'{"a": "b", "b": "c", "d": "e", "c": "f"}',
    "swap.json": b'{"a": "b", "b": "a"}',
    "number.json": b'{"a": 1}',
    "null.json": b'{"a": null}',
    "nested.json": b'{"a": {"b": "c"}}',
    "empty_source.json": b'{"": "b"}',
    "empty_target.json": b'{"a": ""}',
    "space.json": b'{"a": " b"}',
    "control.json": b'{"a\\u001b": "b"}',
    "deep.json": b"[" * 200_000,
    "three.json": b'{"a": "a", "b": 1, "": "c"}',
    "no_pem.crt": b"hello",
    "bad_pem.crt": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}


def line(base: List[str], words: str) -> List[str]:
    return base + shlex.split(words)


def migrate(words: str) -> List[str]:
    return line(SERVER + SCOPE + MODELS, words)


def verify(words: str) -> List[str]:
    return line([*SERVER, "--verify"], words)


def move(words: str) -> List[str]:
    return line([*SERVER, "--move-chats"], words)


def url(value: str) -> List[str]:
    return ["--url", value, "--admin-key", KEY, *SCOPE, *MODELS]


def key(value: str) -> List[str]:
    return ["--url", "https://h.example.com", "--user-key", value, *MODELS]


def scope(words: str) -> List[str]:
    return line(SERVER + MODELS, words)


def model(words: str) -> List[str]:
    return line(SERVER + SCOPE, words)


class Bad(NamedTuple):
    """A command line and a piece of each line that must be told about it."""

    argv: List[str]
    told: Tuple[str, ...]
    env: Dict[str, str] = {}  # noqa: RUF012 (never changed)


def bad(argv: List[str], *told: str, **env: str) -> Bad:
    return Bad(argv, told, env)


NO_URL = "The server is missing"
NO_KEY = "A key is missing"
NO_SCOPE = "which collections"
NO_MODEL = "which model"

CASES = [
    # -- nothing, or not enough
    bad([], NO_URL, NO_KEY, NO_MODEL),
    bad(["--dry-run"], NO_URL, NO_KEY, NO_MODEL),
    bad(line(SERVER, ""), NO_SCOPE, NO_MODEL),
    bad(line(USER, ""), NO_MODEL),
    bad(line(SERVER, "--users jane"), NO_MODEL),
    bad(line(SERVER, "--use-model-mappings"), NO_SCOPE),
    bad(["--verify"], NO_URL, NO_KEY),
    bad(["--verify", *SERVER[:2]], NO_KEY),
    bad(["--verify", *SERVER[2:]], NO_URL),
    bad(["--verify", *SERVER[2:]], NO_URL, H2OGPTE_URL=""),
    bad(["--verify", *SERVER[:2]], NO_KEY, H2OGPTE_ADMIN_KEY=KEY, H2OGPTE_USER_KEY=KEY),
    bad(["--sandbox", "--use-model-mappings"], NO_SCOPE),
    bad(["--sandbox", "--all-users"], NO_MODEL),
    bad(["--move-chats", *SERVER], "--from is missing", "--to is missing"),
    bad(move("--from a"), "--to is missing"),
    bad(move("--to b"), "--from is missing"),
    # -- flags that do not exist, words that belong nowhere
    bad(migrate("--colections x"), "There is no flag --colections: did you mean --collections?"),
    bad(migrate("--wait"), "There is no flag --wait"),
    bad(migrate("--verif"), "There is no flag --verif: did you mean --verify?"),
    bad(migrate("--dry_run"), "did you mean --dry-run?"),
    bad(migrate("-q"), "There is no flag -q"),
    bad(migrate("-Wx=1"), "There is no flag -Wx"),
    bad(migrate("stray"), "'stray' belongs to no flag"),
    bad(migrate("--dry-run yes"), "'yes' belongs to no flag"),
    bad(migrate("sk-oops"), "A word that looks like a key belongs to no flag"),
    bad(
        migrate("--admin_keys sk-oops"), "There is no flag --admin_keys: did you mean --admin-key?"
    ),
    bad(scope("--collections col-1, col-2"), "'col-2' belongs to no flag"),
    bad([*migrate(""), "\x1b[31m"], r"'\\x1b[31m' belongs to no flag"),
    # -- values where there are none, none where there must be one
    bad(migrate("--dry-run=yes"), "--dry-run takes no value"),
    bad(migrate("--no-copy-document=1"), "--no-copy-document takes no value"),
    bad(migrate("--timeout"), "--timeout has no value"),
    bad(migrate("--db-path"), "--db-path has no value"),
    bad(migrate("--wait-for-completion --verify-query"), "--verify-query has no value"),
    bad(
        migrate("--wait-for-completion --verify-query -why?"),
        "There is no flag -why",
        "--verify-query has no value",
    ),
    bad(["--url", *SERVER[2:], "--verify"], "--url has no value: give one, or set H2OGPTE_URL"),
    bad([*SERVER[:2], "--admin-key", "--verify"], "--admin-key has no value", H2OGPTE_ADMIN_KEY=""),
    bad([*SERVER[:2], "--admin-key", "--verify"], "--admin-key has no value", H2OGPTE_USER_KEY=KEY),
    bad([*SERVER[:2], "--user-key", "--verify"], "--user-key has no value", H2OGPTE_ADMIN_KEY=KEY),
    bad(["--sandbox", "--user-key", *MODELS], "--user-key has no value"),
    bad(migrate("--users joe"), "--users is given more than once"),
    bad(migrate("--timeout 5 --timeout 5"), "--timeout is given more than once"),
    # -- urls
    bad(url(""), "--url must not be empty"),
    bad(url(" "), "--url must not contain spaces"),
    bad(url("h2ogpte.example.com"), "--url must begin with https:// or http://, not 'h2ogpte"),
    bad(url("localhost:8080"), "--url must begin with https://"),
    bad(url("ftp://h.example.com"), "--url must begin with https://"),
    bad(url("file:///etc/passwd"), "--url must begin with https://"),
    bad(url("https:/h.example.com"), "--url must begin with https://"),
    bad(url("https:h.example.com"), "--url must begin with https://"),
    bad(url("https://"), "--url must name a host"),
    bad(url("https:///path"), "--url must name a host"),
    bad(url("https://:443"), "--url must name a host"),
    bad(url("https://a..b"), "--url must name a host"),
    bad(url("https://-a.example.com"), "--url must name a host"),
    bad(url("https://h%41.example.com"), "--url must name a host"),
    bad(url("https://" + "a" * 64 + ".example.com"), "--url must name a host"),
    bad(url("https://müller.example.com"), "--url must name a host"),
    bad(url("https://[::1"), "--url has a host or a port"),
    bad(url("https://h.example.com:"), "--url must have a port"),
    bad(url("https://h.example.com:0"), "--url must have a port"),
    bad(url("https://h.example.com:65536"), "--url has a host or a port (1 to 65535)"),
    bad(url("https://h.example.com:http"), "--url has a host or a port"),
    bad(url("https://h.example.com:-1"), "--url has a host or a port"),
    bad(url("https://h.example.com?a=b"), "--url must end before any ? or #"),
    bad(url("https://h.example.com/?"), "--url must end before any ? or #"),
    bad(url("https://h.example.com/#x"), "--url must end before any ? or #"),
    bad(url("https://joe:hush@h.example.com"), "--url must not contain a user name or password"),
    bad(url("https://joe@h.example.com"), "--url must not contain a user name or password"),
    bad(url("https://h.example.com/a b"), "--url must not contain spaces"),
    bad(url("https://h.example.com\n"), "--url must not contain spaces"),
    bad(url("https://h\t.example.com"), "--url must not contain spaces"),
    bad(url("https://h.example.com\\a"), "--url must not contain spaces, backslashes"),
    bad(url("https://h.example.com/\x1b]0;x"), "--url must not contain"),
    bad(url("https://h.example.com/\u202ecba"), "--url must not contain"),
    bad(url("https://h.example.com/a/../b"), "--url has a path that can't be right"),
    bad(url("https://h.example.com/ä"), "--url has a path that can't be right"),
    bad(verify("")[2:], "H2OGPTE_URL must begin with https://", H2OGPTE_URL="h.example.com"),
    # -- keys
    bad(key(""), "--user-key must not be empty"),
    bad(key("sk a-b-c"), "--user-key must be a key, which has no spaces"),
    bad(key("sk-abc\n"), "--user-key must be a key"),
    bad(key(" sk-abc"), "--user-key must be a key"),
    bad(key("sk-äbc"), "--user-key must be a key"),
    bad(key("sk-\udce4bc"), "--user-key must be a key"),
    bad(
        [*SERVER[:2], "--admin-key", "--verify"],
        "H2OGPTE_ADMIN_KEY must be a key",
        H2OGPTE_ADMIN_KEY="a key",
    ),
    bad(line(SERVER, "--user-key sk-2 --verify"), "--admin-key and --user-key exclude each other"),
    # -- scope
    bad(scope("--users ''"), "--users must name at least one"),
    bad(scope("--users ' , ,'"), "--users must name at least one"),
    bad(scope("--collections ''"), "--collections must name at least one"),
    bad(scope("--collections ,"), "--collections must name at least one"),
    bad(scope("--collections 'col-1 col-2'"), "--collections must have commas, not spaces"),
    bad(scope("--collections ../users"), "can't be the id of a collection"),
    bad(scope("--collections ok,.."), "can't be the id of a collection"),
    bad(scope("--collections 'a\\..\\b'"), "can't be the id of a collection"),
    bad(scope("--collections ."), "can't be the id of a collection"),
    bad(scope("--collections " + "a" * 300), "can't be the id of a collection"),
    bad([*scope(""), "--collections", "a\x07"], r"control characters, as 'a\x07' does"),
    bad([*scope(""), "--users", "a\nb"], r"control characters, as 'a\nb' does"),
    bad([*scope(""), "--users", "a\u202eb"], r"control characters, as 'a\u202eb' does"),
    bad([*scope(""), "--users", "a\udce9"], r"control characters, as 'a\udce9' does"),
    bad(scope("--users a --all-users"), "--users and --all-users exclude each other"),
    bad(scope("--users a --collections b"), "--users and --collections exclude each other"),
    bad(
        [*scope("--collections b --collections-file"), "spaces.txt"],
        "--collections and --collections-file exclude each other",
        "not spaces, between ids",
    ),
    bad(
        verify("--users a --all-users --collections c"),
        "--users and --all-users and --collections exclude each other",
    ),
    bad(line(USER + MODELS, "--users a"), "--users and --all-users are for administrators"),
    bad(line(USER + MODELS, "--all-users"), "--users and --all-users are for administrators"),
    bad(line([*USER, "--verify"], "--all-users"), "--users and --all-users are for administrators"),
    # -- files with collections
    bad(scope("--collections-file ''"), "--collections-file must not be empty"),
    bad(scope("--collections-file gone.txt"), "gone.txt can't be read: No such file"),
    bad(scope("--collections-file ."), ". can't be read: Is a directory"),
    bad(scope("--collections-file empty.txt"), "empty.txt is empty"),
    bad(scope("--collections-file blank.txt"), "blank.txt is empty"),
    bad(scope("--collections-file bom.txt"), "bom.txt is empty"),
    bad(scope("--collections-file comments.txt"), "comments.txt names no collection"),
    bad(scope("--collections-file zero.txt"), "zero.txt is no UTF-8 text file: it contains zero"),
    bad(scope("--collections-file utf16.txt"), "utf16.txt is no UTF-8 text file"),
    bad(
        scope("--collections-file latin1.txt"),
        "latin1.txt is no UTF-8 text file: see byte 5; save it as UTF-8",
    ),
    bad(scope("--collections-file spaces.txt"), "spaces.txt must have commas, not spaces"),
    bad(scope("--collections-file commas.txt"), "commas.txt has 'col-1,col-2', which can't be"),
    bad(scope("--collections-file slash.txt"), "slash.txt has '../users', which can't be"),
    bad(scope("--collections-file many_bad.txt"), "; and 2 more"),
    bad(scope("--collections-file control.txt"), r"as 'col-\x1b[2J' does"),
    bad(scope("--collections-file table_without_rows.csv"), "names no collection"),
    bad(
        scope("--collections-file table_left_out.csv"),
        "names only what is skipped or not available, by its column outcome",
    ),
    bad(scope("--collections-file table_other_column.csv"), "which can't be the id"),
    bad(scope("--collections-file -"), "standard input names no collection"),
    bad(scope("--collections-file ~nobody-of-that-name/x"), "that home folder is unknown"),
    bad(scope("--collections-file " + "x" * 300), "can't be read: File name too long"),
    # -- models
    bad(model("--target-model ''"), "--target-model must not be empty"),
    bad([*model("--target-model"), "a\x9b"], "--target-model must not contain control"),
    bad(model("--source-model a"), NO_MODEL, "--source-model needs --target-model"),
    bad(migrate("--source-model a"), "--source-model needs --target-model"),
    bad(migrate("--target-model a"), "--use-model-mappings and --target-model exclude each other"),
    bad(
        migrate("--model-mappings-file gone.json"),
        "--use-model-mappings and --model-mappings-file exclude each other",
        "gone.json can't be read: No such file",
    ),
    bad(model("--model-mappings-file ''"), "--model-mappings-file must not be empty"),
    bad(model("--model-mappings-file ."), "can't be read: Is a directory"),
    bad(model("--model-mappings-file empty.txt"), "empty.txt is empty"),
    bad(model("--model-mappings-file zero.txt"), "is no UTF-8 text file"),
    bad(model("--model-mappings-file not_json.json"), "is no JSON: Expecting"),
    bad(model("--model-mappings-file list.json"), "must hold one JSON object"),
    bad(model("--model-mappings-file deep.json"), "deep.json"),
    bad(model("--model-mappings-file nothing.json"), "maps no model at all"),
    bad(model("--model-mappings-file twice.json"), 'maps "a" more than once'),
    bad(model("--model-mappings-file itself.json"), 'maps "a" to itself'),
    bad(
        model("--model-mappings-file chain.json"),
        'maps "a" to "b", and that to "c"',
        'maps "b" to "c", and that to "f"',
    ),
    bad(
        model("--model-mappings-file swap.json"),
        'maps "a" to "b", and that to "a"',
        'maps "b" to "a", and that to "b"',
    ),
    bad(model("--model-mappings-file number.json"), 'maps "a" to something that is no model'),
    bad(model("--model-mappings-file null.json"), 'maps "a" to something that is no model'),
    bad(model("--model-mappings-file nested.json"), 'maps "a" to something that is no model'),
    bad(model("--model-mappings-file empty_source.json"), 'has "" for a source model'),
    bad(model("--model-mappings-file empty_target.json"), "to something that is no model"),
    bad(model("--model-mappings-file space.json"), "to something that is no model"),
    bad(model("--model-mappings-file control.json"), r'has "a\u001b" for a source model'),
    bad(
        model("--model-mappings-file three.json"),
        'maps "a" to itself',
        'maps "b" to something',
        'has "" for a source',
    ),
    # -- numbers and times
    bad(migrate("--max-concurrent-jobs 0"), "--max-concurrent-jobs must be a whole number from 1"),
    bad(migrate("--max-concurrent-jobs 1001"), "from 1 to 1000, not '1001'"),
    bad(migrate("--max-concurrent-jobs -1"), "from 1 to 1000, not '-1'"),
    bad(migrate("--max-concurrent-jobs 1.5"), "from 1 to 1000, not '1.5'"),
    bad(migrate("--max-concurrent-jobs many"), "not 'many'"),
    bad(migrate("--max-concurrent-jobs ''"), "not ''"),
    bad(migrate("--max-concurrent-jobs 1_0"), "not '1_0'"),
    bad(migrate("--max-concurrent-jobs ٣"), "must be a whole number"),
    bad(migrate("--max-concurrent-jobs " + "9" * 5000), "must be a whole number"),
    bad(migrate("--max-concurrent-requests 0"), "from 1 to 256, not '0'"),
    bad(migrate("--max-concurrent-requests 257"), "from 1 to 256, not '257'"),
    bad(migrate("--retries -1"), "from 0 to 100, not '-1'"),
    bad(migrate("--retries 101"), "from 0 to 100, not '101'"),
    bad(migrate("--max-failures 1e6"), "from 0 to 1000000, not '1e6'"),
    bad(migrate("--max-failures 1000001"), "from 0 to 1000000"),
    bad(migrate("--timeout 0"), "--timeout must be a number of seconds above 0"),
    bad(migrate("--timeout -3"), "--timeout must be a number of seconds above 0"),
    bad(migrate("--timeout nan"), "--timeout must be a number of seconds"),
    bad(migrate("--timeout inf"), "--timeout must be a number of seconds"),
    bad(migrate("--timeout 1e999"), "--timeout must be a number of seconds"),
    bad(migrate("--timeout 86401"), "up to 86400, not '86401'"),
    bad(migrate("--timeout 60s"), "not '60s'"),
    bad(migrate("--api-key-expiry ''"), "--api-key-expiry must be a number and"),
    bad(migrate("--api-key-expiry 30"), "such as '30 days', not '30'"),
    bad(migrate("--api-key-expiry '0 days'"), "not '0 days'"),
    bad(migrate("--api-key-expiry '-1 days'"), "not '-1 days'"),
    bad(migrate("--api-key-expiry '1.5 hours'"), "not '1.5 hours'"),
    bad(migrate("--api-key-expiry '3 decades'"), "not '3 decades'"),
    bad(migrate("--api-key-expiry '1 day; drop'"), "not '1 day; drop'"),
    bad(migrate("--api-key-expiry '11 years'"), "must be 10 years at most"),
    bad(migrate("--api-key-expiry '99999999999999 days'"), "must be 10 years at most"),
    # -- files and places
    bad(migrate("--db-path ''"), "--db-path must not be empty"),
    bad(migrate("--db-path ."), "--db-path: . is no file"),
    bad(migrate("--db-path gone/my.db"), "would be in a folder that does not exist: "),
    bad(migrate("--db-path empty.txt/my.db"), "--db-path: empty.txt/my.db"),
    bad(migrate("--db-path :memory:"), "--db-path: :memory: is no file"),
    bad(migrate("--db-path /dev/null"), "--db-path: /dev/null is no file"),
    bad(migrate("--db-path " + "x" * 300), "can't be used: File name too long"),
    bad(["--status", "--db-path", "gone/my.db"], "would be in a folder that does not exist"),
    bad(migrate("--cert ''"), "--cert must not be empty"),
    bad(migrate("--cert gone.crt"), "--cert: gone.crt can't be read: No such file"),
    bad(migrate("--cert ."), "--cert: . can't be read: Is a directory"),
    bad(migrate("--cert empty.txt"), "--cert: empty.txt is empty"),
    bad(migrate("--cert no_pem.crt"), "no_pem.crt holds no certificate in PEM form"),
    bad(migrate("--cert bad_pem.crt"), "bad_pem.crt holds no certificate that can be used"),
    bad(migrate("--cert bad_pem.crt --insecure"), "exclude each other", "can be used"),
    # -- what does not go together
    bad(verify("--use-model-mappings"), "--use-model-mappings does not go with --verify"),
    bad(verify("--model-mappings-file x.json"), "does not go with --verify", "can't be read"),
    bad(verify("--target-model a"), "--target-model does not go with --verify"),
    bad(verify("--source-model a"), "--source-model does not go with --verify"),
    bad(verify("--dry-run"), "--dry-run does not go with --verify"),
    bad(verify("--retry-failed"), "--retry-failed does not go with --verify"),
    bad(verify("--force-remigrate"), "--force-remigrate does not go with --verify"),
    bad(verify("--copy-document"), "--copy-document does not go with --verify"),
    bad(verify("--skip-reparse"), "--skip-reparse does not go with --verify"),
    bad(verify("--ocr-model off"), "--ocr-model does not go with --verify"),
    bad(verify("--from a"), "--from does not go with --verify"),
    bad(verify("--json"), "--json does not go with --verify"),
    bad(verify("--yes"), "--yes does not go with --verify"),
    bad(verify("--status"), "--status does not go with --verify"),
    bad(verify("--move-chats --from a --to b"), *["does not go with --verify"] * 3),
    bad(verify("--verify-query ''"), "--verify-query must not be empty"),
    bad([*verify("--verify-query"), "why\x1b"], "--verify-query must not contain control"),
    bad(
        line(["--url", "https://h/base", "--user-key", KEY, "--verify"], "--verify-query why"),
        "--verify-query can't be used with a base path",
    ),
    bad(migrate("--verify-query why"), "--verify-query needs --verify or --wait-for-completion"),
    bad(
        migrate("--verify-retrieval"),
        "--verify-retrieval and --verify-queries need --verify or --wait-for-completion",
    ),
    bad(migrate("--verify-retrieval 0"), "--verify-retrieval must be a whole number", "need --ver"),
    bad(verify("--verify-retrieval 101"), "must be a whole number from 1 to 100"),
    bad(verify("--verify-retrieval --verify-retrieval"), "is given more than once"),
    bad(verify("--min-recall 0.9"), "--min-recall needs --verify-retrieval or --verify-queries"),
    bad(verify("--verify-retrieval --min-recall 90%"), "must be a number from 0 to 1"),
    bad(verify("--verify-retrieval --min-recall 1.1"), "must be a number from 0 to 1"),
    bad(verify("--verify-retrieval --min-recall"), "--min-recall has no value"),
    bad(verify("--verify-queries"), "--verify-queries has no value"),
    bad(verify("--verify-queries none.txt"), "--verify-queries: none.txt can't be read"),
    bad(verify("--verify-queries empty.txt"), "--verify-queries: empty.txt is empty"),
    bad(verify("--verify-queries hostile.txt"), "question 2 must not contain control characters"),
    bad(verify("--verify-queries many.txt"), "holds 101 questions, more than 100"),
    bad(verify("--verify-queries plain.txt --min-recall 1"), "no question in plain.txt names the"),
    bad(line(SERVER, "--verify-retrieval --from x"), "--from does not go with --verify-retrieval"),
    bad(
        migrate("--retry-failed --force-remigrate"), "--retry-failed and --force-remigrate exclude"
    ),
    bad(migrate("--skip-reparse --copy-document"), "--skip-reparse and --copy-document exclude"),
    bad(migrate("--ocr-model ''"), "--ocr-model must not be empty"),
    bad(migrate("--copy-document --no-copy-document"), "--no-copy-document exclude each other"),
    bad(migrate("--json"), "--json needs --status"),
    bad(migrate("--yes"), "--yes needs --cleanup"),
    bad(migrate("--from a"), "--from needs --move-connectors or --move-chats"),
    bad(move("--from a --to a"), "--from and --to name the same collection"),
    bad(move("--from a --to 'b c'"), "--to must have commas, not spaces"),
    bad(move("--from '' --to b"), "--from must not be empty"),
    bad(move("--from a --to b --users jane"), "--users does not go with --move-chats"),
    bad(move("--from a --to b --dry-run"), "--dry-run does not go with --move-chats"),
    bad(move("--from a --to b --migrate-chats"), "--migrate-chats does not go with --move-chats"),
    bad(["--status", *SERVER[:2]], "--url does not go with --status"),
    bad(["--status", "--sandbox"], "--sandbox does not go with --status"),
    bad(["--status", "--json", "--watch"], "--json and --watch exclude each other"),
    bad(
        migrate("--check --all --watch"),
        *[f"--{word} needs --status" for word in ("all", "check", "watch")],
    ),
    bad(["--sandbox", *SERVER[:2], "--verify"], "--sandbox brings its own server"),
    bad(migrate("--cleanup"), "--use-model-mappings does not go with --cleanup"),
    bad(migrate("--report x.pdf"), "must end in .json, .csv or .html"),
    bad(migrate("--report gone/x.csv"), "--report: gone/x.csv would be in a fold"),
    # -- a key in the wrong place
    bad(url("sk-abcdef123456"), "--url must begin with https:// or http://, not '***'"),
    bad(migrate("--retries sk-abcdef123456"), "--retries must be a whole number from 0 to 100"),
    bad(migrate("--cert sk-abcdef123456"), "--cert: *** can't be read"),
    bad(migrate("--report sk-abcdef123456"), "must end in .json, .csv or .html, not '***'"),
    *(
        bad(line(words, f"{flag} sk-{'a1B' * 8}"), f"{flag} must not be a key; keys go into")
        for words, flag in (
            (SERVER + SCOPE, "--target-model"),
            (SERVER + MODELS, "--users"),
            (SERVER + MODELS, "--collections"),
            (SERVER + SCOPE + MODELS, "--db-path"),
        )
    ),
    # -- many at once
    bad(
        line([], "--url x --timeout 0 --retries z --users a --all-users --json --bogus"),
        "There is no flag --bogus",
        "--url must begin",
        "--timeout must be",
        "--retries must be",
        "--users and --all-users exclude",
    ),
]


def standard_input() -> str:
    return "# nothing\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def name_of(case: Bad) -> str:
    return ascii(" ".join(case.argv[-4:]))[1:50]


def refusal(argv: List[str], env: Mapping[str, str], cwd: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(argv, env, cwd, standard_input)
    return caught.value


def test_every_bad_line_is_refused_with_one_clear_line_per_mistake(folder: Path) -> None:
    def is_refused(case: Bad) -> None:
        error = refusal(case.argv, case.env, folder)

        assert error.exit_code is ExitCode.USAGE
        assert len(error.mistakes) == len(case.told), error.mistakes
        for piece, mistake in zip(case.told, error.mistakes):
            assert piece in mistake
            assert mistake.isprintable()
            assert len(mistake) < 1000
            assert "sk-" not in mistake
            assert "hush" not in mistake
        assert in_folder(folder) == FILES, "nothing is made or changed"

    each(CASES, is_refused, name=name_of)


def in_folder(folder: Path) -> Mapping[str, Any]:
    return {path.name: path.is_file() and path.read_bytes() for path in folder.iterdir()}


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(CASES) >= 120


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"H2OGPTE_URL=\n", NO_URL),
        (b"H2OGPTE_URL=nowhere\n", "H2OGPTE_URL must begin with https://"),
        (b"OTHER=1\n", NO_URL),
        (b"H2OGPTE_URL=\xff\xfe\n", "can't be read as UTF-8 text"),
    ],
)
def test_bad_env_files_are_told(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(content)
    error = refusal(["--verify", "--user-key", KEY], {}, tmp_path)
    assert told in error.mistakes[0]


def test_an_env_file_that_may_not_be_read_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").touch()

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("dotenv.dotenv_values", denied)
    error = refusal(["--verify", "--user-key", KEY], {}, tmp_path)
    assert ".env can't be read: Permission denied." in error.mistakes[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "--report same.json --db-path same.json",
            "--report would write over the file of --db-path",
        ),
        ("--log-file migration_tracking.db", "--log-file would write over the file of --db-path"),
        ("--report r.csv --log-file ./r.csv", "--log-file would write over the file of --report"),
        ("--log-file .env", "--log-file would write over .env"),
        ("--verify-queries q --log-file q", "--log-file would write over the file of --verify-q"),
        ("--db-path link", "--db-path would write over the file of --collections-file"),
        ("--log-file {folder}/ids", "--log-file would write over the file of --collections-file"),
        ("--report m.json", "--report would write over the file of --model-mappings-file"),
    ],
)
def test_no_file_is_written_over_another_one(words: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("col-1\n")
    (tmp_path / "q").write_text("why?\n")
    (tmp_path / "m.json").write_text('{"a": "b"}')
    (tmp_path / "link").symlink_to("ids")
    base = line(SERVER, "--collections-file ids --model-mappings-file m.json --wait-for-completion")
    (mistake,) = refusal(line(base, words.format(folder=tmp_path)), {}, tmp_path).mistakes
    assert mistake.startswith(told)


def test_a_report_that_could_not_be_written_is_told_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    # As root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "theirs")
    error = refusal(migrate("--report theirs/r.csv"), {}, tmp_path)
    assert error.mistakes == (
        "--report: theirs/r.csv would be in a folder that you may not write to.",
    )
    parse(migrate("--report r.csv"), {}, tmp_path, standard_input)


def test_cleanup_has_its_rules_ready(tmp_path: Path) -> None:
    assert parse(["--cleanup", "--yes", *SERVER], {}, tmp_path, standard_input).cleanup
    assert parse(["--cleanup", "--dry-run", *SERVER], {}, tmp_path, standard_input).dry_run


def test_unreadable_standard_input_is_told(tmp_path: Path) -> None:
    def broken() -> str:
        return b"\xff".decode("utf-8")

    with pytest.raises(UsageError, match="standard input is no UTF-8 text"):
        parse(scope("--collections-file -"), {}, tmp_path, broken)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_told(folder: Path) -> None:
    (folder / "commas.txt").chmod(0)
    error = refusal(scope("--collections-file commas.txt"), {}, folder)
    assert "can't be read: Permission denied" in error.mistakes[0]
