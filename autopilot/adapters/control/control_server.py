"""Serve the control socket: HTTP on a unix socket that only its owner may use (0600).

Each client has a time limit and a size limit for its request (autopilot.adapters.http_server), and no client delays
another: a silent one is disconnected, and beyond MAX_CLIENTS the oldest silent one. A client that waits for a
condition, or follows a stream, may do so until the end of the life closes the connection.

A cleaner of temporary files may remove the socket of a life that lasts for weeks. It is made again then, because a
container without it cannot be drained by command.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from autopilot.adapters.control import control_socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from autopilot.adapters.http_server import ClientHandler, Handler, OnAnswered, RequestHead


UCRED_FORMAT = "3i"  # pid, uid, gid: socket(7)
PRESENCE_CHECK_INTERVAL_S = 10.0


async def serve(
    listening_socket: socket.socket,
    path: Path,
    *,
    handler: Handler,
    on_answered: OnAnswered,
    on_changing_request: Callable[[str, str, int, int], None],
    on_removed: Callable[[Exception | None], None],
    on_moved: Callable[[str], None],
) -> None:
    """Serve until cancelled; make the socket again when its file was removed.

    Args:
        listening_socket: The control socket.
        path: Its file.
        handler: Returns the answer to (method, path, body), or raises RequestError.
        on_answered: Called with status and path of each answer.
        on_changing_request: Called with method, path, and the client's uid and pid for each request that may change
            something, before it is handled.
        on_removed: Called with None when the removed socket was made again, and once with the error when that is
            not possible; it is tried again then.
        on_moved: Gets a sentence about a foreign file that had to be moved aside for the socket.
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

    while True:
        server = await asyncio.start_unix_server(serve_client, sock=listening_socket)
        try:
            await _wait_until_removed(path)
        finally:
            server.close()
        listening_socket = await _remake_socket(path, on_removed, on_moved)


async def _wait_until_removed(path: Path) -> None:
    """Return when the file at `path` is not the present one any more."""
    present = _identify_file(path)
    while present is not None and _identify_file(path) == present:
        await asyncio.sleep(PRESENCE_CHECK_INTERVAL_S)


def _identify_file(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file, None if it is not there."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def _remake_socket(
    path: Path, on_removed: Callable[[Exception | None], None], on_moved: Callable[[str], None]
) -> socket.socket:
    reported = False
    while True:
        try:
            descriptor = control_socket.listen(os.fspath(path), on_moved)
        except (OSError, control_socket.SocketInUseError) as error:
            if not reported:
                on_removed(error)
            reported = True
            await asyncio.sleep(PRESENCE_CHECK_INTERVAL_S)
        else:
            on_removed(None)
            return socket.socket(fileno=descriptor)


def _read_peer(client: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the process that has connected."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(UCRED_FORMAT))
    pid, uid, gid = struct.unpack(UCRED_FORMAT, credentials)
    return pid, uid, gid
