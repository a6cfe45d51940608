"""Record decisions: a line for people on standard error (the journal), a JSON line for machines in the audit log.

Both carry the same stable event id; core/audit_events.py has the table.
"""

from __future__ import annotations

import json
import logging.handlers
import os
import sys
import threading
import time
from io import TextIOWrapper
from pathlib import Path
from typing import Self

from autopilot_watchdog.bounded_json import clip_text, get_text, parse_json
from autopilot_watchdog.config.config_model import NotifyConfig
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.display_text import MAX_SENTENCE_CHARS, bound_field, show_controls, show_lines
from autopilot_watchdog.regular_files import SAFE_FLAGS, open_own_file, read_regular_file
from autopilot_watchdog.shell.notifier import Notifier
from autopilot_watchdog.timestamps import format_timestamp

SYSLOG_LEVELS = {"error": 3, "warning": 4, "info": 6}  # syslog's numbers, as sd-daemon(3) writes them before a line
MAX_FILE_BYTES, KEPT_FILES = 10_000_000, 5
MAX_READ_BYTES = 200_000  # from the end of the log, for the recent entries


def read_recent_entries(path: Path, slot: str, count: int = 6) -> list[str]:
    """Return the last entries about a slot as lines of text, oldest first."""
    try:
        lines = read_regular_file(path, MAX_READ_BYTES, follow_link=True, from_end=True).decode(errors="replace")
    except OSError:
        return []
    entries = []
    for line in lines.splitlines():
        try:
            entry = parse_json(line)
        except ValueError:
            continue  # the first may be half a line
        if get_text(entry, "slot") == slot:
            words = (get_text(entry, key, MAX_SENTENCE_CHARS) for key in ("time", "event", "sentence"))
            entries.append(show_controls("{} {}: {}".format(*words)))
    return entries[-count:]


class _LogFile(logging.handlers.RotatingFileHandler):
    """File of the log; a FIFO that nobody reads is an error and no wait."""

    def __init__(self, path: Path, *, is_in_state_folder: bool) -> None:
        """Open nothing yet. In the state folder anything but a file is moved aside; elsewhere a link is followed."""
        self._is_own = is_in_state_folder
        super().__init__(path, maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES, delay=True)

    def _open(self) -> TextIOWrapper:
        if self._is_own:
            os.close(open_own_file(Path(self.baseFilename)))
        flags = SAFE_FLAGS | (os.O_NOFOLLOW if self._is_own else 0)
        return open(self.baseFilename, "a", opener=lambda path, usual: os.open(path, usual | flags, 0o644))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Do nothing: a full disk must not stop us."""


class Audit:
    """Writer of the journal's lines and the audit log; without a path it writes nothing, for verbs that only look."""

    def __init__(
        self,
        path: Path | None = None,
        notify: NotifyConfig | None = None,
        host: str = "",
        state_folder: Path | None = None,
    ) -> None:
        """Open the log.

        Args:
            path: The file; None to write nothing.
            notify: The program that is told of events; None for none.
            host: The host's name, for that program.
            state_folder: The watchdog's folder, in which no link is followed.
        """
        self._state_folder = state_folder
        self._notifier: Notifier | None = None
        self._notify: tuple[NotifyConfig | None, str] = (None, "")
        self._handler: logging.Handler | None = None
        self._lock = threading.Lock()  # containers are removed in several threads
        self._has_level_prefix = "JOURNAL_STREAM" in os.environ
        self._path: Path | None = None
        if path is not None:
            self.use_settings(path, notify, host)

    def use_settings(self, path: Path, notify: NotifyConfig | None, host: str) -> None:
        """Write to this file and tell this program from now on; the former program is told of the events before."""
        if (notify, host) != self._notify:
            self._notify = notify, host
            self._notifier = Notifier(notify, host, self._record_notify_failure) if notify else None
        if path != self._path:
            self.close()
            self._path = path
            self._handler = _LogFile(path, is_in_state_folder=path.parent == self._state_folder)

    def record(self, event: AuditEvent, sentence: str, /, level: str = "info", **fields: object) -> None:
        """Write one entry.

        Args:
            event: The stable id of the event.
            sentence: The sentence for people.
            level: "error", "warning" or "info".
            fields: Further values of the JSON line.
        """
        if self._handler is None:
            return
        sentence = clip_text(sentence, MAX_SENTENCE_CHARS)
        prefix = f"<{SYSLOG_LEVELS[level]}>" if self._has_level_prefix else ""
        entry: dict[str, object] = {
            "time": format_timestamp(time.time()),
            "event": event,
            "level": level,
            "sentence": sentence,
        }
        entry |= {key: bound_field(value) for key, value in fields.items()}
        with self._lock:
            for line in show_lines(sentence):  # each with our beginning: a container's line must not look like our own
                print(f"{prefix}{event}: {line}", file=sys.stderr, flush=True)
            self._handler.emit(logging.LogRecord("audit", logging.INFO, "", 0, json.dumps(entry), None, None))

        if self._notifier is not None:
            self._notifier.offer(entry)

    def _record_notify_failure(self, sentence: str) -> None:
        self.record(AuditEvent.NOTIFY_FAILED, sentence, "warning")

    def close(self) -> None:
        """Close the file; a later entry opens it again."""
        if self._handler is not None:
            self._handler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
