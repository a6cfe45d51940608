"""A life in which payloads were lost never ends as a good one, whatever it was doing and however it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autopilot.machines import actions, cues, outcomes
from autopilot.runtime.simulated_world import SimulatedWorld
from tests.machines.plans import get_finish
from tests.machines.test_core import build_node_plan

CRASH = cues.PayloadsCrashed(("1.0",), "condor_startd (pid 7) crashed or was killed")
SIGTERM = cues.RequestReceived("terminate", "SIGTERM")


def let_work(world: SimulatedWorld) -> None:
    world.feed(cues.PayloadsObserved(("1.0", "2.0")))


def begin_drain(world: SimulatedWorld) -> None:
    let_work(world)
    world.feed(cues.RequestReceived("drain", "autopilot drain"))


def reach_deadline(world: SimulatedWorld) -> None:
    begin_drain(world)
    world.run(world.now + 55)


def begin_stop(world: SimulatedWorld) -> None:
    let_work(world)
    world.feed(cues.RequestReceived("stop", "autopilot stop"))


PHASES: dict[str, Callable[[SimulatedWorld], None]] = {
    "busy": let_work,
    "draining": begin_drain,
    "terminating": reach_deadline,
    "stopping": begin_stop,
}


@pytest.mark.parametrize("is_lost", [True, False])
@pytest.mark.parametrize("phase", PHASES)
def test_losses_in_every_phase(phase: str, is_lost: bool) -> None:
    """A loss makes the exit code 75 and is in the detail; the same life without one ends as its request says."""
    world = SimulatedWorld(build_node_plan(deadline=50, grace=20), drain_duration=500).run(10)
    PHASES[phase](world)
    if is_lost:
        world.feed(CRASH)
    world.feed(SIGTERM)
    outcome = get_finish(world.run(2000)).outcome
    assert outcome.code == (75 if is_lost or (phase == "terminating" and outcome.reason == "drain") else 0)
    assert ("payloads lost: 1" in outcome.detail) is is_lost


def test_the_same_loss_counts_once() -> None:
    """Two reports of one payload, by two observers, are one lost payload."""
    world = SimulatedWorld(build_node_plan(), drain_duration=5).run(10)
    begin_drain(world)
    world.feed(CRASH)
    world.feed(CRASH)
    assert get_finish(world.run(100)).outcome == actions.Outcome("drain", "drained, payloads lost: 1", 75)


def test_a_loss_keeps_a_worse_exit_code() -> None:
    """A life that failed by itself keeps its own exit code, and its detail names the loss."""
    failed = actions.Outcome("job-failed", "essential job master ended with status 44", 44)
    assert outcomes.add_losses(failed, 1) == actions.Outcome("job-failed", f"{failed.detail}, payloads lost: 1", 44)
    assert outcomes.add_losses(failed, 0) == failed
