"""Define the results of loading a job spec: a plan with warnings, or an error that holds every problem.

This module is light on purpose: the supervisor imports it, but neither pydantic nor the template engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autopilot.errors import AutopilotError
from autopilot.spec.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A mistake (or, as a warning, a doubt) at its place in the file, with the remedy.

    Attributes:
        message: The sentence after the path: "cannot ..., got ...; REMEDY".
        path: Path of the value, such as "jobs[web].health.ttl"; "" for the file as a whole.
        line: Line in the file as written, from 1; 0 when no place can be named.
        column: Column in that line, from 1; 0 when no place can be named.
        file: Name of the file.
        note: The variables that the template reads there and that are not set, and the place in the rendered text, when
            a template action generated the text there.
        customary: True for a warning about what ContainerPilot takes without a word.
    """

    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    file: str = ""
    note: str = ""
    customary: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        path = f"{self.path}: " if self.path else ""
        note = f" ({self.note})" if self.note else ""
        return f"{place}{path}{self.message}{note}"

    def serialize(self) -> dict[str, Any]:
        """Return the problem as a JSON-able dict."""
        return asdict(self)

    @classmethod
    def deserialize(cls, data: Mapping[str, Any]) -> Problem:
        """Build the problem that `serialize` returned."""
        return cls(**data)


class SpecError(AutopilotError):
    """A job spec that cannot be used: every problem that was found, and the warnings beside them."""

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(map(str, self.problems)))


class ValidatorError(AutopilotError):
    """The validating child ended without an answer: an internal error or a lack of memory, not a bad job spec."""


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A job spec that can run, as a plan."""

    plan: Plan
    warnings: tuple[Problem, ...]
    rendered_text: str  # after the template, before parsing
