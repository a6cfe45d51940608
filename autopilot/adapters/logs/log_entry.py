"""Define a line of the log before it is rendered, and the interface of the formats that render it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple, Protocol

LogEntry = MutableMapping[str, Any]
"""One line of the supervisor: `event` (the stable id), `message` (the sentence), `level`, often `job`, and further
fields."""


class ForwardedLine(NamedTuple):
    """A line of the log on its way to another host.

    Attributes:
        time: Seconds since the epoch.
        level: `debug`, `info`, `warning`, `error` or `critical`; lines of programs are `info`.
        event: The stable id of a line of the supervisor; "" for a line of a program.
        message: The sentence, or the program's line.
        fields: `job` or `check`, `stream`, `pid` and further fields.
    """

    time: float
    level: str
    event: str
    message: str
    fields: Mapping[str, object]


class LogFormat(Protocol):
    """A form for the lines of the log."""

    programs_are_info: bool
    """Lines of jobs and checks are entries of level INFO, which a higher level hides. Otherwise lines of jobs are
    always written, and lines of checks where the check asks for it."""

    def format_entry(self, entry: LogEntry) -> str:
        """Return one line of the supervisor, without its line end; `entry` is consumed."""
        ...

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        """Return the output of a job or a check, each line with its line end.

        Args:
            fields: `job` or `check`, `stream`, `pid`.
            texts: The lines, without line ends.

        Returns:
            All lines as one text.
        """
        ...
