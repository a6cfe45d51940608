"""The steps of a drain, for each state of the node that can be observed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.slurm.node_record import NodeRecord
from autopilot.adapters.batch.slurm.slurm_drain import (
    CONTROLLER_PATIENCE_S,
    MAX_REMOVALS,
    SlurmDrainAction,
    SlurmDrainState,
    SlurmSnapshot,
    decide_drain,
)


def record(*states: str) -> NodeRecord:
    return NodeRecord("n", frozenset(states))


ACTION = SlurmDrainAction
OPEN, DRAINED = record("IDLE", "DYNAMIC_NORM"), record("IDLE", "DRAIN", "DYNAMIC_NORM")
BUSY, ENDING = record("MIXED", "DRAIN", "DYNAMIC_NORM"), record("IDLE", "COMPLETING", "DRAIN", "DYNAMIC_NORM")
STATIC, DOWN = record("IDLE", "DRAIN"), record("DOWN", "NOT_RESPONDING")


@pytest.mark.parametrize(
    ("answered", "found", "steps", "slurmd", "action"),
    [
        (True, OPEN, 0, True, ACTION.ORDER),
        (True, OPEN, 2, True, ACTION.ORDER),
        (True, DOWN, 0, True, ACTION.ORDER),  # slurmd's next registration would open it
        (True, DOWN, 2, True, ACTION.ORDER),
        (True, record("DOWN", "DRAIN"), 0, True, ACTION.DONE),
        (True, BUSY, 1, True, ACTION.WAIT),
        (True, BUSY, 0, True, ACTION.WAIT),  # an allocation without a step
        (True, ENDING, 0, True, ACTION.WAIT),
        (True, DRAINED, 1, True, ACTION.WAIT),
        (True, DRAINED, 0, True, ACTION.REMOVE),
        (True, DRAINED, 0, False, ACTION.REMOVE),
        (True, STATIC, 0, True, ACTION.DONE),
        (True, None, 0, True, ACTION.CLOSE),  # it may register itself at any moment
        (True, None, 1, True, ACTION.WAIT),
        (True, None, 0, False, ACTION.DONE),
        (False, None, 1, True, ACTION.WAIT),
        (False, None, 0, True, ACTION.WAIT),
        (False, None, 0, False, ACTION.DONE),
    ],
)
def test_the_first_step(
    answered: bool, found: NodeRecord | None, steps: int, slurmd: bool, action: SlurmDrainAction
) -> None:
    """The order comes first, jobs are waited for, and the node is removed when nothing holds it."""
    assert decide_drain(SlurmDrainState(), SlurmSnapshot(answered, found, steps, slurmd), 0.0)[1] is action


def test_a_removed_node_is_done() -> None:
    """After its removal slurmctld knows no such node, which is the end; a removal that fails is tried a few times."""
    snapshot = SlurmSnapshot(True, DRAINED, 0, True)
    state, actions = SlurmDrainState(), []
    for now in range(MAX_REMOVALS + 1):
        state, action = decide_drain(state, snapshot, float(now))
        actions.append(action)
    assert actions == [ACTION.REMOVE] * MAX_REMOVALS + [ACTION.DONE]
    assert decide_drain(SlurmDrainState(removals=1), SlurmSnapshot(True, None, 0, True), 0.0)[1] is ACTION.DONE


def test_a_silent_controller_keeps_no_empty_node() -> None:
    """slurmd is ended after a while without an answer, and an answer in between begins the while anew."""
    silent, answer = SlurmSnapshot(False, None, 0, True), SlurmSnapshot(True, BUSY, 1, True)
    state, _ = decide_drain(SlurmDrainState(), silent, 0.0)
    assert decide_drain(state, silent, CONTROLLER_PATIENCE_S)[1] is ACTION.CLOSE
    state, _ = decide_drain(state, answer, CONTROLLER_PATIENCE_S - 1)
    state, _ = decide_drain(state, silent, CONTROLLER_PATIENCE_S)
    assert decide_drain(state, silent, 2 * CONTROLLER_PATIENCE_S - 1)[1] is ACTION.WAIT


def test_the_silence_counts_from_the_last_step() -> None:
    """A node whose steps ran without an answer of slurmctld is not ended in a gap between two of its jobs."""
    silent, working = SlurmSnapshot(False, None, 0, True), SlurmSnapshot(False, None, 3, True)
    state, _ = decide_drain(SlurmDrainState(), working, 0.0)
    state, _ = decide_drain(state, working, CONTROLLER_PATIENCE_S)
    state, action = decide_drain(state, silent, CONTROLLER_PATIENCE_S + 1)
    assert action is ACTION.WAIT
    assert decide_drain(state, silent, 2 * CONTROLLER_PATIENCE_S)[1] is ACTION.CLOSE


RECORDS = st.sampled_from([None, OPEN, DRAINED, BUSY, ENDING, STATIC, DOWN])
SNAPSHOTS = st.builds(SlurmSnapshot, st.just(True), RECORDS, st.integers(0, 3), st.booleans()) | st.builds(
    SlurmSnapshot, st.just(False), st.none(), st.integers(0, 3), st.booleans()
)


@given(st.lists(SNAPSHOTS, max_size=30), st.floats(1, 100))
def test_no_step_is_left_behind(snapshots: list[SlurmSnapshot], pause_s: float) -> None:
    """Whatever is observed, the node is neither removed nor ended while a step runs or a job holds it."""
    state, now = SlurmDrainState(), 0.0
    for snapshot in snapshots:
        state, action = decide_drain(state, snapshot, now)
        now += pause_s
        if action in (ACTION.REMOVE, ACTION.CLOSE, ACTION.DONE):
            assert snapshot.step_count == 0
            assert snapshot.record is None or (snapshot.record.is_draining and not snapshot.record.is_busy)
