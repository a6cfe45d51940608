"""The control socket: HTTP on a unix socket that only its owner may use (0600).

Every client has a time limit for its question and a size limit (autopilot.adapters.http_server), and none can hold up another:
one that says nothing is dropped, and beyond CLIENTS a new one is turned away at once. Who waits until
something is so, or follows, may do so until the end of the life, which takes the connection with it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopilot.adapters.http_server import ClientHandler, Handler, OnAnswered


async def serve(listening_socket: socket.socket, handler: Handler, on_answered: OnAnswered) -> None:
    """Serve until cancelled. `handle(method, path, body)` gives status and answer, or raises Refused; `answered` is
    told each status and path."""
    serving: ClientHandler | None = None

    async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal serving
        if serving is None:
            from autopilot.adapters.http_server import build_client_handler  # most containers are never asked anything

            serving = build_client_handler(handler, on_answered)
        await serving(reader, writer)

    server = await asyncio.start_unix_server(serve_client, sock=listening_socket)
    async with server:
        await server.serve_forever()
