"""Receive condor_master's heartbeat: it sends sd_notify(3) messages, to us as it would to systemd.

READY=1 comes before the startd is ready; WATCHDOG=1 about every third of WATCHDOG_USEC while the master lives, and
stops when it hangs; STATUS= names the problem ("Problems: STARTD=RESTART in 8s").
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

UCRED_STRUCT = struct.Struct("iII")  # struct ucred: pid, uid, gid
MAX_MESSAGE_BYTES = 4096  # systemd's own limit is the same
MAX_MESSAGES_PER_READ = 64  # in one turn of the loop


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last messages of condor_master."""

    received_at: float | None = None  # on the loop's clock; None: never
    ready: bool = False
    status: str = ""

    def apply_message(self, message: bytes, now: float) -> Heartbeat:
        """Return the heartbeat after one datagram of `NAME=value` lines; the protocol ignores unknown names."""
        beat = replace(self, received_at=now)
        for line in message.decode(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "READY":
                beat = replace(beat, ready=value == "1")
            elif name == "STATUS":
                beat = replace(beat, status=value[:500])
        return beat

    def compute_age(self, now: float) -> float | None:
        """Return the seconds since the last message; None without any."""
        return None if self.received_at is None else now - self.received_at

    def parse_problems(self) -> dict[str, str]:
        """Return the master's action by daemon, from "Problems: STARTD=RESTART in 8s, SCHEDD=..."."""
        if not self.status.startswith("Problems:"):
            return {}
        return {
            name: action.strip(" ,") for name, action in re.findall(r"([A-Z_]+)=(.*?)(?=,?\s*[A-Z_]+=|$)", self.status)
        }


class NotifySocket:
    """The receiving end of heartbeats.

    It is in the abstract name space, because the master sends as root and as condor and no directory's mode may be in
    its way. Every process in this network namespace can send, a payload too, so only messages of the allowed pids
    count: the kernel vouches for the pid.
    """

    def __init__(
        self, name: str, *, get_allowed_pids: Callable[[], set[int | None]], on_message: Callable[[bytes], None]
    ) -> None:
        self.address = f"@{name}"
        self._get_allowed_pids, self._on_message = get_allowed_pids, on_message
        self._socket: socket.socket | None = None

    def open(self) -> str:
        """Bind the socket, once, so that no message is lost from then on. Returns the value for NOTIFY_SOCKET."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind("\0" + self.address[1:])
        return self.address

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to call `on_message`."""
        self.open()
        loop.add_reader(self._get_socket(), self._read)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """End."""
        if self._socket is not None:
            loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _get_socket(self) -> socket.socket:
        assert self._socket is not None, "opened before it is read"
        return self._socket

    def _read(self) -> None:
        for _ in range(MAX_MESSAGES_PER_READ):
            try:
                message, ancillary, _, _ = self._get_socket().recvmsg(
                    MAX_MESSAGE_BYTES, socket.CMSG_SPACE(UCRED_STRUCT.size) + 64
                )
            except (BlockingIOError, InterruptedError):
                return
            if _get_sender_pid(ancillary) in self._get_allowed_pids():
                self._on_message(message)


def _get_sender_pid(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the sender's pid; -1 without credentials. Descriptors sent along are closed: none may fill our table."""
    pid = -1
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS and len(data) >= UCRED_STRUCT.size:
            pid = int(UCRED_STRUCT.unpack(data[: UCRED_STRUCT.size])[0])
        elif kind == socket.SCM_RIGHTS:
            for number in struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4]):
                os.close(number)
    return pid
