"""The longest rest of a life follows its phase, and the plan in effect."""

from __future__ import annotations

import pytest

from autopilot.machines.lifetime import LifetimeState, Phase, compute_longest_rest
from autopilot.spec.plan import Drain, Lifetime

NOW = 1000.0
BARE = Lifetime(drain=Drain())
BOUNDED = Lifetime(drain=Drain(), max=100.0, jitter=10.0)
FULL = Lifetime(drain=Drain(), max=100.0, jitter=10.0, deadline=50.0, grace=5.0)


@pytest.mark.parametrize(
    ("plan", "state", "rest"),
    [
        (BARE, LifetimeState(), None),
        (BOUNDED, LifetimeState(), 110.0),
        (FULL, LifetimeState(), 165.0),
        (BARE, LifetimeState(phase=Phase.COUNTING, began=NOW - 30), None),
        (BOUNDED, LifetimeState(phase=Phase.COUNTING, began=NOW - 130, expires=NOW + 70), 70.0),
        (FULL, LifetimeState(phase=Phase.COUNTING, began=NOW - 130, expires=NOW + 70), 125.0),
        (FULL, LifetimeState(phase=Phase.QUEUED, began=NOW - 500, expires=NOW - 400), 55.0),
        (BOUNDED, LifetimeState(phase=Phase.DRAINING), None),
        (FULL, LifetimeState(phase=Phase.DRAINING, deadline=NOW + 20), 25.0),
        (FULL, LifetimeState(phase=Phase.TERMINATING, deadline=NOW + 3), 3.0),
        (FULL, LifetimeState(phase=Phase.KILLING, deadline=NOW - 1), 0.0),
        (FULL, LifetimeState(phase=Phase.OVER), 0.0),
    ],
)
def test_longest_rest(plan: Lifetime, state: LifetimeState, rest: float | None) -> None:
    """Before the life counts, its maximum has the whole jitter; then the moment is known. The drain follows."""
    assert compute_longest_rest(plan, state, NOW) == rest


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_rest(phase: Phase) -> None:
    """No phase makes the rest negative, with every moment of it long past."""
    rest = compute_longest_rest(FULL, LifetimeState(phase=phase, expires=0.0, deadline=0.0), NOW)
    assert rest is not None and rest >= 0.0
