"""The sandbox's routes are those of the client's generated REST layer, name by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Tuple

import h2ogpte
from tests.support.each import each

from h2ogpte_migration.sandbox.calls import Route
from h2ogpte_migration.sandbox.dispatch import ROUTES

#: What the sandbox answers besides the REST interface.
NOT_REST = {"/rpc/meta", "/rpc/fs", "/rpc/db"}
#: What the oldest client that we support does not know yet.
NEWER = {
    "archive_chat_session",
    "get_collection_graph_status",
    "unarchive_chat_session",
    "update_collection_exempt_from_chat_expiry",
}
#: Operations of the contract that the generated layer lacks; the client writes their paths itself,
#: or uses remote calls instead.
HAND_WRITTEN = {
    "connect_ai_assistant_collection": ("POST", "/ai_assistants/{assistant_id}/collections"),
    "create_ai_assistant": ("POST", "/ai_assistants"),
    "create_scheduled_task": ("POST", "/scheduled_tasks"),
    "list_ai_assistant_collections": ("GET", "/ai_assistants/{assistant_id}/collections"),
    "list_ai_assistants": ("GET", "/ai_assistants"),
    "list_scheduled_tasks": ("GET", "/scheduled_tasks"),
    "list_scheduled_tasks_by_admin": ("GET", "/admin/scheduled_tasks"),
}

#: The operations of the contract that a migration may use.
OPERATIONS = {
    "archive_chat_session",
    "archive_collection",
    "cancel_job",
    "connect_ai_assistant_collection",
    "create_ai_assistant",
    "create_api_key_for_user",
    "create_chat_session",
    "create_collection",
    "create_delete_chat_session_job",
    "create_delete_collection_job",
    "create_delete_document_from_collection_job",
    "create_delete_document_job",
    "create_import_collection_to_collection_job",
    "create_ingest_from_plain_text_job",
    "create_ingest_upload_job",
    "create_insert_document_to_collection_job",
    "create_migrate_collection_chat_sessions_job",
    "create_scheduled_task",
    "create_tag_on_document",
    "delete_api_key",
    "delete_chat_session",
    "delete_chat_session_collection",
    "delete_collection",
    "delete_collection_expiry_date",
    "delete_collection_inactivity_interval",
    "delete_collection_prompt_template",
    "delete_collection_thumbnail",
    "delete_document",
    "delete_document_from_collection",
    "delete_job",
    "encode_chunks_for_retrieval",
    "get_chat_session",
    "get_chat_session_count_for_collection",
    "get_chat_session_messages",
    "get_collection",
    "get_collection_chat_settings",
    "get_collection_chunks",
    "get_collection_count",
    "get_collection_graph_status",
    "get_collection_group_permissions",
    "get_collection_metadata",
    "get_collection_permissions",
    "get_collection_settings",
    "get_document",
    "get_document_count_for_collection",
    "get_document_metadata",
    "get_job",
    "get_message_references",
    "insert_document_into_collection",
    "list_ai_assistant_collections",
    "list_ai_assistants",
    "list_all_api_keys",
    "list_all_collections",
    "list_chat_sessions",
    "list_chat_sessions_for_collection",
    "list_collection_public_permissions",
    "list_collections",
    "list_document_chunks",
    "list_documents_for_collection",
    "list_embedding_models",
    "list_jobs",
    "list_scheduled_connectors_for_collection",
    "list_scheduled_tasks",
    "list_scheduled_tasks_by_admin",
    "list_user_jobs",
    "list_users",
    "match_collection_chunks",
    "migrate_scheduled_connectors_to_collection",
    "remove_collection_size_limit",
    "search_collection_chunks",
    "set_collection_size_limit",
    "share_collection",
    "share_collection_with_group",
    "unarchive_collection",
    "unshare_collection",
    "unshare_collection_for_all",
    "unshare_collection_from_group",
    "update_chat_session",
    "update_chat_session_collection",
    "update_collection",
    "update_collection_chat_settings",
    "update_collection_expiry_date",
    "update_collection_inactivity_interval",
    "update_collection_metadata",
    "update_collection_privacy",
    "update_collection_prompt_template",
    "update_collection_settings",
    "update_collection_thumbnail",
    "update_collection_workspace",
    "update_document",
    "update_document_metadata",
    "upload_file",
}


SERIALIZE = re.compile(
    r"def _(\w+)_serialize\(.*?method='(\w+)',\s+resource_path='(.*?)',", re.DOTALL
)


def operations() -> Dict[str, Tuple[str, str]]:
    """Return method and path of each operation of the generated layer, as they are written there."""
    layer = Path(h2ogpte.__path__[0], "rest_sync", "api")
    texts = [file.read_text(encoding="utf-8") for file in layer.glob("*_api.py")]
    return {found[0]: found[1:] for text in texts for found in SERIALIZE.findall(text)}


def test_every_rule_is_named_after_its_operation() -> None:
    known = operations()

    def is_named_so(route: Route) -> None:
        name = route.rule.__name__
        if route.template not in NOT_REST and name not in NEWER - set(known):
            assert {**HAND_WRITTEN, **known}[name] == (route.method, route.template)

    each(ROUTES, is_named_so, name=lambda route: route.rule.__name__)


def test_every_operation_of_a_migration_is_served() -> None:
    assert {route.rule.__name__ for route in ROUTES} >= OPERATIONS
