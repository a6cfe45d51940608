"""Decide if a new life has been healthy for long enough to count as a boot success. Once it has, it stays so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BootSuccess:
    """State of the boot between two steps."""

    deadline: float | None = None  # moment of success, unless a job fails before
    reached: bool = False


def observe(state: BootSuccess, *, all_good: bool, now: float, healthy_for: float) -> BootSuccess:
    """Start, keep or cancel the countdown to the boot success.

    Args:
        state: The state before.
        all_good: True while no job is unhealthy, starting or failing.
        now: Seconds on the core's clock.
        healthy_for: Seconds without a break that make a success.
    """
    if state.reached:
        return state
    if not all_good:
        return BootSuccess()
    return state if state.deadline is not None else BootSuccess(deadline=now + healthy_for)


def mark_reached(state: BootSuccess) -> BootSuccess:
    """Note the boot success."""
    return BootSuccess(reached=True)
