"""A small h2oGPTe stand-in: to try the tool with no server, to rehearse, and for the tests.

It speaks the wire protocol over real HTTP and websocket, and listens on loopback only.
The server needs aiohttp, which is imported when the first server is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from .server import SandboxServer

__all__ = ["start_sample"]


def start_sample(port: int = 0, habits: Sequence[str] = ()) -> SandboxServer:
    """Start a server on the sample organisation; it has ``url``, ``admin_key`` and ``stop()``.

    Args:
        port: on loopback; 0 is any.
        habits: how it differs from what is assumed, as ``NAME=VALUE``.

    Raises:
        ValueError: for a habit that there is not, or a wrong value.
        OSError: if the port cannot be used.
    """
    from .habits import read_setting
    from .sample import sample_world
    from .server import SandboxServer

    world = sample_world()
    for text in habits:
        for name, value in read_setting(text).items():
            setattr(world.habits, name, value)
    server = SandboxServer(world, port=port)
    server.start()
    return server
