"""Strangers' text is harmless wherever it goes; keys are seen nowhere."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from types import SimpleNamespace
from typing import Callable, Dict
from urllib.parse import quote, quote_plus

import pytest
from pytest_mock import MockerFixture

from h2ogpte_migration.redact import Secret, register, scrub, scrub_record, scrub_words
from h2ogpte_migration.ui import text
from h2ogpte_migration.ui.text import (
    csv_cell,
    fold,
    gist,
    html_text,
    plural,
    safe,
    shell,
    without_ids,
)

HARMFUL = [
    ("\x1b[31m", r"\x1b[31m"),
    ("a\nb\r\tc", r"a\nb\r\tc"),
    ("\0", r"\x00"),
    ("\x7f", r"\x7f"),
    ("\x9b2J", r"\x9b2J"),
    ("\x85", r"\x85"),
    ("\u202eabc", r"\u202eabc"),
    ("\u2066\u2069", r"\u2066\u2069"),
    ("\u200b\u200f\ufeff", r"\u200b\u200f\ufeff"),
    ("\u2028\u2029", r"\u2028\u2029"),
    ("\ud800", r"\ud800"),
    ("\udcff", r"\udcff"),
    ("\U000e0041", r"\U000e0041"),
    ("\xad", r"\xad"),
]
HARMLESS = ["", "Alpha", "Über", "日本語", "🙂", "❤️", "a  b", "[red]", "שלום", "a\u3000b", "\\x1b"]


@pytest.mark.parametrize(("raw", "shown"), HARMFUL)
def test_what_acts_on_a_terminal_is_spelt_out(raw: str, shown: str) -> None:
    assert safe(raw) == shown
    assert safe(f"é{raw}é") == f"é{shown}é"


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_stays(text: str) -> None:
    assert safe(text) == text


def test_long_text_ends_in_an_ellipsis() -> None:
    assert safe("a" * 200) == "a" * 200
    assert safe("a" * 201) == "a" * 199 + "…"
    assert safe("abcdef", 4) == "abc…"
    assert len(safe("\x1b" * 100, 50)) == 50


def test_safe_text_is_one_short_line_and_stays_so() -> None:
    from hypothesis import given  # takes a while, and most processes run other tests
    from hypothesis import strategies as st

    @given(st.text(st.characters(), max_size=300), st.integers(1, 250))
    def of_any_text(text: str, limit: int) -> None:
        shown = safe(text, limit)
        assert len(shown) <= limit
        assert len(shown.splitlines()) <= 1
        assert safe(shown, limit) == shown
        shown.encode("utf-8")

    of_any_text()


WORDS = [
    "plain",
    "",
    "two words",
    "it's",
    '"',
    "$HOME `id` $(id)",
    "!x",
    "~",
    "-x",
    "a\nb",
    "\x1b[2J'\\",
    "\x01f",
    "\u202eé",
    "\udce9",
    "*",
    ";",
]


@pytest.mark.parametrize("word", WORDS)
def test_a_quoted_word_is_safe_to_see_and_comes_back(word: str) -> None:
    line = shell("printf", "%s", word)
    assert safe(line, 10_000) == line
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    done = subprocess.run([bash, "-c", line], stdout=subprocess.PIPE, check=True)
    assert done.stdout == word.encode("utf-8", "surrogateescape")


def test_counting() -> None:
    assert plural(0, "collection") == "0 collections"
    assert plural(1, "collection") == "1 collection"
    assert plural(2, "collection") == "2 collections"


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_cells_are_no_formulas(formula: str) -> None:
    assert csv_cell(formula).startswith("'")


def test_other_cells_stay() -> None:
    assert csv_cell("a=b, c") == "a=b, c"


def test_html_is_text() -> None:
    assert html_text("<b>\"'&\x1b") == "&lt;b&gt;&quot;&#x27;&amp;\\x1b"


# -- keys ------------------------------------------------------------------------------------------


def test_a_secret_shows_itself_to_reveal_only() -> None:
    key = Secret("sk-text-1")
    assert key.reveal() == "sk-text-1"
    assert "sk-text-1" not in f"{key} {key!r} {[key]}"
    assert key == Secret("sk-text-1")
    assert key != Secret("sk-text-2")
    assert key != "sk-text-1"
    assert len({key, Secret("sk-text-1")}) == 1


KEY = "sk-te/x't\\3%+<&\"> ~"


def _in_base64(before: int, url_safe: bool = False) -> Callable[[str], str]:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    return lambda key: encode(b"user:"[:before] + key.encode() + b"@").decode()


SPELLINGS: Dict[str, Callable[[str], str]] = {
    "plain": str,
    "quoted": quote,
    "quoted all": lambda key: quote(key, safe=""),
    "quoted plus": quote_plus,
    "every letter quoted": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "quoted in small letters": lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
    "quoted, with small hex": lambda key: (
        quote(key, safe="")
        .replace("%2F", "%2f")
        .replace("%5C", "%5c")
        .replace("%2B", "%2b")
        .replace("%3C", "%3c")
        .replace("%3E", "%3e")
    ),
    "repr": repr,
    "json": json.dumps,
    "json with slashes": lambda key: json.dumps(key).replace("/", "\\/"),
    "json in json": lambda key: json.dumps(json.dumps(key)),
    "html": html.escape,
    "html without quotes": lambda key: html.escape(key, quote=False),
    "hex": lambda key: key.encode().hex(),
    "HEX": lambda key: key.encode().hex().upper(),
    **{f"base64 from {n}": _in_base64(n) for n in range(4)},
    **{f"url-safe base64 from {n}": _in_base64(n, url_safe=True) for n in range(3)},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_key_is_masked(spelling: str) -> None:
    register(KEY)
    written = SPELLINGS[spelling](KEY)
    text = scrub(f"before {written} after")
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert "***" in text
    middle = written[8:-8]
    assert not [n for n in range(len(middle) - 7) if middle[n : n + 8] in text], text


def test_a_key_is_masked_from_its_birth() -> None:
    assert "before" in scrub("sk-not-born-yet-9 before")
    Secret("sk-born-just-now-9")
    assert scrub("sk-born-just-now-9 after") == "*** after"


def test_only_what_is_surely_a_key_is_masked_in_what_is_stored() -> None:
    for word, stored in (("elevenchars", "elevenchars"), ("twelve-chars", "***")):
        register(word)
        assert scrub_record(f"x {word} y") == f"x {stored} y"
    register("four")
    assert scrub("x four y") == "x *** y"


def test_a_key_that_this_process_never_had_is_masked_in_what_a_server_says() -> None:
    for words in (
        "Authorization: Bearer abcdefgh.ijkl",
        "authorization: basic%20dXNlcjpwYXNz",
        "the key sk-0123456789abcdef is expired",
    ):
        said = scrub_words(words)
        assert "***" in said
        assert not {"abcdefgh", "dXNlcjpwYXNz", "0123456789ab"} & {*re.findall(r"\w+", said)}
    assert scrub_words("the bearer of sk-ill is well") == "the bearer of sk-ill is well"


def test_a_key_that_begins_with_another_leaves_no_rest() -> None:
    register("sk-short")
    register("sk-short-and-longer")
    assert scrub("x sk-short-and-longer sk-short") == "x *** ***"


def test_words_too_short_to_be_keys_tear_no_holes() -> None:
    register("")
    register("a")
    assert scrub("a banana") == "a banana"


@pytest.mark.parametrize(
    ("word", "pasted"),
    [
        ("--verify", "--verify"),
        (r"C:\data\my.db", r"C:\data\my.db"),
        (r"C:\my data\my.db", r'"C:\my data\my.db"'),
        ("a&del", "'a&del'"),
        ("$(calc)", "'$(calc)'"),
        ("100%", "'100%'"),
        ("Anna's", "'Anna''s'"),
        ("a\nb", "'a\\nb'"),
        ("", "''"),
    ],
)
def test_commands_can_be_pasted_on_windows(mocker: MockerFixture, word: str, pasted: str) -> None:
    mocker.patch.object(text, "os", SimpleNamespace(name="nt"))
    assert text.shell("h2ogpte-migrate", word) == f"h2ogpte-migrate {pasted}"


def test_long_lines_break_between_words_and_commands_do_not() -> None:
    text = "  Failed: " + "word " * 30 + "0004.pdf"
    folded = fold(text, 60).split("\n")
    assert all(len(line) < 60 for line in folded)
    assert all(line.startswith("    ") for line in folded[1:])
    assert " ".join(" ".join(folded).split()) == " ".join(text.split())
    command = "  h2ogpte-migrate --collections " + "a" * 200
    assert fold(command, 60) == command
    assert fold(text, None) == text


def test_a_gist_leaves_out_what_only_one_collection_has() -> None:
    assert gist("no room left; 3 documents missing: a.pdf.") == "no room left"
    assert without_ids("quota of 12 of 3fbb550a-5128-48d7-8ccb-e4bf1a6bf371") == "quota of # of #"
