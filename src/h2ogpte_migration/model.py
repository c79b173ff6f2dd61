"""The things that a migration talks about, as frozen values. Pure: no I/O, no clock.

Times that come from the server stay what the server says (``datetime`` in UTC); they are
compared with each other only, never with a clock of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Dict, Iterable, Mapping, NewType, Optional, Set, Tuple

SourceId = NewType("SourceId", str)
TargetId = NewType("TargetId", str)
JobId = NewType("JobId", str)

Json = Dict[str, Any]

GUEST_PREFIX = "Guest_"
"""How the server names guest accounts (contract: observed names of guests)."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def id_forms(text: str) -> Tuple[str, ...]:
    """The forms in which a server may spell an id that people typed: case is no part of a UUID."""
    if not _UUID.fullmatch(text):
        return (text,)
    return tuple(dict.fromkeys((text, text.lower(), text.upper())))


def spelled(ids: Iterable[str]) -> Set[str]:
    """Ids that people typed, in all forms in which a server may spell them."""
    return {form for one in ids for form in id_forms(one)}


GOOD_STATUSES = frozenset({"completed", "agent_only"})
"""Document states that need no attention."""

PENDING_STATUSES = frozenset({"scheduled", "queued", "running"})
"""Document states that will still change by themselves."""


def parse_time(value: Any) -> Optional[datetime]:
    """A server's time stamp as UTC, or None where it says nothing usable.

    Takes ISO 8601 with ``Z``, with an offset or naive (then UTC), and any number of
    fractional digits, as servers of different versions write them.
    """
    if not isinstance(value, str) or not value.strip():
        return None
    text = value.strip().replace(" ", "T", 1)
    if text[-1] in "zZ":
        text = text[:-1] + "+00:00"
    head, dot, tail = text.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _publicity(value: Any) -> Optional[bool]:
    """Whether something is public; None where that is not said in so many words.

    What may be meant for yes is not taken for it: rights are never widened by a guess.
    """
    if value is True:
        return True
    is_no = value in (None, False) or (isinstance(value, str) and value.strip().lower() == "false")
    return False if is_no else None


def _number(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Collection:
    """A collection as a listing or ``get_collection`` describes it.

    ``raw`` is the server's own JSON, unknown fields included; it is None in listings, which
    may be long. ``is_public`` is None where the server says neither yes nor no.
    """

    id: str
    name: str
    owner: str
    model: str
    document_count: Optional[int] = None
    sessions_count: Optional[int] = None
    created_at: Optional[datetime] = None
    is_public: Optional[bool] = False
    status: str = ""
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], *, keep_raw: bool) -> Collection:
        """Read a ``Collection`` of the contract; optional fields may be missing."""
        return cls(
            id=_text(raw.get("id")),
            name=_text(raw.get("name")),
            owner=_text(raw.get("username")),
            model=_text(raw.get("embedding_model")),
            document_count=_number(raw.get("document_count")),
            sessions_count=_number(raw.get("sessions_count")),
            created_at=parse_time(raw.get("created_at")),
            is_public=_publicity(raw.get("is_public")),
            status=_text(raw.get("status")),
            raw=dict(raw) if keep_raw else None,
        )

    def get(self, key: str) -> Any:
        """A field of the server's JSON that this class gives no name to."""
        return None if self.raw is None else self.raw.get(key)

    @property
    def out_of_use(self) -> str:
        """Archived or deleted, in the server's word; empty for a collection that is in use."""
        word = self.status.strip().lower()
        return word if word.startswith(("archiv", "delet")) else ""


@dataclass(frozen=True)
class Document:
    """One row of a collection's document listing.

    ``index`` is the row's absolute position in that listing: the same document at two
    positions is there twice. ``metadata`` is canonical JSON, None where the listing has none.
    ``kind`` is the server's word for its type, ``size_bytes`` None where it tells none.
    """

    id: str
    name: str
    status: str
    index: int = 0
    metadata: Optional[str] = None
    kind: str = ""
    size_bytes: Optional[int] = None

    @property
    def good(self) -> bool:
        return self.status in GOOD_STATUSES

    @property
    def pending(self) -> bool:
        return self.status in PENDING_STATUSES


@dataclass(frozen=True)
class User:
    """A registered account."""

    id: str
    username: str


@dataclass(frozen=True)
class Identity:
    """Who a key belongs to, and the server that said so (``GET /rpc/meta``)."""

    username: str
    user_id: str
    server_version: str
    is_guest: bool = False


@dataclass(frozen=True)
class ApiKey:
    """A key as the administration lists it; the secret is never in there."""

    id: str
    name: str
    username: str
    active: bool = True


@dataclass(frozen=True)
class Share:
    """Rights of one user or group. ``permissions`` is None where the server gave no list.

    One that can't be understood is given to nobody: ``grantee`` is empty.
    """

    grantee: str
    permissions: Optional[Tuple[str, ...]] = None

    def to_json(self) -> Json:
        return {
            "grantee": self.grantee,
            "permissions": None if self.permissions is None else list(self.permissions),
        }

    @classmethod
    def from_json(cls, raw: Any, key: str) -> Share:
        """A row of the server's, or of what ``to_json`` wrote; ``key`` says to whom."""
        if not isinstance(raw, dict):
            return cls("")
        nobody, name = cls(""), raw.get(key)
        # Ids are texts, by the contract.
        is_number = isinstance(name, int) and not isinstance(name, bool)
        grantee = str(name) if is_number else _text(name)
        try:
            rights = permission_list(raw.get("permissions"))
        except ValueError:
            return nobody
        return cls(grantee, rights) if grantee else nobody


def permission_list(value: Any) -> Optional[Tuple[str, ...]]:
    """The server's list of permissions as a tuple; None where there is no list, which is all of them.

    Raises:
        ValueError: it is something else, which may stand for anything.
    """
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("no list of permissions")
    return tuple(value)


@dataclass(frozen=True)
class Permissions:
    """Everything that says who may see a collection, besides its owner.

    ``public`` counts for public collections only: a list of rights, which may be empty, or
    None where the server keeps no list, which grants all rights.
    """

    is_public: bool
    public: Optional[Tuple[str, ...]] = None
    users: Tuple[Share, ...] = ()
    groups: Tuple[Share, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.is_public and not self.users and not self.groups

    def to_json(self) -> Json:
        return {
            "is_public": self.is_public,
            "public": None if self.public is None else list(self.public),
            "users": [share.to_json() for share in self.users],
            "groups": [share.to_json() for share in self.groups],
        }

    @classmethod
    def from_json(cls, raw: Any) -> Permissions:
        """Read back what ``to_json`` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            users, groups = (
                tuple(Share.from_json(item, "grantee") for item in raw[sort])
                for sort in ("users", "groups")
            )
            is_public, public = raw["is_public"], permission_list(raw["public"])
        except (TypeError, LookupError) as error:
            raise ValueError("no rights") from error
        if not isinstance(is_public, bool) or not all(share.grantee for share in users + groups):
            raise ValueError("no rights")
        return cls(is_public, public, users, groups)


class JobKind:
    """Kinds of server jobs that the tool starts (``JobDetails.kind``)."""

    IMPORT = "ImportCollectionIntoCollectionJob"
    CONNECTORS = "MigrateScheduledConnectorsToCollectionJob"
    CHATS = "MigrateCollectionChatSessionsJob"


@dataclass(frozen=True)
class Job:
    """A server job. ``state`` is one of running, completed, failed, canceled."""

    id: JobId
    kind: str
    state: str
    created_at: Optional[datetime] = None
    errors: Tuple[str, ...] = ()
    had_failures: bool = False
    progress: str = ""
    raw_state: str = ""
    progress_fraction: Optional[float] = None

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        return self.state != Job.RUNNING

    @property
    def standing(self) -> str:
        """Its state and progress in one text: as long as that stays, it stands still."""
        return f"{self.raw_state} {self.progress}".strip()

    @property
    def known_to_run(self) -> bool:
        """Whether its state is a word for work that goes on; any other one may be its end."""
        return self.state == Job.RUNNING and self.raw_state in RUNNING_WORDS

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Job:
        """Read a ``JobDetails``; a state that the contract does not name counts as running.

        Percentages are fractions on some servers and percent on others: of failures only "more
        than zero" is read, and how far the job is serves for display alone.
        """
        word = _text(raw.get("overall_status")).strip().lower()
        errors = raw.get("errors")
        texts = tuple(str(item) for item in errors) if isinstance(errors, list) else ()
        return cls(
            id=JobId(_text(raw.get("id"))),
            kind=_text(raw.get("kind")),
            state=_job_state(word),
            created_at=parse_time(raw.get("created_at")),
            errors=tuple(text for text in texts if text.strip()),
            had_failures=_positive(raw.get("failed_percentage"))
            or _positive(raw.get("files_failed")),
            progress=str(raw.get("progress", "")),
            raw_state=word,
            progress_fraction=fraction(raw.get("progress")),
        )


def fraction(value: Any) -> Optional[float]:
    """How far something is, from 0 to 1, as a fraction, percent, ``"62%"`` or ``"3/10"`` says it.

    Up to 1 a number counts as a fraction, above as percent. None where it says nothing usable.
    """
    if isinstance(value, str):
        return _fraction_of_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
        return None  # NaN is refused here as well
    return value / 100 if value > 1 else float(value)


def _fraction_of_text(text: str) -> Optional[float]:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]*)?)\s*(?:(%)|/\s*([0-9]{1,9}))?", text, re.ASCII)
    if found is None:
        return None
    number, percent, whole = float(found.group(1)), found.group(2), found.group(3)
    if percent or whole:
        of = 100.0 if percent else float(whole)
        return number / of if of and number <= of else None
    return fraction(number)


RUNNING_WORDS = frozenset(
    {"in progress", "in_progress", "running", "queued", "scheduled", "pending", "processing"}
)
"""Words of servers for jobs that have not ended."""


_ENDS: Dict[str, Tuple[str, ...]] = {
    Job.COMPLETED: ("complete", "success", "succeed", "finish", "done"),
    Job.FAILED: (
        "fail",
        "error",
        "timeout",
        "timed",
        "abort",
        "terminat",
        "kill",
        "crash",
        "expire",
    ),
    Job.CANCELED: ("cancel",),
}
"""How words for the end of a job begin; the first of each is the contract's. None of them is final:
the documents decide."""


def _job_state(word: str) -> str:
    for state, prefixes in _ENDS.items():
        if word.startswith(prefixes):
            return state
    return Job.RUNNING


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


@dataclass(frozen=True)
class ImportOptions:
    """How the import job is asked to work (query of ``import_collection_job``).

    ``ocr_model`` is None where chunks are re-embedded without parsing.
    """

    copy_document: bool = False
    skip_reparse: bool = False
    ocr_model: Optional[str] = "auto"

    def to_json(self) -> Json:
        return {
            "copy_document": self.copy_document,
            "skip_reparse": self.skip_reparse,
            "ocr_model": self.ocr_model,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ImportOptions:
        return cls(
            copy_document=bool(raw.get("copy_document")),
            skip_reparse=bool(raw.get("skip_reparse")),
            ocr_model=raw.get("ocr_model"),
        )


@dataclass(frozen=True)
class Answer:
    """A RAG answer: its message id and text."""

    message_id: str
    text: str


@dataclass(frozen=True)
class Reference:
    """A document that an answer refers to; the collection may be left out by the server."""

    document_id: str
    collection_id: Optional[str]


@dataclass(frozen=True)
class ChunkMatch:
    """A chunk that a search in a vector index found: whose it is. Its text is not kept."""

    document_id: str
    name: str


@dataclass(frozen=True)
class Finding:
    """Something that a validation saw. Blocking ones hold back connectors and chats."""

    code: str
    text: str
    blocking: bool = False
    samples: Tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.text}: {', '.join(self.samples)}" if self.samples else self.text
