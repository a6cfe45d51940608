"""condor_master's heartbeat: it speaks sd_notify(3), to us as it would to systemd.

READY=1 comes before the startd is ready; WATCHDOG=1 about every third of WATCHDOG_USEC while the master lives, and
stops when it hangs; STATUS= says what is wrong ("Problems: STARTD=RESTART in 8s").
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
MAX_MESSAGE_BYTES = 4096  # bytes of one message; systemd's own limit is the same
MAX_MESSAGES_PER_READ = 64  # messages read in one turn of the loop


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What the master last said. Times are the loop's; None: never."""

    received_at: float | None = None
    ready: bool = False
    status: str = ""

    def apply_message(self, message: bytes, now: float) -> Heartbeat:
        """After one datagram: `NAME=value` lines; unknown names are ignored, as the protocol asks."""
        beat = replace(self, received_at=now)
        for line in message.decode(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "READY":
                beat = replace(beat, ready=value == "1")
            elif name == "STATUS":
                beat = replace(beat, status=value[:500])
        return beat

    def compute_age(self, now: float) -> float | None:
        return None if self.received_at is None else now - self.received_at

    def parse_problems(self) -> dict[str, str]:
        """Daemon -> what the master does about it, from "Problems: STARTD=RESTART in 8s, SCHEDD=..."."""
        if not self.status.startswith("Problems:"):
            return {}
        return {name: what.strip(" ,") for name, what in re.findall(r"([A-Z_]+)=(.*?)(?=,?\s*[A-Z_]+=|$)", self.status)}


class NotifySocket:
    """The receiving end, in the abstract name space: the master sends as root and as condor, into any state
    directory's mode. Everybody in this network namespace can send, a payload too, so only messages of the `senders()`
    count: the kernel vouches for the pid."""

    def __init__(
        self, name: str, *, get_allowed_pids: Callable[[], set[int | None]], on_message: Callable[[bytes], None]
    ) -> None:
        self.address = f"@{name}"
        self._get_allowed_pids, self._on_message = get_allowed_pids, on_message
        self._socket: socket.socket | None = None

    def open(self) -> str:
        """Bind it, once; from then on nothing that is sent is lost. Returns what NOTIFY_SOCKET is to be."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind("\0" + self.address[1:])
        return self.address

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        self.open()
        loop.add_reader(self._get_socket(), self._read)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
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
    """The sender's pid; -1 without credentials. Descriptors sent along are closed: nobody fills our table."""
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
