"""``python -m h2ogpte_migration``: the same as the command ``h2ogpte-migrate``."""

from h2ogpte_migration.app import run

run()
