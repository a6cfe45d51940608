"""The lines of ContainerPilot's log, as its users' parsers know them: `default`, `text` (logfmt) and `json`.

The last two are those of Go's logrus: `time` in the local zone, `level`, `msg`, then the other fields in the order of
the alphabet. What programs write are entries of level INFO with `job` (or `check`) and `pid`. `default` is the time
and the message, nothing else of a program's line; our own carry the job's name before the message and fields behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from autopilot.adapters.loglines import Event, Lines
from autopilot.process.lines import visible

BARE = re.compile(r"[A-Za-z0-9._/@^+-]+")  # what logfmt needs no quotes for


class Default:
    programs_are_info = True

    def __init__(self, _context: Mapping[str, str]) -> None:
        pass

    def own(self, event: Event) -> str:
        del event["level"]
        about, message = event.pop("job", None), event.pop("event")
        fields = "".join(f" {key}={value}" for key, value in event.items())
        return visible(f"{_now()} {f'{about}: ' if about else ''}{message}{fields}")

    def of_program(self, _fields: Mapping[str, object], texts: Sequence[str]) -> str:
        now = _now()
        return "".join(f"{now} {visible(text)}\n" for text in texts)


class _Fields:
    """A line of named fields; how they are written is `_line`'s."""

    programs_are_info = True

    def __init__(self, context: Mapping[str, str]) -> None:
        self._context = context

    def own(self, event: Event) -> str:
        return self._line(event.pop("level"), event.pop("event"), event)

    def of_program(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        return "".join(self._line("info", text, _known(fields)) + "\n" for text in texts)

    def _line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        raise NotImplementedError


class Logfmt(_Fields):
    def _line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        first = {"time": _now("seconds"), "level": level, "msg": message}
        rest = {key: value for key, value in sorted({**self._context, **fields}.items())}
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in {**first, **rest}.items())


class Json(_Fields):
    def _line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        entry = {**self._context, **fields, "level": level, "msg": message, "time": _now()}
        return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


FORMS: Mapping[str, Callable[[Mapping[str, str]], Lines]] = {"default": Default, "text": Logfmt, "json": Json}


def _known(fields: Mapping[str, object]) -> dict[str, object]:
    """It does not tell stdout from stderr."""
    return {key: value for key, value in fields.items() if key != "stream" and value is not None}


def _quoted(value: str) -> str:
    return value if BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _now(precision: str = "microseconds") -> str:
    """RFC 3339, local."""
    return datetime.now().astimezone().isoformat(timespec=precision).replace("+00:00", "Z")
