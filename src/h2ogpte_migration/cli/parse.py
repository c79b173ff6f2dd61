"""From the words of a command line, the environment and the files that they name to ``Options``.

Every mistake is found before anything is created or sent, and all of them are told at once.
"""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NoReturn,
    Optional,
    Sequence,
    Set,
    Tuple,
)
from urllib.parse import urlsplit

from h2ogpte_migration.cli import mappings as model_mappings
from h2ogpte_migration.cli import values
from h2ogpte_migration.cli.flags import (
    BY_NAME,
    CHECKS,
    DEFAULT_DB,
    FLAGS,
    PROGRAM,
    Options,
    env_example,
    mode_of,
)
from h2ogpte_migration.cli.rows import Flag, Mode
from h2ogpte_migration.errors import UsageError
from h2ogpte_migration.redact import mask_lookalikes
from h2ogpte_migration.retrieval import Question
from h2ogpte_migration.ui.text import plural, safe

__all__ = ["FLAGS", "RULES", "Flag", "Mode", "Options", "env_example", "parse"]


def parse(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, stdin: Callable[[], str]
) -> Options:
    """Turn a command line into ``Options``.

    Args:
        argv: the words after the program's name.
        env: the environment; ``.env`` in ``cwd`` stands behind it.
        cwd: the folder that relative paths start from.
        stdin: reads standard input, for ``--collections-file -``.

    Raises:
        UsageError: with every mistake of the line and of the files that it names.
    """
    draft = _Draft.of(argv)
    draft.read_values(_Environment(env, cwd, draft.mistakes))
    draft.mistakes += [*_exclusive(draft)]
    if not draft.misspelt:
        # What is missing or out of place may be what a misspelt flag was to be.
        draft.mistakes += _misplaced(draft)
        draft.mistakes += [message for broken, message in RULES if broken(draft)]
    _read_files(draft, cwd, stdin)
    if draft.mistakes:
        # A mistake quotes what was given, and that may be a key in the wrong place.
        raise UsageError(tuple(map(mask_lookalikes, dict.fromkeys(draft.mistakes))))
    return Options(**draft.values)


class _Environment:
    """The environment with ``.env`` behind it, which is read only when something is wanted."""

    def __init__(self, env: Mapping[str, str], cwd: Path, mistakes: List[str]) -> None:
        self._env = env
        self._path = cwd / ".env"
        self._mistakes = mistakes

    def get(self, name: str) -> str:
        """The value of a variable; empty counts as not set."""
        return self._env.get(name) or self._file.get(name) or ""

    @cached_property
    def _file(self) -> Mapping[str, Optional[str]]:
        if not self._path.is_file():
            return {}
        from dotenv import dotenv_values

        try:
            return dotenv_values(self._path, interpolate=False, encoding="utf-8-sig")
        except OSError as error:
            self._mistakes.append(f"{safe(str(self._path))} can't be read: {error.strerror}.")
        except ValueError:
            self._mistakes.append(f"{safe(str(self._path))} can't be read as UTF-8 text.")
        return {}


@dataclass
class _Draft:
    """A command line on its way to ``Options``.

    ``misspelt`` says that there are words that belong to no flag. ``given`` holds the fields that were given, also those whose value turned out to be wrong;
    ``texts`` what stood behind their flags, None for nothing.
    """

    given: Set[str]
    texts: Dict[str, Optional[str]]
    values: Dict[str, Any]
    mistakes: List[str]
    misspelt: bool = False

    @classmethod
    def of(cls, argv: Sequence[str]) -> _Draft:
        """What the words say, before any value is looked at."""
        words, mistakes = _without_surplus_values(argv)
        found, extras = _parser().parse_known_args(words)
        unknown = _unknown(extras)
        draft = cls(set(), {}, {}, [*mistakes, *unknown], misspelt=bool(unknown))
        for row in FLAGS:
            draft._take(row, getattr(found, row.attribute))
            if row.negation and getattr(found, _negated(row)):
                draft._negate(row)
        return draft

    def _take(self, row: Flag, found: Any) -> None:
        """Note a flag of the line: True for a switch, a list of texts for the others."""
        if not found:
            return
        self.given.add(row.attribute)
        if row.read is None:
            self.values[row.attribute] = True
            return
        self.texts[row.attribute] = found[-1]
        if len(found) > 1:
            self.mistakes.append(f"{row.name} is given more than once.")

    def _negate(self, row: Flag) -> None:
        """Note the flag that states the default of ``row``."""
        if row.attribute in self.given:
            self.mistakes.append(f"{row.name} and {row.negation} exclude each other.")
        self.given.add(row.attribute)

    @property
    def mode(self) -> Mode:
        return mode_of(self.given)

    def has(self, *attributes: str) -> bool:
        """Whether any of these was given."""
        return not self.given.isdisjoint(attributes)

    def is_(self, *modes: Mode) -> bool:
        """Whether the run is for one of these."""
        return self.mode in modes

    def same(self, one: str, other: str) -> bool:
        """Whether both were given, with the same value."""
        return one in self.values and self.values[one] == self.values.get(other)

    def read_values(self, environment: _Environment) -> None:
        """Read the text behind each flag, or the variable that stands for it."""
        for row in FLAGS:
            if row.read is not None:
                self._read_value(row, row.read, environment)
        self.values["ocr_model_given"] = self.has("ocr_model")
        self.values["key_typed"] = any(
            self.texts[row.attribute] != environment.get(row.env)
            for row in FLAGS
            if row.secret and self.texts.get(row.attribute)
        )

    def _read_value(self, row: Flag, read: Callable[[str], Any], environment: _Environment) -> None:
        """Read one value, or note why it can't be."""
        label, text = row.name, self.texts.get(row.attribute)
        if text is None and row.attribute in self.given:
            text = row.bare or None
        if text is None and self._may_come_from_outside(row):
            label, text = row.env, environment.get(row.env) or None
        if text is not None:
            self.given.add(row.attribute)
            try:
                self.values[row.attribute] = read(text)
            except ValueError as error:
                self.mistakes.append(f"{label} {error}.")
        elif row.attribute in self.given:
            or_set = f", or set {row.env} in the environment or in .env" if row.env else ""
            self.mistakes.append(f"{row.name} has no value: give one{or_set}.")

    def _may_come_from_outside(self, row: Flag) -> bool:
        """Whether the row's variable counts: a key's only where its flag stands without one."""
        if row.secret or row.attribute in self.given:
            return bool(row.env) and row.attribute in self.given
        return bool(row.env) and self.mode in row.modes and not self.has("sandbox")


class _Parser(argparse.ArgumentParser):
    """Splits words into flags and texts; all judging is done elsewhere."""

    def error(self, message: str) -> NoReturn:
        raise UsageError([mask_lookalikes(safe(message))])


@lru_cache(maxsize=None)
def _parser() -> _Parser:
    """The table as a parser. A missing or repeated value is let through, to be told with the rest."""
    # Its help is never shown. Of a given width, it asks the terminal for none with every flag.
    shown = partial(argparse.HelpFormatter, width=80)
    parser = _Parser(prog=PROGRAM, add_help=False, allow_abbrev=False, formatter_class=shown)
    for row in FLAGS:
        if row.read is None:
            parser.add_argument(row.name, dest=row.attribute, action="store_true")
        else:
            parser.add_argument(row.name, dest=row.attribute, action="append", nargs="?")
        if row.negation:
            parser.add_argument(row.negation, dest=_negated(row), action="store_true")
    return parser


def _negated(row: Flag) -> str:
    return f"no_{row.attribute}"


def _without_surplus_values(argv: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The words with ``--switch=value`` cut to ``--switch``, and the mistakes that these are."""
    switches = {row.name for row in FLAGS if row.read is None}
    switches |= {row.negation for row in FLAGS if row.negation}
    words, mistakes = [], []
    for word in argv:
        name, mark, _ = word.partition("=")
        if mark and name in switches:
            mistakes.append(f"{name} takes no value.")
            word = name
        words.append(word)
    return words, mistakes


def _unknown(extras: Sequence[str]) -> List[str]:
    """A line for each word that is no flag and no flag's value.

    What follows a misspelt flag is passed over, because it may be a key.
    """
    mistakes = []
    before = ""
    for word in extras:
        if word.startswith("-"):
            mistakes.append(_unknown_flag(word))
        elif not before.startswith("-"):
            shown = "A word that looks like a key" if word.startswith("sk-") else repr(safe(word))
            mistakes.append(
                f"{shown} belongs to no flag: put quotes around a value that has spaces in it."
            )
        before = word
    return mistakes


def _unknown_flag(word: str) -> str:
    """What to say about a flag that does not exist; only its name is shown."""
    import difflib

    found = re.match(r"-+[A-Za-z_-]*", word)
    name = safe(found.group() if found else word, 40)
    close = difflib.get_close_matches(name.replace("_", "-"), BY_NAME, 1)
    advice = (
        f"did you mean {close[0]}?" if close else "see --help; a value may follow as --flag=-value."
    )
    return f"There is no flag {name}: {advice}"


def _misplaced(draft: _Draft) -> List[str]:
    """A line for each flag that means nothing in this mode."""
    mistakes = []
    for row in FLAGS:
        if draft.has(row.attribute) and draft.mode not in row.modes:
            mistakes.append(f"{row.name} {_why_misplaced(row, draft)}.")
    return mistakes


def _why_misplaced(row: Flag, draft: _Draft) -> str:
    if draft.mode is Mode.MIGRATE:
        return "needs " + " or ".join(mode.value for mode in Mode if mode in row.modes)
    selectors = (other for other in FLAGS if other.selects is draft.mode)
    given = (other.name for other in selectors if draft.has(other.attribute))
    checks = (row.name for row in FLAGS if row.attribute in CHECKS and draft.has(row.attribute))
    return "does not go with " + next(chain(given, checks))


def _exclusive(draft: _Draft) -> List[str]:
    """A line for each choice that was made more than once."""
    mistakes = []
    for choice in dict.fromkeys(row.choice for row in FLAGS if row.choice):
        given = [row.name for row in FLAGS if row.choice == choice and draft.has(row.attribute)]
        if len(given) > 1:
            mistakes.append(f"{' and '.join(given)} exclude each other: give one of them.")
    return mistakes


# What a single row can't say: (is it broken?, what to tell). All of them are looked at.
RULES: Tuple[Tuple[Callable[[_Draft], bool], str], ...] = (
    (
        lambda d: not d.is_(Mode.STATUS) and not d.has("url", "sandbox"),
        "The server is missing: give --url https://..., or set H2OGPTE_URL.",
    ),
    (
        lambda d: d.has("url") and d.has("sandbox"),
        "--sandbox brings its own server: leave out --url.",
    ),
    (
        lambda d: not d.is_(Mode.STATUS) and not d.has("admin_key", "user_key", "sandbox"),
        "A key is missing: give --admin-key or --user-key (alone they read H2OGPTE_ADMIN_KEY or "
        "H2OGPTE_USER_KEY).",
    ),
    (
        lambda d: d.has("user_key") and d.has("users", "all_users"),
        "--users and --all-users are for administrators: with --user-key give --collections, or "
        "nothing for all that you own.",
    ),
    (
        lambda d: (
            d.is_(Mode.MIGRATE)
            and d.has("admin_key", "sandbox")
            and not d.has("user_key", "users", "all_users", "collections", "collections_file")
        ),
        "It is not said which collections: give --users, --all-users, --collections or "
        "--collections-file.",
    ),
    (
        lambda d: (
            d.is_(Mode.MIGRATE)
            and not d.has("use_model_mappings", "model_mappings_file", "target_model")
        ),
        "It is not said which model: give --use-model-mappings, --model-mappings-file or "
        "--target-model.",
    ),
    (
        lambda d: d.is_(Mode.CHECK) and not d.has("target_model"),
        "--check-server needs --target-model: the model that collections are to be migrated to.",
    ),
    (
        lambda d: d.is_(Mode.CHECK) and str(d.values.get("report", "")).lower().endswith(".csv"),
        "--report of --check-server is a .json or an .html file.",
    ),
    (
        lambda d: d.is_(Mode.MIGRATE) and d.has("source_model") and not d.has("target_model"),
        "--source-model needs --target-model.",
    ),
    (
        lambda d: (
            d.is_(Mode.MIGRATE) and d.has("verify_query") and not d.has("wait_for_completion")
        ),
        "--verify-query needs --verify or --wait-for-completion.",
    ),
    (
        lambda d: d.has("verify_query") and urlsplit(d.values.get("url", "")).path != "",
        "--verify-query can't be used with a base path in --url: the chat connection would lose it.",
    ),
    (
        lambda d: d.is_(Mode.MIGRATE) and d.has(*CHECKS) and not d.has("wait_for_completion"),
        "--verify-retrieval and --verify-queries need --verify or --wait-for-completion; alone they "
        "check what is finished.",
    ),
    (
        lambda d: d.has("min_recall") and not d.has(*CHECKS),
        "--min-recall needs --verify-retrieval or --verify-queries.",
    ),
    (
        lambda d: d.has("retry_failed") and d.has("force_remigrate"),
        "--retry-failed and --force-remigrate exclude each other: forcing includes what failed.",
    ),
    (
        lambda d: d.has("skip_reparse") and bool(d.values.get("copy_document")),
        "--skip-reparse and --copy-document exclude each other: chunks are taken over without "
        "copying documents.",
    ),
    (
        lambda d: d.is_(Mode.MOVE) and not d.has("from_id"),
        "--from is missing: the id of the collection to move from.",
    ),
    (
        lambda d: d.is_(Mode.MOVE) and not d.has("to_id"),
        "--to is missing: the id of the collection to move to.",
    ),
    (
        lambda d: d.same("from_id", "to_id"),
        "--from and --to name the same collection.",
    ),
    (
        lambda d: d.has("cert") and d.has("insecure"),
        "--cert and --insecure exclude each other: either verify the certificate or do not.",
    ),
    (
        lambda d: d.has("json") and d.has("watch"),
        "--json and --watch exclude each other: JSON is printed once.",
    ),
)

READ = ("cert", "collections_file", "model_mappings_file", "verify_queries")
WRITTEN = ("db_path", "report", "log_file")
"""Files that flags name: what is written to must not be what is read, or written otherwise."""


def _read_files(draft: _Draft, cwd: Path, stdin: Callable[[], str]) -> None:
    """Read the files that the flags name, and look at the places where files are to come."""
    found = draft.values
    found["mappings"] = _read_mappings(draft, cwd)
    if "collections_file" in found:
        found["collections"], found["notes"] = _read_collections(draft, cwd, stdin)
    if "verify_queries" in found:
        found["questions"] = _read_questions(draft, cwd)
    db_path = found.get("db_path", DEFAULT_DB)
    _check(draft, "--db-path", db_path, values.writable_place, cwd)
    _check(draft, "--cert", found.get("cert"), values.certificate, cwd)
    _check(draft, "--report", found.get("report"), values.place_of_report, cwd)
    _check(draft, "--log-file", found.get("log_file"), values.writable_place, cwd)
    draft.mistakes += _written_over(found, cwd)


def _written_over(found: Mapping[str, Any], cwd: Path) -> Iterator[str]:
    """Files that would be written over, however their paths are spelt."""
    names = {row.attribute: row.name for row in FLAGS}
    paths = {"db_path": DEFAULT_DB, **found}
    holders = {os.path.realpath(cwd / ".env"): ".env"}
    for attribute in (*READ, *WRITTEN):
        path = paths.get(attribute)
        if path is None or path == "-":
            continue
        place = os.path.realpath(cwd / path)
        if attribute in WRITTEN and place in holders:
            yield f"{names[attribute]} would write over {holders[place]}."
        holders.setdefault(place, f"the file of {names[attribute]}")


def _check(
    draft: _Draft, name: str, path: Optional[Path], look: Callable[[Path], None], cwd: Path
) -> None:
    """Note what is wrong with a path, if it was given."""
    if path is None:
        return
    try:
        look(cwd / path)
    except ValueError as error:
        draft.mistakes.append(f"{name}: {safe(str(path))} {error}.")


def _read_mappings(draft: _Draft, cwd: Path) -> Optional[Mapping[str, str]]:
    """The table of models, if one was chosen."""
    file = draft.values.get("model_mappings_file")
    if file is None:
        return model_mappings.BUILT_IN if draft.has("use_model_mappings") else None
    try:
        return model_mappings.load(cwd / file)
    except UsageError as error:
        draft.mistakes += error.mistakes
        return None


def _read_questions(draft: _Draft, cwd: Path) -> Tuple[Question, ...]:
    """The questions of ``--verify-queries``."""
    file = draft.values["verify_queries"]
    try:
        questions = values.questions_of_list(values.read_text_file(cwd / file))
    except (OSError, ValueError) as error:
        draft.mistakes.append(f"--verify-queries: {safe(str(file))} {error}.")
        return ()
    unnamed = not any(question.expected for question in questions)
    if unnamed and draft.has("min_recall") and not draft.has("verify_retrieval"):
        draft.mistakes.append(
            f"--min-recall: no question in {safe(str(file))} names the document that it should "
            "find; add a tab and a name to some, or give --verify-retrieval."
        )
    return questions


def _read_collections(
    draft: _Draft, cwd: Path, stdin: Callable[[], str]
) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """The ids that ``--collections-file`` names, and what there is to tell of the others."""
    file = draft.values["collections_file"]
    shown = "standard input" if file == "-" else safe(file)
    try:
        content = stdin() if file == "-" else values.read_text_file(cwd / file)
        found = values.ids_of_list(content)
        return found.ids, _of_rows_left_out(shown, found.left_out)
    except UnicodeDecodeError:
        problem = "is no UTF-8 text"
    except (OSError, ValueError) as error:
        problem = str(error)
    draft.mistakes.append(f"--collections-file: {shown} {problem}.")
    return (), ()


def _of_rows_left_out(shown: str, number: int) -> Tuple[str, ...]:
    if not number:
        return ()
    return (
        f"Left out: {plural(number, 'row')} of {shown} with the outcome "
        f"{' or '.join(values.LEFT_OUT)}. Empty that cell to take one.",
    )
