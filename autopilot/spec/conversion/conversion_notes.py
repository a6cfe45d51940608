"""Collect the parts of a configuration that a job spec cannot take over, with their places."""

from __future__ import annotations

from dataclasses import dataclass, field

from autopilot.spec.key_paths import KeyPath
from autopilot.spec.load_result import Problem


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence about one place of the configuration.

    Attributes:
        path: Keys and indices that lead to it; () for the configuration as a whole.
        message: The sentence after the path, with the remedy.
        in_head: True when the job spec tells of it at its head, because no job is left to tell of it at.
    """

    path: KeyPath
    message: str
    in_head: bool = False


@dataclass(slots=True)
class Notes:
    """The notes of one conversion, in the order in which they were made."""

    items: list[Note] = field(default_factory=list)

    def add(self, path: KeyPath, message: str) -> str:
        """Keep a note, and return its sentence, which the caller writes as a comment."""
        self.items.append(Note(path, message))
        return message

    def add_to_head(self, path: KeyPath, message: str) -> None:
        """Keep a note that the head of the job spec tells of."""
        self.items.append(Note(path, message, in_head=True))


@dataclass(frozen=True, slots=True)
class Conversion:
    """A configuration as a job spec.

    Attributes:
        text: The job spec, as JSON5 with comments.
        warnings: The parts that could not be taken over as they were, each with its place.
        kind: The kind of the configuration.
        variables: The environment variables that the job spec reads.
    """

    text: str
    warnings: tuple[Problem, ...]
    kind: str
    variables: tuple[str, ...] = ()
