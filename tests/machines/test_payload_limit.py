"""A life that takes so many payloads and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autopilot.machines import actions, cues, events
from autopilot.runtime.simulated_world import Behaviour, SimulatedWorld
from tests.machines.plans import get_finish
from tests.machines.test_core import build_node_plan


def take(world: SimulatedWorld, count: int) -> None:
    world.feed(cues.PayloadsObserved(tuple(f"{number}.0" for number in range(count))))
    world.feed(cues.PayloadsCounted(count))


def list_drains(world: SimulatedWorld) -> list[tuple[float, str]]:
    return [(at, action.reason) for at, action in world.actions if isinstance(action, actions.StartDrain)]


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("other_limits", [{}, {"max": 1000.0}, {"idle": 500.0}, {"max": 1000.0, "queue": True}])
def test_the_last_payload_begins_the_drain(limit: int, other_limits: dict[str, Any]) -> None:
    """The life goes on until its last payload has begun, drains, and ends in order with the payloads as its reason."""
    world = SimulatedWorld(build_node_plan(payloads=limit, **other_limits), drain_duration=70.0).run(10)
    for count in range(1, limit):
        take(world, count)
        world.run(world.now + 10)
    assert not list_drains(world)
    take(world, limit)
    begun = world.now
    assert list_drains(world) == [(begun, "payloads")]
    world.run(10_000)
    detail = f"{limit} of {limit} payload{'s' if limit > 1 else ''} taken, drained"
    assert get_finish(world).outcome == actions.Outcome("payloads", detail, 0)
    assert world.now == pytest.approx(begun + 70, abs=0.1)
    taken = [event.taken for _, event in world.events if isinstance(event, events.PayloadsTaken)]
    assert taken == list(range(1, limit + 1))


def test_a_limit_holds_before_the_lifetime_is_counted() -> None:
    """A payload that comes before the event of `after` counts, too."""
    world = SimulatedWorld(build_node_plan(payloads=1, max=10.0), {"master": Behaviour(check=lambda rng: None)})
    world.run(5)
    take(world, 1)
    assert list_drains(world) == [(5, "payloads")]


def test_several_payloads_at_once() -> None:
    """A count that jumps over the limit ends the life as one that reaches it."""
    world = SimulatedWorld(build_node_plan(payloads=2)).run(10)
    take(world, 4)
    assert list_drains(world) == [(10, "payloads")]


def test_without_a_limit_nothing_ends() -> None:
    """Payloads without a limit end no life and cause no event."""
    world = SimulatedWorld(build_node_plan()).run(10)
    take(world, 100)
    assert world.run(1000).finish is None
    assert not any(isinstance(event, events.PayloadsTaken) for _, event in world.events)


@pytest.mark.parametrize(("limit", "drains"), [(None, False), (3, False), (2, True), (1, True)])
def test_a_reload_changes_the_limit(limit: int | None, drains: bool) -> None:
    """Payloads that were taken before count for a new limit; one that is reached already begins the drain."""
    world = SimulatedWorld(build_node_plan(payloads=5, max=1000.0)).run(10)
    take(world, 2)
    assert world.plan.lifetime is not None
    world.feed(cues.PlanChanged(replace(world.plan, lifetime=replace(world.plan.lifetime, payloads=limit))))
    assert bool(list_drains(world)) is drains


def test_another_reason_that_came_first_stays() -> None:
    """A payload that had been matched before the drain began does not change its reason, and is counted."""
    world = SimulatedWorld(build_node_plan(payloads=1), drain_duration=50.0).run(10)
    world.feed(cues.RequestReceived("drain", "autopilot drain"))
    take(world, 1)
    assert list_drains(world) == [(10, "drain")] and world.core.lifetime.taken == 1
    assert get_finish(world.run(1000)).outcome == actions.Outcome("drain", "drained", 0)
