"""What else should have arrived, beside the documents: differences are warnings."""

from __future__ import annotations

import json
import logging
from typing import Callable, List, Optional, Tuple

from h2ogpte_migration import validation
from h2ogpte_migration.errors import BadReply, NotFound, Rejected, ServerError, Unavailable
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, Finding, Json, SourceId
from h2ogpte_migration.steps.rights import read_rights
from h2ogpte_migration.steps.source import CHAT_SETTINGS, SETTINGS
from h2ogpte_migration.tracking.documents import DocumentComparison

SAMPLE = 20
"""Of so many documents the metadata are read one by one, where no listing tells them."""

POINTS_HERE = "points_at_source"

log = logging.getLogger(__name__)


def findings(
    migration: Migration, target: Collection, comparison: DocumentComparison
) -> List[Finding]:
    """Compare what the source carried with what the target has; then what still needs the source."""
    facts = migration.attempt.source_facts
    found = validation.carried_findings(facts, target, _metadata(migration, facts, target))
    found += validation.mode_findings(comparison.other_mode())
    found += _document_metadata(migration, comparison)
    found += _settings(migration, facts or {})
    found += _permissions(migration, target)
    found += [
        Finding(POINTS_HERE, text)
        for text in migration.shared.pointers(
            migration.gateway,
            migration.source_id,
            migration.how.copy_document,
            _speaks_of_a_graph(facts or {}),
        )
    ]
    return found


def _speaks_of_a_graph(facts: Json) -> bool:
    """Whether the source's answers may come from a knowledge graph, so that it is worth asking."""
    return "graph" in json.dumps([facts.get("rag_type"), facts.get("chat_settings")]).lower()


def _metadata(migration: Migration, facts: Optional[Json], target: Collection) -> Optional[Json]:
    """The target's metadata, asked for only where the source had any."""
    if not facts or not facts.get("metadata"):
        return None
    shown = target.get("metadata_dict")
    if isinstance(shown, dict) and shown:
        return shown
    try:
        return migration.gateway.metadata(migration.target_id)
    except NotFound:
        return {}
    except (Rejected, Unavailable, BadReply):
        return None  # the server does not tell; they are compared, no more


def _permissions(migration: Migration, target: Collection) -> List[Finding]:
    wanted = migration.attempt.permissions
    if wanted is None or wanted.empty:
        return []
    try:
        have = read_rights(
            migration.gateway,
            migration.clock,
            migration.target_id,
            migration.owner,
            is_public=target.is_public,
        ).whole()
    except ServerError:
        return []  # the server does not tell; they are compared, no more
    return validation.permission_findings(wanted, have)


def _settings(migration: Migration, facts: Json) -> List[Finding]:
    """The target's settings against what was asked for, unless this run has just done that."""
    if migration.seen.settings_compared:
        return []
    gateway = migration.gateway
    found: List[Finding] = []
    for what, wanted, read in (
        (SETTINGS, facts.get("settings"), gateway.settings),
        (CHAT_SETTINGS, facts.get("chat_settings"), gateway.chat_settings),
    ):
        if wanted:
            have = _told(what, read, migration.target_id)
            found += validation.settings_findings(what, wanted, have)
    kept = {item.text for item in migration.tracking.store.warnings(SourceId(migration.source_id))}
    return [finding for finding in found if str(finding) not in kept]


def _told(what: str, read: Callable[[str], Json], of: str) -> Optional[Json]:
    try:
        return read(of)
    except (Rejected, NotFound, Unavailable, BadReply) as error:
        log.warning("the %s of %s can't be read: %s", what, of, error.message)
        return None


# -- documents ---------------------------------------------------------------------------
def _document_metadata(migration: Migration, comparison: DocumentComparison) -> List[Finding]:
    """By what the listings say of all; where they say nothing, by a sample of the copies."""
    unlike, names = 0, []
    for name, want, have in comparison.pairs_with_metadata():
        if not validation.carries(validation.read_metadata(want), validation.read_metadata(have)):
            unlike += 1
            names += [name] if unlike <= validation.NAMED else []
    found = validation.metadata_findings((unlike, names), 0)
    sample = comparison.pairs_without_metadata(SAMPLE)
    return found + validation.metadata_findings(_of_sample(migration, sample), len(sample))


def _of_sample(migration: Migration, sample: List[Tuple[str, str, str]]) -> Tuple[int, List[str]]:
    names = []
    for name, source_id, target_id in sample:
        read = migration.gateway.document_metadata
        want, have = (_told("metadata", read, one) for one in (source_id, target_id))
        if want is not None and have is not None and not validation.carries(want, have):
            names.append(name)
    return len(names), names[: validation.NAMED]
