"""Test whether bad lives are more frequent with one digest than with another; exact tests, one-sided.

Theory of operation. Two tests look at the same lives, and a difference counts only if both see it. Fisher's exact test
compares shares of lives: it is not misled by a digest whose lives are shorter by intention, so that it starts more
often. The conditional binomial test compares bad ends per time of running: it is not misled by the first minutes after
a push, when only the short lives have ended, nor by lives that are longer by intention. A digest is looked at again
after each life, so the level of the n-th look is lowered to `first / (n (n + 1))` of the whole: over all looks these
levels add up to the stated chance of a false alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb


@dataclass(frozen=True, slots=True)
class Tally:
    """Count of the lives of a digest, or of other observations, such as periods."""

    bad: int = 0
    total: int = 0
    seconds: float = 0.0  # of running, in all; 0.0 if the observations have no length


def compute_share_tail(new: Tally, former: Tally) -> float:
    """Return the chance of at least so many bad lives of the new digest if both are alike: Fisher's exact test."""
    bad, total = new.bad + former.bad, new.total + former.total
    ways = sum(
        comb(bad, count) * comb(total - bad, new.total - count) for count in range(new.bad, min(bad, new.total) + 1)
    )
    return ways / comb(total, new.total)


def compute_rate_tail(new: Tally, former: Tally) -> float:
    """Return the chance of at least so many bad lives in the new digest's time if both are alike.

    Each of the bad ends falls into the time of one of them with a chance that is proportional to that time.
    """
    bad = new.bad + former.bad
    share = new.seconds / (new.seconds + former.seconds)
    return sum(comb(bad, count) * share**count * (1 - share) ** (bad - count) for count in range(new.bad, bad + 1))


def compute_look_level(false_alarms: float, first: int, number: int) -> float:
    """Return the level of one look of many, so that all of them together have the chance `false_alarms`.

    Args:
        false_alarms: The chance of a false alarm over all looks.
        first: The number of lives at the first look.
        number: The number of lives at this one, at least `first`.
    """
    return false_alarms * first / (number * (number + 1))


def is_worse(new: Tally, former: Tally, level: float) -> bool:
    """Return True if both tests say that the new digest does worse than the former one."""
    if compute_share_tail(new, former) > level:
        return False
    return not (new.seconds and former.seconds) or compute_rate_tail(new, former) <= level
