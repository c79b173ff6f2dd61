"""What a refusal is about, as far as the server's own words tell: a quota, a name, one setting."""

from __future__ import annotations

import re
from typing import Any, Iterable, List, Mapping, Optional

from h2ogpte_migration.errors import ServerError, StepFailed

_QUOTA = re.compile(
    r"\bquotas?\b|\bmaximum number\b|\btoo many (collections|documents)\b"
    r"|\blimit of \d+ (collections|documents)\b",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    r"\b(long|longer|length|characters?|bytes|at most|maximum|exceeds?)\b", re.IGNORECASE
)
_NAME = re.compile(r"\bnames?\b", re.IGNORECASE)
_REFUSALS = frozenset({400, 401, 403, 404, 422, 500})


def words(error: ServerError) -> str:
    """What the server said, without the route."""
    return error.message.partition("the server answered ")[2] or error.message


def may_be_about_a_part(error: ServerError) -> bool:
    """Whether the server may take the rest of the request."""
    return error.status in _REFUSALS


def is_about_the_length_of_the_name(error: ServerError) -> bool:
    said = words(error)
    return error.status in (400, 413, 422) and bool(_NAME.search(said) and _LENGTH.search(said))


def longest_allowed(error: ServerError, below: int) -> Optional[int]:
    """The number of characters that a refusal speaks of."""
    said = words(error).partition(" ")[2]  # the first word is the status
    numbers = [int(number) for number in re.findall(r"\b\d{2,4}\b", said)]
    fitting = [number for number in numbers if number < below]
    return max(fitting) if fitting else None


def named(error: ServerError, keys: Iterable[str]) -> List[str]:
    """Those of the keys that a refusal speaks of."""
    spoken_of = set(re.findall(r"\w+", words(error)))
    return [key for key in keys if key in spoken_of]


def raise_if_quota(error: ServerError, owner: str) -> None:
    """Raises ``StepFailed``, which counts for this owner only, where a quota is used up."""
    if error.status in (400, 401, 403, 409, 422) and _QUOTA.search(words(error)):
        raise StepFailed(
            f"a quota of {owner} is used up: {words(error)}",
            "An administrator may raise it, or the owner may delete something; then run the same "
            "command again.",
            f"Quota {owner}",
        ) from error


def without_nulls(value: Any) -> Any:
    """JSON without members that are null."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value
