"""The log: one line for each event of ours and for each line of a job, in one of the forms of loglines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
import structlog.typing

from autopilot.adapters.loglines import Event, Lines
from autopilot.adapters.sink import Sink

LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "FATAL": 50, "PANIC": 50}


class Log:
    def __init__(
        self,
        sink: Sink,
        lines: Lines,
        *,
        level: str = "INFO",
        keep: Callable[[str, str, list[bytes]], None] = lambda job, stream, lines: None,
    ) -> None:
        """`keep` is told what jobs write, also what the sink has no room for."""
        self.sink, self._keep = sink, keep
        self.configure(lines, level=level)

    def configure(self, lines: Lines, *, level: str) -> None:
        """How it is written from now on, and what not."""
        self._lines = lines
        self._level = LEVELS[level.upper()]

        def rendered(_logger: object, _method: str, event: Event) -> str:
            return lines.own(event)

        processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level, rendered]
        self._logger = structlog.wrap_logger(
            _Writer(self.sink),
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            context_class=dict,
        )

    def say(self, level: str, event: str, **fields: object) -> None:
        self._logger.log(LEVELS[level.upper()], event, **fields)

    def lines(self, job: str, stream: str, lines: list[bytes], *, raw: bool = False, pid: int | None = None) -> None:
        """What a job wrote; raw: just as it wrote it."""
        self._keep(job, stream, lines)
        self._programs({"job": job, "stream": stream, "pid": pid}, lines, raw)

    def check_lines(self, job: str, stream: str, lines: list[bytes], *, raw: bool) -> None:
        """What a job's health check wrote."""
        if raw or self._lines.programs_are_info:
            self._programs({"check": f"check.{job}", "stream": stream}, lines, raw)

    def _programs(self, fields: Mapping[str, object], lines: list[bytes], raw: bool) -> None:
        """The one hot path of the log, so it renders by hand what structlog would: a job may write a hundred thousand
        lines a second."""
        if self.sink.full(sum(map(len, lines))):
            return
        if raw:
            self.sink.write(b"\n".join(lines) + b"\n")
            return
        if self._lines.programs_are_info and self._level > LEVELS["INFO"]:
            return
        texts = [line.decode(errors="replace").rstrip("\r") for line in lines]
        self.sink.write(self._lines.of_program(fields, texts).encode(errors="replace"))


class _Writer:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def info(self, line: str) -> None:
        self._sink.write(line.encode(errors="replace") + b"\n")

    debug = warning = error = critical = info
