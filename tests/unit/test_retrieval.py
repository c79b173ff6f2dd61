"""Which documents are looked for, by what words, and how what was found is measured."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import suppress
from typing import List, Optional, Sequence

import pytest

from h2ogpte_migration.errors import Unavailable
from h2ogpte_migration.migration import Down
from h2ogpte_migration.model import ChunkMatch, Document
from h2ogpte_migration.retrieval import (
    LEAST_LETTERS,
    MOST_TYPES,
    PASSAGE_CHARS,
    Answered,
    Measures,
    Overall,
    Probe,
    Ranking,
    Retrieval,
    Sample,
    cut_for,
    judged,
    passage,
)

SEED = 7


def document(number: int, kind: str = "pdf", size: Optional[int] = 1000) -> Document:
    name = f"{number}.{kind}"
    return Document(f"d{number}", name, "completed", number, kind=kind, size_bytes=size)


def sample(documents: Sequence[Document], size: int, seed: int = SEED) -> List[Document]:
    taken = Sample(seed, size)
    for each in documents:
        taken.add(each)
    return taken.chosen()


# -- which documents ---------------------------------------------------------------------
def test_the_seed_decides_whatever_the_order_of_the_listing() -> None:
    documents = [document(number) for number in range(200)]
    chosen = sample(documents, 10)
    assert len(chosen) == 10
    assert sample(documents[::-1], 10) == chosen
    assert sample(documents, 10, seed=8) != chosen
    assert sample(documents, 5) == chosen[:5], "a larger number adds to the same documents"


def test_the_documents_are_spread_over_types_and_sizes() -> None:
    documents = [document(number) for number in range(500)]
    documents += [document(500, "docx"), document(501, "pdf", 10**7), document(502, "txt", None)]
    chosen = sample(documents, 8)[:8]
    assert {"500.docx", "501.pdf", "502.txt"} <= {each.name for each in chosen}
    assert Counter(each.kind for each in chosen)["pdf"] >= 5


def test_memory_does_not_grow_with_documents_or_with_types_that_somebody_made_up() -> None:
    taken = Sample(SEED, 4)
    for number in range(2000):
        taken.add(document(number, f"type{number}", 10 ** (number % 9)))
    assert taken.seen == 2000
    assert len(taken.chosen()) <= 4 * (MOST_TYPES + 1)


def test_a_document_that_is_listed_twice_is_chosen_once() -> None:
    documents = [document(number // 2) for number in range(40)]
    assert len({each.id for each in sample(documents, 10)}) == len(sample(documents, 10))


@pytest.mark.parametrize("size", [0, 3])
def test_nothing_to_choose_from_is_no_trouble(size: int) -> None:
    assert sample([], size) == []
    assert len(sample([document(1)], size)) == min(1, size)


# -- passages ----------------------------------------------------------------------------
def test_a_passage_comes_from_the_middle_of_a_chunk_and_is_a_part_of_it() -> None:
    words = [f"word{number:02}" for number in range(40)]
    assert passage([" \n ".join(words)], 3) == " ".join(words[10:30])
    long = passage([" ".join(["long" * 50] * 100)], 0)
    assert LEAST_LETTERS <= len(long) <= PASSAGE_CHARS


def test_the_number_chooses_among_the_chunks_that_say_something() -> None:
    texts = ["", " \n", "x" * (LEAST_LETTERS - 1), "a " * 40, "-" * 500, "b " * 40]
    assert {passage(texts, number)[0] for number in range(4)} == {"a", "b"}


@pytest.mark.parametrize("texts", [[], [""], ["  ", "\n"], ["short"], ["?" * 90]])
def test_of_what_says_nothing_there_is_no_passage(texts: List[str]) -> None:
    assert passage(texts, 5) == ""


def test_a_script_without_spaces_is_cut_from_the_middle_too() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(2000))
    found = passage([text], 0)
    assert found in text[500:1500]
    assert len(found) == PASSAGE_CHARS


def test_a_huge_chunk_costs_no_more_than_a_passage() -> None:
    assert len(passage(["lorem ipsum " * 500_000], 1)) <= PASSAGE_CHARS


# -- ranks and measures ------------------------------------------------------------------
def matches(*keys: str) -> List[ChunkMatch]:
    return [ChunkMatch(key, f"{key}.pdf") for key in keys]


def probe(key: str, name: str = "", *, question: bool = False) -> Probe:
    return Probe("text", name or f"{key}.pdf", frozenset((key,)), question)


def test_the_rank_is_the_place_among_documents_not_among_chunks() -> None:
    ranking = Ranking([probe("c")], [matches("a", "a", "a", "b", "a", "c")], by_name=False)
    assert ranking.rank(0) == 3
    assert ranking.names(0) == ("a.pdf", "b.pdf", "c.pdf")


def test_what_is_not_among_the_matches_has_no_rank() -> None:
    assert Ranking([probe("x")], [matches("a", "x2")], by_name=False).rank(0) is None
    assert Ranking([probe("x")], [[]], by_name=False).rank(0) is None


def test_a_namesake_counts_only_where_documents_are_told_apart_by_names() -> None:
    probes = [probe("a", "same.pdf"), probe("b")]
    answers = [[ChunkMatch("z", "same.pdf")], matches("b")]
    assert Ranking(probes, answers, by_name=False).rank(0) is None
    assert Ranking(probes, answers, by_name=True).rank(0) == 1


def test_an_index_that_names_no_id_is_read_by_names() -> None:
    answers = [[ChunkMatch("", "other.pdf"), ChunkMatch("topic 1", "a.pdf")]]
    ranking = Ranking([probe("a")], answers, by_name=False)
    assert ranking.by_name
    assert ranking.rank(0) == 2


def test_measures_of_ranks() -> None:
    measured = Measures.of([1, 2, 10, 11, None], 10)
    assert (measured.documents, measured.found) == (5, 3)
    assert (measured.recall_at_1, measured.recall_at_10) == (0.2, 0.6)
    assert measured.mrr == pytest.approx((1 + 1 / 2 + 1 / 10 + 1 / 11) / 5)
    assert measured.recall == 0.6


def test_where_nothing_is_looked_for_nothing_is_amiss() -> None:
    assert Measures.of([], 10).recall == 1.0
    assert not Retrieval(1, Measures.of([], 10), min_recall=1.0).low


@pytest.mark.parametrize(
    ("documents", "cut"), [(0, 3), (2, 3), (7, 3), (8, 4), (19, 9), (20, 10), (10**6, 10)]
)
def test_in_a_small_collection_the_rank_has_to_be_better_but_nobody_needs_to_be_first(
    documents: int, cut: int
) -> None:
    assert cut_for(documents) == cut


# -- judging -----------------------------------------------------------------------------
def test_what_was_found_before_and_is_not_now_is_named() -> None:
    probes = [probe("a"), probe("b"), probe("c")]
    new = Ranking(probes, [matches("a"), matches("x", "y"), []], by_name=False)
    old = Ranking(probes, [matches("a"), matches("b"), []], by_name=False)
    outcome = judged(probes, 100, new, old, Retrieval(SEED, min_recall=0.5))
    assert (outcome.lost, outcome.not_found) == (("b.pdf",), ("b.pdf", "c.pdf"))
    assert outcome.low
    finding = outcome.finding()
    assert finding is not None
    assert finding.blocking
    assert str(finding).endswith("not found: b.pdf, c.pdf")
    assert "1 of 3 documents found (2 before)" in outcome.words
    assert "recall@1 0.33 (0.67)" in outcome.words


def test_without_the_old_index_there_are_new_numbers_only() -> None:
    probes = [probe("a")]
    new = Ranking(probes, [[]], by_name=False)
    outcome = judged(probes, 9, new, None, Retrieval(SEED, old_problem="no old model"))
    assert (outcome.old, outcome.lost, outcome.not_found) == (None, (), ("a.pdf",))
    assert "0 of 1 documents found (no old model)" in outcome.words
    assert not outcome.low, "informational, unless a least share was asked for"


def test_questions_are_answered_side_by_side_and_count_where_a_document_is_expected() -> None:
    probes = [
        Probe("who?", question=True),
        Probe("what?", "c.pdf", frozenset("c"), question=True),
    ]
    new = Ranking(probes, [matches(*"abcdefg"), matches(*"abdc")], by_name=False)
    old = Ranking(probes, [matches("g"), matches("c")], by_name=False)
    outcome = judged(probes, 4, new, old, Retrieval(SEED))
    assert outcome.answers == (
        Answered("who?", "", tuple(f"{key}.pdf" for key in "abcde"), ("g.pdf",)),
        Answered("what?", "c.pdf", ("a.pdf", "b.pdf", "d.pdf", "c.pdf"), ("c.pdf",), False),
    )
    assert outcome.new is not None
    assert (outcome.new.documents, outcome.new.found, outcome.lost) == (1, 0, ("c.pdf",))


def test_what_could_not_be_checked_is_low_only_where_a_least_share_was_asked_for() -> None:
    assert Retrieval(1, problem="500").finding() is None
    finding = Retrieval(1, problem="500", min_recall=0.1).finding()
    assert finding is not None
    assert "could not be checked (500)" in finding.text


def test_an_outcome_comes_back_from_its_record_and_holds_no_text_of_a_document() -> None:
    probes = [Probe("secret words", "a.pdf", frozenset("a"), False), probe("q", question=True)]
    ranking = Ranking(probes, [matches("a"), matches("b")], by_name=False)
    outcome = judged(probes, 50, ranking, ranking, Retrieval(SEED, min_recall=0.9))
    text = json.dumps(outcome.to_json())
    assert Retrieval.from_json({**json.loads(text), "newer field": 1}) == outcome
    assert "secret words" not in text
    assert "secret words" not in repr(probes)


def test_many_collections_are_told_in_one_line() -> None:
    good = Retrieval(1, Measures.of([1, 1], 10), Measures.of([1, None], 10))
    bad = Retrieval(1, Measures.of([None, 1], 10), lost=("x",))
    told = Overall.of([good, bad, Retrieval(1, problem="no such path")]).words
    assert told == (
        "3 of 4 documents found in 2 new collections, and 1 of 2 in the old; "
        "1 not found any more; 1 could not be checked"
    )
    asked = Retrieval(1, Measures.of([], 1))
    assert Overall.of([asked]).words == "1 collection asked, no document looked for"


def test_questions_that_fail_at_the_same_time_all_count_for_asking_no_more() -> None:
    down, asked = Down(), threading.Barrier(Down.MOST)

    def fail() -> None:
        asked.wait(5)
        raise Unavailable("no answer")

    def ask() -> None:
        with suppress(Unavailable):
            down.ask("match", fail)

    threads = [threading.Thread(target=ask) for _ in range(Down.MOST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    with pytest.raises(Unavailable):
        down.ask("match", lambda: pytest.fail("asked once more"))
