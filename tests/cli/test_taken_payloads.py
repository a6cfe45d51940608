"""The words of `status` and `why` about a life that takes so many payloads."""

from __future__ import annotations

from typing import Any

import pytest

from autopilot.app.status_report import build_status
from autopilot.cli.status import _print_life
from autopilot.cli.why import explain
from autopilot.machines import cues
from autopilot.runtime.simulated_world import SimulatedWorld
from tests.machines.test_core import build_node_plan


@pytest.mark.parametrize(
    ("limit", "taken", "told"),
    [
        (1, 0, "0 of 1 payload taken"),
        (1, 1, "1 of 1 payload taken"),
        (3, 2, "2 of 3 payloads taken"),
        (None, 2, None),
    ],
)
def test_status_and_why(capsys: pytest.CaptureFixture[str], limit: int | None, taken: int, told: str | None) -> None:
    """Status counts the payloads of a limited life; why adds that no other is taken, once all are."""
    world = SimulatedWorld(build_node_plan(payloads=limit), drain_duration=50.0).run(10)
    world.feed(cues.PayloadsCounted(taken))
    status: Any = build_status(world.core, now=world.now, wall=world.now, life="1")
    _print_life(status)
    line = capsys.readouterr().out
    assert (told in line) if told else ("taken" not in line)
    why = explain(status, "master", world.now)
    assert (f"{told}: no other is taken, and the life ends with them" in why) is (taken == limit)
