"""Decide the next step of a node's drain. Pure.

Theory of operation. Only slurmctld starts jobs, so the drain is an order to it, and its success is observed: the order
has had its effect when the node's record says so, whatever the command printed. Jobs that run go on without any limit.
The node is empty when the record names no job and no step is left here; then it is removed, so that the controller does
not keep a node that never comes back.

Without an answer of slurmctld nothing can be ordered. While steps run, they are waited for. When none has run for a
while, slurmd is ended: a node that waits for its controller serves no one. The while is counted from the last step,
because a slurmctld that gives us no answer may still send jobs here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autopilot.adapters.batch.slurm.node_record import NodeRecord

CONTROLLER_PATIENCE_S = 60.0  # without an answer and without a step, before the node ends all the same
MAX_REMOVALS = 3  # tries


class SlurmDrainAction(Enum):
    """The next step."""

    ORDER = "order"  # tell slurmctld to send no job
    WAIT = "wait"
    REMOVE = "remove"  # delete the node
    CLOSE = "close"  # end slurmd: it takes no job then, whether slurmctld knows or not
    DONE = "done"


@dataclass(frozen=True, slots=True)
class SlurmSnapshot:
    """The node at one moment.

    Attributes:
        answered: slurmctld has answered.
        record: The node's record; None when slurmctld knows no such node, or has not answered.
        step_count: Steps that run here.
        slurmd_running: slurmd runs.
    """

    answered: bool
    record: NodeRecord | None
    step_count: int
    slurmd_running: bool


@dataclass(frozen=True, slots=True)
class SlurmDrainState:
    """Progress of a drain.

    Attributes:
        silent_since: First moment without an answer of slurmctld and without a step; None after an answer.
        removals: How often the node's removal was tried.
    """

    silent_since: float | None = None
    removals: int = 0


def decide_drain(
    state: SlurmDrainState, snapshot: SlurmSnapshot, now: float
) -> tuple[SlurmDrainState, SlurmDrainAction]:
    """Return the state after one observation, and the next step; `now` is in seconds on any clock that goes on."""
    if not snapshot.answered:
        is_first = state.silent_since is None or snapshot.step_count > 0  # slurmctld may reach slurmd, though not us
        state = replace(state, silent_since=now if is_first else state.silent_since)
        return state, _decide_without_answer(state, snapshot, now)
    state = replace(state, silent_since=None)
    record = snapshot.record
    if record is None:
        return state, _decide_without_record(state, snapshot)
    if not record.is_draining:
        return state, SlurmDrainAction.ORDER
    if record.is_busy or snapshot.step_count:
        return state, SlurmDrainAction.WAIT
    if record.is_dynamic and state.removals < MAX_REMOVALS:
        return replace(state, removals=state.removals + 1), SlurmDrainAction.REMOVE
    return state, SlurmDrainAction.DONE


def _decide_without_answer(state: SlurmDrainState, snapshot: SlurmSnapshot, now: float) -> SlurmDrainAction:
    """Return the step while slurmctld is silent: nothing can be ordered."""
    if snapshot.step_count:
        return SlurmDrainAction.WAIT
    if not snapshot.slurmd_running:
        return SlurmDrainAction.DONE
    is_over = state.silent_since is not None and now - state.silent_since >= CONTROLLER_PATIENCE_S
    return SlurmDrainAction.CLOSE if is_over else SlurmDrainAction.WAIT


def _decide_without_record(state: SlurmDrainState, snapshot: SlurmSnapshot) -> SlurmDrainAction:
    """Return the step for a node that slurmctld does not know: removed, or not registered yet."""
    if snapshot.step_count:
        return SlurmDrainAction.WAIT
    if state.removals or not snapshot.slurmd_running:
        return SlurmDrainAction.DONE
    return SlurmDrainAction.CLOSE  # it may register itself at any moment
