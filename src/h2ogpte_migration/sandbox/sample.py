"""The sample organisation: small, and with every feature that a migration must carry over."""

from __future__ import annotations

from .model import JsonObject
from .sample_texts import TEXTS
from .world import World

ADMIN_KEY = "sk-sandbox-admin"

M3 = "BAAI/bge-m3"
LARGE = "BAAI/bge-large-en-v1.5"
GEMMA = "h2oai/embeddinggemma-300m-qat-q8_0-unquantized"
UNMAPPED = "intfloat/e5-large-v2"

#: Long enough to be seen, short enough not to be waited for.
IMPORT_S = 0.6
_DAY_S = 86400

_SETTINGS: JsonObject = {
    "max_tokens_per_chunk": 320,
    "chunk_overlap_tokens": 32,
    "gen_doc_summaries": True,
    "ocr_model": "tesseract",
    "tesseract_lang": "deu",
    "guardrails_settings": {"pii_detection_parse_action": "redact"},
}
_CHAT_SETTINGS: JsonObject = {
    "llm": "auto",
    "llm_args": {"temperature": 0.2, "reasoning_depth": "a key newer than the client"},
    "rag_config": {"rag_type": "agentic_rag"},
    "include_chat_history": "auto",
    "follow_up_chips": True,
}


def sample_world(seed: int = 0) -> World:
    """Return the sample organisation, with keys ``sk-sandbox-<username>``."""
    world = World(seed=seed)
    world.times.import_s = IMPORT_S
    _people(world)
    _admins_collections(world)
    _anna(world)
    _bertil(world)
    _chloe(world)
    _guest(world)
    _texts(world)
    return world


def _people(world: World) -> None:
    world.add_user("admin", admin=True, groups=["staff"])
    world.add_user("anna", groups=["staff", "research"], workspaces=["research"])
    world.add_user("bertil", groups=["staff"])
    world.add_user("chloe", groups=["research"])
    world.add_user("dmitri@corp")
    world.add_user("Guest_7f3a", guest=True)


def _admins_collections(world: World) -> None:
    world.add_collection("admin", "Company handbook", M3, documents=6, public=True, chats=1)
    world.add_collection("admin", "Release notes", GEMMA, documents=2)


def _anna(world: World) -> None:
    prompt = world.add_prompt("anna", "Answer like a librarian", readers=["chloe"])
    world.add_collection(
        "anna",
        "Research papers",
        M3,
        documents=["attention.pdf", "scaling.pdf", ("lab notes.zip", "agent_only"), "graphs.pdf"],
        document_metadata={"topic": "models"},
        description="Papers, and what we think of them",
        connectors=2,
        chats={"anna": 3, "chloe": 2},
        shares={"chloe": ["read", "chat"], "bertil": None},
        group_shares={"research": ["read", "chat", "upload"]},
        settings=dict(_SETTINGS),
        chat_settings=dict(_CHAT_SETTINGS),
        metadata={"cost_centre": "4711", "owner": {"team": "research"}},
        rag_type="rag+",
        prompt_template_id=prompt.id,
        workspace="research",
        thumbnail="papers.png",
        vex_encryption="enabled",
        expiry_date=world.now() // _DAY_S * _DAY_S + 400 * _DAY_S,
        inactivity_interval=90,
        size_limit=10**9,
        exempt_from_chat_expiry=True,
    )
    world.add_collection("anna", "Drafts", M3, documents=2)
    world.add_collection("anna", "Drafts", LARGE, documents=3)  # the same name on purpose
    world.add_collection("anna", "Old press articles", UNMAPPED, documents=4, connectors=1)


def _bertil(world: World) -> None:
    world.add_collection(
        "bertil",
        "Contracts [2024] \U0001f4c4 100 %",
        LARGE,
        documents=["lease.pdf", ("scan.pdf", "failed"), "supply.docx"],
        public=["read"],
        connectors=1,
        rag_type="hyde2",
    )
    world.add_collection("bertil", "Bulletin board", LARGE, documents=2, public=[], chats=2)
    world.add_collection("bertil", "Empty folder", M3, documents=0)


def _chloe(world: World) -> None:
    world.add_collection(
        "chloe",
        "Measurements",
        LARGE,
        documents=25,
        connectors=3,
        chats={"chloe": 1, "anna": 1},
        shares={"anna": ["read", "chat", "edit"], "dmitri@corp": ["read"]},
        inactivity_interval=30,
    )
    world.add_collection("dmitri@corp", "Field reports", M3, documents=5, chats=1)


def _texts(world: World) -> None:
    for collection in world.collections.values():
        for line in collection.documents:
            line.document.text = TEXTS.get(line.document.name)


def _guest(world: World) -> None:
    world.add_collection("Guest_7f3a", "Trying it out", M3, documents=1)
