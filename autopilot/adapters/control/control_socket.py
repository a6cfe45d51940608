"""Open the control socket before the first job starts: a job may send requests at once, answered after loading.

This module imports little on purpose: the first job waits for it.
"""

from __future__ import annotations

import os

from autopilot.errors import AutopilotError
from autopilot.safe_files import move_aside_unless_socket
from autopilot.socket_addresses import build_socket_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from autopilot.safe_files import OnMoved
else:
    import _socket as socket  # `socket` without its enums, which take 4 ms to load

LISTEN_BACKLOG = 256  # clients that are not accepted yet


class SocketInUseError(AutopilotError):
    """Another supervisor answers on this socket."""


def listen(path: str, on_moved: OnMoved) -> int:
    """Return the descriptor of a new listening socket at `path`, with mode 0600 from the start.

    Args:
        path: The socket. Anything else that is there is moved aside.
        on_moved: Gets a sentence about it.

    Raises:
        SocketInUseError: Another supervisor answers on it.
        OSError: The socket cannot be made there.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if move_aside_unless_socket(path, on_moved):
        _refuse_if_answered(path)
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        server.bind(build_socket_address(path))
    finally:
        os.umask(before)
    server.listen(LISTEN_BACKLOG)
    server.setblocking(False)
    return server.detach()


def _refuse_if_answered(path: str) -> None:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.setblocking(False)  # one that accepts nobody must not hang the start
    try:
        probe.connect(build_socket_address(path))
    except (ConnectionRefusedError, FileNotFoundError):
        return
    except BlockingIOError:  # its backlog is full
        pass
    finally:
        probe.close()
    raise SocketInUseError(f"another supervisor answers on {path}: stop it, or give this one its own socket")
