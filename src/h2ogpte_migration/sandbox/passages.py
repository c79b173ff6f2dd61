"""Texts of documents, cut into chunks, and embeddings of them: small, deterministic, and real.

An embedding counts hashed n-grams of characters; the model's name salts the hashes and sets the
number of dimensions, so that vectors of two models have nothing to do with each other.
"""

from __future__ import annotations

import math
import random
import zlib
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from typing import Iterable, Iterator, List, Sequence, Tuple

from .model import Collection, Document

Vector = Tuple[float, ...]

_LEAST_DIMENSIONS = 256
_STEP, _SIZES = 16, 13
_GRAMS = (3, 4)
_WORDS_PER_CHUNK = 40
_SENTENCES = 12
_STATES_WITHOUT_TEXT = ("failed", "canceled", "unknown", "agent_only", "scheduled", "queued")
_WHO = [
    "auditor",
    "board",
    "builder",
    "clerk",
    "committee",
    "engineer",
    "nurse",
    "printer",
    "surveyor",
    "teacher",
]
_DOES = [
    "approves",
    "checks",
    "describes",
    "doubts",
    "measures",
    "orders",
    "plans",
    "rejects",
    "repairs",
    "signs",
]
_HOW = ["blue", "cold", "early", "empty", "heavy", "long", "narrow", "quiet", "second", "yearly"]
_WHAT = [
    "bridge",
    "budget",
    "cable",
    "contract",
    "engine",
    "harvest",
    "ledger",
    "library",
    "pipeline",
    "turbine",
]
_WHERE = [
    "Aachen",
    "Bergen",
    "Cadiz",
    "Dover",
    "Essen",
    "Fulda",
    "Ghent",
    "Horsens",
    "Izmir",
    "Jena",
    "Kassel",
    "Lyon",
]


@dataclass(frozen=True)
class Chunk:
    """A passage of a document in a collection; ids count from 1 over the collection."""

    id: int
    document_id: str
    document_name: str
    text: str
    page: int


def text_of(document: Document) -> str:
    """Return what a document says: its own text, or one that is made of its name."""
    return document.text if document.text is not None else _made_up(document.name)


@lru_cache(maxsize=4096)
def _made_up(name: str) -> str:
    draw = random.Random(zlib.crc32(name.encode("utf-8", "replace")))
    title = name.rpartition(".")[0] or name
    sentences = [f"This is {title}."]
    for _ in range(_SENTENCES):
        who, what, where = draw.choice(_WHO), draw.choice(_WHAT), draw.choice(_WHERE)
        sentences.append(
            f"The {who} of {where} {draw.choice(_DOES)} the {draw.choice(_HOW)} {what}"
            f" number {draw.randrange(1000, 9999)}."
        )
    return " ".join(sentences)


def passages_of(text: str) -> List[str]:
    """Return a text in pieces of whole words."""
    words = text.split()
    starts = range(0, len(words), _WORDS_PER_CHUNK)
    return [" ".join(words[start : start + _WORDS_PER_CHUNK]) for start in starts]


def chunks_of(collection: Collection) -> Iterator[Chunk]:
    """Return the chunks of a collection; documents that were not parsed have none."""
    number = 0
    for membership in collection.documents:
        if membership.status in _STATES_WITHOUT_TEXT:
            continue
        record = membership.document
        for page, text in enumerate(passages_of(text_of(record)), 1):
            number += 1
            yield Chunk(number, record.id, record.name, text, page)


def dimensions(model: str) -> int:
    """Return how many numbers a vector of this model has."""
    return _LEAST_DIMENSIONS + _STEP * (zlib.crc32(model.encode()) % _SIZES)


@lru_cache(maxsize=8192)
def embed(model: str, text: str) -> Vector:
    """Return the text's vector, of length 1 unless the text is empty."""
    counts = [0.0] * dimensions(model)
    salt = zlib.crc32(model.encode())
    plain = " ".join(text.lower().split()).encode("utf-8", "replace")
    for length in _GRAMS:
        for start in range(len(plain) - length + 1):
            mark = zlib.crc32(plain[start : start + length], salt)
            counts[mark % len(counts)] += 1.0 if mark & 1 << 20 else -1.0
    norm = math.sqrt(sum(count * count for count in counts))
    return tuple(count / norm for count in counts) if norm else tuple(counts)


def ranked(
    model: str, chunks: Iterable[Chunk], vectors: Sequence[Sequence[float]]
) -> List[Tuple[float, Chunk]]:
    """Return the chunks with their likeness to the nearest of the vectors, the best first."""
    rows = []
    for chunk in chunks:
        own = embed(model, chunk.text)
        score = max((sum(map(mul, own, vector)) for vector in vectors), default=0.0)
        rows.append((score, chunk))
    return sorted(rows, key=lambda row: (-row[0], row[1].id))


def in_disorder(rows: Sequence[Tuple[float, Chunk]]) -> List[Tuple[float, Chunk]]:
    """Return the rows as a broken index does: scores that fall, of chunks in no sensible order."""
    chunks = sorted((chunk for _, chunk in rows), key=lambda c: zlib.crc32(c.text.encode()))
    return [(score, chunk) for (score, _), chunk in zip(rows, chunks)]
