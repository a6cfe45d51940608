"""Draw transition tables as Mermaid state diagrams, for docs/state-machines.md."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from autopilot.machines.tables import IGNORE, Cell

PhaseT = TypeVar("PhaseT", bound=Enum)
InputT = TypeVar("InputT", bound=Enum)
Table = Mapping[tuple[PhaseT, InputT], Cell[Any, Any]]


def render_diagram(table: Table[PhaseT, InputT]) -> str:
    """Return the source of a Mermaid diagram: one arrow for each pair of phases, with the inputs that may cause it.

    The first phase is the initial one; a phase that is never left is final. Inputs that keep the phase are not drawn.
    """
    phases = list(dict.fromkeys(phase for phase, _ in table))
    arrows: dict[tuple[Enum, Enum], list[str]] = {}
    for (phase, on), cell in table.items():
        for target in cell.targets:
            arrows.setdefault((phase, target), []).append(on.name.lower())
    lines = ["stateDiagram-v2", f"    [*] --> {phases[0].name}"]
    for source in phases:
        leaving = [(target, arrows[source, target]) for target in phases if (source, target) in arrows]
        lines += [f"    {source.name} --> {target.name}: {', '.join(inputs)}" for target, inputs in leaving]
        if not leaving:
            lines.append(f"    {source.name} --> [*]")
    return "\n".join(lines)


def render_cells(table: Table[PhaseT, InputT]) -> str:
    """Return a Markdown table of every cell that does not ignore its input."""
    lines = ["| phase | input | action | may lead to |", "|---|---|---|---|"]
    for (phase, on), cell in table.items():
        if cell is not IGNORE:
            targets = ", ".join(target.name for target in cell.targets) or "(stays)"
            lines.append(f"| {phase.name} | {on.name.lower()} | `{cell.action.__name__.lstrip('_')}` | {targets} |")
    return "\n".join(lines)
