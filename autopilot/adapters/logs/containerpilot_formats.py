"""Render lines of the log as ContainerPilot does, for its users' parsers: `default`, `text` (logfmt) and `json`.

`text` and `json` are those of Go's logrus: `time` in the local zone, `level`, `msg`, then the other fields in
alphabetical order. Lines of programs are entries of level INFO with `job` (or `check`) and `pid`. `default` is the
time, for a program's line `job` (or `check`) and `pid`, and the message; lines of the supervisor have the job's name
before the message and the fields after it. None of them has an event id. The sentences that its users grep for are in
its words.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence

from autopilot.adapters.logs.log_entry import LogEntry, LogFormat
from autopilot.process.line_buffer import escape_controls
from autopilot.timestamps import format_local_timestamp

UNQUOTED = re.compile(r"[A-Za-z0-9._/@^+-]+")  # a value that logfmt writes without quotes


class DefaultFormat:
    """Lines of the form `TIME MESSAGE`."""

    programs_are_info = True

    def __init__(self, _context: Mapping[str, str]) -> None:
        pass

    def format_entry(self, entry: LogEntry) -> str:
        """Return one line of the supervisor, without its line end; `entry` is consumed."""
        del entry["level"]
        use_known_words(entry)
        job, message = entry.pop("job", None), entry.pop("message")
        fields = "".join(f" {key}={value}" for key, value in entry.items())
        return escape_controls(
            f"{_format_now()} {f'{job}: ' if job and not message.startswith(f'{job} ') else ''}{message}{fields}"
        )

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        """Return the output of a job or a check, each line with its line end."""
        names = "".join(f" {key}={value}" for key, value in _select_fields(fields).items())
        prefix = f"{_format_now()}{escape_controls(names)} "
        return "".join(f"{prefix}{escape_controls(text)}\n" for text in texts)


class _FieldsFormat:
    """Lines of named fields; subclasses write them in `_format_line`."""

    programs_are_info = True

    def __init__(self, context: Mapping[str, str]) -> None:
        self._context = context

    def format_entry(self, entry: LogEntry) -> str:
        """Return one line of the supervisor, without its line end; `entry` is consumed."""
        use_known_words(entry)
        return self._format_line(entry.pop("level"), entry.pop("message"), entry)

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        """Return the output of a job or a check, each line with its line end."""
        return "".join(self._format_line("info", text, _select_fields(fields)) + "\n" for text in texts)

    def _format_line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        raise NotImplementedError


class LogfmtFormat(_FieldsFormat):
    """Lines of the form `time=... level=... msg=... key=value`."""

    def _format_line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        first = {"time": _format_now(digits=0), "level": level, "msg": message}
        rest = {key: value for key, value in sorted({**self._context, **fields}.items())}
        return " ".join(f"{key}={_quote(str(value))}" for key, value in {**first, **rest}.items())


class JsonFormat(_FieldsFormat):
    """One JSON object per line, with its keys in alphabetical order."""

    def _format_line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        entry = {**self._context, **fields, "level": level, "msg": message, "time": _format_now()}
        return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


FORMATS: Mapping[str, Callable[[Mapping[str, str]], LogFormat]] = {
    "default": DefaultFormat,
    "text": LogfmtFormat,
    "json": JsonFormat,
}


def use_known_words(entry: LogEntry) -> None:
    """Remove the event id of an entry, and put the sentence that it stands for into ContainerPilot's words."""
    event, job, message = entry.pop("event", None), entry.get("job"), entry["message"]
    if event == "job_timed_out":
        entry["message"] = f"{job} {message.replace('ran longer than its timeout of', 'timeout after')}"
    elif event == "job_exited" and message.startswith("ended, "):
        reason = message.removeprefix("ended, ").replace("exit ", "exit status ", 1)
        entry["message"] = f"{job} exited {f'with error: {reason}' if entry.get('status') else 'without error'}"


def _select_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that ContainerPilot writes: it does not tell stdout from stderr."""
    return {key: value for key, value in fields.items() if key != "stream" and value is not None}


def _quote(value: str) -> str:
    return value if UNQUOTED.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _format_now(digits: int = 6) -> str:
    """Return the local time in the form of RFC 3339."""
    return format_local_timestamp(time.time(), digits)
