"""Define a line of the log before it is rendered, and the interface of the formats that render it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol

LogEntry = MutableMapping[str, Any]
"""One line of the supervisor: `event` (the stable id), `message` (the sentence), `level`, often `job`, and further
fields."""


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
