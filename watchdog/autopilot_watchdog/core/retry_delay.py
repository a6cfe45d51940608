"""Back-off: how long to wait after failures in a row. Jitter comes from a hash, so the same question has one answer."""

from __future__ import annotations

import hashlib


def hash_to_fraction(*key_parts: object) -> float:
    """A number in [0, 1) that depends on the arguments alone, and is evenly spread over different ones."""
    digest = hashlib.sha256("\0".join(map(str, key_parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def compute_retry_delay(streak: int, initial: float, maximum: float, *key_parts: object) -> float:
    """Seconds to wait after `streak` failures in a row: doubled each time, at most `longest`, less up to a quarter."""
    if streak <= 0:
        return 0.0
    whole = min(maximum, initial * 2.0 ** min(streak - 1, 32))
    return whole * (1 - 0.25 * hash_to_fraction(streak, *key_parts))
