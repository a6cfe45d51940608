"""The demo's output: one line for each thing that happens, with the time and who says it."""

from __future__ import annotations

import json
import time
from typing import TextIO


class Timeline:
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._start = time.monotonic()
        self._log_position = 0

    def begin(self) -> None:
        """The life begins now."""
        self._start = time.monotonic()

    def print_text(self, *sentences: str) -> None:
        for sentence in sentences:
            print(sentence, file=self._out, flush=True)

    def print_event(self, source: str, text: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {source:<11} {text}", file=self._out, flush=True)

    def print_new_log_lines(self, log: str) -> None:
        """Tell what the supervisor has logged since the last look."""
        end = log.rfind("\n") + 1
        for line in log[self._log_position : end].splitlines():
            if formatted := self._format_line(line):
                self.print_event("autopilot", formatted)
        self._log_position = end

    @staticmethod
    def _format_line(line: str) -> str | None:
        """Return a JSON line of the supervisor's log as a sentence; None for a job's own output."""
        try:
            event = json.loads(line)
        except ValueError:
            return line
        if "stream" in event:
            return None
        job = f"{event['job']}: " if "job" in event else ""
        news = [f"{what} {', '.join(event[what])}" for what in ("started", "ended") if event.get(what)]
        return f"{job}{event['event']}" + (f": {'; '.join(news)}" if news else "")
