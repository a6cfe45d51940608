"""The control socket: HTTP on a unix socket that only its owner may use (0600).

Every client has a time limit for its question and a size limit (autopilot.adapters.wire), and none can hold up another:
one that says nothing is dropped, and beyond CLIENTS a new one is turned away at once. Who waits until
something is so, or follows, may do so until the end of the life, which takes the connection with it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopilot.adapters.wire import Answered, Client, Handler


async def serve(listening: socket.socket, handle: Handler, answered: Answered) -> None:
    """Serve until cancelled. `handle(method, path, body)` gives status and answer, or raises Refused; `answered` is
    told each status and path."""
    serving: Client | None = None

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal serving
        if serving is None:
            from autopilot.adapters.wire import client_server  # most containers are never asked anything

            serving = client_server(handle, answered)
        await serving(reader, writer)

    server = await asyncio.start_unix_server(client, sock=listening)
    async with server:
        await server.serve_forever()
