"""Compute waits after failures in a row. The jitter is a hash of the arguments: equal arguments give equal waits."""

from __future__ import annotations

from autopilot_watchdog.even_hash import hash_to_fraction


def compute_retry_delay(streak: int, initial: float, maximum: float, *key_parts: object) -> float:
    """Compute the wait after failures in a row: doubled each time, shortened by up to a quarter.

    Args:
        streak: Number of failures in a row.
        initial: Seconds to wait after the first.
        maximum: Most seconds to wait.
        key_parts: Names that decide on the jitter.

    Returns:
        Seconds to wait; 0 without a failure.
    """
    if streak <= 0:
        return 0.0
    whole = min(maximum, initial * 2.0 ** min(streak - 1, 32))
    return whole * (1 - 0.25 * hash_to_fraction(streak, *key_parts))
