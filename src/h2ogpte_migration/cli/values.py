"""What the text behind a flag may be: one reader for each kind of value, and files named there.

A reader takes the text and returns the value, or raises ``ValueError`` with the end of a
sentence that begins with the flag. Readers create nothing and send nothing.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Tuple
from urllib.parse import SplitResult, urlsplit

from h2ogpte_migration.redact import Secret, register
from h2ogpte_migration.results import OutcomeKind
from h2ogpte_migration.retrieval import Question
from h2ogpte_migration.ui.text import FORMULA, is_harmful, safe

# Far above any list of collections; below what a device file would pour in.
LARGEST_FILE_BYTES = 64 * 2**20
LONGEST_ID = 256
LONGEST_EXPIRY_DAYS = 3660
LOG_LEVELS = ("debug", "info", "warning", "error")
ID_COLUMN, OUTCOME_COLUMN = "collection_id", "outcome"
LEFT_OUT = (OutcomeKind.SKIPPED.value, OutcomeKind.NOT_AVAILABLE.value)
"""Outcomes in a report of this tool of what it did not work on."""
MISTAKES_SHOWN = 5
MOST_QUESTIONS, LONGEST_QUESTION = 100, 2000

_DAYS = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1, "week": 7, "month": 30, "year": 366}
_EXPIRY = re.compile(r"\s*([1-9][0-9]*)\s+(minute|hour|day|week|month|year)s?\s*", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_LIKE_A_KEY = re.compile(r"sk-[A-Za-z0-9]{20,}", re.ASCII)
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


def quoted(text: str) -> str:
    """A value as it is shown in a message."""
    return f"'{safe(text, 80)}'"


def text(value: str) -> str:
    """Any text with something in it and nothing in it that can't be seen."""
    if not value.strip():
        raise ValueError("must not be empty")
    if any(map(is_harmful, value)):
        raise ValueError(f"must not contain control characters, as {quoted(value)} does")
    if _LIKE_A_KEY.fullmatch(value.strip()):
        # What is no key is shown, logged and stored.
        raise ValueError("must not be a key; keys go into --admin-key or --user-key")
    return value.strip()


def question(value: str) -> str:
    """A text that may have several lines."""
    text(re.sub(r"[\n\r\t]", " ", value))
    return value


def secret(value: str) -> Secret:
    """A key: never shown in a message, and masked from now on even where it is refused."""
    register(value)
    if not value:
        raise ValueError("must not be empty")
    if not all("!" <= char <= "~" for char in value):
        raise ValueError("must be a key, which has no spaces and no special characters")
    return Secret(value)


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """A reader of whole numbers of a range."""

    def read(value: str) -> int:
        digits = value.strip()
        # Longer ones are out of every range, and Python refuses to convert very long ones.
        if re.fullmatch(r"[0-9]{1,12}", digits, re.ASCII) and lowest <= int(digits) <= highest:
            return int(digits)
        raise ValueError(f"must be a whole number from {lowest} to {highest}, not {quoted(value)}")

    return read


def seconds(value: str) -> float:
    """A span of time: more than nothing, a day at most."""
    number = float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    if not 0 < number <= 86_400:
        raise ValueError(f"must be a number of seconds above 0, up to 86400, not {quoted(value)}")
    return number


def share(value: str) -> float:
    """A share of something, from 0 to 1."""
    number = float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    if not 0 <= number <= 1:
        raise ValueError(f"must be a number from 0 to 1, such as 0.9, not {quoted(value)}")
    return number


def expiry(value: str) -> str:
    """How long a key is to live, in the server's words, such as ``30 days``."""
    found = _EXPIRY.fullmatch(value)
    if not found:
        raise ValueError(
            f"must be a number and minutes, hours, days, weeks, months or years, such as "
            f"'30 days', not {quoted(value)}"
        )
    count, unit = found.groups()
    if len(count) > 9 or int(count) * _DAYS[unit] > LONGEST_EXPIRY_DAYS:
        raise ValueError(f"must be 10 years at most, not {quoted(value)}")
    return " ".join(value.split())


def names(value: str) -> Tuple[str, ...]:
    """Names with commas between them, in their order and each once."""
    items = [item.strip() for item in value.split(",")]
    kept = tuple(dict.fromkeys(text(item) for item in items if item))
    if not kept:
        raise ValueError("must name at least one, with commas between several")
    return kept


def collection_ids(value: str) -> Tuple[str, ...]:
    """Ids of collections with commas between them, in their order and each once."""
    return tuple(collection_id(item) for item in names(value))


def collection_id(value: str) -> str:
    """One collection's id, as somebody types it: the contract says no more of it than that it is text."""
    ident = text(value)
    if re.search(r"\s", ident):
        raise ValueError(f"must have commas, not spaces, between ids: {quoted(value)}")
    if "," in ident:
        raise ValueError(f"has {quoted(value)}, which can't be the id of a collection")
    return _told_id(ident)


def _told_id(value: str) -> str:
    """One collection's id, as the server told it to whoever wrote it down."""
    ident = text(value)
    # Anything else is quoted on its way; dots may lead to another address all the same.
    if any(part in (".", "..") for part in re.split(r"[/\\]", ident)) or len(ident) > LONGEST_ID:
        raise ValueError(f"has {quoted(value)}, which can't be the id of a collection")
    return ident


def path(value: str) -> Path:
    """The path of a file; ``~`` is the home folder, as in the shell."""
    cleaned = text(value)
    try:
        return Path(cleaned).expanduser()
    except RuntimeError as error:
        raise ValueError(f"has {quoted(value)}, but that home folder is unknown") from error


def path_text(value: str) -> str:
    """The path of a file as text; a single dash stays one."""
    return str(path(value))


def log_level(value: str) -> str:
    """How much is logged."""
    level = value.strip().lower()
    if level not in LOG_LEVELS:
        raise ValueError(f"must be debug, info, warning or error, not {quoted(value)}")
    return level


def report_path(value: str) -> Path:
    """Where a report goes: its suffix is its format."""
    report = path(value)
    if report.suffix.lower() not in (".json", ".csv", ".html"):
        raise ValueError(f"must end in .json, .csv or .html, not {quoted(value)}")
    return report


def url(value: str) -> str:
    """The server's address, which may have a base path, without the slash at its end."""
    if not value:
        raise ValueError("must not be empty")
    if any(char.isspace() or is_harmful(char) or char == "\\" for char in value):
        raise ValueError("must not contain spaces, backslashes or control characters")
    try:
        parts = urlsplit(value)
        problem = _url_problem(value, parts)
    except ValueError:
        problem = "has a host or a port (1 to 65535) that can't be right"
    if problem:
        raise ValueError(problem)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}".rstrip("/")


def _url_problem(value: str, parts: SplitResult) -> Optional[str]:
    """What is wrong with an url, or None. It is shown only where it can't hold a password."""
    if "@" in value:
        return "must not contain a user name or password; keys go into --admin-key or --user-key"
    if parts.scheme not in ("http", "https") or not value[len(parts.scheme) :].startswith("://"):
        return f"must begin with https:// or http://, not {quoted(value)}"
    if "?" in value or "#" in value:
        return f"must end before any ? or #, not {quoted(value)}"
    if not _is_host(parts):
        return f"must name a host after {parts.scheme}://, not {quoted(value)}"
    if parts.netloc.endswith(":") or parts.port == 0:
        return f"must have a port from 1 to 65535 or none, not {quoted(value)}"
    if not value.isascii() or re.search(r"/\.{1,2}(/|$)", parts.path):
        return f"has a path that can't be right: {quoted(value)}"
    return None


def _is_host(parts: SplitResult) -> bool:
    """Whether there is a host of the right form: a name, or an IP address."""
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        return re.fullmatch(r"[0-9a-f:.]+", host) is not None
    return _HOST.fullmatch(host) is not None


def read_text_file(file: Path) -> str:
    """The text of a file that a flag names.

    Raises:
        ValueError: it can't be read or is no text; the message begins after the file's name.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE_BYTES:
        raise ValueError("is too large")
    return _decoded(content)


def _decoded(content: bytes) -> str:
    if b"\0" in content:
        raise ValueError("is no UTF-8 text file: it contains zero bytes; save it as UTF-8")
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"is no UTF-8 text file: see byte {error.start + 1}; save it as UTF-8"
        ) from error
    if not decoded.strip():
        raise ValueError("is empty")
    return decoded


class IdList(NamedTuple):
    """The ids that a file names, and how many rows of it were left out."""

    ids: Tuple[str, ...]
    left_out: int = 0


def ids_of_list(content: str) -> IdList:
    """The collection ids of a list or a CSV table, in their order and each once.

    A list has one id per line. A table has a first row with the column ``collection_id``, and
    commas, semicolons or tabs, as the spreadsheet liked it. Where it has the column ``outcome``
    too, it is a report of this tool: what that skipped, or could not work on, is left out.

    Raises:
        ValueError: with every mistake of the content in one message.
    """
    content = content.lstrip("\ufeff")
    lines = [line for line in re.split(r"\r\n|\r|\n", content) if not _is_comment(line)]
    delimiter = _table_delimiter(lines[0]) if lines else None
    rows = _table_rows(content, delimiter) if delimiter else _plain_rows(lines)
    entries = [row.entry for row in rows if row.outcome not in LEFT_OUT]
    left_out = len(rows) - len(entries)
    if left_out and not entries:
        raise ValueError(
            f"names only what is {' or '.join(LEFT_OUT)}, by its column {OUTCOME_COLUMN}"
        )
    if not entries:
        raise ValueError("names no collection")
    ids: List[str] = []
    mistakes: List[str] = []
    for entry in entries:
        try:
            ids.append(_told_id(entry) if delimiter else collection_id(entry))
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ValueError(_few(mistakes))
    return IdList(tuple(dict.fromkeys(ids)), left_out)


def _few(mistakes: List[str]) -> str:
    """The first mistakes in one message, and how many more there are."""
    more = len(mistakes) - MISTAKES_SHOWN
    return "; ".join(mistakes[:MISTAKES_SHOWN] + ([f"and {more} more"] if more > 0 else []))


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


class _Row(NamedTuple):
    """What stands in a row: an id, perhaps, and what had become of it."""

    entry: str
    outcome: str = ""


def _plain_rows(lines: List[str]) -> List[_Row]:
    return [_Row(line.split("#", 1)[0].strip()) for line in lines]


def _cells(row: List[str]) -> List[str]:
    return [cell.strip().lower() for cell in row]


def _table_delimiter(header: str) -> Optional[str]:
    """What separates the columns, if this is the first row of a table with the id column."""
    cells = {mark: header.replace('"', "").split(mark) for mark in ",;\t"}
    return next((mark for mark in cells if ID_COLUMN in _cells(cells[mark])), None)


def _table_rows(content: str, delimiter: str) -> List[_Row]:
    """The rows with an id, or left out; others were struck in the spreadsheet."""
    try:
        rows = list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"is no proper CSV table: {error}") from error
    start = next((number for number, row in enumerate(rows) if ID_COLUMN in _cells(row)), None)
    if start is None:
        raise ValueError(f"is no proper CSV table: the column {ID_COLUMN} can't be told")
    header = _cells(rows[start])
    told = header.index(OUTCOME_COLUMN) if OUTCOME_COLUMN in header else len(header)
    found = (
        _Row(_bare(_cell(row, header.index(ID_COLUMN))), _cell(row, told).lower())
        for row in rows[start + 1 :]
    )
    return [row for row in found if row.entry or row.outcome in LEFT_OUT]


def _cell(row: List[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""


def _bare(cell: str) -> str:
    """A cell without the quote that keeps spreadsheets from taking it for a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


def questions_of_list(content: str) -> Tuple[Question, ...]:
    """Questions, one a line, in their order and each once; after a tab the expected document.

    Raises:
        ValueError: with every mistake of the content in one message.
    """
    lines = [line for line in re.split(r"\r\n|\r|\n", content.lstrip("\ufeff")) if line.strip()]
    questions: List[Question] = []
    mistakes: List[str] = []
    for number, line in enumerate(lines, 1):
        asked, _, expected = line.partition("\t")
        try:
            name = text(expected) if expected.strip() else ""
            questions.append(Question(text(asked), name))
        except ValueError as error:
            mistakes.append(f"question {number} {error}")
        if len(asked) > LONGEST_QUESTION:
            mistakes.append(f"question {number} is longer than {LONGEST_QUESTION} characters")
    if len(lines) > MOST_QUESTIONS:
        mistakes.append(f"holds {len(lines)} questions, more than {MOST_QUESTIONS}")
    if mistakes:
        raise ValueError(_few(mistakes))
    return tuple(dict.fromkeys(questions))


def certificate(file: Path) -> None:
    """Check that a file holds certificates that TLS can use.

    Raises:
        ValueError: it does not; the message begins after the file's name.
    """
    import ssl

    if "-----BEGIN" not in read_text_file(file):
        raise ValueError("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    try:
        ssl.create_default_context(cafile=str(file))
    except (OSError, ValueError) as error:
        raise ValueError("holds no certificate that can be used") from error


def writable_place(file: Path) -> None:
    """Check that a file may come to be at this place, or be one.

    Raises:
        ValueError: it may not; the message begins after the file's name.
    """
    try:
        if file.name == ":memory:" or file.is_dir() or (file.exists() and not file.is_file()):
            raise ValueError("is no file")
        if not file.parent.is_dir():
            raise ValueError(f"would be in a folder that does not exist: {safe(str(file.parent))}")
    except OSError as error:
        raise ValueError(f"can't be used: {error.strerror}") from error


def place_of_report(file: Path) -> None:
    """Check that a file can be written at this place, now rather than at the end of a long run.

    Raises:
        ValueError: it can't; the message begins after the file's name.
    """
    writable_place(file)
    if not os.access(file.parent, os.W_OK):
        raise ValueError("would be in a folder that you may not write to")
