"""Open the control socket before the first job starts: a job may send requests at once, answered after loading.

This module imports little on purpose: the first job waits for it.
"""

from __future__ import annotations

import os

from autopilot.errors import AutopilotError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
else:
    import _socket as socket  # `socket` without its enums, which take 4 ms to load

LISTEN_BACKLOG = 256  # clients that are not accepted yet


class SocketInUseError(AutopilotError):
    """Another supervisor answers on this socket."""


def listen(path: str) -> int:
    """Return the descriptor of a new listening socket at `path`, with mode 0600 from the start.

    Raises:
        SocketInUseError: Another supervisor answers on it.
        OSError: The socket cannot be made there.
    """
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
