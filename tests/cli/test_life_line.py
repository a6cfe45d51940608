"""The first line of `status`: the phase of the life, its end, and the payloads of a batch system."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from autopilot.app.status_report import build_status
from autopilot.cli.status import _print_life
from autopilot.runtime.simulated_world import SimulatedWorld
from autopilot.spec.plan import Drain, Lifetime
from tests.machines.plans import build_job, build_plan

COUNTED: dict[str, Any] = {"payloads": []}
ENDLESS, LIMITED = Lifetime(drain=Drain()), Lifetime(drain=Drain(), max=7200)


@pytest.mark.parametrize(
    ("lifetime", "sections", "line"),
    [
        (ENDLESS, {}, r"life 1: no time limit\n"),
        (ENDLESS, {"consul": {"reachable": True}}, r"life 1: no time limit\n"),
        (ENDLESS, {"htcondor": COUNTED}, r"life 1: no time limit; 0 payloads\n"),
        (LIMITED, {}, r"life 1: counting, ends in \w+\n"),
        (LIMITED, {"slurm": COUNTED}, r"life 1: counting, ends in \w+; 0 payloads\n"),
    ],
)
def test_life_line(capsys: pytest.CaptureFixture[str], lifetime: Lifetime, sections: dict[str, Any], line: str) -> None:
    """Payloads are told only where a batch system counts them, and an end only where one is set."""
    world = SimulatedWorld(build_plan(build_job("a"), lifetime=lifetime)).run(0)
    status: Any = build_status(world.core, now=world.now, wall=time.time(), life="1")
    merged: Any = {**status, **sections}
    _print_life(merged)
    assert re.fullmatch(line, capsys.readouterr().out)
