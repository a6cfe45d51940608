"""Back-off: how long to wait after failures in a row. Jitter comes from a hash, so the same question has one answer."""

from __future__ import annotations

import hashlib


def fraction(*of: object) -> float:
    """A number in [0, 1) that depends on the arguments alone, and is evenly spread over different ones."""
    digest = hashlib.sha256("\0".join(map(str, of)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def delay(streak: int, initial: float, longest: float, *of: object) -> float:
    """Seconds to wait after `streak` failures in a row: doubled each time, at most `longest`, less up to a quarter."""
    if streak <= 0:
        return 0.0
    whole = min(longest, initial * 2.0 ** min(streak - 1, 32))
    return whole * (1 - 0.25 * fraction(streak, *of))
