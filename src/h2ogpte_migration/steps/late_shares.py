"""What became of the source's shares since its import was sent: the target follows, in both ways.

By then the target may be somebody's own: what people gave there stays, and nothing is given where
they changed who may see it; that is told.
"""

from __future__ import annotations

from typing import AbstractSet, Dict, Optional, Set, Tuple

from h2ogpte_migration.errors import NotFound
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, Finding, Permissions, Share
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps import permissions
from h2ogpte_migration.steps.permissions import StillShared, by_whom, only
from h2ogpte_migration.steps.rights import NOBODY, Listed, read_rights
from h2ogpte_migration.tracking.records import Attempt
from h2ogpte_migration.validation import SHARED_MORE_WIDELY


def follow(migration: Migration) -> Optional[Finding]:
    """After the import: the target's shares as the source's are now.

    What we gave and the source does not grant any more is taken back, but for what people changed
    there since; what the source grants since then is given where nobody did.

    Returns a blocking finding where the server does not take something back.
    """
    given = permissions.given_so_far(migration)
    try:
        source = _of_source(migration, given)
    except NotFound:
        return None  # whoever compares the documents finds out whether the source is gone
    if source.unread:
        migration.warn(f"whether the {source.unread_lists} are still the source's can't be told")
    allowed = permissions.together(source.may_grant(given), source.rights)
    left = permissions.narrowed(given, allowed)
    late = only(source.rights, _late(migration, left, source.rights))
    finding: Optional[Finding] = None
    if left != given or not late.empty:
        target = _of_target(migration)
        why_not = _why_not(migration, given, target)
        if left != given:
            left, finding = _take_back(migration, given, left, target.rights)
        if finding is None:
            left = _give(migration, left, _lacking(late, target.rights), why_not)
    store, attempt = migration.tracking.store, migration.attempt
    if left != (attempt.permissions or NOBODY) or migration.warnings:
        store.record_rights(migration.lease, attempt, left, migration.take_warnings())
        migration.reload()
    return finding


def _of_source(migration: Migration, given: Permissions) -> Listed:
    """The source's rights. Where something may have to be taken back, "none" is looked at twice.

    A listing of a while ago makes nothing public: by now the source may be private. Where this run
    has sent the import, a listing may be of before.
    """
    gateway, source_id = migration.gateway, migration.source_id
    source: Optional[Collection] = None
    if migration.overview is not None and migration.seen.rights_copied_at is None:
        source = migration.overview.collection(source_id)
    if source is None or source.is_public is not False or not given.empty:
        source = gateway.collection(source_id)
    return read_rights(
        gateway,
        migration.clock,
        source_id,
        migration.owner,
        is_public=source.is_public,
        none_twice=not given.empty,
    )


def _of_target(migration: Migration) -> Listed:
    """The rights that the target shows, whoever gave them."""
    gateway, target_id = migration.gateway, migration.target_id
    is_public = gateway.collection(target_id).is_public
    return read_rights(gateway, migration.clock, target_id, migration.owner, is_public=is_public)


# -- what the source does not grant any more ---------------------------------------------
def _take_back(
    migration: Migration, given: Permissions, left: Permissions, shown: Permissions
) -> Tuple[Permissions, Optional[Finding]]:
    """Take back what was given; returns what of it the target may have from now on."""
    had, wanted, seen = by_whom(given), by_whom(left), by_whom(shown)
    excess = {whom for whom, share in had.items() if wanted.get(whom) != share}
    theirs = {whom for whom in excess if whom in seen and _is_more(seen[whom], had[whom])}
    if theirs:
        migration.warn(
            f"{_list(theirs)} has rights on the target that somebody gave there, and that the "
            "source does not grant: they were left; compare who may see the two"
        )
    given, left = only(given, had.keys() - theirs), only(left, had.keys() - theirs)
    try:
        permissions.withdraw(migration, given, left)
    except StillShared as error:
        # The next validation tries again.
        left = permissions.together(left, error.stays)
        return left, Finding(SHARED_MORE_WIDELY, error.message, blocking=True)
    if excess - theirs:
        migration.notes.append(
            f"rights on the target that the source does not grant any more were taken from "
            f"{_list(excess - theirs)}"
        )
    return left, None


def _is_more(shown: Share, given: Share) -> bool:
    """Whether somebody has surely more than was given; a share that shows no list tells nothing."""
    if shown.permissions is None or given.permissions is None:
        return False
    return not set(shown.permissions) <= set(given.permissions)


# -- what the source grants since ----------------------------------------------------------
def _late(migration: Migration, left: Permissions, allowed: Permissions) -> Set[str]:
    """To whom the source grants more than was given, or was about to be given by an earlier run."""
    have, begun = by_whom(left), _begun(migration)
    return {
        whom
        for whom, share in by_whom(allowed).items()
        if whom in begun or whom not in have or not _covers(have[whom], share)
    }


def _begun(migration: Migration) -> Dict[str, Share]:
    """What was on record as about to be given, and never as given."""
    if StepName.LATE_SHARES not in migration.record.checkpoints:
        return {}
    return by_whom(migration.tracking.store.late_rights(migration.attempt))


def _covers(have: Share, want: Share) -> bool:
    """Whether rights include others; no list at all stands for all of them."""
    if have.permissions is None or want.permissions is None:
        return have.permissions is None
    return set(want.permissions) <= set(have.permissions)


def _lacking(late: Permissions, shown: Permissions) -> Permissions:
    """What of it the target does not show already: people may have shared both."""
    have = by_whom(shown)
    whom = {
        whom
        for whom, share in by_whom(late).items()
        if whom not in have or not _covers(have[whom], share)
    }
    return only(late, whom)


def _give(migration: Migration, left: Permissions, late: Permissions, why_not: str) -> Permissions:
    """Give what came late, or tell of it; returns what the target may have then.

    It is on record before it is given, as what may not have arrived.
    """
    store, attempt, whom = migration.tracking.store, migration.attempt, by_whom(late).keys()
    if late.empty:
        pass
    elif why_not:
        migration.warn(
            f"since its import the source was shared with {_list(whom)}, and the target was not, "
            f"as {why_not}: share it in h2oGPTe, if they are to see it"
        )
    else:
        left = permissions.together(left, late)
        store.record_late_rights(migration.lease, attempt, left, late)
        migration.reload()
        permissions.give(migration, late)
        migration.notes.append(f"shared with {_list(whom)}, as the source is by now")
    if _begun(migration):
        store.record_late_rights(migration.lease, attempt, left, NOBODY)
        migration.reload()
    return left


def _why_not(migration: Migration, given: Permissions, target: Listed) -> str:
    """Why nothing is given any more; empty where the target is shared as we left it."""
    if target.unread:
        return f"its {target.unread_lists} could not be read"
    by_us = migration.record.record.permissions_copied
    if migration.attempt.origin == Attempt.LEGACY or not by_us:
        return "it is not on record what it was given"
    if not _as_left(by_whom(given), by_whom(target.rights), _begun(migration).keys()):
        return "somebody changed there who may see it"
    return ""


def _as_left(given: Dict[str, Share], shown: Dict[str, Share], begun: AbstractSet[str]) -> bool:
    """Whether nobody else gave or took anything; what was only begun may be there or not."""
    if shown.keys() - given.keys():
        return False
    return all(
        (whom in begun and (whom not in shown or _covers(share, shown[whom])))
        or (whom in shown and permissions.as_wanted(share, [shown[whom]]))
        for whom, share in given.items()
    )


def _list(whom: AbstractSet[str]) -> str:
    return ", ".join(sorted(whom))
