"""What the contract leaves open: how a server may behave, as switches.

A tool that is to be trusted must cope with either setting of each. The defaults are the sensible
ones, so that a test names only the habit that it is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional


class Fate(str, Enum):
    """How a job on a given source collection ends. Not every job can meet every fate."""

    SUCCEED = "succeed"
    FAIL = "fail"  # ends as failed, half of the work done (a move: nothing done)
    CANCEL = "cancel"  # somebody cancels it half-way
    PARTLY_FAIL = "partly fail"  # completed with errors, some documents failed
    ERRORS_ONLY = "errors only"  # completed with errors, although nothing is amiss
    LOSE_SOME = "lose some"  # completed without errors, but something did not arrive
    FAIL_AFTER_ALL = "fail after all"  # all the work is done, then the job ends as failed
    NEVER_END = "never end"
    REFUSE = "refuse"  # the request is answered with 400, there is no job


class ChatFate(str, Enum):
    """How a question in a chat is answered."""

    ANSWER = "answer"
    NO_REFERENCES = "no references"
    FOREIGN_REFERENCES = "foreign references"  # to a collection other than the chat's
    ERROR = "error"
    SILENCE = "silence"  # acknowledged, then nothing
    HANG_UP = "hang up"  # acknowledged, then the connection is closed


@dataclass
class JobTimes:
    """How long jobs take, in seconds of the world's clock."""

    import_s: float = 0.2
    import_per_document_s: float = 0.0
    move_s: float = 0.1
    delete_s: float = 0.05


@dataclass
class Habits:
    """The switches. A test changes them on ``world.habits`` at any time."""

    # Paging and order
    page_cap: int = 1000  # largest page that is honoured; more is cut without a word
    shuffle_ties: bool = False  # rows equal in the sort column change places with each request
    filter_ignores_case: bool = True

    # What listings and records carry
    users_include_caller: bool = True
    listings_are_sparse: bool = False  # no rag_type, prompt_template_id, metadata_dict
    collection_has_metadata: bool = True  # GET of one collection carries metadata_dict
    stale_document_counts: bool = False  # document_count as of World.refresh_counts()
    newer_server: bool = False  # fields and enum values that no client knows yet
    permissions_include_owner: bool = True
    public_null_for_all_rights: bool = False  # null instead of the full list
    deleted_keys_listed: bool = False  # as inactive

    # Forms of values
    timestamps: str = "Z"  # or "offset" (+02:00), or "naive" (UTC, unmarked)
    percentages: str = "fraction"  # or "percent"
    clock_offset_h: float = 0.0  # what the server's clock is ahead

    # Refusals
    unknown_job_status: int = 404  # or 400
    missing_key_delete_status: int = 409  # or 404, or 204
    repeated_share_conflicts: bool = False  # 409 for a share that exists already
    refuse_null_settings: bool = False  # POST collection with "collection_settings": null
    strict_workspaces: bool = True  # 400 for an unknown workspace, else the owner's default

    # Documents and jobs
    doubled_ids: str = "same"  # an import twice lists each id twice; or "new" records
    bad_documents_arrive: bool = True  # documents bad in the source arrive, as bad
    hide_ended_jobs_after_s: Optional[float] = None  # from listings; GET still finds them
    forget_ended_jobs_after_s: Optional[float] = None  # altogether
    admin_reads_jobs: bool = False  # GET /jobs/{id} of somebody else with an admin's key

    # Network
    latency_s: float = 0.0  # added to every request
