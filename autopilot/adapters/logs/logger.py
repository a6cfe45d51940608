"""Write the log: one line for each event of the supervisor and for each line of a job, in one of the log formats."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog
import structlog.typing

from autopilot.adapters.logs.log_entry import ForwardedLine, LogEntry, LogFormat
from autopilot.adapters.logs.log_writer import LogWriter
from autopilot.process.line_buffer import escape_controls

LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "FATAL": 50, "PANIC": 50}


class Logger:
    """The log of one life."""

    def __init__(
        self,
        writer: LogWriter,
        log_format: LogFormat,
        *,
        level: str = "INFO",
        output: str = "",
        open_raw_writer: Callable[[str], LogWriter] | None = None,
        on_job_lines: Callable[[str, str, list[bytes]], None] = lambda job, stream, lines: None,
    ) -> None:
        """Create a log.

        Args:
            writer: Takes the rendered lines.
            log_format: Renders them.
            level: Lines below it are left out.
            output: The stream that the writer writes to: `stdout` or `stderr`, else any other text.
            open_raw_writer: Returns a writer for `stdout` or `stderr`, where raw lines go; None: they go to the log.
            on_job_lines: Called with job, stream and lines of each output of a job, also of output that is dropped.
        """
        self.writer, self._on_job_lines = writer, on_job_lines
        self._output, self._open_raw_writer = output, open_raw_writer
        self._raw_writers: dict[str, LogWriter] = {}
        self.forward: Callable[[ForwardedLine], None] | None = None  # gets every line too, for other hosts
        self.configure(log_format, level=level)

    def configure(self, log_format: LogFormat, *, level: str) -> None:
        """Change the format and the level of all lines from now on."""
        self._format = log_format
        self._level = LEVELS[level.upper()]

        def render(_logger: object, _method: str, event: LogEntry) -> str:
            message, event_id = event.pop("event"), event.pop("event_id")  # `event` is structlog's name of the sentence
            if self.forward is not None:
                fields = {key: value for key, value in event.items() if key != "level"}
                self.forward(ForwardedLine(time.time(), event["level"], event_id, escape_controls(message), fields))
            return log_format.format_entry({"event": event_id, "message": message, **event})

        processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level, render]
        self._logger = structlog.wrap_logger(
            _StructlogWriter(self.writer),
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            context_class=dict,
        )

    def reopen(self, fd: int, output: str) -> None:
        """Continue in another file or stream."""
        self.writer.reopen(fd)
        self._output = output

    def flush_remaining(self) -> None:
        """Write what still waits, at the end of the life, within a bound."""
        for writer in (self.writer, *self._raw_writers.values()):
            writer.flush_remaining()

    def choose_backpressure(self, *, raw: bool) -> LogWriter | RawBackpressure:
        """Return the writer, or the writers, that pause the reading of a job's output while they are behind."""
        return RawBackpressure(lambda: [self.writer, *self._raw_writers.values()]) if raw else self.writer

    @property
    def dropped_bytes(self) -> int:
        """Bytes dropped since the start, because nobody read them."""
        return sum(writer.dropped_bytes for writer in (self.writer, *self._raw_writers.values()))

    def _get_raw_writer(self, stream: str) -> LogWriter:
        """Return the writer of the container's own stdout or stderr; the log's own when it goes to this stream."""
        if self._open_raw_writer is None or stream == self._output:
            return self.writer
        if stream not in self._raw_writers:
            self._raw_writers[stream] = self._open_raw_writer(stream)
        return self._raw_writers[stream]

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
        """Write lines of a job's output; with `raw` exactly as the job wrote them, to the container's own streams."""
        self._on_job_lines(job, stream, lines)
        self._log_program_lines({"job": job, "stream": stream, "pid": pid}, lines, raw)

    def log_file_lines(self, job: str, path: str, lines: list[bytes], *, payload: str | None) -> None:
        """Write lines of a file that a job, or a payload in it, has written; a line may have several parts."""
        self._on_job_lines(job, "file", lines)
        fields = {"job": job, "stream": "file", "file": path} | ({"payload": payload} if payload else {})
        self._log_program_lines(fields, lines, raw=False)

    def log_check_lines(self, job: str, stream: str, lines: list[bytes], *, raw: bool, pid: int | None = None) -> None:
        """Write lines of a health check's output, where the format or the check asks for them."""
        if raw or self._format.programs_are_info:
            self._log_program_lines({"check": f"check.{job}", "stream": stream, "pid": pid}, lines, raw)

    def _log_program_lines(self, fields: Mapping[str, object], lines: list[bytes], raw: bool) -> None:
        """Write lines of a program without structlog: a job may write a hundred thousand lines a second."""
        if self.forward is not None:
            self._forward_program_lines(self.forward, fields, lines)
        writer = self._get_raw_writer(str(fields["stream"])) if raw else self.writer
        if writer.drop_if_full(sum(map(len, lines))):
            return
        if raw:
            writer.write(b"\n".join(lines) + b"\n")
            return
        if self._format.programs_are_info and self._level > LEVELS["INFO"]:
            return
        texts = [line.decode(errors="replace").rstrip("\r") for line in lines]
        self.writer.write(self._format.format_program_lines(fields, texts).encode(errors="replace"))

    def _forward_program_lines(
        self, forward: Callable[[ForwardedLine], None], fields: Mapping[str, object], lines: list[bytes]
    ) -> None:
        now = time.time()
        for line in lines:
            parts = line.decode(errors="replace").split("\n")
            text = "\n".join(escape_controls(part.rstrip("\r")) for part in parts)
            forward(ForwardedLine(now, "info", "", text, fields))


class RawBackpressure:
    """Pauses the reading of a job whose raw lines go to the container's own streams."""

    def __init__(self, list_writers: Callable[[], list[LogWriter]]) -> None:
        self._list_writers = list_writers

    def is_backlogged(self) -> bool:
        """Return True while a live reader of one of the streams is behind."""
        return any(writer.is_backlogged() for writer in self._list_writers())

    def call_when_ready(self, resume: Callable[[], None]) -> None:
        """Call `resume` as soon as the reader that is behind has made room, or proves to be stalled."""
        writers = self._list_writers()
        next((writer for writer in writers if writer.is_backlogged()), writers[0]).call_when_ready(resume)


class _StructlogWriter:
    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def info(self, line: str) -> None:
        self._writer.write(line.encode(errors="replace") + b"\n")

    debug = warning = error = critical = info
