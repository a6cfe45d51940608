"""How a line of the log looks: text for eyes, or JSON. ContainerPilot's three forms are in loglines_containerpilot."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from autopilot.process.lines import visible

Event = MutableMapping[str, Any]  # `event`: what happened; `level`; `job`, `check`; and whatever else is known of it


class Lines(Protocol):
    programs_are_info: bool
    """What jobs and checks write are entries of level INFO, which a higher level hides. Otherwise jobs are always
    heard, and checks where they ask for it."""

    def own(self, event: Event) -> str:
        """A line of ours, without its end."""
        ...

    def of_program(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        """What a job or a check wrote, each line with its end. `fields`: `job` or `check`, `stream`, `pid`."""
        ...


class Text:
    """`TIME LEVEL job: what happened key=value`, `TIME job | what it wrote`. The context is left out."""

    programs_are_info = False

    def own(self, event: Event) -> str:
        level, job, message = event.pop("level"), event.pop("job", None), event.pop("event")
        about = f"{job}: " if job else ""
        fields = "".join(f" {key}={value}" for key, value in event.items())
        return visible(f"{_now()} {level.upper():<8} {about}{message}{fields}")

    def of_program(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        prefix = f"{_now()} {fields.get('job') or fields.get('check')} | "
        return "".join(f"{prefix}{visible(text)}\n" for text in texts)


class Json:
    """One object a line, what a person looks for first; the context (slot, container id, ...) is in each."""

    programs_are_info = False

    def __init__(self, context: Mapping[str, str]) -> None:
        self._context = context
        self._suffix = f", {_inner(context)}}}\n" if context else "}\n"

    def own(self, event: Event) -> str:
        first = {key: event.pop(key) for key in ("level", "job", "event") if key in event}
        return json.dumps({"time": _now(), **first, **self._context, **event}, default=str)

    def of_program(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        known = {key: value for key, value in fields.items() if key != "pid"}
        prefix = f'{{{_inner({"time": _now(), **known})}, "event": '
        return "".join(prefix + json.dumps(text) + self._suffix for text in texts)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _inner(fields: Mapping[str, object]) -> str:
    """A JSON object's inside."""
    return json.dumps(dict(fields))[1:-1]


def lines_for(planned: str, *, terminal: bool, containerpilot: bool, context: Mapping[str, str]) -> Lines:
    """What `logging.format` says. As ContainerPilot its three names mean its three forms; otherwise `default` is
    `auto`, which is text on a terminal and JSON elsewhere."""
    if containerpilot and planned != "auto":
        from autopilot.adapters.loglines_containerpilot import FORMS  # loaded by those who use it

        return FORMS[planned](context)
    wants_text = terminal if planned in ("default", "auto") else planned == "text"
    return Text() if wants_text else Json(context)
