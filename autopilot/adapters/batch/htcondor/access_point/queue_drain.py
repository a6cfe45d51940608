"""Decide the steps of a drain that waits for an empty queue. Pure.

Refuse new jobs, see that the schedd does refuse them, and wait until the queue is empty. This refusal still lets in
jobs that belong to the queue, and others that only seem older than it. So an empty queue is then closed for every job,
and the drain is done when it was empty twice in a row after that. A job found there began in between: the first refusal
comes back, under which that job can finish.
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
    CLOSING = "telling the schedd to refuse every job"
    CLOSED = "waiting for the last looks at the queue"
    EMPTY = "the queue is empty"

    @property
    def is_configuring(self) -> bool:
        """True while the schedd's configuration has to change."""
        return self in (QueueDrainStep.REFUSING, QueueDrainStep.CLOSING)


@dataclass(frozen=True, slots=True)
class QueueDrainState:
    """State of the drain between two looks."""

    step: QueueDrainStep = QueueDrainStep.REFUSING
    tries: int = 0  # to make the schedd refuse
    empty_looks: int = 0  # in a row, while every job is refused


def apply_refusal(state: QueueDrainState, *, is_refusing: bool) -> QueueDrainState:
    """Return the state after a look at the schedd's configuration."""
    if not state.step.is_configuring:
        return state
    if not is_refusing:
        return replace(state, tries=state.tries + 1)
    step = QueueDrainStep.CLOSED if state.step is QueueDrainStep.CLOSING else QueueDrainStep.EMPTYING
    return QueueDrainState(step)


def apply_counts(state: QueueDrainState, counts: QueueCounts | None) -> QueueDrainState:
    """Return the state after a look at the queue; None means that the schedd did not answer."""
    is_empty = counts is not None and counts.is_empty
    if state.step is QueueDrainStep.EMPTYING:
        return QueueDrainState(QueueDrainStep.CLOSING) if is_empty else state
    if state.step is not QueueDrainStep.CLOSED:
        return state
    if not is_empty:
        return replace(state, empty_looks=0) if counts is None else QueueDrainState(QueueDrainStep.REFUSING)
    looks = state.empty_looks + 1
    step = QueueDrainStep.EMPTY if looks >= EMPTY_LOOKS else state.step
    return replace(state, step=step, empty_looks=looks)


def compute_pause(state: QueueDrainState, poll_s: float, draw: float) -> float:
    """Return the seconds to the next look; `draw` in 0..1 spreads the repeated attempts."""
    if state.step.is_configuring:
        return RETRY_DELAY.compute(state.tries, draw) if state.tries else 0.0
    return 1.0 if state.empty_looks else poll_s
