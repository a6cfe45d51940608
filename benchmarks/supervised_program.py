"""Define the program that the measured supervisors run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LINE_BYTES = 100  # length of each line that a flood writes


@dataclass(frozen=True)
class Program:
    """Supervised program, see job.c.

    Attributes:
        argv: its command line, to be followed by a verb and the verb's arguments.
        language: the language it is written in.
        own_start_ms: milliseconds from its exec to its first mark.
    """

    argv: Sequence[str]
    language: str
    own_start_ms: float = 0.0

    def build_command(self, verb: str, *arguments: object) -> list[str]:
        """Return the command line that runs a verb."""
        return [*self.argv, verb, *map(str, arguments)]
