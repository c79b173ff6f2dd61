"""What a report is made of: the collections, and what is said of the whole. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from h2ogpte_migration.results import OutcomeKind, Recorded, Result
from h2ogpte_migration.retrieval import Answered, Retrieval
from h2ogpte_migration.states import StepName

BAD = (
    OutcomeKind.FAILED,
    OutcomeKind.HELD,
    OutcomeKind.NOT_AVAILABLE,
    OutcomeKind.INTERRUPTED,
    OutcomeKind.NOT_STARTED,
)
"""What is shown first, the worst first."""


@dataclass(frozen=True)
class Report:
    """A run, a dry run, or how everything stands, at one moment.

    Args:
        about: one of run, dry run, status.
        written_at: UTC, ISO 8601.
        server: its address; empty where the database does not know it.
        command: what made it, without keys.
        remarks: what is to be said of the whole.
        notes: what to think of before, in a dry run.
        following: the commands to type next; empty where there is nothing to do.
    """

    about: str
    written_at: str
    version: str
    server: str
    database: str
    command: str
    rows: Sequence[Result]
    exit_code: Optional[int] = None
    remarks: Tuple[str, ...] = ()
    notes: Tuple[str, ...] = ()
    following: Tuple[str, ...] = ()

    def sorted_rows(self) -> List[Result]:
        """Failures first; the others in their order."""
        rank = {kind: number for number, kind in enumerate(BAD)}
        return sorted(self.rows, key=lambda row: rank.get(row.kind, len(rank)))

    def counts(self) -> Dict[str, int]:
        """How many there are of each kind, also of those that do not occur."""
        found = Counter(row.kind for row in self.rows)
        return {kind.value: found[kind] for kind in OutcomeKind}


@dataclass(frozen=True)
class Entry:
    """One collection as every format shows it: text, numbers, or None for what is not known."""

    collection_id: str
    name: str
    owner: str
    outcome: str
    position: str
    new_collection_id: Optional[str]
    new_name: str
    old_model: str
    new_model: str
    documents_before: Optional[int]
    documents_after: Optional[int]
    size_bytes: Optional[int]
    validated_at: str
    verdict: str
    connectors_moved: Optional[int]
    chats_moved: Optional[int]
    begun_at: str
    imported_at: str
    needs_attention: bool
    earlier: bool
    action: str
    connectors: Optional[int]
    chats: Optional[int]
    permissions: Tuple[str, ...]
    lifecycle: Tuple[str, ...]
    reason: str
    hint: str
    warnings: Tuple[str, ...]
    findings: Tuple[str, ...]
    looked_for: Optional[int] = None
    found: Optional[int] = None
    recall_at_1: Optional[float] = None
    recall_at_10: Optional[float] = None
    mrr: Optional[float] = None
    found_before: Optional[int] = None
    recall_at_1_before: Optional[float] = None
    recall_at_10_before: Optional[float] = None
    mrr_before: Optional[float] = None
    not_found_any_more: Tuple[str, ...] = ()
    not_found: Tuple[str, ...] = ()
    questions: Tuple[Answered, ...] = ()
    retrieval_checked_at: str = ""
    retrieval_problem: str = ""


def entry(row: Result) -> Entry:
    """A result in the fields of a report. What a run saw itself wins over what is on record."""
    kept, plan = row.recorded or Recorded(), row.plan
    moved = dict(row.moved)
    verdict = f"{kept.verdict}, accepted" if kept.verdict and kept.accepted else kept.verdict
    return Entry(
        collection_id=row.source_id,
        name=row.source_name,
        owner=row.owner,
        outcome=row.kind.value,
        position=row.position.value,
        new_collection_id=row.target_id,
        new_name=row.target_name,
        old_model=row.source_model,
        new_model=row.target_model,
        documents_before=_first(plan.documents if plan else None, kept.documents_before),
        documents_after=_first(row.documents, kept.documents_after),
        size_bytes=_first(plan.size_bytes if plan else None, kept.size_bytes),
        validated_at=kept.validated_at,
        verdict=verdict,
        connectors_moved=_first(moved.get(StepName.CONNECTORS), kept.connectors_moved),
        chats_moved=_first(moved.get(StepName.CHATS), kept.chats_moved),
        begun_at=kept.begun_at,
        imported_at=kept.imported_at,
        needs_attention=row.needs_attention,
        earlier=row.earlier,
        action=plan.action if plan else "",
        connectors=plan.connectors if plan else None,
        chats=plan.chats if plan else None,
        permissions=plan.permissions if plan else (),
        lifecycle=plan.lifecycle if plan else (),
        reason=row.reason,
        hint=row.hint,
        warnings=row.warnings,
        findings=tuple(map(str, row.findings)),
        **_retrieval(row.retrieval or kept.retrieval),
    )


def fields_of(row: Result) -> Dict[str, Any]:
    """The same for JSON: what is empty is not known."""
    return {key: None if value == "" else value for key, value in asdict(entry(row)).items()}


def _retrieval(outcome: Optional[Retrieval]) -> Dict[str, Any]:
    """The fields of a check of the retrieval, where there was one."""
    if outcome is None:
        return {}
    new, old = outcome.new, outcome.old
    fields: Dict[str, Any] = {
        "not_found_any_more": outcome.lost,
        "not_found": outcome.not_found,
        "questions": outcome.answers,
        "retrieval_checked_at": outcome.checked_at,
        "retrieval_problem": outcome.problem or outcome.old_problem,
    }
    if new is not None:
        fields.update(looked_for=new.documents, found=new.found)
    if old is not None:
        fields.update(found_before=old.found)
    for measures, suffix in ((new, ""), (old, "_before")):
        of_some = measures is not None and measures.documents > 0
        for name in ("recall_at_1", "recall_at_10", "mrr") if of_some else ():
            fields[name + suffix] = round(getattr(measures, name), 4)
    return fields


def _first(*numbers: Optional[int]) -> Optional[int]:
    """The first one that is known; a dry run's plan comes first, as it looked now."""
    return next((number for number in numbers if number is not None), None)
