"""The control socket's file, there before the first job: a job may ask its supervisor at once, and is answered as soon
as that is loaded. Light on purpose: a first job waits for this module."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
else:
    import _socket as socket  # `socket` without its enums, which take 4 ms to load

LISTEN_BACKLOG = 256  # clients before they are accepted


class SocketInUseError(Exception):
    """Another supervisor answers on this socket."""


def listen(path: str) -> int:
    """The descriptor of a listening socket, made 0600 from the start. Raises SocketInUse, OSError."""
    if os.path.exists(path):
        _refuse_if_answered(path)
        os.unlink(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        server.bind(path)
    finally:
        os.umask(before)
    server.listen(LISTEN_BACKLOG)
    server.setblocking(False)
    return server.detach()


def _refuse_if_answered(path: str) -> None:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        return
    finally:
        probe.close()
    raise SocketInUseError(f"another supervisor answers on {path}: stop it, or give this one its own socket")
