"""Rules for what else points at collections: scheduled tasks, assistants, knowledge graphs."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Optional

from . import render
from .calls import NO_CONTENT, Call, Reply, route
from .model import Assistant, JsonObject, SandboxError, ScheduledTask

_SCHEDULES = ("once", "recurring", "interval")
_TASKS = ("chat_completion", "agent_task")
_LINK_MODES = ("read", "write", "read_write")


# -- scheduled tasks


@route("POST", "/scheduled_tasks")
def create_scheduled_task(call: Call) -> Reply:
    """Create a scheduled task."""
    world = call.world
    config: JsonObject = call.required("task_config", dict)
    kinds = (call.required("schedule_type"), call.required("task_type"))
    if not config.get("message") or kinds[0] not in _SCHEDULES or kinds[1] not in _TASKS:
        raise SandboxError(400, "Not a task: message, schedule_type or task_type")
    if config.get("collection_id"):
        world.readable(call.user, config["collection_id"])
    task = ScheduledTask(
        id=world.new_id(),
        name=call.required("name"),
        username=call.user.username,
        created_at=world.now(),
        config=dict(config),
        schedule_type=kinds[0],
        schedule_expression=call.required("schedule_expression"),
        task_type=kinds[1],
    )
    world.tasks[task.id] = task
    return Reply(201, _task(call, task))


@route("GET", "/scheduled_tasks")
def list_scheduled_tasks(call: Call) -> Reply:
    """List the caller's tasks: all, those of one collection, or those with or without any."""
    one, bound = call.query.get("collection_id"), call.query.get("has_collection")
    if one is not None and bound is not None:
        raise SandboxError(400, "collection_id and has_collection exclude each other")
    return _tasks(
        call,
        (
            task
            for task in call.world.tasks.values()
            if task.username == call.user.username
            and (one is None or task.config.get("collection_id") == one)
            and (bound is None or bool(task.config.get("collection_id")) == (bound == "true"))
        ),
    )


@route("GET", "/admin/scheduled_tasks")
def list_scheduled_tasks_by_admin(call: Call) -> Reply:
    """List everybody's tasks, for admins."""
    call.world.require_admin(call.user)
    who = call.query.get("user_filter", "").lower()
    return _tasks(call, (t for t in call.world.tasks.values() if who in t.username.lower()))


def _tasks(call: Call, found: Iterable[ScheduledTask]) -> Reply:
    text, status = call.query.get("name_filter", "").lower(), call.query.get("status_filter")
    rows = [t for t in found if text in t.name.lower() and status in (None, t.status)]
    return Reply(200, {"items": [_task(call, t) for t in call.page(rows)], "total": len(rows)})


def _task(call: Call, item: ScheduledTask) -> JsonObject:
    moment = render.stamp(call.world, item.created_at)
    return {
        "id": item.id,
        "user_id": _user_id(call, item.username),
        "username": item.username,
        "name": item.name,
        "description": "",
        "schedule_type": item.schedule_type,
        "schedule_expression": item.schedule_expression,
        "task_type": item.task_type,
        "task_config": item.config,
        "status": item.status,
        "execution_status": "idle",
        "execution_count": 0,
        "created_at": moment,
        "updated_at": moment,
        "is_owner": item.username == call.user.username,
        "notification_email": "",
    }


def _user_id(call: Call, username: str) -> Optional[str]:
    user = call.world.users.get(username)
    return user.id if user else None


# -- assistants


@route("POST", "/ai_assistants")
def create_ai_assistant(call: Call) -> Reply:
    """Create an assistant."""
    world = call.world
    item = Assistant(
        world.new_id(),
        call.required("name"),
        call.user.username,
        world.now(),
        call.required("llm"),
    )
    world.assistants[item.id] = item
    return Reply(201, _assistant(call, item))


def _own_assistants(call: Call) -> List[JsonObject]:
    everything = call.world.assistants.values()
    return [_assistant(call, a) for a in everything if a.username == call.user.username]


@route("GET", "/ai_assistants")
def list_ai_assistants(call: Call) -> Reply:
    """List the caller's assistants."""
    return Reply(200, call.page(_own_assistants(call)))


def _own_assistant(call: Call, assistant_id: str) -> Assistant:
    item = call.world.assistants.get(assistant_id)
    if item is None:
        raise SandboxError(404, "Assistant not found")
    if item.username != call.user.username:
        raise SandboxError(403, "You are not allowed to access this assistant")
    return item


@route("GET", "/ai_assistants/{assistant_id}/collections")
def list_ai_assistant_collections(call: Call) -> Reply:
    """List the collections that an assistant is connected to."""
    return Reply(200, call.page(_links(call, call.path["assistant_id"])))


@route("POST", "/ai_assistants/{assistant_id}/collections")
def connect_ai_assistant_collection(call: Call) -> Reply:
    """Connect an assistant to a collection that the caller may read."""
    item = _own_assistant(call, call.path["assistant_id"])
    home = call.world.readable(call.user, call.required("collection_id"))
    mode = call.object().get("access_mode", "read")
    if mode not in _LINK_MODES:
        raise SandboxError(400, f"Unknown access_mode: {mode}")
    item.links[home.id] = mode
    return NO_CONTENT


def _assistant(call: Call, item: Assistant) -> JsonObject:
    moment = render.stamp(call.world, item.created_at)
    return {
        "id": item.id,
        "name": item.name,
        "description": "",
        "system_prompt": "",
        "llm": item.llm,
        "status": "stopped",
        "wake_count": 0,
        "user_id": _user_id(call, item.username),
        "username": item.username,
        "created_at": moment,
        "updated_at": moment,
        "is_owner": True,
    }


def _links(call: Call, assistant_id: str) -> List[JsonObject]:
    item = _own_assistant(call, assistant_id)
    found = [(call.world.collections.get(i), mode) for i, mode in item.links.items()]
    return [
        {
            "junction_id": item.id,
            "collection_id": home.id,
            "access_mode": mode,
            "created_at": render.stamp(call.world, item.created_at),
            "collection_name": home.name,
            "collection_description": home.description,
            "user_id": _user_id(call, home.username),
            "username": home.username,
            "document_count": len(home.documents),
        }
        for home, mode in found
        if home is not None
    ]


_Remote = Callable[..., Any]


@route("POST", "/rpc/db")
def call_database(call: Call) -> Reply:
    """Answer the calls that the client sends past the REST interface: name and arguments."""
    remote: Dict[str, _Remote] = {
        "list_ai_assistants": lambda *_: _own_assistants(call),
        "list_assistant_collections": lambda assistant_id, *_: _links(call, assistant_id),
    }
    words = call.body if isinstance(call.body, list) and call.body else [""]
    if words[0] not in remote:
        raise SandboxError(400, f"Unknown function: {words[0]}")
    return Reply(200, remote[words[0]](*words[1:]))


# -- knowledge graphs


@route("GET", "/graph/{collection_id}/status")
def get_collection_graph_status(call: Call) -> Reply:
    """Tell whether a collection has a knowledge graph."""
    home = call.world.readable(call.user, call.id)
    built_at = render.stamp(call.world, home.updated_at) if home.graph == "ready" else None
    return Reply(200, {"status": home.graph, "built_at": built_at, "outdated": False})
