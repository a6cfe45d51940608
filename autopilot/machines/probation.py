"""Boot success: when a new life has been healthy for long enough to be called good. Once good, it stays good."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probation:
    deadline: float | None = None  # when the life will be good if nothing goes wrong before
    good: bool = False


def observe(state: Probation, *, well: bool, now: float, healthy_for: float) -> Probation:
    """`well`: nothing is unhealthy, starting or failing now. `healthy_for` in seconds."""
    if state.good:
        return state
    if not well:
        return Probation()
    return state if state.deadline is not None else Probation(deadline=now + healthy_for)


def elapsed(state: Probation) -> Probation:
    return Probation(good=True)
