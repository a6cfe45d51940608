"""Build the transition tables of the state machines, and refuse incomplete ones at import.

Theory of operation. A machine is a pure function `step(state, input, now) -> (state, effects)` that looks up one cell
by its phase and input. Every row names every cell, `IGNORE` included: a missing cell, a mistyped one, and a new input
that a row has not decided on are errors of the import. A cell names the phases it may lead to beside its action, so the
table can be read, and drawn, without the actions; staying in the phase is always allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from autopilot.errors import AutopilotError

StateT = TypeVar("StateT")
ContextT = TypeVar("ContextT")
StepT = TypeVar("StepT")
PhaseT = TypeVar("PhaseT", bound=Enum)
InputT = TypeVar("InputT", bound=Enum)
CellT = TypeVar("CellT", bound="Cell[Any, Any]")


class TableError(AutopilotError, TypeError):
    """A transition table that is not the product of its phases and inputs."""


@dataclass(frozen=True, slots=True)
class StepContext(Generic[StateT]):
    """Arguments of one step: the machine's state and the time; each machine adds its own."""

    state: StateT
    now: float  # s, on the core's clock


class Cell(Generic[ContextT, StepT]):
    """An action, and the phases that it may lead to besides the present one."""

    __slots__ = ("action", "targets")

    def __init__(self, action: Callable[[ContextT], StepT], *targets: Enum) -> None:
        self.action = action
        self.targets = targets

    def __call__(self, t: ContextT) -> StepT:
        """Take the step."""
        return self.action(t)


def keep_state(t: StepContext[StateT]) -> tuple[StateT, tuple[()]]:
    """Return the state as it is, without effects."""
    return t.state, ()


IGNORE: Cell[Any, Any] = Cell(keep_state)


def build_table(
    phases: type[PhaseT], inputs: type[InputT], **rows: Mapping[str, CellT]
) -> dict[tuple[PhaseT, InputT], CellT]:
    """Build the lookup table of a machine from its rows.

    Args:
        phases: The phases of the machine; the first one is its initial phase.
        inputs: Every input that the machine can get.
        rows: One row for each phase, by the phase's name in lower case; it has one cell for each input, by the input's
            name in lower case.

    Raises:
        TableError: A row or a cell is missing, or has a name that no phase or input has.
    """
    problems = _list_name_problems("the table", rows, phases)
    for phase in phases:
        row = rows.get(phase.name.lower())
        if row is not None:
            problems += _list_name_problems(f"row {phase.name.lower()}", row, inputs)
            problems += [
                f"row {phase.name.lower()}, cell {name}: leads to {target}, which is no {phases.__name__}"
                for name, cell in row.items()
                for target in cell.targets
                if not isinstance(target, phases)
            ]
    if problems:
        raise TableError(f"cannot build the table of {phases.__module__}: {'; '.join(problems)}")
    return {(phase, on): rows[phase.name.lower()][on.name.lower()] for phase in phases for on in inputs}


def _list_name_problems(place: str, names: Mapping[str, object], members: type[Enum]) -> list[str]:
    expected = {member.name.lower() for member in members}
    missing, unknown = sorted(expected - names.keys()), sorted(names.keys() - expected)
    return [f"{place} does not decide on {name}" for name in missing] + [
        f"{place} has {name}, which is no {members.__name__}" for name in unknown
    ]
