"""The lines of ContainerPilot's log, as its users' parsers know them: `default`, `text` (logfmt) and `json`.

The last two are those of Go's logrus: `time` in the local zone, `level`, `msg`, then the other fields in the order of
the alphabet. What programs write are entries of level INFO with `job` (or `check`) and `pid`. `default` is the time
and the message, nothing else of a program's line; our own carry the job's name before the message and fields behind.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence

from autopilot.adapters.logs.log_formats import LogEntry, LogFormat
from autopilot.process.line_buffer import escape_controls
from autopilot.timestamps import format_local_timestamp

UNQUOTED = re.compile(r"[A-Za-z0-9._/@^+-]+")  # what logfmt needs no quotes for


class DefaultFormat:
    programs_are_info = True

    def __init__(self, _context: Mapping[str, str]) -> None:
        pass

    def format_entry(self, entry: LogEntry) -> str:
        del entry["level"]
        about, message = entry.pop("job", None), entry.pop("event")
        fields = "".join(f" {key}={value}" for key, value in entry.items())
        return escape_controls(f"{_format_now()} {f'{about}: ' if about else ''}{message}{fields}")

    def format_program_lines(self, _fields: Mapping[str, object], texts: Sequence[str]) -> str:
        now = _format_now()
        return "".join(f"{now} {escape_controls(text)}\n" for text in texts)


class _FieldsFormat:
    """A line of named fields; how they are written is `_line`'s."""

    programs_are_info = True

    def __init__(self, context: Mapping[str, str]) -> None:
        self._context = context

    def format_entry(self, entry: LogEntry) -> str:
        return self._format_line(entry.pop("level"), entry.pop("event"), entry)

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        return "".join(self._format_line("info", text, _select_fields(fields)) + "\n" for text in texts)

    def _format_line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        raise NotImplementedError


class LogfmtFormat(_FieldsFormat):
    def _format_line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        first = {"time": _format_now(digits=0), "level": level, "msg": message}
        rest = {key: value for key, value in sorted({**self._context, **fields}.items())}
        return " ".join(f"{key}={_quote(str(value))}" for key, value in {**first, **rest}.items())


class JsonFormat(_FieldsFormat):
    def _format_line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        entry = {**self._context, **fields, "level": level, "msg": message, "time": _format_now()}
        return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


FORMATS: Mapping[str, Callable[[Mapping[str, str]], LogFormat]] = {
    "default": DefaultFormat,
    "text": LogfmtFormat,
    "json": JsonFormat,
}


def _select_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """It does not tell stdout from stderr."""
    return {key: value for key, value in fields.items() if key != "stream" and value is not None}


def _quote(value: str) -> str:
    return value if UNQUOTED.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _format_now(digits: int = 6) -> str:
    return format_local_timestamp(time.time(), digits)
