"""A small h2oGPTe stand-in: to try the tool with no server, to rehearse, and for the tests.

It speaks the wire protocol over real HTTP and websocket, and listens on loopback only.
The server needs aiohttp, which is imported when the first server is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import SandboxServer

__all__ = ["start_sample"]


def start_sample(port: int = 0) -> SandboxServer:
    """Start a server on the sample organisation; it has ``url``, ``admin_key`` and ``stop()``."""
    from .sample import sample_world
    from .server import SandboxServer

    server = SandboxServer(sample_world(), port=port)
    server.start()
    return server
