"""Read the marks that the supervised programs write to a named pipe: an event and its time."""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

from lab.lab_errors import LabError


@dataclass(frozen=True)
class Mark:
    """Event of a program. `at_ns` is a time of CLOCK_MONOTONIC, `pid` the program's own view of its pid."""

    event: str
    at_ns: int
    pid: int
    number: int


class MarkReader:
    """Reader of the named pipe `path`, which it creates."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # also opened for writing: the pipe never ends
        self._incomplete_line = b""
        self.received: list[Mark] = []

    def list_marks(self, event: str) -> list[Mark]:
        """Return the marks of this event received so far, without waiting."""
        self._read()
        return [mark for mark in self.received if mark.event == event]

    def wait(self, event: str, count: int = 1, timeout: float = 20.0) -> list[Mark]:
        """Return all marks of this event as soon as there are `count`.

        Raises:
            LabError: there are fewer after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while len(marks := self.list_marks(event)) < count:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise LabError(f"{len(marks)} of {count} `{event}` within {timeout:g} s")
            select.select([self._fd], [], [], remaining)
        return marks

    def close(self) -> None:
        """Close the pipe."""
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
