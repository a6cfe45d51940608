"""Hash names to fractions that are spread evenly, so that hosts choose their places without messages."""

from __future__ import annotations

import hashlib


def hash_to_fraction(*key_parts: object) -> float:
    """Return a number in [0, 1) that depends on the arguments alone and is spread evenly over different ones."""
    digest = hashlib.sha256("\0".join(map(str, key_parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
