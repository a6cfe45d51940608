"""How a line of the log looks: text for eyes, or JSON. ContainerPilot's three forms are in loglines_containerpilot."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from autopilot.process.line_buffer import escape_controls
from autopilot.timestamps import format_timestamp

LogEntry = MutableMapping[str, Any]  # `event`: what happened; `level`; `job`, `check`; and whatever else is known of it


class LogFormat(Protocol):
    programs_are_info: bool
    """What jobs and checks write are entries of level INFO, which a higher level hides. Otherwise jobs are always
    heard, and checks where they ask for it."""

    def format_entry(self, entry: LogEntry) -> str:
        """A line of ours, without its end."""
        ...

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        """What a job or a check wrote, each line with its end. `fields`: `job` or `check`, `stream`, `pid`."""
        ...


class TextFormat:
    """`TIME LEVEL job: what happened key=value`, `TIME job | what it wrote`. The context is left out."""

    programs_are_info = False

    def format_entry(self, entry: LogEntry) -> str:
        level, job, message = entry.pop("level"), entry.pop("job", None), entry.pop("event")
        about = f"{job}: " if job else ""
        fields = "".join(f" {key}={value}" for key, value in entry.items())
        return escape_controls(f"{_format_now()} {level.upper():<8} {about}{message}{fields}")

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        prefix = f"{_format_now()} {fields.get('job') or fields.get('check')} | "
        return "".join(f"{prefix}{escape_controls(text)}\n" for text in texts)


class JsonFormat:
    """One object a line, what a person looks for first; the context (slot, container id, ...) is in each."""

    programs_are_info = False

    def __init__(self, context: Mapping[str, str]) -> None:
        self._context = context
        self._suffix = f", {_format_object_body(context)}}}\n" if context else "}\n"

    def format_entry(self, entry: LogEntry) -> str:
        first = {key: entry.pop(key) for key in ("level", "job", "event") if key in entry}
        return json.dumps({"time": _format_now(), **first, **self._context, **entry}, default=str)

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        known = {key: value for key, value in fields.items() if key != "pid"}
        prefix = f'{{{_format_object_body({"time": _format_now(), **known})}, "event": '
        return "".join(prefix + json.dumps(text) + self._suffix for text in texts)


def _format_now() -> str:
    return format_timestamp(time.time(), digits=6)


def _format_object_body(fields: Mapping[str, object]) -> str:
    """A JSON object's inside."""
    return json.dumps(dict(fields))[1:-1]


def choose_format(format_name: str, *, terminal: bool, containerpilot: bool, context: Mapping[str, str]) -> LogFormat:
    """What `logging.format` says. As ContainerPilot its three names mean its three forms; otherwise `default` is
    `auto`, which is text on a terminal and JSON elsewhere."""
    if containerpilot and format_name != "auto":
        from autopilot.adapters.logs.containerpilot_formats import FORMATS  # loaded by those who use it

        return FORMATS[format_name](context)
    wants_text = terminal if format_name in ("default", "auto") else format_name == "text"
    return TextFormat() if wants_text else JsonFormat(context)
