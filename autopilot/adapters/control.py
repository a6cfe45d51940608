"""The control socket: HTTP on a unix socket that only its owner may use (0600).

Every client has a time limit for its question and a size limit (autopilot.adapters.wire), and none can hold up another:
one that says nothing is dropped, and beyond CLIENTS a new one is turned away at once. Who waits until
something is so, or follows, may do so until the end of the life, which takes the connection with it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopilot.adapters.wire import Answered, Handler

CLIENTS = 256  # at once, of one socket or port
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def server(handle: Handler, answered: Answered | None = None) -> Client:
    """What asyncio's servers call for each client. `handle(method, path, body)` gives status and answer, or raises
    Refused; `answered` is told each status and path."""
    clients = 0

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal clients
        clients += 1
        try:
            if clients <= CLIENTS:
                from autopilot.adapters.wire import talk  # most containers are never asked anything

                with suppress(OSError, TimeoutError):
                    await talk(reader, writer, handle, answered or _to_nobody)
        finally:
            clients -= 1
            writer.close()

    return client


def _to_nobody(_status: int, _path: str) -> None:
    pass


async def serve(listening: socket.socket, handle: Handler, answered: Answered) -> None:
    """Serve until cancelled."""
    async with await asyncio.start_unix_server(server(handle, answered), sock=listening) as listener:
        await listener.serve_forever()
