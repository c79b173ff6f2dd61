"""Ask old and new index for documents by passages of theirs, and for what people ask.

Sends nothing that changes anything, and no text of a document gets into a log or a record. Of
each index it costs one request for all vectors together and one for each thing looked for, beside
the listing of documents and chunks.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import (
    Dict,
    FrozenSet,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from h2ogpte_migration.errors import (
    NotFound,
    Rejected,
    ServerError,
    Unauthorized,
)
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import ChunkMatch, Document
from h2ogpte_migration.retrieval import (
    NO_MODEL,
    Probe,
    Question,
    Ranking,
    Retrieval,
    RetrievalCheck,
    Sample,
    judged,
    mark,
    passage,
)
from h2ogpte_migration.steps.presence import read_documents

BATCH = 25
"""So many texts are encoded with one request."""
SPARE = 2
"""So many times the documents are kept that are wanted: some may have no text."""
REFUSALS = 3
"""After so many refusals, and nothing else, a collection's chunks are not asked for any more."""

log = logging.getLogger(__name__)


def look(migration: Migration, asked: RetrievalCheck, outcome: Retrieval) -> Retrieval:
    """Look for documents in both indexes; the outcome with what came of it.

    Args:
        outcome: with the seed that chooses the documents.

    Raises:
        ServerError: the new index, or a document's text, could not be asked for.
    """
    survey = _survey(migration, asked, outcome.seed)
    probes = [
        *_passages(migration, survey, asked.documents, outcome.seed),
        *(survey.probe_of(question) for question in asked.questions),
    ]
    if asked.documents and survey.searchable and not any(probe.name for probe in probes):
        return replace(outcome, problem="no text of its documents could be read")
    if not probes or not survey.searchable:
        return judged((), survey.searchable, Ranking((), (), by_name=False), None, outcome)
    new = _ranking(migration, migration.target_id, migration.attempt.model, probes)
    old, why = _old_ranking(migration, probes)
    return judged(probes, survey.searchable, new, old, replace(outcome, old_problem=why))


# -- what to look for ----------------------------------------------------------------------
class _Survey:
    """What one pass over the target's documents brings."""

    def __init__(self, asked: RetrievalCheck, seed: int) -> None:
        self.sample = Sample(seed, SPARE * asked.documents)
        self._ids: Dict[str, Set[str]] = {
            _key(question.expected): set() for question in asked.questions if question.expected
        }

    def add(self, document: Document) -> None:
        if document.good and document.status != "agent_only":  # those are not in any index
            self.sample.add(document)
            if _key(document.name) in self._ids:
                self._ids[_key(document.name)].add(document.id)

    @property
    def searchable(self) -> int:
        return self.sample.seen

    def probe_of(self, question: Question) -> Probe:
        """A question; its document counts where this collection has it."""
        ids = frozenset(self._ids.get(_key(question.expected), ()))
        name = question.expected if ids else ""
        return Probe(question.text, name, ids, question=True)


def _key(name: str) -> str:
    return name.strip().casefold()


def _survey(migration: Migration, asked: RetrievalCheck, seed: int) -> _Survey:
    def read(rows: Iterator[Document]) -> _Survey:
        survey = _Survey(asked, seed)
        for document in rows:
            survey.add(document)
        return survey

    return read_documents(migration.gateway, migration.target_id, read)


def _passages(migration: Migration, survey: _Survey, wanted: int, seed: int) -> List[Probe]:
    """A passage of each chosen document that has any text."""
    documents = survey.sample.chosen()
    texts = _Texts(migration, documents)
    probes: List[Probe] = []
    for document in documents:
        if len(probes) == wanted:
            break
        migration.clock.check()
        text = passage(texts.of(document), mark(seed, document.id))
        if text:
            probes.append(Probe(text, document.name, texts.ids_of(document)))
    texts.must_have_answered()
    return probes


class _Texts:
    """The texts of documents: those of the source, which people have searched so far.

    Where the source tells none (it was deleted, or the document was), those of the target.
    """

    def __init__(self, migration: Migration, documents: Sequence[Document]) -> None:
        self._migration = migration
        self._twins = _twins(migration, documents)
        self._refusals: Counter[str] = Counter()
        self._answered: Set[str] = set()
        self._refusal: Optional[ServerError] = None

    def ids_of(self, document: Document) -> FrozenSet[str]:
        """The document's ids in target and source."""
        return frozenset((document.id, self._twins.get(document.name, document.id)))

    def of(self, document: Document) -> List[str]:
        """The document's texts; none where neither side tells any."""
        twin = self._twins.get(document.name, document.id)
        for collection_id, document_id in (
            (self._migration.source_id, twin),
            (self._migration.target_id, document.id),
        ):
            texts = self._read(collection_id, document_id)
            if any(text.strip() for text in texts):
                return texts
        return []

    def _read(self, collection_id: str, document_id: str) -> List[str]:
        if self._refusals[collection_id] >= REFUSALS and collection_id not in self._answered:
            return []
        gateway = self._migration.gateway
        try:
            read = partial(gateway.document_chunks, collection_id, document_id)
            texts = self._migration.shared.down.ask("chunks", read)
        except (NotFound, Rejected) as error:
            self._refusals[collection_id] += 1
            self._refusal = error
            return []
        self._answered.add(collection_id)
        return texts

    def must_have_answered(self) -> None:
        """Raise what the server refused with, if it refused every time."""
        if self._refusal is not None and not self._answered:
            raise self._refusal


def _twins(migration: Migration, documents: Sequence[Document]) -> Dict[str, str]:
    """Ids in the source by name: what was copied has an id of its own in the target."""
    if not migration.by_name or not documents:
        return {}
    wanted = {document.name for document in documents}

    def read(rows: Iterator[Document]) -> Dict[str, str]:
        return {row.name: row.id for row in rows if row.name in wanted}

    try:
        return read_documents(migration.gateway, migration.source_id, read)
    except (NotFound, Rejected):
        return {}


# -- asking --------------------------------------------------------------------------------
def _old_ranking(migration: Migration, probes: Sequence[Probe]) -> Tuple[Optional[Ranking], str]:
    """What the old index answers; or None, and why there is nothing to compare with."""
    model = migration.record.record.source_model or migration.source.model
    if not model:
        return None, "which model the source has is not on record"
    try:
        return _ranking(migration, migration.source_id, model, probes), ""
    except Unauthorized:
        raise
    except (NotFound, Rejected) as error:
        log.info("the old index can't be asked: %s", error.message)
        gone = "embedding_models" in error.route
        return None, NO_MODEL if gone else "the old collection can't be searched any more"
    except ServerError as error:
        log.warning("the old index could not be asked: %s", error.message)
        return None, "the old index did not answer"


def _ranking(
    migration: Migration, collection_id: str, model: str, probes: Sequence[Probe]
) -> Ranking:
    """What the index of a collection answers to all of the probes."""
    gateway, down = migration.gateway, migration.shared.down
    answers: List[Sequence[ChunkMatch]] = []
    for start in range(0, len(probes), BATCH):
        texts = [probe.text for probe in probes[start : start + BATCH]]
        migration.clock.check()
        encode = partial(gateway.encode, model, texts)
        for vector in down.ask(f"encode {model}", encode):
            migration.clock.check()
            match = partial(gateway.match_chunks, collection_id, vector)
            answers.append(down.ask("match", match))
    return Ranking(probes, answers, by_name=migration.by_name)
