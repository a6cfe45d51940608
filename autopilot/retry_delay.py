"""Compute the delay before the next attempt of something that failed. Pure: the random draw is an argument."""

from __future__ import annotations

from dataclasses import dataclass

MAX_EXPONENT = 64  # 2.0 ** 1024 would overflow after a few days of failures


@dataclass(frozen=True, slots=True)
class RetryDelay:
    """Delays that grow from failure to failure up to a maximum, spread by a random share.

    The spread keeps the containers of a site from repeating the same request in step.
    """

    first_s: float
    max_s: float
    factor: float = 2.0
    jitter: float = 0.5  # share of the delay, 0..1, by which it is shortened or lengthened at most

    def compute(self, failures: int, draw: float) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            failures: Failures in a row, 1 after the first one; less counts as 1.
            draw: A random number, uniform in [0, 1): 0 shortens the delay by the whole jitter, 1 lengthens it by as
                much, 0.5 leaves it as it is.
        """
        exponent = min(max(failures - 1, 0), MAX_EXPONENT)
        delay = min(self.first_s * self.factor**exponent, self.max_s)
        return max(0.0, delay * (1 + self.jitter * (2 * draw - 1)))
