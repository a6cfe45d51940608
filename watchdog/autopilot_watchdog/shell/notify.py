"""systemd's notification socket (sd_notify(3)): ready, alive, more time. Nothing happens where there is none."""

from __future__ import annotations

import os
import socket

EXTENSION = 60  # s of more time that a pull asks for with every sign of progress


def notify(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        except OSError:
            return  # a supervisor that does not listen is no reason to fail


def more_time() -> None:
    """The oneshot's start may take longer than its TimeoutStartSec while there is progress."""
    notify(f"EXTEND_TIMEOUT_USEC={EXTENSION * 1_000_000}")
