"""Every decision: a line for people on standard error (the journal), a JSON line for machines in the audit log."""

from __future__ import annotations

import json
import logging.handlers
import os
import sys
import time
from pathlib import Path

LEVELS = {"error": 3, "warning": 4, "info": 6}  # syslog's, as sd-daemon(3) prefixes have them
LONGEST, KEPT = 10_000_000, 5  # bytes per file, old files


def lately(path: Path, slot: str, count: int = 6) -> list[str]:
    """The last entries about a slot, oldest first, one line each."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 200_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the first may be half a line
        if entry.get("slot") == slot:
            found.append(f"{entry['time']} {entry['event']}: {entry['sentence']}")
    return found[-count:]


class Audit:
    """Without a path it is silent: for verbs that only look."""

    def __init__(self, path: Path | None = None) -> None:
        self._file: logging.Handler | None = None
        self._prefix = "JOURNAL_STREAM" in os.environ
        if path is not None:
            self._file = logging.handlers.RotatingFileHandler(path, maxBytes=LONGEST, backupCount=KEPT, delay=True)
            self._file.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk must not stop us

    def note(self, event: str, sentence: str, /, level: str = "info", **fields: object) -> None:
        if self._file is None:
            return
        said = f"{event}: {sentence}"
        print(f"<{LEVELS[level]}>{said}" if self._prefix else said, file=sys.stderr, flush=True)
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
        line = json.dumps({"time": when, "event": event, "level": level, "sentence": sentence, **fields})
        self._file.emit(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))
