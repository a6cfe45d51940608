"""Write the log: one line for each event of the supervisor and for each line of a job, in one of the log formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
import structlog.typing

from autopilot.adapters.logs.log_entry import LogEntry, LogFormat
from autopilot.adapters.logs.log_writer import LogWriter

LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "FATAL": 50, "PANIC": 50}


class Logger:
    """The log of one life."""

    def __init__(
        self,
        writer: LogWriter,
        log_format: LogFormat,
        *,
        level: str = "INFO",
        on_job_lines: Callable[[str, str, list[bytes]], None] = lambda job, stream, lines: None,
    ) -> None:
        """Create a log.

        Args:
            writer: Takes the rendered lines.
            log_format: Renders them.
            level: Lines below it are left out.
            on_job_lines: Called with job, stream and lines of each output of a job, also of output that is dropped.
        """
        self.writer, self._on_job_lines = writer, on_job_lines
        self.configure(log_format, level=level)

    def configure(self, log_format: LogFormat, *, level: str) -> None:
        """Change the format and the level of all lines from now on."""
        self._format = log_format
        self._level = LEVELS[level.upper()]

        def render(_logger: object, _method: str, event: LogEntry) -> str:
            message = event.pop("event")  # structlog's name of the sentence
            return log_format.format_entry({"event": event.pop("event_id"), "message": message, **event})

        processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level, render]
        self._logger = structlog.wrap_logger(
            _StructlogWriter(self.writer),
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            context_class=dict,
        )

    def log(self, level: str, event_id: str, message: str, **fields: object) -> None:
        """Write one line of the supervisor.

        Args:
            level: One of `LEVELS`, in any case.
            event_id: The stable id for machines, listed in docs/events.md.
            message: The sentence for people: subject, verb, cause, consequence.
            **fields: Further fields; `job` is the sentence's subject.
        """
        self._logger.log(LEVELS[level.upper()], message, event_id=event_id, **fields)

    def log_job_lines(
        self, job: str, stream: str, lines: list[bytes], *, raw: bool = False, pid: int | None = None
    ) -> None:
        """Write lines of a job's output; with `raw` exactly as the job wrote them."""
        self._on_job_lines(job, stream, lines)
        self._log_program_lines({"job": job, "stream": stream, "pid": pid}, lines, raw)

    def log_check_lines(self, job: str, stream: str, lines: list[bytes], *, raw: bool) -> None:
        """Write lines of a health check's output, where the format or the check asks for them."""
        if raw or self._format.programs_are_info:
            self._log_program_lines({"check": f"check.{job}", "stream": stream}, lines, raw)

    def _log_program_lines(self, fields: Mapping[str, object], lines: list[bytes], raw: bool) -> None:
        """Write lines of a program without structlog: a job may write a hundred thousand lines a second."""
        if self.writer.drop_if_full(sum(map(len, lines))):
            return
        if raw:
            self.writer.write(b"\n".join(lines) + b"\n")
            return
        if self._format.programs_are_info and self._level > LEVELS["INFO"]:
            return
        texts = [line.decode(errors="replace").rstrip("\r") for line in lines]
        self.writer.write(self._format.format_program_lines(fields, texts).encode(errors="replace"))


class _StructlogWriter:
    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def info(self, line: str) -> None:
        self._writer.write(line.encode(errors="replace") + b"\n")

    debug = warning = error = critical = info
