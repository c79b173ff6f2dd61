"""What the tool assumes of a server where the contract is silent: one table, a row for each habit.

A habit is a switch of the sandbox, which makes the assumption wrong there; ``--check-server`` tells
which ones hold at a real server. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Tuple

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Assumption:
    """What is taken for granted, and what happens where it is not so.

    Args:
        habit: the sandbox's switch.
        assumed: what we assume.
        operations: ids of the operations of the contract that it is about.
        otherwise: what else a server may do.
        values: values of the switch, other than its default, to try.
        along: other switches that go with them, such as the one that this one refines.
        then: what the tool does at a server that is otherwise.
        shown_by: the tests of that, as paths below ``tests``.
    """

    habit: str
    assumed: str
    operations: str
    otherwise: str
    values: Tuple[Any, ...]
    along: Settings = field(default_factory=dict)
    then: str = ""
    shown_by: Tuple[str, ...] = ()


_THEN: Dict[str, str] = {
    "server_version": "refuses an older one before anything is changed; warns of a newer one",
    "missing_operations": "goes on without them, and says what could not be looked at",
    "page_cap": "learns how long a page may be, and reads on until a page is short",
    "refused_limit_above": "asks for shorter pages",
    "limit_ignored": "takes each row once",
    "offset_ignored": "notices it; a page that may not be all there is counts as a failure",
    "shuffle_ties": "lets pages overlap, takes each row once, and reads again where rows changed places",
    "restless": "lets pages overlap, and looks twice before it says that something is missing",
    "filter_ignores_case": "picks the exact rows out of what matches",
    "ids_ignore_case": "takes an id as the server spells it",
    "users_include_caller": "knows the administrator from the key",
    "listings_are_sparse": "reads each collection by itself before it works on it",
    "collection_has_metadata": "asks the operation for metadata",
    "documents_have_metadata": "reads the metadata of 20 documents of a copied collection",
    "stale_document_counts": "counts documents in the listing",
    "newer_server": "carries unknown fields and words over as they are",
    "permissions_include_owner": "never shares with the owner",
    "public_null_for_all_rights": "reads null as all rights, and sends none either",
    "deleted_keys_listed": "counts active keys only",
    "jobs_of_others_listed": "takes a job for its own only if its key may read it",
    "empty_listings": "looks again, and believes no empty listing that a count contradicts",
    "collections_listed_after_s": "waits and looks again before it makes anything anew",
    "collections_readable_after_s": "waits for what it has just made",
    "documents_listed_after_s": "looks again before it calls a document missing",
    "chats_listed_after_s": "looks again before it calls a collection free of chats",
    "chats_readable_after_s": "does not ask for a chat by its id right away",
    "jobs_listed_after_s": "looks until a job must have shown",
    "jobs_readable_after_s": "waits for a job that it has just started",
    "keys_listed_after_s": "looks for a key again before it closes the record of it",
    "keys_valid_after_s": "waits until a new key is taken",
    "timestamps": "reads all three forms",
    "percentages": "reads both, and decides nothing by them",
    "clock_offset_h": "compares the server's times with each other only",
    "job_success_word": "lets the documents decide, when the job stands still",
    "job_failure_word": "lets the documents decide, when the job stands still",
    "job_running_word": "waits as long as the job moves",
    "job_words_in_capitals": "reads both",
    "forbidden_is_401": "asks whether the key is good, and takes the 401 for a refusal then",
    "unknown_job_status": "looks through the list of jobs",
    "missing_key_delete_status": "looks whether the key is still listed",
    "repeated_share_conflicts": "reads the share, and is content with one that is as wanted",
    "refuse_null_settings": "leaves nulls out",
    "refuse_null_values": "leaves nulls out",
    "refused_settings": "leaves out what is refused, and keeps a warning",
    "refused_settings_status": "leaves out what is refused, and keeps a warning",
    "refusals_name_settings": "finds out which one by leaving them out one at a time",
    "strict_workspaces": "takes the owner's default workspace, and keeps a warning",
    "key_lifetime_cap_days": "asks for keys that live for 7 days, then for 1 day",
    "refused_key_units": "asks for the life time in other units",
    "key_refusal_status": "asks for shorter-lived keys",
    "collections_per_user": "fails the collections of this owner, and goes on with others",
    "documents_per_user": "fails the collections of this owner, and goes on with others",
    "quota_status": "reads the words of the refusal",
    "size_limit_refuses": "warns beforehand; a refused import fails the collection in the server's words",
    "past_expiry_refused": "warns beforehand; a refused import fails the collection in the server's words",
    "archived_refuses": "skips archived collections",
    "errors_echo_key": "cuts keys out of everything that is shown, logged or stored",
    "broken_operations": "says what could not be read, and copies the rest",
    "foreign_404": "takes nothing for gone but what h2oGPTe itself says is gone",
    "foreign_404_shape": "takes nothing for gone but what h2oGPTe itself says is gone",
    "error_in_body": "reads it as a refusal",
    "server_defaults": "sets the settings of the source again, and keeps a warning where they do not hold",
    "created_shared": "takes back, before the import, what the source does not give",
    "patch_blanks": "sends name and description along with every change",
    "vex_encryption_ignored": "fails the collection before anything is imported",
    "name_limit": "shortens the name of the target, and keeps its time whole",
    "long_names": "shortens the name of the target, and keeps its time whole",
    "names_normalised": "compares names as servers may have written them",
    "doubled_ids": "never imports twice; a doubled target is given up for a fresh one",
    "bad_documents_arrive": "tells what was bad before from what is missing",
    "failed_job_brings_rest": "lets the documents decide, whatever the job says",
    "zombie_jobs": "lets the documents decide, when the job stands still",
    "import_flags_ignored": "compares, and keeps a warning",
    "hide_ended_jobs_after_s": "asks for a job by its id",
    "forget_ended_jobs_after_s": "lets the documents decide",
    "admin_reads_jobs": "claims a job once, whoever may read it",
    "job_ids_reused": "claims a job with its kind and its collection",
    "broken_index": "shows it: --verify-retrieval looks for documents, --min-recall holds back",
    "expiry_archives": "keeps a warning",
    "archived_chats_listed": "leaves behind what does not move after several tries, and says so",
    "archived_chats_counted": "says how many stay with the source",
    "archived_chats_move": "is content with what the source lists",
    "unknown_frames": "passes over them",
    "latency_s": "works on several collections at a time (--max-concurrent-requests)",
}
"""What the tool does where an assumption does not hold, by habit."""


_EVERY = "safety/test_every_habit.py::test_a_migration_ends_well_under_each_habit_alone"
_PRESENCE = "safety/test_presence_of_things.py::"
_TARGET = "safety/test_target.py::"
_LIFECYCLE = "safety/test_lifecycle.py::"
_RIGHTS = "safety/test_rights.py::"
_SURPRISES = "faults/test_surprises.py::"
_SERVER = "safety/test_server_habits.py::"

_SHOWN_BY: Dict[str, Tuple[str, ...]] = {
    "server_version": (
        _SERVER + "test_an_older_server_is_refused_before_anything_is_written",
        _SERVER + "test_a_newer_server_is_a_warning",
    ),
    "missing_operations": (
        _SERVER + "test_a_server_without_the_routes_is_met_with_silence",
        _PRESENCE + "test_late_documents_that_cannot_follow_hold_the_connectors",
    ),
    "page_cap": (
        _SURPRISES + "test_listings_that_change_between_pages_skip_nothing_and_double_nothing",
    ),
    "refused_limit_above": (_PRESENCE + "test_a_server_that_refuses_the_documented_page_size",),
    "offset_ignored": (
        _PRESENCE + "test_a_server_that_ignores_the_offset",
        _PRESENCE + "test_a_long_listing_without_offsets_is_a_clear_error",
    ),
    "shuffle_ties": (
        _SURPRISES + "test_listings_that_change_between_pages_skip_nothing_and_double_nothing",
    ),
    "restless": (
        _SURPRISES
        + "test_documents_that_come_while_they_are_listed_are_found_or_left_behind_but_never_lost",
    ),
    "filter_ignores_case": (_LIFECYCLE + "test_ids_in_capitals_are_found",),
    "ids_ignore_case": (_LIFECYCLE + "test_ids_in_capitals_are_found",),
    "documents_have_metadata": (
        _SERVER + "test_metadata_that_listings_leave_out_is_read_of_a_sample",
    ),
    "newer_server": ("e2e/test_what_is_migrated.py::test_rag_type_even_where_no_client_knows_it",),
    "jobs_of_others_listed": (_PRESENCE + "test_jobs_of_others_are_not_adopted",),
    "empty_listings": (
        _PRESENCE + "test_one_empty_listing_is_not_believed",
        _PRESENCE + "test_a_baseline_that_stays_empty_imports_nothing",
    ),
    "collections_listed_after_s": (_PRESENCE + "test_what_shows_late_is_waited_for",),
    "collections_readable_after_s": (_PRESENCE + "test_what_shows_late_is_waited_for",),
    "documents_listed_after_s": (_PRESENCE + "test_what_shows_late_is_waited_for",),
    "chats_listed_after_s": (_PRESENCE + "test_what_shows_late_is_waited_for",),
    "jobs_listed_after_s": (
        _PRESENCE + "test_an_unanswered_import_whose_job_shows_late_is_not_sent_twice",
    ),
    "jobs_readable_after_s": (_PRESENCE + "test_what_shows_late_is_waited_for",),
    "keys_listed_after_s": (
        "unit/test_credentials.py::test_a_key_that_appears_late_is_found_by_the_second_look",
    ),
    "timestamps": (
        "unit/test_model.py::test_the_same_moment_in_different_spellings_is_one_moment",
    ),
    "percentages": (
        "unit/test_model.py::test_more_than_nothing_failed_is_all_that_is_read_from_percentages",
    ),
    "job_success_word": (_PRESENCE + "test_a_zombie_job_is_ended_by_its_documents",),
    "job_failure_word": (_PRESENCE + "test_an_unknown_word_for_a_failed_job_ends_it",),
    "job_running_word": (_PRESENCE + "test_a_zombie_job_is_ended_by_its_documents",),
    "job_words_in_capitals": (
        "unit/test_model.py::test_a_job_is_over_only_in_states_that_are_known_to_be_ends",
    ),
    "forbidden_is_401": (
        _SERVER + "test_a_401_to_a_good_key_is_a_refusal_of_one_thing",
        _SERVER + "test_a_401_to_a_bad_key_ends_the_run",
    ),
    "unknown_job_status": (_PRESENCE + "test_a_job_whose_record_vanished_is_decided_by_documents",),
    "missing_key_delete_status": (
        "unit/test_credentials.py::test_a_key_that_is_gone_already_counts_as_deleted",
    ),
    "repeated_share_conflicts": (_RIGHTS + "test_a_narrower_list_of_rights_counts_as_well",),
    "refuse_null_values": (_TARGET + "test_single_nulls_are_left_out_without_a_warning",),
    "refused_settings": (_TARGET + "test_a_setting_that_only_administrators_may_set_is_left_out",),
    "refused_settings_status": (
        _TARGET + "test_a_setting_that_only_administrators_may_set_is_left_out",
    ),
    "refusals_name_settings": (
        _TARGET + "test_a_setting_that_only_administrators_may_set_is_left_out",
    ),
    "key_lifetime_cap_days": (
        _SERVER + "test_a_lifetime_that_is_refused_is_asked_for_shorter",
        _SERVER + "test_a_lifetime_that_stays_refused_names_the_flag",
    ),
    "refused_key_units": (_SERVER + "test_a_dry_run_takes_the_unit_that_the_server_knows",),
    "key_refusal_status": (_SERVER + "test_a_lifetime_that_is_refused_is_asked_for_shorter",),
    "collections_per_user": (_LIFECYCLE + "test_a_quota_of_collections_counts_for_its_owner",),
    "documents_per_user": (_LIFECYCLE + "test_a_quota_of_documents_counts_for_its_owner",),
    "quota_status": (_LIFECYCLE + "test_a_quota_of_collections_counts_for_its_owner",),
    "size_limit_refuses": (
        _LIFECYCLE + "test_a_date_in_the_past_and_a_limit_that_is_passed_are_warnings",
        _SERVER + "test_a_refused_import_of_too_much_names_the_limit",
    ),
    "past_expiry_refused": (
        _LIFECYCLE + "test_a_date_in_the_past_and_a_limit_that_is_passed_are_warnings",
    ),
    "archived_refuses": (_LIFECYCLE + "test_a_source_out_of_use_is_skipped_with_the_reason",),
    "errors_echo_key": ("faults/test_secrets.py::test_no_key_is_written_anywhere",),
    "broken_operations": (
        _RIGHTS + "test_a_permission_listing_that_is_broken_for_good_is_a_kept_warning",
        _TARGET + "test_settings_that_cannot_be_read_are_a_kept_warning",
    ),
    "foreign_404": (_PRESENCE + "test_a_gateways_404_ends_nothing",),
    "foreign_404_shape": (_PRESENCE + "test_a_gateways_404_ends_nothing",),
    "server_defaults": (
        _TARGET + "test_defaults_of_the_server_are_undone_before_the_import",
        _TARGET + "test_forced_defaults_are_a_kept_warning",
    ),
    "created_shared": (
        "safety/test_rights.py::test_what_a_server_shares_at_creation_is_taken_back_before_the_import",
    ),
    "patch_blanks": (_TARGET + "test_patch_blanks_nothing",),
    "vex_encryption_ignored": (_TARGET + "test_ignored_encryption_stops_before_the_import",),
    "name_limit": (_TARGET + "test_a_name_that_the_server_cuts_off_gets_its_time_back",),
    "long_names": (_TARGET + "test_a_refused_long_name_is_shortened_and_keeps_its_time",),
    "names_normalised": (_TARGET + "test_a_name_in_another_form_is_recognised",),
    "bad_documents_arrive": (_PRESENCE + "test_only_a_document_that_was_never_usable_is_missing",),
    "failed_job_brings_rest": (
        _PRESENCE + "test_only_a_document_that_was_never_usable_is_missing",
    ),
    "zombie_jobs": (
        _PRESENCE + "test_a_zombie_job_is_ended_by_its_documents",
        _PRESENCE + "test_zombie_moves_end_with_what_the_origin_lists",
    ),
    "import_flags_ignored": (_SERVER + "test_metadata_that_did_not_arrive_is_a_kept_warning",),
    "forget_ended_jobs_after_s": (
        _PRESENCE + "test_a_job_whose_record_vanished_is_decided_by_documents",
    ),
    "job_ids_reused": (
        "safety/test_record_and_past.py::test_an_id_of_a_job_that_the_server_gives_out_again_is_taken",
    ),
    "expiry_archives": (
        _LIFECYCLE + "test_a_date_in_the_past_and_a_limit_that_is_passed_are_warnings",
    ),
    "archived_chats_listed": (_PRESENCE + "test_archived_chats_are_told_and_end_the_move",),
    "archived_chats_counted": (_PRESENCE + "test_archived_chats_are_told_and_end_the_move",),
    "unknown_frames": (_SERVER + "test_frames_that_the_client_does_not_know_are_a_warning",),
    "latency_s": ("e2e/test_modes.py::test_requests_in_flight_are_bounded",),
}
"""Beside ``_EVERY``, which tries each of them."""


def _row(
    habit: str, assumed: str, operations: str, otherwise: str, *values: Any, **along: Any
) -> Assumption:
    shown_by = (_EVERY, *_SHOWN_BY.get(habit, ()))
    then = _THEN.get(habit, "")
    return Assumption(habit, assumed, operations, otherwise, values, along, then, shown_by)


_LISTINGS = "list_collections, list_all_collections, list_documents_for_collection, and others"
_CREATE = "create_collection"
_IMPORT = "create_import_collection_to_collection_job"
_MOVES = "migrate_scheduled_connectors_to_collection, create_migrate_collection_chat_sessions_job"
_JOBS = "get_job, list_jobs, list_user_jobs"
_KEYS = "create_api_key_for_user, list_all_api_keys"
_CHATS = "list_chat_sessions_for_collection, create_migrate_collection_chat_sessions_job"
_POINTERS = "list_scheduled_tasks, list_scheduled_tasks_by_admin, list_ai_assistants"

_WHAT_THE_SERVER_IS = (
    _row(
        "server_version",
        "the server is as old as the oldest client that knows skip_reparse, or newer",
        "/rpc/meta",
        "it is older and ignores what it does not know; or newer than any that was tried",
        "1.6.40",
        "9.0.0",
    ),
    _row(
        "missing_operations",
        "tasks, assistants, tags and graphs can be asked for",
        _POINTERS + ", get_collection_graph_status, list_all_api_keys",
        "404 in the server's own shape: it has no such path",
        "list_scheduled_tasks,list_scheduled_tasks_by_admin,list_ai_assistants,call_database,"
        "get_collection_graph_status,list_tags",
        "encode_chunks_for_retrieval,match_collection_chunks,list_document_chunks",
        "insert_document_into_collection,create_insert_document_to_collection_job",
    ),
)

_PAGING = (
    _row("page_cap", "100 rows a page are honoured", _LISTINGS, "pages are shorter", 7),
    _row("refused_limit_above", "no limit is refused", _LISTINGS, "400 for a limit above it", 50),
    _row("limit_ignored", "a page holds the limit at most", _LISTINGS, "it holds all", True),
    _row("offset_ignored", "offset skips rows", _LISTINGS, "each page is the first", True),
    _row("shuffle_ties", "rows keep their order", _LISTINGS, "equal rows change places", True),
    _row(
        "restless",
        "nobody adds or deletes rows while we page",
        _LISTINGS,
        "a row is shown twice, or is skipped, in the first pass",
        "repeat",
        "skip",
    ),
    _row(
        "filter_ignores_case",
        "the admin's filter ignores case",
        "list_all_collections",
        "it does not",
        False,
    ),
    _row(
        "ids_ignore_case",
        "an id in capitals is another id",
        "get_collection",
        "it is found",
        True,
    ),
)

_RECORDS = (
    _row("users_include_caller", "the admin is listed", "list_users", "left out", False),
    _row(
        "listings_are_sparse",
        "listings carry rag_type, prompt_template_id and metadata_dict",
        "list_collections, list_all_collections",
        "only GET of one collection does",
        True,
    ),
    _row(
        "collection_has_metadata",
        "GET of one collection carries metadata_dict",
        "get_collection, get_collection_metadata",
        "only the operation for metadata does",
        False,
    ),
    _row(
        "documents_have_metadata",
        "listings of documents carry metadata_dict",
        "list_documents_for_collection, get_document_metadata",
        "only the operation for the metadata of one document does",
        False,
    ),
    _row(
        "stale_document_counts",
        "document_count is up to date",
        "get_collection, list_collections",
        "it lags behind",
        True,
    ),
    _row(
        "newer_server",
        "records have the fields and values of the contract",
        "all",
        "there are fields, and words in fields, that nobody knows",
        True,
    ),
    _row(
        "permissions_include_owner",
        "the owner is among the shares",
        "get_collection_permissions",
        "left out",
        False,
    ),
    _row(
        "public_null_for_all_rights",
        "all rights of everybody are a full list",
        "list_collection_public_permissions",
        "null",
        True,
    ),
    _row("deleted_keys_listed", "deleted keys are gone", _KEYS, "listed as inactive", True),
    _row("jobs_of_others_listed", "/jobs shows one's own", _JOBS, "everybody's", True),
    _row(
        "empty_listings",
        "an empty listing means that there is nothing",
        _LISTINGS + ", list_jobs, list_scheduled_connectors_for_collection",
        "[] once, twice, or for good, although there is something and counts say so",
        "list_chat_sessions_for_collection:1",
        "list_scheduled_connectors_for_collection:1",
        "list_documents_for_collection:1",
        "list_jobs:1",
        "list_collections:1",
        "list_all_collections:1",
        "get_collection_permissions:1,get_collection_group_permissions:1",
        "list_documents_for_collection",
    ),
)

_VISIBILITY = tuple(
    _row(habit, what + " at once", operations, "some seconds later", value)
    for habit, what, operations, value in (
        ("collections_listed_after_s", "a new collection is listed", "list_collections", 2.0),
        ("collections_readable_after_s", "a new collection answers", "get_collection", 1.0),
        (
            "documents_listed_after_s",
            "documents are listed",
            "list_documents_for_collection",
            2.0,
        ),
        ("chats_listed_after_s", "a new chat is listed", _CHATS, 2.0),
        ("chats_readable_after_s", "a new chat answers", "get_chat_session", 1.0),
        ("jobs_listed_after_s", "a new job is listed", "list_jobs, list_user_jobs", 3.0),
        ("jobs_readable_after_s", "a new job answers", "get_job", 1.0),
        ("keys_listed_after_s", "a new key is listed", "list_all_api_keys", 3.0),
        ("keys_valid_after_s", "a new key is accepted", "create_api_key_for_user", 1.0),
    )
)

_FORMS = (
    _row("timestamps", "times end with Z", "all", "an offset, or none", "offset", "naive"),
    _row("percentages", "progress is a fraction of 1", _JOBS, "of 100", "percent"),
    _row("clock_offset_h", "its clock is ours", "all", "ahead, behind", 5.0, -800.0),
    _row("job_success_word", "a job that is done is completed", _JOBS, "another word", "stale"),
    _row(
        "job_failure_word",
        "a job that cannot go on is failed",
        _JOBS,
        "a word that we do not know",
        "timeout",
        "stale",
    ),
    _row("job_running_word", "a running job is in progress", _JOBS, "another word", "queued"),
    _row("job_words_in_capitals", "states are in small letters", _JOBS, "COMPLETED", True),
)

_REFUSALS = (
    _row(
        "forbidden_is_401",
        "401 means that the key is bad, 403 that something is not allowed",
        "all that are declared with 401 and without 403",
        "401 for both",
        True,
    ),
    _row("unknown_job_status", "an unknown job is 404", "get_job", "another error", 400, 401, 500),
    _row(
        "missing_key_delete_status",
        "deleting a key that is gone is 409",
        "delete_api_key",
        "404, or 204",
        404,
        204,
    ),
    _row(
        "repeated_share_conflicts",
        "a share may be sent twice",
        "share_collection, share_collection_with_group",
        "409 for the second",
        True,
    ),
    _row("refuse_null_settings", "settings may be null", _CREATE, "400", True),
    _row(
        "refuse_null_values",
        "single settings may be null",
        _CREATE + ", update_collection_settings, update_collection_chat_settings",
        "422",
        True,
    ),
    _row(
        "refused_settings",
        "an owner may set again what her collection has",
        _CREATE + ", update_collection_settings, update_collection_chat_settings",
        "only admins may set some",
        "guardrails_settings",
        "guardrails_settings,llm_args",
    ),
    _row(
        "refused_settings_status",
        "what may not be set is refused with 403",
        _CREATE,
        "another error",
        400,
        422,
        500,
        refused_settings="guardrails_settings",
    ),
    _row(
        "refusals_name_settings",
        "a refusal says which setting it is about",
        _CREATE,
        "it does not",
        False,
        refused_settings="guardrails_settings,ocr_model",
        refused_settings_status=400,
    ),
    _row("strict_workspaces", "an unknown workspace is 400", _CREATE, "the default one", False),
    _row("key_lifetime_cap_days", "keys live as long as asked", _KEYS, "N days", 7.0, 0.5, 0.02),
    _row("refused_key_units", "minutes are an interval", _KEYS, "they are not", "minute"),
    _row(
        "key_refusal_status",
        "a lifetime is refused with 400",
        _KEYS,
        "422",
        422,
        key_lifetime_cap_days=0.5,
    ),
    _row("collections_per_user", "no quota of collections", _CREATE, "there is one", 3),
    _row("documents_per_user", "no quota of documents", _IMPORT, "there is one", 20),
    _row(
        "quota_status",
        "a quota is refused with 403",
        _CREATE + ", " + _IMPORT,
        "another error",
        400,
        409,
        422,
        collections_per_user=3,
    ),
    _row("size_limit_refuses", "size limits bind uploads only", _IMPORT, "imports, too", True),
    _row(
        "past_expiry_refused",
        "a date in the past may be set and copied",
        _IMPORT + ", update_collection_expiry_date",
        "400",
        True,
    ),
    _row(
        "archived_refuses",
        "an archived collection cannot be imported from or changed",
        _IMPORT + ", archive_collection",
        "it can",
        False,
    ),
    _row("errors_echo_key", "errors hold no secrets", "get_job, all", "they quote the key", True),
)

_ANSWERS = (
    _row(
        "broken_operations",
        "a 500 passes",
        "get_collection_group_permissions, and others",
        "it does not",
        "get_collection_group_permissions",
        "get_collection_permissions,list_collection_public_permissions",
        "get_collection_settings,get_collection_chat_settings",
        "list_scheduled_tasks,list_scheduled_tasks_by_admin,list_ai_assistants,list_all_api_keys",
    ),
    _row(
        "foreign_404",
        "404 means that a thing is gone",
        "all",
        "something in front of the server does not know the path at this moment",
        "get_collection:1",
        "get_job:1",
        "list_documents_for_collection:1",
        "list_chat_sessions_for_collection:1,list_scheduled_connectors_for_collection:1",
    ),
    _row(
        "foreign_404_shape",
        "a gateway's 404 is JSON",
        "all",
        "a page",
        "html",
        foreign_404="get_collection:1,get_job:1",
    ),
    _row(
        "error_in_body",
        "2xx means done",
        "all",
        'nothing was done, and the body says {"error": ...}',
        "create_collection:1",
        "create_import_collection_to_collection_job:1",
        "share_collection:1",
        "update_collection:1",
        "get_job:1",
    ),
)

_COLLECTIONS = (
    _row(
        "server_defaults",
        "a new collection has the settings that were sent",
        _CREATE + ", get_collection_settings",
        "guardrails, or PII redaction, are added; or forced upon every change",
        "guardrails",
        "pii",
        "forced",
    ),
    _row(
        "created_shared",
        "a new collection is its owner's alone",
        _CREATE,
        "it is public, or shared with other users, at once",
        "public",
        "users",
    ),
    _row(
        "patch_blanks",
        "PATCH leaves what it does not name",
        "update_collection",
        "name, description and rag_type are emptied",
        True,
    ),
    _row("vex_encryption_ignored", "vex_encryption is honoured", _CREATE, "dropped", True),
    _row("name_limit", "names may be long", _CREATE, "they are cut without a word", 40, 20),
    _row("long_names", "long names are cut", _CREATE, "refused with 422", "refuse", name_limit=40),
    _row(
        "names_normalised",
        "names are kept",
        _CREATE,
        "spaces are trimmed, or Unicode normalised",
        "trim",
        "nfc",
    ),
)

_DOCUMENTS = (
    _row("doubled_ids", "a document is its record", _IMPORT, "imports copy", "new"),
    _row("bad_documents_arrive", "failed documents come along", _IMPORT, "they stay", False),
    _row(
        "failed_job_brings_rest",
        "a failed job did not bring all",
        _IMPORT + ", get_job",
        "all but what cannot be parsed has arrived",
        True,
    ),
    _row(
        "zombie_jobs",
        "a job that did its work ends",
        _IMPORT + ", " + _MOVES,
        "it stays in progress for ever",
        "imports",
        "moves",
        "all",
    ),
    _row(
        "import_flags_ignored",
        "the server knows the flags of an import",
        _IMPORT,
        "an older one ignores some",
        "preserve_metadata",
        "preserve_document_status",
        "copy_lifecycle_settings",
    ),
    _row("hide_ended_jobs_after_s", "ended jobs are listed", _JOBS, "not for long", 0.0),
    _row("forget_ended_jobs_after_s", "ended jobs can be read", _JOBS, "not for long", 0.0, 1.0),
    _row("admin_reads_jobs", "an admin reads only her jobs by id", "get_job", "all", True),
    _row("job_ids_reused", "a job's id is not used again", "delete_job, get_job", "it is", True),
    _row(
        "broken_index",
        "what is imported can be found",
        "match_collection_chunks",
        "the index is empty, or in disorder",
        "empty",
        "garbage",
    ),
    _row(
        "expiry_archives",
        "an expiry date in the past does nothing to a copy",
        _IMPORT + ", update_collection_expiry_date",
        "the collection is archived at once",
        True,
    ),
)

_SESSIONS = (
    _row("archived_chats_listed", "archived chats are not listed", _CHATS, "they are", True),
    _row("archived_chats_counted", "archived chats are counted", _CHATS, "they are not", False),
    _row("archived_chats_move", "archived chats stay", _CHATS, "they move, too", True),
    _row("unknown_frames", "a chat sends known frames", "the websocket", "others, too", True),
    _row("latency_s", "answers are quick", "all", "they take their time", 0.05),
)

#: Every assumption, in the order of the habits.
ASSUMPTIONS: Tuple[Assumption, ...] = (
    *_WHAT_THE_SERVER_IS,
    *_PAGING,
    *_RECORDS,
    *_VISIBILITY,
    *_FORMS,
    *_REFUSALS,
    *_ANSWERS,
    *_COLLECTIONS,
    *_DOCUMENTS,
    *_SESSIONS,
)

#: The rows by habit.
BY_HABIT: Dict[str, Assumption] = {row.habit: row for row in ASSUMPTIONS}
