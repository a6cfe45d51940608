"""The demo's output: one line for each thing that happens, with the time and who says it."""

from __future__ import annotations

import json
import time
from typing import TextIO


class Timeline:
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._start = time.monotonic()
        self._read = 0

    def begin(self) -> None:
        """The life begins now."""
        self._start = time.monotonic()

    def head(self, *sentences: str) -> None:
        for sentence in sentences:
            print(sentence, file=self._out, flush=True)

    def say(self, who: str, what: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {who:<11} {what}", file=self._out, flush=True)

    def follow(self, log: str) -> None:
        """Tell what the supervisor has logged since the last look."""
        end = log.rfind("\n") + 1
        for line in log[self._read : end].splitlines():
            if said := self._sentence(line):
                self.say("autopilot", said)
        self._read = end

    @staticmethod
    def _sentence(line: str) -> str | None:
        """One JSON line of the supervisor's log as a sentence; a job's own output is left out."""
        try:
            event = json.loads(line)
        except ValueError:
            return line
        if "stream" in event:
            return None
        job = f"{event['job']}: " if "job" in event else ""
        news = [f"{what} {', '.join(event[what])}" for what in ("started", "ended") if event.get(what)]
        return f"{job}{event['event']}" + (f": {'; '.join(news)}" if news else "")
