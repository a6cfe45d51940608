"""The log: one line for each event of ours and for each line of a job, as text or as JSON, through structlog."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
import structlog.typing

from autopilot.adapters.sink import Sink
from autopilot.process.lines import visible

LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "FATAL": 50, "PANIC": 50}

Event = MutableMapping[str, Any]


class Log:
    """`context` (slot, container id, ...) is in every JSON line; text lines are for eyes and leave it out."""

    def __init__(
        self,
        sink: Sink,
        *,
        style: Literal["text", "json"],
        level: str = "INFO",
        context: Mapping[str, str] | None = None,
    ) -> None:
        self.sink, self._context = sink, context or {}
        self.configure(style=style, level=level)

    def configure(self, *, style: Literal["text", "json"], level: str) -> None:
        """How it is written from now on, and what not."""
        written = [_in_order, structlog.processors.JSONRenderer()] if style == "json" else [_as_text]
        processors: list[structlog.typing.Processor] = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            *written,
        ]
        self._logger = structlog.wrap_logger(
            _Writer(self.sink),
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level.upper()]),
            context_class=dict,
        ).bind(**(self._context if style == "json" else {}))
        self._json = style == "json"
        self._suffix = _inner(self._context) if self._context else ""

    def say(self, level: str, event: str, **fields: object) -> None:
        self._logger.log(LEVELS[level.upper()], event, **fields)

    def lines(self, job: str, stream: str, lines: list[bytes], *, raw: bool = False) -> None:
        """What a job wrote; raw: just as it wrote it.

        The one hot path of the log, so it renders by hand what structlog would: a job may write a hundred thousand
        lines a second.
        """
        if self.sink.full(sum(map(len, lines))):
            return
        if raw:
            self.sink.write(b"\n".join(lines) + b"\n")
            return
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        texts = [line.decode(errors="replace").rstrip("\r") for line in lines]
        if self._json:
            prefix = f'{{{_inner({"time": now, "job": job, "stream": stream})}, "event": '
            suffix = f", {self._suffix}}}\n" if self._suffix else "}\n"
            rendered = "".join(prefix + json.dumps(text) + suffix for text in texts)
        else:
            rendered = "".join(f"{now} {job} | {visible(text)}\n" for text in texts)
        self.sink.write(rendered.encode(errors="replace"))


def _inner(fields: Mapping[str, str]) -> str:
    """A JSON object's inside."""
    return json.dumps(dict(fields))[1:-1]


class _Writer:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def info(self, line: str) -> None:
        self._sink.write(line.encode(errors="replace") + b"\n")

    debug = warning = error = critical = info


def _in_order(_logger: object, _method: str, event: Event) -> Event:
    """What a person looks for first comes first."""
    first = {key: event.pop(key) for key in ("time", "level", "job", "event") if key in event}
    return {**first, **event}


def _as_text(_logger: object, _method: str, event: Event) -> str:
    """`TIME LEVEL job: what happened key=value`."""
    time, level = event.pop("time"), event.pop("level", None)
    job, message = event.pop("job", None), event.pop("event")
    about = f"{job}: " if job else ""
    fields = "".join(f" {key}={value}" for key, value in event.items())
    return visible(f"{time} {(level or 'info').upper():<8} {about}{message}{fields}")


def style_for(planned: str, fd: int) -> Literal["text", "json"]:
    """What the plan says; `auto` is text on a terminal and JSON elsewhere."""
    if planned == "auto":
        return "text" if os.isatty(fd) else "json"
    return "json" if planned == "json" else "text"
