"""The drain's decisions, each of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.htcondor import drain
from autopilot.adapters.htcondor.drain import Drain, Order, Sight, Step, decide

WORDS = ("", "alive", "startup", "waitforstartup", "dead", "hold", "shutdown,drain")


def sights() -> Iterator[Sight]:
    flags = (False, True)
    for master, word, process, retiring, drained, starters in product(
        flags, WORDS, flags, (None, False, True), flags, (0, 2)
    ):
        yield Sight(master, word, process, retiring, drained, starters)


STATES = [Drain(step, order, n) for step, order, n in product(Step, (Order.PEACEFUL, Order.DRAIN), range(4))]


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_running_payload_is_never_called_drained(state: Drain) -> None:
    """Every state, every sight: with a starter alive, or with a startd that was not seen to stop taking jobs, not
    DONE."""
    for sight in sights():
        _, order = decide(state, sight)
        if sight.starters or (sight.startd_process and not (sight.drained and state.order is Order.DRAIN)):
            assert order is not Order.DONE, sight


@pytest.mark.parametrize("state", STATES, ids=str)
def test_nothing_left_to_run_is_drained(state: Drain) -> None:
    """No payload, no startd, and the master holds it, lost it, or is gone: DONE from every state."""
    for sight in sights():
        if not sight.starters and not sight.startd_process and (not sight.master or sight.startd in ("hold", "dead")):
            assert decide(state, sight)[1] is Order.DONE, sight


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_dead_master_is_never_asked(state: Drain) -> None:
    """Commands go to condor_master; without one there is only waiting."""
    for sight in sights():
        if not sight.master:
            assert decide(state, sight)[1] in (Order.LOOK, Order.DONE)


def test_the_way_of_a_busy_node() -> None:
    """Asked once, seen retiring, waited for, held, done."""
    busy = Sight(True, "alive", True, False, False, 1)
    state, order = decide(Drain(), busy)
    assert order is Order.PEACEFUL
    retiring = Sight(True, "shutdown,drain", True, True, False, 1)
    state, order = decide(state, retiring)
    assert (state.step, order) == (Step.RETIRING, Order.LOOK)
    state, order = decide(state, Sight(True, "", True, None, False, 1))  # nobody answered: no reason to ask again
    assert order is Order.LOOK
    assert decide(state, Sight(True, "hold", False, None, False, 0))[1] is Order.DONE


def test_a_request_that_never_takes_moves_on_to_the_other_sequence_and_back() -> None:
    """Two refusals of B, two of A, B again: for ever, as long as the startd says it is alive."""
    state, orders = Drain(), []
    for _ in range(6):
        state, order = decide(state, Sight(True, "alive", True, False, False, 1))
        orders.append(order)
    assert orders == [Order.PEACEFUL] * 2 + [Order.DRAIN] * 2 + [Order.PEACEFUL] * 2


def test_a_startd_that_came_back_is_asked_again() -> None:
    """It crashed while it retired; the new one knows nothing of it."""
    state = Drain(Step.RETIRING, Order.PEACEFUL, 0)
    state, order = decide(state, Sight(True, "alive", True, False, False, 0))
    assert (state.step, order) == (Step.ASKING, Order.PEACEFUL)


@given(st.lists(st.sampled_from(list(sights())), max_size=30))
def test_however_it_went_a_node_that_obeys_is_drained(history: list[Sight]) -> None:
    """After any history, taking the next request and then holding the startd ends the drain within five looks."""
    state = Drain()
    for sight in history:
        state, _ = decide(state, sight)
    alive = Sight(True, "alive", True, False, False, 1)
    state, order = decide(state, alive)
    assert order in (Order.PEACEFUL, Order.DRAIN)
    state, order = decide(state, Sight(True, "shutdown,drain", True, True, False, 1))
    assert order is Order.LOOK
    assert decide(state, Sight(True, "hold", False, None, False, 0))[1] is Order.DONE


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0, max_value=1))
def test_pauses_grow_and_stay_bounded(tries: int, draw: float) -> None:
    """Never a storm, never longer than 36 s."""
    pause = drain.pause(Drain(tries=tries), draw)
    assert 0.8 * drain.FIRST_PAUSE <= pause <= 1.2 * drain.LONGEST_PAUSE + 1e-9
