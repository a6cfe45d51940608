"""Every decision: a line for people on standard error (the journal), a JSON line for machines in the audit log."""

from __future__ import annotations

import json
import logging.handlers
import os
import sys
import time
from pathlib import Path

SYSLOG_LEVELS = {"error": 3, "warning": 4, "info": 6}  # syslog's, as sd-daemon(3) prefixes have them
MAX_FILE_BYTES, KEPT_FILES = 10_000_000, 5  # bytes per file, old files


def read_recent_entries(path: Path, slot: str, count: int = 6) -> list[str]:
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
        self._handler: logging.Handler | None = None
        self._has_level_prefix = "JOURNAL_STREAM" in os.environ
        if path is not None:
            self._handler = logging.handlers.RotatingFileHandler(
                path, maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES, delay=True
            )
            self._handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk must not stop us

    def record(self, event: str, sentence: str, /, level: str = "info", **fields: object) -> None:
        if self._handler is None:
            return
        said = f"{event}: {sentence}"
        print(f"<{SYSLOG_LEVELS[level]}>{said}" if self._has_level_prefix else said, file=sys.stderr, flush=True)
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
        line = json.dumps({"time": when, "event": event, "level": level, "sentence": sentence, **fields})
        self._handler.emit(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))
