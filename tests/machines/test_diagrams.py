"""The state machines are drawn from their tables."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from autopilot.machines import diagrams
from autopilot.machines.tables import IGNORE, Cell, build_table
from lab import state_diagrams

DOCUMENT = Path(__file__).parents[2] / "docs/state-machines.md"


class Phase(Enum):
    SHUT = 1
    OPEN = 2
    GONE = 3


class Input(Enum):
    PUSH = 1
    KICK = 2
    LOOK = 3


def _open(t):
    return t.state, ()


TABLE = build_table(
    Phase,
    Input,
    shut={"push": Cell(_open, Phase.OPEN), "kick": Cell(_open, Phase.OPEN, Phase.GONE), "look": Cell(_open)},
    open={"push": IGNORE, "kick": Cell(_open, Phase.GONE), "look": IGNORE},
    gone=dict.fromkeys(("push", "kick", "look"), IGNORE),
)


def test_the_document_is_current():
    """docs/state-machines.md is what `make diagrams` writes."""
    assert DOCUMENT.read_text() == state_diagrams.render_document(), "run `make diagrams`"


def test_diagram():
    """Inputs that lead from one phase to the same other share an arrow; a phase that is never left is final."""
    assert diagrams.render_diagram(TABLE).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> SHUT",
        "    SHUT --> OPEN: push, kick",
        "    SHUT --> GONE: kick",
        "    OPEN --> GONE: kick",
        "    GONE --> [*]",
    ]


def test_cells():
    """Every cell that does not ignore its input is listed, those that stay in their phase too."""
    assert diagrams.render_cells(TABLE).splitlines()[2:] == [
        "| SHUT | push | `open` | OPEN |",
        "| SHUT | kick | `open` | OPEN, GONE |",
        "| SHUT | look | `open` | (stays) |",
        "| OPEN | kick | `open` | GONE |",
    ]
