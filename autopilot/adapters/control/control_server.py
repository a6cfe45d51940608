"""Serve the control socket: HTTP on a unix socket that only its owner may use (0600).

Each client has a time limit and a size limit for its request (autopilot.adapters.http_server), and no client delays
another: a silent one is disconnected, and beyond MAX_CLIENTS the oldest silent one. A client that waits for a
condition, or follows a stream, may do so until the end of the life closes the connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from autopilot.adapters.http_server import ClientHandler, Handler, OnAnswered, RequestHead


UCRED_FORMAT = "3i"  # pid, uid, gid: socket(7)


async def serve(
    listening_socket: socket.socket,
    handler: Handler,
    on_answered: OnAnswered,
    on_changing_request: Callable[[str, str, int, int], None],
) -> None:
    """Serve until cancelled.

    Args:
        listening_socket: The control socket.
        handler: Returns the answer to (method, path, body), or raises RequestError.
        on_answered: Called with status and path of each answer.
        on_changing_request: Called with method, path, and the client's uid and pid for each request that may change
            something, before it is handled.
    """

    def inspect(head: RequestHead) -> None:
        if head.method not in ("GET", "HEAD"):
            pid, uid, _ = _read_peer(head.client)
            on_changing_request(head.method, head.path.partition("?")[0], uid, pid)

    serving: ClientHandler | None = None

    async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal serving
        if serving is None:
            from autopilot.adapters.http_server import build_client_handler  # most containers get no request

            serving = build_client_handler(handler, on_answered, inspect)
        await serving(reader, writer)

    server = await asyncio.start_unix_server(serve_client, sock=listening_socket)
    async with server:
        await server.serve_forever()


def _read_peer(client: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the process that has connected."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(UCRED_FORMAT))
    pid, uid, gid = struct.unpack(UCRED_FORMAT, credentials)
    return pid, uid, gid
