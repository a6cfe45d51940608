"""Decide the steps of a drain that waits for an empty queue. Pure.

Refuse new jobs, see that the schedd does refuse them, then wait until the queue was empty twice in a row: a
`condor_submit` that began before the refusal may commit its jobs a moment after the first look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autopilot.adapters.batch.htcondor.access_point.queue_counts import QueueCounts
from autopilot.retry_delay import RetryDelay

EMPTY_LOOKS = 2
RETRY_DELAY = RetryDelay(first_s=1.0, max_s=30.0, jitter=0.2)


class QueueDrainStep(Enum):
    """Stage of the drain, as `autopilot status` shows it."""

    REFUSING = "telling the schedd to refuse new jobs"
    EMPTYING = "waiting for the queue to empty"
    EMPTY = "the queue is empty"


@dataclass(frozen=True, slots=True)
class QueueDrainState:
    """State of the drain between two looks."""

    step: QueueDrainStep = QueueDrainStep.REFUSING
    tries: int = 0  # to make the schedd refuse
    empty_looks: int = 0  # in a row


def apply_refusal(state: QueueDrainState, *, is_refusing: bool) -> QueueDrainState:
    """Return the state after a look at the schedd's configuration."""
    if is_refusing:
        return replace(state, step=QueueDrainStep.EMPTYING, tries=0)
    return replace(state, step=QueueDrainStep.REFUSING, tries=state.tries + 1, empty_looks=0)


def apply_counts(state: QueueDrainState, counts: QueueCounts | None) -> QueueDrainState:
    """Return the state after a look at the queue; None means that the schedd did not answer."""
    if state.step is not QueueDrainStep.EMPTYING:
        return state
    looks = state.empty_looks + 1 if counts is not None and counts.is_empty else 0
    step = QueueDrainStep.EMPTY if looks >= EMPTY_LOOKS else state.step
    return replace(state, step=step, empty_looks=looks)


def compute_pause(state: QueueDrainState, poll_s: float, draw: float) -> float:
    """Return the seconds to the next look; `draw` in 0..1 spreads the repeated attempts."""
    if state.step is QueueDrainStep.REFUSING:
        return RETRY_DELAY.compute(state.tries, draw)
    return 1.0 if state.empty_looks else poll_s
