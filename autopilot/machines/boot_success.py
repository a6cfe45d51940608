"""Boot success: when a new life has been healthy for long enough to be called good. Once good, it stays good."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BootSuccess:
    deadline: float | None = None  # when the life will be good if nothing goes wrong before
    reached: bool = False


def observe(state: BootSuccess, *, all_good: bool, now: float, healthy_for: float) -> BootSuccess:
    """`well`: nothing is unhealthy, starting or failing now. `healthy_for` in seconds."""
    if state.reached:
        return state
    if not all_good:
        return BootSuccess()
    return state if state.deadline is not None else BootSuccess(deadline=now + healthy_for)


def mark_reached(state: BootSuccess) -> BootSuccess:
    return BootSuccess(reached=True)
