"""Serve the control socket: HTTP on a unix socket that only its owner may use (0600).

Each client has a time limit and a size limit for its request (autopilot.adapters.http_server), and no client delays
another: a silent one is disconnected, and one beyond MAX_CLIENTS is refused at once. A client that waits for a
condition, or follows a stream, may do so until the end of the life closes the connection.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopilot.adapters.http_server import ClientHandler, Handler, OnAnswered


async def serve(listening_socket: socket.socket, handler: Handler, on_answered: OnAnswered) -> None:
    """Serve until cancelled.

    Args:
        listening_socket: The control socket.
        handler: Returns the answer to (method, path, body), or raises RequestError.
        on_answered: Called with status and path of each answer.
    """
    serving: ClientHandler | None = None

    async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal serving
        if serving is None:
            from autopilot.adapters.http_server import build_client_handler  # most containers get no request

            serving = build_client_handler(handler, on_answered)
        await serving(reader, writer)

    server = await asyncio.start_unix_server(serve_client, sock=listening_socket)
    async with server:
        await server.serve_forever()
