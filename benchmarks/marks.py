"""What the supervised programs say and when: lines of a named pipe, read as they come."""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

from lab.lab_errors import LabError


@dataclass(frozen=True)
class Mark:
    """`when`: ns of CLOCK_MONOTONIC. `pid` is as the program sees itself."""

    event: str
    at_ns: int
    pid: int
    number: int


class MarkReader:
    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # a writer of our own: the pipe never ends
        self._incomplete_line = b""
        self.received: list[Mark] = []

    def list_marks(self, event: str) -> list[Mark]:
        """Those seen so far, without waiting for more."""
        self._read()
        return [mark for mark in self.received if mark.event == event]

    def wait(self, event: str, count: int = 1, timeout: float = 20.0) -> list[Mark]:
        """All marks of this event, as soon as there are `count`; LabError after `timeout` seconds."""
        until = time.monotonic() + timeout
        while len(found := self.list_marks(event)) < count:
            left = until - time.monotonic()
            if left <= 0:
                raise LabError(f"{len(found)} of {count} `{event}` within {timeout:g} s")
            select.select([self._fd], [], [], left)
        return found

    def close(self) -> None:
        os.close(self._fd)

    def _read(self) -> None:
        while True:
            try:
                self._incomplete_line += os.read(self._fd, 65536)
            except BlockingIOError:
                break
        *lines, self._incomplete_line = self._incomplete_line.split(b"\n")
        for line in lines:
            event, when, pid, number = line.split()
            self.received.append(Mark(event.decode(), int(when), int(pid), int(number)))
