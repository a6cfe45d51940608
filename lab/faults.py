"""Inject faults: a slow or truncating connection, a file system that never answers, a wrong clock."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import system_packages
from lab.lab_errors import LabError

FUSE_INIT = 26  # the first operation of the kernel's protocol, as of version 7.31
MAX_FUSE_REQUEST_BYTES = 1 << 17


@dataclass
class FaultyProxy:
    """Loopback proxy that delays or truncates answers.

    Attributes:
        target_port: port of the server behind it.
        port: port of the proxy.
        delay_s: seconds before each piece of an answer is passed on.
        cut_after_bytes: number of bytes of an answer after which the connection is closed; None for never.
    """

    target_port: int
    port: int = 0
    delay_s: float = 0.0
    cut_after_bytes: int | None = None

    @property
    def address(self) -> str:
        """Address of the proxy (host:port)."""
        return f"127.0.0.1:{self.port}"

    def _serve_connection(self, here: socket.socket) -> None:
        with here, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.target_port)) as there:
            threading.Thread(target=self._forward_request, args=(here, there), daemon=True).start()
            sent = 0
            while data := there.recv(65536):
                if self.delay_s:
                    time.sleep(self.delay_s)  # the fault itself
                if self.cut_after_bytes is not None and sent + len(data) > self.cut_after_bytes:
                    here.sendall(data[: self.cut_after_bytes - sent])
                    return
                here.sendall(data)
                sent += len(data)

    @staticmethod
    def _forward_request(here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                there.sendall(data)
            there.shutdown(socket.SHUT_WR)

    def accept_connections(self, listener: socket.socket) -> None:
        """Serve each connection in a thread until the listener is shut down."""
        with contextlib.suppress(OSError):  # the listener is shut down at the end
            while True:
                here, _ = listener.accept()
                threading.Thread(target=self._serve_connection, args=(here,), daemon=True).start()


@contextlib.contextmanager
def start_faulty_proxy(target: int) -> Iterator[FaultyProxy]:
    """Run a proxy to the loopback port `target`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = FaultyProxy(target, listener.getsockname()[1])
        threading.Thread(target=proxy.accept_connections, args=(listener,), daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def mount_hanging_filesystem(folder: Path, *, takes_requests: bool = False) -> Iterator[None]:
    """Mount a FUSE file system whose server never answers, like a CVMFS whose process is stuck.

    Args:
        folder: The place of the mount.
        takes_requests: The server takes each request before it is stuck; a process that waits cannot even be killed.

    Raises:
        LabError: FUSE cannot be used here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise LabError(f"cannot open /dev/fuse: {error.strerror}") from None
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0,allow_other"
    try:
        if libc.mount(b"hanging", str(folder).encode(), b"fuse.hanging", 0, options.encode()) != 0:
            raise LabError(f"cannot mount a FUSE file system: {os.strerror(ctypes.get_errno())}")
        with _take_requests(server) if takes_requests else contextlib.nullcontext():
            yield
    finally:
        os.close(server)  # every waiting call fails with "not connected"
        libc.umount2(str(folder).encode(), 2)  # MNT_DETACH


@contextlib.contextmanager
def _take_requests(server: int) -> Iterator[None]:
    """Answer the first request of the kernel (FUSE_INIT, fuse(4)), then take all others without an answer."""
    stop_reading, stop_writing = os.pipe()

    def take() -> None:
        while server in select.select([server, stop_reading], [], [])[0]:
            request = os.read(server, MAX_FUSE_REQUEST_BYTES)
            _, operation, unique = struct.unpack_from("<IIQ", request)
            if operation == FUSE_INIT:
                answer = struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 12, 10, 1 << 16, 1, 0, 0, 0, *[0] * 7)
                os.write(server, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    try:
        yield
    finally:
        os.close(stop_writing)
        taker.join()
        os.close(stop_reading)


def build_clock_offset_prefix(offset_file: Path) -> list[str]:
    """Return the words before a command that make its clock wrong by the file's content: "+400d", "-1h" or "+0".

    The file may change at any time. The kernel's count of seconds since its start stays right.
    """
    system_packages.ensure_programs("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    settings = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": offset_file,
        "FAKETIME_NO_CACHE": 1,
        "FAKETIME_DONT_FAKE_MONOTONIC": 1,
        "NO_FAKE_STAT": 1,
    }
    return ["env", *(f"{name}={value}" for name, value in settings.items())]
