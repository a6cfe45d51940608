"""Compute waits after failures in a row. The jitter is a hash of the arguments: equal arguments give equal waits."""

from __future__ import annotations

import hashlib


def hash_to_fraction(*key_parts: object) -> float:
    """Return a number in [0, 1) that depends on the arguments alone and is spread evenly over different ones."""
    digest = hashlib.sha256("\0".join(map(str, key_parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


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
