"""How well documents are found: which are looked for, by what words, and what it came to. Pure.

A passage of a document is looked for in a vector index; the rank of its own document among those
that are found tells whether people would have found it. Old index and new one are asked the
same, so that what was found before and is not any more can be named.
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from h2ogpte_migration.model import ChunkMatch, Document, Finding

FINDING = "retrieval"
"""The code of the finding that holds a collection back."""

DEPTH, LEAST_CUT = 10, 3
"""People look at ten documents, at most; of few they look at some."""
SHOWN = 5
"""So many documents are shown for a question."""
MOST_TYPES = 24
"""Types of documents that are told apart; what else there is counts as one more."""
LEAST_LETTERS = 20
"""A text with fewer letters and digits says too little to be looked for."""
PASSAGE_WORDS, PASSAGE_CHARS = 30, 400

NO_MODEL = "the server does not encode with the old model any more"


@dataclass(frozen=True)
class Question:
    """Somebody's own question; ``expected`` is the name of the document that it should find."""

    text: str
    expected: str = ""


@dataclass(frozen=True)
class RetrievalCheck:
    """What was asked for.

    Args:
        documents: how many documents of each collection are looked for.
        min_recall: the least share of them that must be found, from 0 to 1.
    """

    documents: int = 0
    questions: Tuple[Question, ...] = ()
    min_recall: Optional[float] = None


# -- which documents ---------------------------------------------------------------------
class Sample:
    """A few of very many documents, spread over types and sizes; the seed decides which.

    Of each type and size no more are kept than are wanted in all, so that memory does not grow
    with the collection. The same seed brings the same documents, in whatever order they are listed.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.seen = 0
        self._seed = seed
        self._size = size
        self._kept: Dict[Tuple[str, int], List[_Entry]] = {}

    def add(self, document: Document) -> None:
        """One more document of the collection; one that is listed twice is taken once."""
        self.seen += 1
        kept = self._kept.setdefault(self._sort_of(document), [])
        entry = _Entry(-mark(self._seed, document.id), document)
        if len(kept) < self._size:
            heapq.heappush(kept, entry)
        elif kept and kept[0] < entry and entry not in kept:
            heapq.heapreplace(kept, entry)

    def _sort_of(self, document: Document) -> Tuple[str, int]:
        size_class = len(str(document.size_bytes or 0)) if document.size_bytes else 0
        kind = document.kind
        if (kind, size_class) not in self._kept and len(self._kept) >= MOST_TYPES:
            return "", -1
        return kind, size_class

    def chosen(self) -> List[Document]:
        """Those that were kept, one of each sort in turn."""
        sorts = [sorted(kept, reverse=True) for kept in self._kept.values() if kept]
        sorts.sort(key=lambda kept: kept[0], reverse=True)
        turns = range(max(map(len, sorts), default=0))
        found = [kept[turn].document for turn in turns for kept in sorts if turn < len(kept)]
        return list({document.id: document for document in found}.values())


@dataclass(frozen=True, order=True)
class _Entry:
    """A document in a heap whose least is the first to go."""

    minus_mark: int
    document: Document = field(compare=False)


def mark(seed: int, text: str) -> int:
    """A number that seed and text alone decide, evenly spread."""
    data = f"{seed}:{text}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def passage(texts: Sequence[str], number: int) -> str:
    """Words from the middle of one of a document's chunks; empty where none says anything.

    Args:
        number: decides which chunk it is.
    """
    telling = [text for text in texts if _letters(text) >= LEAST_LETTERS]
    if not telling:
        return ""
    text = telling[number % len(telling)]
    words = text.split()
    wanted = max(1, min(PASSAGE_WORDS, (len(words) + 1) // 2))
    start = (len(words) - wanted) // 2
    middle = " ".join(words[start : start + wanted])
    if len(words) == 1:
        # Scripts without spaces: the half in the middle.
        quarter = len(middle) // 4
        middle = middle[quarter : len(middle) - quarter]
    cut = max(0, len(middle) - PASSAGE_CHARS) // 2
    return middle[cut : cut + PASSAGE_CHARS].strip()


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text[:2000]))


# -- ranks -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Probe:
    """Something to look for.

    Args:
        text: the words; of people's documents, so never shown or logged.
        name: of the document that it should find; empty where nobody said.
        ids: the ids of that document, in the source and in the target.
        question: whether it is somebody's question, and no passage.
    """

    text: str = field(repr=False)
    name: str = ""
    ids: FrozenSet[str] = frozenset()
    question: bool = False


class Ranking:
    """What one index answered to the probes.

    Documents are told apart by their ids. Where they were copied, or where an index names
    none of the ids that were looked for, by their names.
    """

    def __init__(
        self, probes: Sequence[Probe], answers: Sequence[Sequence[ChunkMatch]], *, by_name: bool
    ) -> None:
        self._probes = probes
        self._answers = answers
        ids = frozenset().union(*(probe.ids for probe in probes))
        named = any(match.document_id in ids for answer in answers for match in answer)
        self.by_name = by_name or not named

    def names(self, number: int) -> Tuple[str, ...]:
        """The names of the documents that were found for a probe, the best first."""
        return tuple(match.name for match in self._documents(number))

    def rank(self, number: int) -> Optional[int]:
        """The place of its own document, from 1; None where that was not found."""
        probe = self._probes[number]
        for place, match in enumerate(self._documents(number), 1):
            if self._is_it(probe, match):
                return place
        return None

    def _is_it(self, probe: Probe, match: ChunkMatch) -> bool:
        if self.by_name:
            return same_name(match.name, probe.name)
        return match.document_id in probe.ids

    def _documents(self, number: int) -> List[ChunkMatch]:
        found: Dict[str, ChunkMatch] = {}
        for match in self._answers[number]:
            key = match.name if self.by_name else match.document_id
            found.setdefault(key, match)
        return list(found.values())


def same_name(one: str, other: str) -> bool:
    """Whether two names are the same for people."""
    return one.strip().casefold() == other.strip().casefold()


def cut_for(documents: int) -> int:
    """Down to which rank a document counts as found: ten, and in a small collection half of it.

    Of ten documents any order has each among the first ten. Three at least, as documents that are
    nearly alike change places.
    """
    return min(DEPTH, max(LEAST_CUT, documents // 2))


@dataclass(frozen=True)
class Measures:
    """How well the documents were found; of no document at all everything is found.

    Args:
        documents: how many were looked for.
        found: how many had a rank that counts.
        mrr: the mean reciprocal rank.
    """

    documents: int
    found: int
    recall_at_1: float
    recall_at_10: float
    mrr: float

    @classmethod
    def of(cls, ranks: Sequence[Optional[int]], cut: int) -> Measures:
        """From the ranks of the documents; None for what was not found."""
        number = len(ranks)

        def share(depth: int) -> float:
            return sum(rank is not None and rank <= depth for rank in ranks) / number

        return cls(
            documents=number,
            found=sum(rank is not None and rank <= cut for rank in ranks),
            recall_at_1=share(1) if number else 1.0,
            recall_at_10=share(DEPTH) if number else 1.0,
            mrr=sum(1 / rank for rank in ranks if rank) / number if number else 1.0,
        )

    @property
    def recall(self) -> float:
        """The share that was found, from 0 to 1."""
        return self.found / self.documents if self.documents else 1.0


# -- what it came to ---------------------------------------------------------------------
@dataclass(frozen=True)
class Answered:
    """A question with the documents that the old and the new index find, the best first.

    Args:
        old: None where the old index could not be asked.
        found: whether the expected document is among them; None where none was expected here.
    """

    question: str
    expected: str
    new: Tuple[str, ...]
    old: Optional[Tuple[str, ...]] = None
    found: Optional[bool] = None

    def __str__(self) -> str:
        old = "not asked" if self.old is None else ", ".join(self.old) or "nothing"
        return f"{self.question} | old: {old} | new: {', '.join(self.new) or 'nothing'}"


@dataclass(frozen=True)
class Retrieval:
    """What a check of one collection came to.

    Args:
        seed: with it the same documents are chosen again.
        new, old: the measures of the new and of the old index; None where there are none.
        lost: names of documents that the old index finds and the new one does not.
        not_found: names of documents that the new index does not find.
        problem: why the new index could not be checked; empty where it was.
        old_problem: why there is nothing to compare with.
        min_recall: what was asked for at least, if anything.
        accepted: whether people accepted less.
        checked_at: UTC, ISO 8601; filled in from the record.
    """

    seed: int
    new: Optional[Measures] = None
    old: Optional[Measures] = None
    lost: Tuple[str, ...] = ()
    not_found: Tuple[str, ...] = ()
    answers: Tuple[Answered, ...] = ()
    problem: str = ""
    old_problem: str = ""
    min_recall: Optional[float] = None
    accepted: bool = False
    checked_at: str = ""

    @property
    def low(self) -> bool:
        """Whether less was found than was asked for; what could not be checked is not enough."""
        if self.min_recall is None:
            return False
        return self.new is None or self.new.recall < self.min_recall

    @property
    def words(self) -> str:
        """What it came to, on one line, without any document."""
        if self.new is None:
            return f"retrieval could not be checked: {self.problem}"
        if not self.new.documents:
            return "no document to look for"
        compared = f"{self.old.found} before" if self.old else self.old_problem
        before = f" ({compared})" if compared else ""
        return (
            f"{self.new.found} of {self.new.documents} documents found{before}; "
            f"recall@1 {_beside(self, 'recall_at_1')}, recall@10 {_beside(self, 'recall_at_10')}, "
            f"MRR {_beside(self, 'mrr')}"
        )

    def finding(self) -> Optional[Finding]:
        """What holds the collection back; None where nothing does."""
        if not self.low:
            return None
        if self.new is None:
            text = f"that documents are found could not be checked ({self.problem})"
            return Finding(FINDING, text, blocking=True)
        text = (
            f"{self.new.found} of {self.new.documents} documents are found in the new index, "
            f"fewer than {self.min_recall:g} of them; not found"
        )
        return Finding(FINDING, text, blocking=True, samples=self.not_found[:SHOWN])

    def to_json(self) -> Dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Retrieval:
        """Read back what ``to_json`` wrote; what is not known is left out."""
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        for side in ("new", "old"):
            known[side] = Measures(**raw[side]) if raw.get(side) else None
        for name in ("lost", "not_found"):
            known[name] = tuple(raw.get(name) or ())
        known["answers"] = tuple(_answered(item) for item in raw.get("answers") or ())
        return cls(**known)


def _answered(raw: Mapping[str, Any]) -> Answered:
    old = raw.get("old")
    return Answered(
        raw["question"],
        raw["expected"],
        tuple(raw["new"]),
        None if old is None else tuple(old),
        raw.get("found"),
    )


def _beside(outcome: Retrieval, measure: str) -> str:
    """A measure of the new index, with that of the old one."""
    new = f"{getattr(outcome.new, measure):.2f}"
    return f"{new} ({getattr(outcome.old, measure):.2f})" if outcome.old else new


def judged(
    probes: Sequence[Probe],
    documents: int,
    new: Ranking,
    old: Optional[Ranking],
    outcome: Retrieval,
) -> Retrieval:
    """The outcome of a check with the measures and names that follow from the rankings.

    Args:
        documents: how many the collection holds.
        old: None where the old index could not be asked.
    """
    cut = cut_for(documents)
    numbers = [number for number, probe in enumerate(probes) if probe.name]
    ranks = {number: new.rank(number) for number in numbers}
    before = {number: old.rank(number) for number in numbers} if old else {}
    missed = [number for number in numbers if not _counts(ranks[number], cut)]
    lost = [number for number in missed if _counts(before.get(number), cut)]
    answers = [
        Answered(
            probe.text,
            probe.name,
            new.names(number)[:SHOWN],
            old.names(number)[:SHOWN] if old else None,
            _counts(ranks[number], cut) if probe.name else None,
        )
        for number, probe in enumerate(probes)
        if probe.question
    ]
    return Retrieval(
        seed=outcome.seed,
        new=Measures.of(list(ranks.values()), cut),
        old=Measures.of(list(before.values()), cut) if old else None,
        lost=_names(probes, lost),
        not_found=_names(probes, missed),
        answers=tuple(answers),
        old_problem=outcome.old_problem,
        min_recall=outcome.min_recall,
    )


def _counts(rank: Optional[int], cut: int) -> bool:
    return rank is not None and rank <= cut


def _names(probes: Sequence[Probe], numbers: Sequence[int]) -> Tuple[str, ...]:
    return tuple(dict.fromkeys(probes[number].name for number in numbers))


# -- of many collections -----------------------------------------------------------------
@dataclass(frozen=True)
class Overall:
    """What the checks of several collections came to, together.

    Args:
        comparable: how many documents were looked for in the old index as well.
    """

    collections: int = 0
    documents: int = 0
    found: int = 0
    comparable: int = 0
    found_before: int = 0
    lost: int = 0
    unchecked: int = 0

    @classmethod
    def of(cls, outcomes: Sequence[Retrieval]) -> Overall:
        checked = [(item, item.new) for item in outcomes if item.new is not None]
        old = [item.old for item, _ in checked if item.old is not None]
        return cls(
            collections=len(checked),
            documents=sum(new.documents for _, new in checked),
            found=sum(new.found for _, new in checked),
            comparable=sum(measures.documents for measures in old),
            found_before=sum(measures.found for measures in old),
            lost=sum(len(item.lost) for item in outcomes),
            unchecked=len(outcomes) - len(checked),
        )

    @property
    def words(self) -> str:
        """All of it on one line."""
        parts = []
        noun = "collection" if self.collections == 1 else "collections"
        if self.documents:
            before = (
                f", and {self.found_before:,} of {self.comparable:,} in the old"
                if self.comparable
                else ""
            )
            parts.append(
                f"{self.found:,} of {self.documents:,} documents found in {self.collections:,} new "
                f"{noun}{before}; {self.lost:,} not found any more"
            )
        elif self.collections:
            parts.append(f"{self.collections:,} {noun} asked, no document looked for")
        if self.unchecked:
            parts.append(f"{self.unchecked} could not be checked")
        return "; ".join(parts)
