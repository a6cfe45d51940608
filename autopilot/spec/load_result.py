"""What loading a job spec gives: a plan with warnings, or every problem at once.

Light on purpose: the supervisor imports this module, but neither pydantic nor the template engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autopilot.spec.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong (or, as a warning, doubtful), and what would be right.

    `line` and `column` count from 1 and point into the file as written; 0 means that no place can be named. `note` says
    where the rendered text differs from the file.
    """

    message: str
    path: str = ""  # "jobs[web].health.ttl"; "" for the file as a whole
    line: int = 0
    column: int = 0
    file: str = ""
    note: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        path = f"{self.path}: " if self.path else ""
        note = f" ({self.note})" if self.note else ""
        return f"{place}{path}{self.message}{note}"

    def serialize(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def deserialize(cls, data: Mapping[str, Any]) -> Problem:
        return cls(**data)


class SpecError(Exception):
    """The job spec cannot be used. Holds every problem that was found, and the warnings beside them."""

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(map(str, self.problems)))


class ValidatorError(RuntimeError):
    """The child that validates job specs ended without an answer: a bug of ours or a lack of memory, not a bad spec."""


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A job spec that can run."""

    plan: Plan
    warnings: tuple[Problem, ...]
    rendered_text: str  # after the template, before parsing
