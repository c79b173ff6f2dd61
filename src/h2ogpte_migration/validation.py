"""From what source and target hold to findings. Pure: no I/O.

Documents come in as tallies (a number and a few names), as their listings may be long;
what else a collection carries comes as values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from h2ogpte_migration.model import Collection, Finding, Json, Permissions, Share, parse_time

Tally = Tuple[int, Sequence[str]]

MISSING = "missing"
DUPLICATED = "duplicated"
NEWLY_BAD = "newly_bad"
FAILED_FIRST = "failed_first"
WRONG_MODEL = "wrong_model"
LATE = "late"
SHARED_MORE_WIDELY = "shared_more_widely"

NAMED = 5
"""So many documents are named in a finding."""

LIFECYCLE_FIELDS = ("expiry_date", "inactivity_interval", "size_limit")


@dataclass(frozen=True)
class DocumentTallies:
    """What the comparison of the listings came to."""

    missing: Tally
    duplicated: Tally
    newly_bad: Tally
    failed_first: Tally
    bad_before: Tally
    late: Tally
    pending: Tally
    pending_in_both: Tally


HIDDEN = Finding(
    "unlisted",
    "the source counts more documents than it lists: what it does not list was not compared",
)
"""A listing that lags behind, or a count that is out of date; a kept warning."""


def document_findings(tallies: DocumentTallies) -> List[Finding]:
    """Blocking: missing, duplicated, newly bad. Told apart: bad from the start, late."""
    table = (
        (MISSING, tallies.missing, "{n} missing in the target", True),
        (DUPLICATED, tallies.duplicated, "{n} more than once in the target", True),
        (NEWLY_BAD, tallies.newly_bad, "{n} not usable in the target", True),
        (
            FAILED_FIRST,
            tallies.failed_first,
            "{n} not usable in the target, and still being worked on in the source",
            True,
        ),
        ("bad_before", tallies.bad_before, "{n} not usable in the source to begin with", False),
        (
            LATE,
            tallies.late,
            "{n} added to the source after the import began, left behind",
            False,
        ),
    )
    return [
        Finding(code, text.format(n=_documents(tally[0])), blocking, tuple(tally[1]))
        for code, tally, text, blocking in table
        if tally[0]
    ]


def stuck_findings(pending_in_both: Tally) -> List[Finding]:
    """A warning: documents that are not waited for, as the source's are no further."""
    count, names = pending_in_both
    if not count:
        return []
    text = f"{_documents(count)} still being worked on, in the source as well"
    return [Finding("worked_on_alike", text, samples=tuple(names))]


def _documents(count: int) -> str:
    return f"{count} document" if count == 1 else f"{count} documents"


def model_findings(target: Collection, wanted: str) -> List[Finding]:
    """Blocking: a target with another embedding model than the one asked for."""
    if target.model == wanted:
        return []
    return [
        Finding(
            WRONG_MODEL, f"the target has the model {target.model}, not {wanted}", blocking=True
        )
    ]


def carried_findings(
    facts: Optional[Json], target: Collection, target_metadata: Optional[Mapping[str, Any]]
) -> List[Finding]:
    """Warnings: lifecycle, metadata and rag_type that did not arrive.

    ``facts`` is what the source carried when the target was made; None where that was not
    recorded (a row of version 1.2.0).
    """
    if facts is None:
        return []
    findings = [
        Finding(
            f"lifecycle_{field}",
            f"{field} is {_shown(have)} in the target, {_shown(want)} in the source",
        )
        for field in LIFECYCLE_FIELDS
        for want, have in [(facts.get(field), target.get(field))]
        if not _equal(want, have)
    ]
    rag_type, have_rag = facts.get("rag_type"), target.get("rag_type")
    if rag_type and rag_type != have_rag:
        findings.append(
            Finding(
                "rag_type",
                f"rag_type is {_shown(have_rag)} in the target, {rag_type} in the source",
            )
        )
    metadata = facts.get("metadata") or {}
    if metadata and target_metadata is not None and metadata != dict(target_metadata):
        findings.append(Finding("metadata", "the collection metadata differ from the source's"))
    return findings


def metadata_findings(differing_documents: Tally, looked_at: int) -> List[Finding]:
    """Warning: documents that have other metadata in the target.

    Args:
        looked_at: of how many the metadata were read one by one; 0 where listings tell of all.
    """
    count, names = differing_documents
    if not count:
        return []
    sample = f", of {looked_at} looked at" if looked_at else ""
    text = f"{_documents(count)} with other metadata in the target{sample}"
    return [Finding("document_metadata", text, samples=tuple(names))]


def mode_findings(other_mode: Tally) -> List[Finding]:
    """Warning: documents that were parsed, or left unparsed, other than in the source."""
    count, names = other_mode
    if not count:
        return []
    text = f"{_documents(count)} with another ingest mode in the target"
    return [Finding("ingest_mode", text, samples=tuple(names))]


def read_metadata(text: str) -> Json:
    """Metadata as a listing told them."""
    metadata = json.loads(text)
    return metadata if isinstance(metadata, dict) else {}


def carries(want: Mapping[str, Any], have: Mapping[str, Any]) -> bool:
    """Whether metadata arrived; a server may have added to them."""
    return all(key in have and have[key] == value for key, value in want.items())


def _equal(want: Any, have: Any) -> bool:
    if want == have or (not want and not have):
        return True
    moments = parse_time(want), parse_time(have)
    return None not in moments and moments[0] == moments[1]


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


# -- settings ----------------------------------------------------------------------------
def differing(wanted: Mapping[str, Any], have: Mapping[str, Any]) -> List[str]:
    """Names of the settings that differ. What is null, or off without being asked for, does not."""
    names = [name for name, value in wanted.items() if not _same(value, have.get(name))]
    names += [name for name, value in have.items() if name not in wanted and value]
    return names


def _same(want: Any, have: Any) -> bool:
    if isinstance(want, Mapping) and isinstance(have, Mapping):
        return not differing(want, have)
    return want == have or (want is None and not have)


def settings_words(what: str, names: Sequence[str]) -> str:
    """The warning of settings that are not the source's."""
    return f"{what} differ from the source's: {', '.join(names)}"


def settings_findings(what: str, wanted: Optional[Json], have: Optional[Json]) -> List[Finding]:
    """Warnings: settings of the target that are not what was asked for.

    Either is None where it was not recorded, or could not be read.
    """
    if wanted is None or have is None:
        return []
    names = differing(wanted, have)
    code = what.replace(" ", "_")
    return [Finding(code, settings_words(what, names))] if names else []


def permission_findings(
    wanted: Optional[Permissions], have: Optional[Permissions]
) -> List[Finding]:
    """Warnings: rights of the source, as recorded when they were copied, that the target lacks.

    ``have`` is None where the target's rights were not read, as there is nothing to compare.
    """
    if wanted is None or have is None:
        return []
    findings = []
    if _public_rights(wanted) != _public_rights(have):
        findings.append(
            Finding(
                "public",
                f"the target is {_publicity(have)}, the source is {_publicity(wanted)}",
            )
        )
    findings += _share_findings("user", wanted.users, have.users)
    findings += _share_findings("group", wanted.groups, have.groups)
    return findings


def _share_findings(sort: str, wanted: Sequence[Share], have: Sequence[Share]) -> List[Finding]:
    held = {share.grantee: share.permissions for share in have}
    lacking = [
        share.grantee
        for share in wanted
        if share.grantee not in held
        or (
            share.permissions is not None
            and set(share.permissions) != set(held[share.grantee] or ())
        )
    ]
    if not lacking:
        return []
    text = f"{len(lacking)} {sort} share(s) differ in the target"
    return [Finding(f"{sort}_shares", text, samples=tuple(lacking[:5]))]


def _public_rights(permissions: Permissions) -> Tuple[bool, Optional[FrozenSet[str]]]:
    """What everybody may do. Rights have no order; those of a private collection do not count."""
    if not permissions.is_public or permissions.public is None:
        return permissions.is_public, None
    return True, frozenset(permissions.public)


def _publicity(permissions: Permissions) -> str:
    if not permissions.is_public:
        return "private"
    if permissions.public is None:
        return "public with all rights"
    return f"public with the rights: {', '.join(permissions.public) or 'none'}"
