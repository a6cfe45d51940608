"""Delays between attempts, over all their arguments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.retry_delay import RetryDelay

RETRY_DELAYS = st.builds(
    RetryDelay,
    first_s=st.floats(0.001, 100.0),
    max_s=st.floats(0.001, 10_000.0),
    factor=st.floats(1.0, 1000.0),
    jitter=st.floats(0.0, 1.0),
)
FAILURES, DRAWS = st.integers(0, 10**9), st.floats(0.0, 1.0, exclude_max=True)


@given(RETRY_DELAYS, FAILURES, DRAWS)
def test_a_delay_stays_within_its_limits(retry_delay, failures, draw):
    """No delay is negative, none exceeds the maximum by more than the jitter's share."""
    delay = retry_delay.compute(failures, draw)
    assert 0.0 <= delay <= retry_delay.max_s * (1 + retry_delay.jitter) * (1 + 1e-9)


@given(RETRY_DELAYS, FAILURES, DRAWS)
def test_more_failures_never_shorten_the_delay(retry_delay, failures, draw):
    """With the same draw the delay after one more failure is as long or longer."""
    assert retry_delay.compute(failures, draw) <= retry_delay.compute(failures + 1, draw) * (1 + 1e-12)


@given(RETRY_DELAYS, FAILURES, DRAWS)
def test_the_draw_spreads_the_delay_evenly_around_its_middle(retry_delay, failures, draw):
    """A draw and its mirror image give delays whose mean is the delay without jitter."""
    middle = retry_delay.compute(failures, 0.5)
    mean = (retry_delay.compute(failures, draw) + retry_delay.compute(failures, 1.0 - draw)) / 2
    assert mean == pytest.approx(middle, rel=1e-9)


def test_the_delays_of_a_streak():
    """The first failure waits the first delay, each further one as many times longer as the factor says, up to the
    maximum.
    """
    retry_delay = RetryDelay(first_s=1.0, max_s=30.0, factor=3.0)
    assert [retry_delay.compute(failures, 0.5) for failures in (0, 1, 2, 3, 4, 5)] == [1.0, 1.0, 3.0, 9.0, 27.0, 30.0]
    assert (retry_delay.compute(1, 0.0), retry_delay.compute(1, 1.0)) == (0.5, 1.5)
