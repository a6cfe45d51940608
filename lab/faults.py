"""A wire with faults: a TCP port that passes on to another, slowly, or cuts answers off."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Wire:
    """`delay`: seconds before each answer begins; `cut`: bytes of an answer after which the connection is closed."""

    target: int
    port: int = 0
    delay: float = 0.0
    cut: int | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _serve(self, here: socket.socket) -> None:
        with here, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as there:
            threading.Thread(target=self._pass_on, args=(here, there), daemon=True).start()
            passed = 0
            while data := there.recv(65536):
                if self.delay:
                    time.sleep(self.delay)  # the fault itself
                if self.cut is not None and passed + len(data) > self.cut:
                    here.sendall(data[: self.cut - passed])
                    return
                here.sendall(data)
                passed += len(data)

    @staticmethod
    def _pass_on(here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                there.sendall(data)
            there.shutdown(socket.SHUT_WR)

    def listen(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                here, _ = listener.accept()
                threading.Thread(target=self._serve, args=(here,), daemon=True).start()


@contextlib.contextmanager
def wire(target: int) -> Iterator[Wire]:
    """A wire to the loopback port `target`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Wire(target, listener.getsockname()[1])
        threading.Thread(target=found.listen, args=(listener,), daemon=True).start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)
