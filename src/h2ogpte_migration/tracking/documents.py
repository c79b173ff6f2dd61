"""A scratch table that two document listings are compared in, in bounded memory.

No listing has an order that two of them could be merged by, so the rows go into a temporary
SQLite database that spills to disk by itself; the comparisons are queries.
"""

from __future__ import annotations

import sqlite3
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from h2ogpte_migration.errors import StepFailed
from h2ogpte_migration.model import GOOD_STATUSES, PENDING_STATUSES, Document

SAMPLES = 5
"""So many documents are named with a count."""
BASELINE, SOURCE, TARGET = "baseline", "source", "target"

_GOOD = ", ".join(f"'{status}'" for status in sorted(GOOD_STATUSES))
_PENDING = ", ".join(f"'{status}'" for status in sorted(PENDING_STATUSES))
_UNSEEN = -1
"""The place of a document that is only on record."""
_IS_GOOD = f"IN ({_GOOD})"
_IS_PENDING = f"IN ({_PENDING})"
_IS_BAD = f"NOT IN ({_GOOD}, {_PENDING})"
_TELLS = (
    f"(d.status NOT IN ({_PENDING}) OR EXISTS "
    "(SELECT 1 FROM documents s WHERE s.side = 'source' AND s.id = d.id "
    f"AND s.place IS NOT {_UNSEEN}))"
)
"""What was being worked on at submission, and has been deleted since, tells nothing."""
_LATE = (
    "SELECT DISTINCT s.id, s.name FROM documents s WHERE s.side = 'source' "
    "AND NOT EXISTS (SELECT 1 FROM documents b WHERE b.side = 'baseline' AND b.id = s.id) "
    "AND NOT EXISTS (SELECT 1 FROM documents t WHERE t.side = 'target' AND t.id = s.id)"
)
_EVER_HELD = (
    "(SELECT count(DISTINCT d.id) FROM documents d WHERE d.side IN ('baseline', 'source') "
    "AND d.name = n.name)"
)
_UNKNOWN = (
    "t.side = 'target' AND NOT EXISTS (SELECT 1 FROM documents k "
    "WHERE k.side IN ('baseline', 'source') AND k.id = t.id)"
)


class DocumentComparison:
    """Documents of a collection as they were (baseline), are (source) and arrived (target).

    Args:
        by_name: pair documents by name, as copies have ids of their own; else by id.
    """

    def __init__(self, *, by_name: bool) -> None:
        self._key = "name" if by_name else "id"
        self._counts: Dict[str, int] = {}
        self._alike: Optional[bool] = None
        self._has_indexes = False
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        try:
            self._execute("PRAGMA journal_mode = OFF")
            self._execute(
                "CREATE TABLE documents (side TEXT, id TEXT, name TEXT, status TEXT, "
                "place INTEGER, metadata TEXT)"
            )
        except BaseException:
            self._db.close()
            raise

    def _execute(
        self, sql: str, values: Union[Sequence[object], Iterator[Tuple[object, ...]]] = ()
    ) -> sqlite3.Cursor:
        """Run a statement, once or for each of many rows; what is large is in a temporary file.

        Raises:
            StepFailed: that file can't be written.
        """
        try:
            if isinstance(values, Iterator):
                return self._db.executemany(sql, values)
            return self._db.execute(sql, values)
        except sqlite3.OperationalError as error:
            raise StepFailed(
                f"the temporary folder can't hold the documents to compare: {error}",
                "Make room there, or name another one with SQLITE_TMPDIR; then run it again.",
                "temporary folder",
            ) from error

    def fill(self, side: str, documents: Iterable[Document]) -> int:
        """Put one side's documents in, replacing what was there; returns how many."""
        self._empty(side)
        self._execute("BEGIN")
        count = 0

        def rows() -> Iterator[Tuple[object, ...]]:
            nonlocal count
            for item in documents:
                count += 1
                yield side, item.id, item.name, item.status, item.index, item.metadata

        try:
            self._execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", rows())
        finally:
            # Also of a listing that broke off: this side is filled anew then.
            if self._db.in_transaction:
                self._execute("COMMIT")
            self._counts[side] = count
        return count

    def copy(self, origin: str, side: str) -> None:
        """Make one side equal to another, of which nothing is to be seen any more."""
        self._empty(side)
        self._execute(
            f"INSERT INTO documents SELECT ?, id, name, status, {_UNSEEN}, metadata "
            "FROM documents WHERE side = ?",
            (side, origin),
        )
        self._counts[side] = self.count(origin)

    def _empty(self, side: str) -> None:
        self._alike = None
        if side in self._counts:
            self._execute("DELETE FROM documents WHERE side = ?", (side,))

    def documents(self, side: str) -> Iterator[Document]:
        """One side's documents, as a stream."""
        rows = self._execute(
            "SELECT id, name, status, place, metadata FROM documents WHERE side = ?", (side,)
        )
        for row in rows:
            yield Document(*row)

    def count(self, side: str) -> int:
        """How many documents a side holds."""
        return self._counts.get(side, 0)

    def _all_alike(self) -> bool:
        """Whether all three sides hold the same usable documents, each once: then nothing differs.

        So it is most of the time, and one look tells it.
        """
        if self._alike is None:
            unlike = (
                f"SELECT 1 FROM documents GROUP BY {self._key} HAVING count(*) != 3 "
                "OR count(DISTINCT side) != 3 OR min(status) != max(status) "
                f"OR max(status NOT IN ({_GOOD})) LIMIT 1"
            )
            self._alike = self._execute(unlike).fetchone() is None
            if not self._alike:
                self._index()
        return self._alike

    def _index(self) -> None:
        if not self._has_indexes:
            self._execute("CREATE INDEX by_id ON documents (side, id)")
            self._execute("CREATE INDEX by_name ON documents (side, name)")
            self._has_indexes = True

    def settle_pending_baseline(self) -> None:
        """Documents that were being worked on at submission count as the source has them now."""
        worked_on = f"side = 'baseline' AND status IN ({_PENDING})"
        if self._execute(f"SELECT 1 FROM documents WHERE {worked_on} LIMIT 1").fetchone() is None:
            return
        self._alike = None
        self._index()  # else each of them would be looked for among all
        self._execute(
            "UPDATE documents SET status = (SELECT min(s.status) FROM documents s "
            "WHERE s.side = 'source' AND s.id = documents.id) "
            f"WHERE {worked_on} AND EXISTS "
            "(SELECT 1 FROM documents s WHERE s.side = 'source' AND s.id = documents.id)"
        )

    def missing(self) -> Tuple[int, List[str]]:
        """Documents of the baseline that are still in the source and not in the target."""
        if self._key == "name":
            wanted = f"min({_count('baseline')}, {_count('source')})"
            return self._sum_by_name(BASELINE, f"max(0, {wanted} - {_count('target')})")
        return self._count_rows(
            "SELECT DISTINCT b.id, b.name FROM documents b WHERE b.side = 'baseline' "
            "AND EXISTS (SELECT 1 FROM documents s WHERE s.side = 'source' AND s.id = b.id) "
            "AND NOT EXISTS (SELECT 1 FROM documents t WHERE t.side = 'target' AND t.id = b.id)"
        )

    def duplicated(self) -> Tuple[int, List[str]]:
        """Documents that the target holds more often than the source ever did.

        Copies by name. By reference the same id listed at two places, and a whole second set
        of the source's names under other ids: an import done twice may bring new records. A
        single document of a known name and another id is a newer upload.
        """
        if self._key == "name" or self.brought_anew():
            allowed = f"max({_count('baseline')}, {_count('source')}, {_EVER_HELD}, 1)"
            return self._sum_by_name(
                TARGET,
                f"CASE WHEN {_count('baseline')} + {_count('source')} > 0 "
                f"THEN max(0, {_count('target')} - {allowed}) ELSE 0 END",
            )
        return self._count_rows(
            "SELECT id, min(name) FROM documents WHERE side = 'target' "
            "GROUP BY id HAVING count(DISTINCT place) > 1"
        )

    def brought_anew(self) -> bool:
        """By reference: whether every name of the baseline is there again under an unknown id.

        Of a single document that tells nothing: people upload newer versions.
        """
        if self.count(BASELINE) < 2 or self._all_alike():
            return False
        again = f"(SELECT count(*) FROM documents t WHERE t.name = n.name AND {_UNKNOWN})"
        sql = (
            "SELECT 1 FROM (SELECT DISTINCT name FROM documents WHERE side = 'baseline') n "
            f"WHERE {again} < {_count('baseline')} LIMIT 1"
        )
        return self._execute(sql).fetchone() is None

    def foreign(self) -> Tuple[int, List[str]]:
        """Documents of the target that its source never held: somebody put them there."""
        if self._key == "name":
            known = f"{_count('baseline')} + {_count('source')}"
            return self._sum_by_name(
                TARGET, f"CASE WHEN {known} = 0 THEN {_count('target')} ELSE 0 END"
            )
        if self.brought_anew():
            return self._count_rows(
                f"SELECT DISTINCT t.id, t.name FROM documents t WHERE {_UNKNOWN} AND NOT EXISTS "
                "(SELECT 1 FROM documents b WHERE b.side = 'baseline' AND b.name = t.name)"
            )
        return self._count_rows(f"SELECT DISTINCT t.id, t.name FROM documents t WHERE {_UNKNOWN}")

    def deleted(self) -> Tuple[int, List[str]]:
        """Documents of the baseline that neither side lists any more."""
        if self._key == "name":
            held = f"max({_count('source')}, {_count('target')})"
            return self._sum_by_name(BASELINE, f"max(0, {_count('baseline')} - {held})")
        return self._count_rows(
            "SELECT DISTINCT b.id, b.name FROM documents b WHERE b.side = 'baseline' "
            "AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.side IN ('source', 'target') "
            "AND d.id = b.id)"
        )

    def missing_bad(self) -> int:
        """How many of the missing ones, paired by id, were not usable in the source either."""
        if self._key == "name":
            return 0
        return self._count_rows(
            "SELECT DISTINCT b.id, b.name FROM documents b WHERE b.side = 'baseline' "
            f"AND b.status NOT IN ({_GOOD}, {_PENDING}) "
            "AND EXISTS (SELECT 1 FROM documents s WHERE s.side = 'source' AND s.id = b.id) "
            "AND NOT EXISTS (SELECT 1 FROM documents t WHERE t.side = 'target' AND t.id = b.id)"
        )[0]

    def late_ids(self) -> List[str]:
        """The ids of the documents that are late, by reference."""
        if self._all_alike():
            return []
        return [row[0] for row in self._execute(_LATE)]

    def newly_bad(self) -> Tuple[int, List[str]]:
        """Documents that are good in the source and ended otherwise in the target."""
        return self._less_than_good(_IS_BAD)

    def failed_first(self) -> Tuple[int, List[str]]:
        """Documents that ended badly in the target, and are still being worked on in the source."""
        if self._key == "name":
            bad, working = _of_baseline(_IS_BAD), _of_baseline(_IS_PENDING)
            return self._sum_by_name(TARGET, _excess(_IS_BAD, bad, working))
        return self._count_rows(self._with_status(_IS_BAD, expected=_IS_PENDING))

    def pending(self) -> Tuple[int, List[str]]:
        """Documents of the target that are good in the source and are being worked on."""
        return self._less_than_good(_IS_PENDING)

    def _less_than_good(self, status: str) -> Tuple[int, List[str]]:
        if self._key == "name":
            # Of several documents of one name, as many may be so as are not good in the source.
            others = _of_baseline(f"NOT IN ({_GOOD})")
            return self._sum_by_name(TARGET, _excess(status, others, _of_baseline(_IS_GOOD)))
        return self._count_rows(self._with_status(status, expected=_IS_GOOD))

    def pending_in_both(self) -> Tuple[int, List[str]]:
        """Documents that are being worked on in the target, and still are in the source."""
        if self._key == "name":
            return self._sum_by_name(TARGET, _excess(_IS_PENDING, "0", _of_baseline(_IS_PENDING)))
        return self._count_rows(self._with_status(_IS_PENDING, expected=_IS_PENDING))

    def unusable(self, ids: Iterable[str]) -> List[str]:
        """Which of some documents are in the target, and not usable there: their names."""
        found = []
        for document_id in ids:
            found += self._execute(
                "SELECT DISTINCT name FROM documents WHERE side = 'target' AND id = ? "
                f"AND status {_IS_BAD}",
                (document_id,),
            ).fetchall()
        return [row[0] for row in found]

    def bad_before(self) -> Tuple[int, List[str]]:
        """Documents of the baseline that were not good to begin with."""
        return self._count_rows(
            "SELECT id, name FROM documents WHERE side = 'baseline' "
            f"AND status NOT IN ({_GOOD}, {_PENDING})"
        )

    def late(self) -> Tuple[int, List[str]]:
        """Documents of the source that came after the baseline and are not in the target.

        Also of copies the source's ids tell them: a newer version may bear the name of an old one.
        """
        if self._key == "id":
            return self._count_rows(_LATE)
        new_ids = (
            "SELECT id FROM documents WHERE side = 'source' "
            "EXCEPT SELECT id FROM documents WHERE side = 'baseline'"
        )
        if self._execute(f"{new_ids} LIMIT 1").fetchone() is None:
            return 0, []
        self._index()
        brought = f"max(0, {_count('target')} - {_count('baseline')})"
        return self._sum(SOURCE, f"max(0, {_count('source', f'd.id IN ({new_ids})')} - {brought})")

    def only_in_source(self) -> Tuple[int, List[str]]:
        """Documents of one collection that neither of two others holds: paired as was asked for."""
        if self._key == "id":
            return self._count_rows(_LATE)
        elsewhere = f"max({_count('baseline')}, {_count('target')})"
        return self._sum_by_name(SOURCE, f"max(0, {_count('source')} - {elsewhere})")

    def pairs_with_metadata(self) -> Iterator[Tuple[str, str, str]]:
        """Name and metadata, in the source and in the target, of documents where they differ."""
        return self._execute(
            f"{self._pairs('s.name, s.metadata, t.metadata')} AND s.metadata != t.metadata"
        )

    def other_mode(self) -> Tuple[int, List[str]]:
        """Usable documents that only agents read on one side, and everybody on the other."""
        good = f"s.status IN ({_GOOD}) AND t.status IN ({_GOOD})"
        return self._count_rows(
            f"{self._pairs('s.id, s.name')} AND s.status != t.status AND {good}"
        )

    def pairs_without_metadata(self, limit: int) -> List[Tuple[str, str, str]]:
        """Name, source's id and target's id of documents whose metadata a listing left out.

        One and the same record has one and the same metadata, so that such are none of them.
        """
        if self._key == "id":
            return []
        return self._execute(
            f"{self._pairs('s.name, s.id, t.id')} AND s.id != t.id "
            "AND (s.metadata IS NULL OR t.metadata IS NULL) LIMIT ?",
            (limit,),
        ).fetchall()

    def _pairs(self, columns: str) -> str:
        """Documents of the source with theirs in the target, where just one can be meant."""
        only = "" if self._key == "id" else f"AND {_single('s')} AND {_single('t')}"
        return (
            f"SELECT DISTINCT {columns} FROM documents s JOIN documents t "
            f"ON t.side = 'target' AND t.{self._key} = s.{self._key} "
            f"WHERE s.side = 'source' {only}"
        )

    def same(self, left: str, right: str) -> bool:
        """Whether two sides hold exactly the same documents, each as often."""
        keys = f"SELECT {self._key} AS k, count(*) FROM documents WHERE side = ? GROUP BY k"
        one = f"SELECT 1 FROM (SELECT * FROM ({keys}) EXCEPT SELECT * FROM ({keys})) LIMIT 1"
        return (
            self._execute(one, (left, right)).fetchone() is None
            and self._execute(one, (right, left)).fetchone() is None
        )

    def close(self) -> None:
        """Drop the scratch database."""
        self._db.close()

    def _with_status(self, status: str, *, expected: str) -> str:
        """Documents of the target with such a status, by id, where another one is expected.

        As it was at submission, or is in the source by now of what came late.
        """
        return (
            f"SELECT DISTINCT t.id, t.name || ' (' || t.status || ')' FROM documents t "
            f"WHERE t.side = 'target' AND t.status {status} AND (EXISTS (SELECT 1 FROM documents d "
            f"WHERE d.side = 'baseline' AND d.id = t.id AND d.status {expected} AND {_TELLS}) "
            "OR EXISTS (SELECT 1 FROM documents d WHERE d.side = 'source' AND d.id = t.id "
            f"AND d.status {expected} AND NOT EXISTS (SELECT 1 FROM documents b "
            "WHERE b.side = 'baseline' AND b.id = d.id)))"
        )

    def _sum_by_name(self, side: str, excess: str) -> Tuple[int, List[str]]:
        return (0, []) if self._all_alike() else self._sum(side, excess)

    def _sum(self, side: str, excess: str) -> Tuple[int, List[str]]:
        sql = (
            f"SELECT n.name, {excess} AS excess FROM "
            f"(SELECT DISTINCT name FROM documents WHERE side = '{side}') n"
        )
        total = self._execute(f"SELECT coalesce(sum(excess), 0) FROM ({sql})").fetchone()[0]
        rows = self._execute(f"SELECT name FROM ({sql}) WHERE excess > 0 LIMIT 5").fetchall()
        return int(total), [row[0] for row in rows]

    def _count_rows(self, sql: str) -> Tuple[int, List[str]]:
        if self._all_alike():
            return 0, []
        few = [row[1] for row in self._execute(f"{sql} LIMIT {SAMPLES + 1}")]
        if len(few) <= SAMPLES:
            return len(few), few  # none, most of the time: not counted once more
        total = self._execute(f"SELECT count(*) FROM ({sql})").fetchone()[0]
        return int(total), few[:SAMPLES]


def _excess(status: str, allowed: str, most: str) -> str:
    """How many documents of the name at hand have a status in the target, beyond those allowed."""
    return f"max(0, min({most}, {_count('target', f'd.status {status}')} - {allowed}))"


def _of_baseline(status: str) -> str:
    """How many documents of the name at hand had such a status when last looked at; late copies are
    never brought."""
    return _count("baseline", f"d.status {status} AND {_TELLS}")


def _single(alias: str) -> str:
    """Whether no other document of its side has its name."""
    return (
        f"(SELECT count(*) FROM documents o WHERE o.side = {alias}.side "
        f"AND o.name = {alias}.name) = 1"
    )


def _count(side: str, only: str = "1") -> str:
    """How often a side holds documents of the name at hand."""
    return (
        f"(SELECT count(*) FROM documents d WHERE d.side = '{side}' AND d.name = n.name AND {only})"
    )
