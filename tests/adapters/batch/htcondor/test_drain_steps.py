"""The drain's decisions, each of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor import drain_steps
from autopilot.adapters.batch.htcondor.drain_steps import DrainAction, DrainState, NodeSnapshot, Step, decide

WORDS = ("", "alive", "startup", "waitforstartup", "dead", "hold", "shutdown,drain")


def generate_snapshots() -> Iterator[NodeSnapshot]:
    flags = (False, True)
    for master, word, process, retiring, drained, starters in product(
        flags, WORDS, flags, (None, False, True), flags, (0, 2)
    ):
        yield NodeSnapshot(master, word, process, retiring, drained, starters)


STATES = [
    DrainState(step, order, n) for step, order, n in product(Step, (DrainAction.PEACEFUL, DrainAction.DRAIN), range(4))
]


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_running_payload_is_never_called_drained(state: DrainState) -> None:
    """Every state, every sight: with a starter alive, or with a startd that was not seen to stop taking jobs, not
    DONE.
    """
    for sight in generate_snapshots():
        _, order = decide(state, sight)
        if sight.starter_count or (sight.startd_running and not (sight.drained and state.action is DrainAction.DRAIN)):
            assert order is not DrainAction.DONE, sight


@pytest.mark.parametrize("state", STATES, ids=str)
def test_nothing_left_to_run_is_drained(state: DrainState) -> None:
    """No payload, no startd, and the master holds it, lost it, or is gone: DONE from every state."""
    for sight in generate_snapshots():
        if (
            not sight.starter_count
            and not sight.startd_running
            and (not sight.master_running or sight.startd_state in ("hold", "dead"))
        ):
            assert decide(state, sight)[1] is DrainAction.DONE, sight


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_dead_master_is_never_asked(state: DrainState) -> None:
    """Commands go to condor_master; without one there is only waiting."""
    for sight in generate_snapshots():
        if not sight.master_running:
            assert decide(state, sight)[1] in (DrainAction.RECHECK, DrainAction.DONE)


def test_the_way_of_a_busy_node() -> None:
    """Asked once, seen retiring, waited for, held, done."""
    busy = NodeSnapshot(True, "alive", True, False, False, 1)
    state, order = decide(DrainState(), busy)
    assert order is DrainAction.PEACEFUL
    retiring = NodeSnapshot(True, "shutdown,drain", True, True, False, 1)
    state, order = decide(state, retiring)
    assert (state.step, order) == (Step.RETIRING, DrainAction.RECHECK)
    state, order = decide(
        state, NodeSnapshot(True, "", True, None, False, 1)
    )  # nobody answered: no reason to ask again
    assert order is DrainAction.RECHECK
    assert decide(state, NodeSnapshot(True, "hold", False, None, False, 0))[1] is DrainAction.DONE


def test_a_request_that_never_takes_moves_on_to_the_other_sequence_and_back() -> None:
    """Two refusals of B, two of A, B again: for ever, as long as the startd says it is alive."""
    state, orders = DrainState(), []
    for _ in range(6):
        state, order = decide(state, NodeSnapshot(True, "alive", True, False, False, 1))
        orders.append(order)
    assert orders == [DrainAction.PEACEFUL] * 2 + [DrainAction.DRAIN] * 2 + [DrainAction.PEACEFUL] * 2


def test_a_startd_that_came_back_is_asked_again() -> None:
    """It crashed while it retired; the new one knows nothing of it."""
    state = DrainState(Step.RETIRING, DrainAction.PEACEFUL, 0)
    state, order = decide(state, NodeSnapshot(True, "alive", True, False, False, 0))
    assert (state.step, order) == (Step.ASKING, DrainAction.PEACEFUL)


@given(st.lists(st.sampled_from(list(generate_snapshots())), max_size=30))
def test_however_it_went_a_node_that_obeys_is_drained(history: list[NodeSnapshot]) -> None:
    """After any history, taking the next request and then holding the startd ends the drain within five looks."""
    state = DrainState()
    for sight in history:
        state, _ = decide(state, sight)
    alive = NodeSnapshot(True, "alive", True, False, False, 1)
    state, order = decide(state, alive)
    assert order in (DrainAction.PEACEFUL, DrainAction.DRAIN)
    state, order = decide(state, NodeSnapshot(True, "shutdown,drain", True, True, False, 1))
    assert order is DrainAction.RECHECK
    assert decide(state, NodeSnapshot(True, "hold", False, None, False, 0))[1] is DrainAction.DONE


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0, max_value=1))
def test_pauses_grow_and_stay_bounded(tries: int, draw: float) -> None:
    """Never a storm, never longer than 36 s."""
    pause = drain_steps.compute_retry_delay(DrainState(tries=tries), draw)
    assert 0.8 * drain_steps.RETRY_DELAY.first_s <= pause <= 1.2 * drain_steps.RETRY_DELAY.max_s + 1e-9
