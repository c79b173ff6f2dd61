"""The tracking database: what was intended, done and found, over all runs."""

from __future__ import annotations

from h2ogpte_migration.tracking.accounts import Accounts
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.leases import Leases
from h2ogpte_migration.tracking.leftovers import Leftovers
from h2ogpte_migration.tracking.retrievals import Retrievals
from h2ogpte_migration.tracking.runs import Runs
from h2ogpte_migration.tracking.store import Store


class Tracking:
    """One open database, with a door for each sort of question."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = Store(database)
        self.runs = Runs(database)
        self.leases = Leases(database, self.runs)
        self.accounts = Accounts(database, self.runs)
        self.leftovers = Leftovers(database, self.runs)
        self.retrievals = Retrievals(database)


__all__ = ["Database", "Tracking"]
