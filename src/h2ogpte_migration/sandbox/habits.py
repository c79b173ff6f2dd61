"""What the contract leaves open: how a server may behave, as switches.

A tool that is to be trusted must cope with either setting of each. The defaults are the sensible
ones, so that a test names only the habit that it is about. ``assumptions`` of the tool says of each what is
assumed, and what happens otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Dict, Optional, get_type_hints


class Fate(str, Enum):
    """How a job on a given source collection ends. Not every job can meet every fate."""

    SUCCEED = "succeed"
    FAIL = "fail"  # ends as failed, half of the work done (a move: nothing done)
    CANCEL = "cancel"  # somebody cancels it half-way
    PARTLY_FAIL = "partly fail"  # completed with errors, some documents failed
    ERRORS_ONLY = "errors only"  # completed with errors, although nothing is amiss
    LOSE_SOME = "lose some"  # completed without errors, but something did not arrive
    FAIL_AFTER_ALL = "fail after all"  # all the work is done, then the job ends as failed
    FAIL_ON_SOME = "fail on some"  # ends as failed; all came but what could not be parsed
    NEVER_END = "never end"
    ZOMBIE = "zombie"  # all the work is done, and the job goes on for ever
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
    insert_s: float = 0.05
    ingest_s: float = 0.1


@dataclass
class Habits:
    """The switches. A test changes them on ``world.habits`` at any time.

    Habits about operations hold operation ids, separated by commas, each perhaps with the number
    of times that it is struck, per path and caller: ``list_jobs:2, get_collection``.
    """

    # What the server is
    server_version: str = "1.7.5"  # what /rpc/meta says
    missing_operations: str = ""  # answered as paths that this server does not have

    # Paging and order
    page_cap: int = 1000  # largest page that is honoured; more is cut without a word
    refused_limit_above: Optional[int] = None  # 400 for a larger ``limit``
    limit_ignored: bool = False  # everything from the offset on, whatever the limit
    offset_ignored: bool = False  # every page is the first one
    shuffle_ties: bool = False  # rows equal in the sort column change places with each request
    restless: str = ""  # "repeat" or "skip": the first pass over pages shows a row twice, or not
    filter_ignores_case: bool = True
    ids_ignore_case: bool = False  # collections are found by an id in capitals, too

    # What listings and records carry
    users_include_caller: bool = True
    listings_are_sparse: bool = False  # no rag_type, prompt_template_id, metadata_dict
    collection_has_metadata: bool = True  # GET of one collection carries metadata_dict
    documents_have_metadata: bool = True  # listings of documents carry metadata_dict
    stale_document_counts: bool = False  # document_count as of World.refresh_counts()
    newer_server: bool = False  # fields and enum values that no client knows yet
    permissions_include_owner: bool = True
    public_null_for_all_rights: bool = False  # null instead of the full list
    deleted_keys_listed: bool = False  # as inactive
    jobs_of_others_listed: bool = False  # GET /jobs shows everybody's
    empty_listings: str = ""  # operations that answer [] although there is something

    # When something new is seen, in seconds after it was made
    collections_listed_after_s: float = 0.0
    collections_readable_after_s: float = 0.0  # by id, whatever is asked; 404 before
    documents_listed_after_s: float = 0.0  # counts are right at once
    chats_listed_after_s: float = 0.0
    chats_readable_after_s: float = 0.0  # by id
    jobs_listed_after_s: float = 0.0
    jobs_readable_after_s: float = 0.0  # by id; answered as an unknown job before
    keys_listed_after_s: float = 0.0
    keys_valid_after_s: float = 0.0  # 401 before

    # Forms of values
    timestamps: str = "Z"  # or "offset" (+02:00), or "naive" (UTC, unmarked)
    percentages: str = "fraction"  # or "percent"
    clock_offset_h: float = 0.0  # what the server's clock is ahead
    job_success_word: str = "completed"  # overall_status of a job that did its work
    job_failure_word: str = "failed"  # overall_status of a job that did not
    job_running_word: str = "in progress"
    job_words_in_capitals: bool = False

    # Refusals
    forbidden_is_401: bool = False  # lacking permission is answered 401; /rpc/meta is not
    unknown_job_status: int = 404  # or 400, 401, 500
    missing_key_delete_status: int = 409  # or 404, or 204
    repeated_share_conflicts: bool = False  # 409 for a share that exists already
    refuse_null_settings: bool = False  # POST collection with "collection_settings": null
    refuse_null_values: bool = False  # 422 for a setting that is null
    refused_settings: str = ""  # names of settings that only admins may set
    refused_settings_status: int = 403  # or 400, 422, 500
    refusals_name_settings: bool = True  # otherwise the refusal says nothing
    strict_workspaces: bool = True  # 400 for an unknown workspace, else the owner's default
    key_lifetime_cap_days: Optional[float] = None  # longer-lived keys are refused
    refused_key_units: str = ""  # such as "minute": units of ``expires_in`` that are not known
    key_refusal_status: int = 400  # or 422
    collections_per_user: Optional[int] = None  # a quota
    documents_per_user: Optional[int] = None  # a quota, over all collections that she owns
    quota_status: int = 403  # or 400, 409, 422
    size_limit_refuses: bool = False  # an import of more than the source's own size limit
    past_expiry_refused: bool = False  # setting, or copying, an expiry date in the past
    archived_refuses: bool = True  # an archived collection cannot be imported from or changed
    errors_echo_key: bool = False  # errors of jobs and refusals quote the Authorization header

    # Answers that are none
    broken_operations: str = ""  # operations that answer 500
    foreign_404: str = ""  # operations that a gateway answers with a 404 of its own
    foreign_404_shape: str = "detail"  # or "html"
    error_in_body: str = ""  # operations that answer 200 with {"error": ...} and do nothing

    # Creating and changing collections
    server_defaults: str = ""  # what a new collection gets: "guardrails", "pii", or "forced"
    created_shared: str = ""  # with whom what is created is shared at once: "public", "users"
    patch_blanks: bool = False  # PATCH empties what its body does not name
    vex_encryption_ignored: bool = False  # at creation
    name_limit: Optional[int] = None  # longest name of a collection, in characters
    long_names: str = "truncate"  # or "refuse" (422)
    names_normalised: str = ""  # "trim" (white space), "nfc" (Unicode), "lower"

    # Documents and jobs
    doubled_ids: str = "same"  # an import twice lists each id twice; or "new" records
    bad_documents_arrive: bool = True  # documents bad in the source arrive, as bad
    failed_job_brings_rest: bool = False  # bad documents end the import as failed, stay away
    zombie_jobs: str = ""  # "imports", "moves", "all": all is done, and the job never ends
    import_flags_ignored: str = ""  # such as "preserve_metadata": an older server's import
    hide_ended_jobs_after_s: Optional[float] = None  # from listings; GET still finds them
    forget_ended_jobs_after_s: Optional[float] = None  # altogether
    admin_reads_jobs: bool = False  # GET /jobs/{id} of somebody else with an admin's key
    job_ids_reused: bool = False  # a new job gets the id of one that was deleted or forgotten
    broken_index: str = ""  # "empty" or "garbage": vector search in what was imported
    expiry_archives: bool = False  # collections are archived when they expire

    # Chats
    archived_chats_listed: bool = False
    archived_chats_counted: bool = True  # in sessions_count and chats/count
    archived_chats_move: bool = False
    unknown_frames: bool = False  # the websocket sends frames of a type that no client knows

    # Network
    latency_s: float = 0.0  # added to every request


def read_setting(text: str) -> Dict[str, Any]:
    """Return a habit with its value from ``NAME=VALUE``; some values may be ``none``.

    Raises:
        ValueError: for an unknown name, or a value of the wrong type.
    """
    name, equals, value = text.partition("=")
    types = get_type_hints(Habits)
    if not equals or name not in types:
        raise ValueError(f"Not a habit with a value: {text}")
    return {name: _value(name, types[name], value)}


def _value(name: str, kind: Any, text: str) -> Any:
    members = getattr(kind, "__args__", ())
    if members:
        if text.lower() == "none":
            return None
        kind = members[0]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name} is true or false, not {text}")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} is of type {kind.__name__}, not {text}") from None
