"""Encode lines of the log for OTLP, as JSON until they are sent: the names of their parts are OpenTelemetry's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from autopilot import __version__
from autopilot.adapters.logs.log_entry import ForwardedLine

SEVERITY_NUMBERS = {"debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}
RESOURCE_NAMES = {"container_id": "container.id", "container_name": "container.name", "host": "host.name"}
RECORD_NAMES = {"pid": "process.pid", "file": "log.file.path"}
PROGRAM_STREAMS = ("stdout", "stderr")
MAX_VALUE_CHARS = 4096  # of one attribute
MAX_MESSAGE_CHARS = 64 * 1024


class OtlpRecord(NamedTuple):
    """A line before OpenTelemetry's library encodes it.

    Attributes:
        time_ns: Nanoseconds since the epoch.
        level: `debug`, `info`, `warning`, `error` or `critical`.
        event: The stable id of a line of the supervisor; "" for a line of a program.
        body: The sentence, or the program's line.
        attributes: By OpenTelemetry's names where it has one, else below `autopilot.`.
        resource: The container that the line is from, as names and values in their order.
    """

    time_ns: int
    level: str
    event: str
    body: str
    attributes: Mapping[str, str | int]
    resource: tuple[tuple[str, str], ...]

    @property
    def severity_number(self) -> int:
        """OpenTelemetry's number of the level."""
        return SEVERITY_NUMBERS.get(self.level, SEVERITY_NUMBERS["info"])


class OtlpFormat:
    """The form of the records of one life."""

    def __init__(self, *, hostname: str, life_id: str, context: Mapping[str, str]) -> None:
        """Create the form.

        Args:
            hostname: The name of this container, for lines without a host.
            life_id: The unique id of this life.
            context: Fields that describe this container, such as `slot`.
        """
        resource = {
            "service.name": "autopilot",
            "service.version": __version__,
            "service.instance.id": life_id,
            "host.name": hostname,
        }
        for key, value in context.items():
            resource[RESOURCE_NAMES.get(key, f"autopilot.{key}")] = value[:MAX_VALUE_CHARS]
        self._resource = list(resource.items())

    def encode(self, line: ForwardedLine) -> bytes:
        """Return a line as JSON, in bounded length."""
        attributes = dict(_list_attributes(line.fields))
        body = _make_valid(line.message, MAX_MESSAGE_CHARS)
        parts = [round(line.time * 1e6) * 1000, line.level, line.event, body, attributes, self._resource]
        return json.dumps(parts, separators=(",", ":")).encode()


def decode_frames(frames: Sequence[bytes]) -> list[OtlpRecord]:
    """Return the records of encoded lines; those that a damaged disk has changed are left out."""
    records = []
    for frame in frames:
        try:
            time_ns, level, event, body, attributes, resource = json.loads(frame)
            pairs = tuple((_make_valid(str(name)), _make_valid(str(value))) for name, value in resource)
            values = {_make_valid(str(name)): _make_value(value) for name, value in attributes.items()}
            text = _make_valid(str(body), MAX_MESSAGE_CHARS)
            record = OtlpRecord(int(time_ns), _make_valid(str(level)), _make_valid(str(event)), text, values, pairs)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
        if 0 <= record.time_ns < 1 << 64:
            records.append(record)
    return records


def _list_attributes(fields: Mapping[str, object]) -> Iterator[tuple[str, str | int]]:
    for key, value in fields.items():
        if value is None:
            continue
        is_stream = key == "stream" and value in PROGRAM_STREAMS
        name = "log.iostream" if is_stream else RECORD_NAMES.get(key, f"autopilot.{key[:64]}")
        yield name, _make_value(value)


def _make_value(value: object) -> str | int:
    """Return the value of an attribute as a number that OTLP can hold, else as text."""
    return value if isinstance(value, int) and abs(value) < sys.maxsize else _make_valid(str(value))


def _make_valid(text: str, max_chars: int = MAX_VALUE_CHARS) -> str:
    """Return text, in bounded length, that UTF-8 can encode: names of files may hold bytes that it cannot."""
    return text[:max_chars].encode(errors="replace").decode()
