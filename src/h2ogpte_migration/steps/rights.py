"""Who may see a collection, by what its lists say. Reads only.

A list that is refused, or that can't be understood, is asked for twice. What is not known then is
told as unread: it grants nothing, and proves of nobody that they were granted nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Callable, Dict, List, Mapping, Optional, Tuple, TypeVar

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import BadReply, NotFound, Rejected, Unavailable
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Permissions, Share
from h2ogpte_migration.steps.presence import sure

T = TypeVar("T")

NOBODY = Permissions(is_public=False)

_USERS, _GROUPS, _PUBLIC = "user shares", "group shares", "public rights"


@dataclass(frozen=True)
class Unread:
    """A list, or some of it, that could not be read: ``what`` in words, and ``why``."""

    what: str
    why: str


@dataclass(frozen=True)
class Listed:
    """The rights that a collection shows, its owner's left out.

    Args:
        rights: what could be read and understood.
        unread: the rest, by its list.
    """

    rights: Permissions
    unread: Mapping[str, Unread]

    def whole(self) -> Permissions:
        """The rights, all of which could be read.

        Raises:
            BadReply: some could not.
        """
        if self.unread:
            lists = "; ".join(f"the {item.what}: {item.why}" for item in self.unread.values())
            raise BadReply(f"who may see it can't be read ({lists})")
        return self.rights

    @property
    def unread_lists(self) -> str:
        """The lists that could not be read, in words."""
        return ", ".join(item.what for item in self.unread.values())

    def may_grant(self, given: Permissions) -> Permissions:
        """What of some rights stands in lists of which it can't be told what they grant."""
        is_public = given.is_public and _PUBLIC in self.unread
        return Permissions(
            is_public=is_public,
            public=given.public if is_public else None,
            users=given.users if _USERS in self.unread else (),
            groups=given.groups if _GROUPS in self.unread else (),
        )


def read_rights(
    gateway: Gateway,
    clock: Clock,
    collection_id: str,
    owner: str,
    *,
    is_public: Optional[bool],
    none_twice: bool = False,
) -> Listed:
    """Ask for the lists of a collection.

    Args:
        is_public: what its record says; where that is neither yes nor no, it is read once more.
        none_twice: a list that comes empty is asked for again.

    Raises:
        ServerError: it is not just a list of it that can't be read.
    """
    lists = _Lists(gateway, clock, collection_id, none_twice)
    users = lists.shares(_USERS, gateway.user_shares)
    groups = lists.shares(_GROUPS, gateway.group_shares)
    is_public = lists.publicity(is_public)
    public = lists.told(_PUBLIC, gateway.public_permissions, None) if is_public else None
    # Without a list all rights would be granted: where it can't be read, none are.
    is_public = is_public and _PUBLIC not in lists.unread
    users = [share for share in users if share.grantee != owner]
    return Listed(Permissions(is_public, public, tuple(users), tuple(groups)), lists.unread)


@dataclass(frozen=True)
class _Lists:
    """The lists of rights of one collection; what can't be read gathers in ``unread``."""

    gateway: Gateway
    clock: Clock
    collection_id: str
    none_twice: bool
    unread: Dict[str, Unread] = field(default_factory=dict)

    def publicity(self, told: Optional[bool]) -> bool:
        """Whether it surely is public."""
        if told is None:
            self.clock.sleep(patience.EMPTY_LOOK_S)
            told = self.gateway.collection(self.collection_id).is_public
        if told is None:
            self.unread[_PUBLIC] = Unread(_PUBLIC, "is_public is neither true nor false")
        return bool(told)

    def shares(self, what: str, listing: Callable[[str], List[Share]]) -> List[Share]:
        """The shares of a list that can be understood."""

        def odd(rows: List[Share]) -> Optional[Unread]:
            number = sum(not share.grantee for share in rows)
            which = f"{what} of another shape than documented"
            return Unread(which, f"{number} of {len(rows)}") if number else None

        none: List[Share] = []
        return [share for share in self.told(what, listing, none, odd) if share.grantee]

    def told(
        self,
        what: str,
        listing: Callable[[str], T],
        otherwise: T,
        odd: Callable[[T], Optional[Unread]] = lambda _: None,
    ) -> T:
        """What a list says, or ``otherwise``; it is unread where that is refused or odd, twice."""
        told, unread, final = self._look(what, listing, otherwise, odd)
        if not final:
            self.clock.sleep(patience.EMPTY_LOOK_S)
            told, unread, _ = self._look(what, listing, otherwise, odd)
        if unread is not None:
            # Gone or down, and not just this list of it: raises that.
            self.gateway.collection(self.collection_id)
            self.unread[what] = unread
        return told

    def _look(
        self,
        what: str,
        listing: Callable[[str], T],
        otherwise: T,
        odd: Callable[[T], Optional[Unread]],
    ) -> Tuple[T, Optional[Unread], bool]:
        """What a list says, what is wrong with that, and whether one look is enough."""
        read_it = partial(listing, self.collection_id)
        try:
            told = sure(self.clock, read_it) if self.none_twice else read_it()
        except Unavailable as error:
            return otherwise, Unread(what, error.message), True  # it was retried
        except (Rejected, NotFound, BadReply) as error:
            return otherwise, Unread(what, error.message), False
        return told, odd(told), odd(told) is None
