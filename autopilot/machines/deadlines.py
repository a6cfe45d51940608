"""Compare and compute deadlines: moments on the core's clock, None where there is none."""

from __future__ import annotations


def compute_deadline(now: float, seconds: float | None) -> float | None:
    """Return the moment `seconds` after `now`, None when there is no limit."""
    return None if seconds is None else now + seconds


def is_due(deadline: float | None, now: float) -> bool:
    """Return True when there is a deadline and it has come."""
    return deadline is not None and deadline <= now
