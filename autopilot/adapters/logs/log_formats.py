"""Render lines of the log as text for a terminal or as JSON, and choose the format that the job spec asks for.

ContainerPilot's three formats are in `containerpilot_formats`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from autopilot.adapters.logs.log_entry import LogEntry, LogFormat
from autopilot.process.line_buffer import escape_controls
from autopilot.timestamps import format_timestamp


class TextFormat:
    """Lines for a terminal: `TIME LEVEL job NAME: sentence key=value`, and `TIME NAME | text` for a job's own output.

    The event id and the context (slot, container id, ...) are omitted.
    """

    programs_are_info = False

    def format_entry(self, entry: LogEntry) -> str:
        """Return one line of the supervisor, without its line end; `entry` is consumed."""
        level, job, message = entry.pop("level"), entry.pop("job", None), entry.pop("message")
        entry.pop("event", None)
        subject = f"job {job}: " if job else ""
        fields = "".join(f" {key}={value}" for key, value in entry.items())
        return escape_controls(f"{_format_now()} {level.upper():<8} {subject}{message}{fields}")

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        """Return the output of a job or a check, each line with its line end."""
        prefix = f"{_format_now()} {fields.get('job') or fields.get('check')} | "
        return "".join(f"{prefix}{escape_controls(text)}\n" for text in texts)


class JsonFormat:
    """One JSON object per line: `time`, `level`, `job`, `event`, `message`, the context, then the other fields.

    Lines of programs have `stream` and no `event`.
    """

    programs_are_info = False

    def __init__(self, context: Mapping[str, str]) -> None:
        self._context = context
        self._suffix = f", {_format_object_body(context)}}}\n" if context else "}\n"

    def format_entry(self, entry: LogEntry) -> str:
        """Return one line of the supervisor, without its line end; `entry` is consumed."""
        first = {key: entry.pop(key) for key in ("level", "job", "event", "message") if key in entry}
        return json.dumps({"time": _format_now(), **first, **self._context, **entry}, default=str)

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        """Return the output of a job or a check, each line with its line end."""
        known = {key: value for key, value in fields.items() if key != "pid"}
        prefix = f'{{{_format_object_body({"time": _format_now(), **known})}, "message": '
        return "".join(prefix + json.dumps(text) + self._suffix for text in texts)


def choose_format(format_name: str, *, terminal: bool, containerpilot: bool, context: Mapping[str, str]) -> LogFormat:
    """Return the format for a value of `logging.format`.

    Args:
        format_name: `default`, `auto`, `text` or `json`.
        terminal: The log goes to a terminal.
        containerpilot: The program was started as `containerpilot`: then `default`, `text` and `json` are the formats
            of that program. Otherwise `default` means `auto`: text on a terminal, JSON elsewhere.
        context: Fields that describe this container, such as `slot`.

    Returns:
        The format.
    """
    if containerpilot and format_name != "auto":
        from autopilot.adapters.logs.containerpilot_formats import FORMATS  # loaded only when used

        return FORMATS[format_name](context)
    wants_text = terminal if format_name in ("default", "auto") else format_name == "text"
    return TextFormat() if wants_text else JsonFormat(context)


def _format_now() -> str:
    return format_timestamp(time.time(), digits=6)


def _format_object_body(fields: Mapping[str, object]) -> str:
    """Return `fields` as a JSON object without its braces."""
    return json.dumps(dict(fields))[1:-1]
