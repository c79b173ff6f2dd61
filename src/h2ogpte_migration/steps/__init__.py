"""The pipeline of one collection, as one declared sequence.

What comes next at which position stands in ``states.TRANSITIONS``; here is what each step
sets when it is done, and what has to be looked for before it may be repeated.
"""

from __future__ import annotations

from h2ogpte_migration.states import Step
from h2ogpte_migration.steps import create, importing
from h2ogpte_migration.steps.base import StepSpec

PIPELINE = (
    StepSpec(Step.CREATE, None, "create the target", repeatable=False, find_existing=create.find),
    StepSpec(Step.SETTINGS, "collection_created", "give it the source's settings"),
    StepSpec(Step.PERMISSIONS, "permissions_copied", "share it as the source is shared"),
    StepSpec(
        Step.IMPORT,
        "import_submitted",
        "submit the import job",
        repeatable=False,
        find_existing=importing.find,
    ),
    StepSpec(Step.JOB, "import_completed", "wait for the job"),
    StepSpec(Step.VALIDATE, None, "compare source and target"),
    StepSpec(Step.CONNECTORS, "connectors_migrated", "move the connectors", gated=True),
    StepSpec(Step.CHATS, "chats_migrated", "move the chats, if asked for", gated=True),
)
