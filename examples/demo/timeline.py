"""Print the demo's events, one line each with the time and the source."""

from __future__ import annotations

import json
import time
from typing import TextIO


class Timeline:
    """Printer of lines; times count from `begin`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._start = time.monotonic()
        self._log_position = 0

    def begin(self) -> None:
        """Set the time to 0."""
        self._start = time.monotonic()

    def print_text(self, *sentences: str) -> None:
        """Print sentences without a time."""
        for sentence in sentences:
            print(sentence, file=self._out, flush=True)

    def print_event(self, source: str, text: str) -> None:
        """Print one line with the time and the source."""
        print(f"{time.monotonic() - self._start:6.1f} s  {source:<11} {text}", file=self._out, flush=True)

    def print_new_log_lines(self, log: str) -> None:
        """Print the complete lines of the supervisor's log that the last call did not have."""
        end = log.rfind("\n") + 1
        for line in log[self._log_position : end].splitlines():
            if sentence := self._format_line(line):
                self.print_event("autopilot", sentence)
        self._log_position = end

    @staticmethod
    def _format_line(line: str) -> str | None:
        """Return one JSON line of the supervisor's log as a sentence; None for a job's own output."""
        try:
            event = json.loads(line)
        except ValueError:
            return line
        if "stream" in event:
            return None
        job = f"{event['job']}: " if "job" in event else ""
        changes = [f"{change} {', '.join(event[change])}" for change in ("started", "ended") if event.get(change)]
        return f"{job}{event['event']}" + (f": {'; '.join(changes)}" if changes else "")
