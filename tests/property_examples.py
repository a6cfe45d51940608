"""Count the examples of a property test: all of them in a complete run, fewer in `make check`."""

from __future__ import annotations

import hypothesis

USUAL_COUNT = 100  # of a complete run, for a test that names no count


def scale_examples(count: int) -> int:
    """Return the number of examples in this run for a test with `count` examples in a complete one."""
    return max(1, count * hypothesis.settings().max_examples // USUAL_COUNT)
