"""A clock that jumps: what is decided, and when, does not change."""

from __future__ import annotations

import dataclasses
import random
import typing

import pytest
from autopilot_watchdog.core import memory as remembered
from autopilot_watchdog.core.clock_check import TIME_FIELDS
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry

from tests.watchdog.scenes import BEGIN, KEY, A, B, build_config, build_host, run_passes

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
SPEAKING = [True, False]  # with last words, and an image that has none, of which only the engine's stamps are known


def run_with_jumps(it: SimulatedHost, turns: dict[float, float], end: float) -> None:
    """Passes every minute and when something is due, with the clock put on by so much at each of the times."""
    now, left = BEGIN, sorted(turns.items())
    while now < end:
        wake = it.run_pass(now)
        times = [time for time in (wake, it.engine.find_next_end()) if time is not None and time > now]
        now = min([*times, BEGIN + 60 * ((now - BEGIN) // 60 + 1)])
        while left and left[0][0] <= now:
            it.engine.clock_skew += left.pop(0)[1]


def simulate_life(speaks: bool, turns: dict[float, float]) -> SimulatedHost:
    """Hours with a good push, a bad push and the ends of lives."""
    registry = SimulatedRegistry(
        [(0, A), (BEGIN + HOUR, B)],
        behaviours={
            A: DigestBehaviour(HOUR, 600, writes_last_words=speaks),
            B: DigestBehaviour(fails_after=20, writes_last_words=speaks),
        },
    )
    it = build_host(registry, build_config(count=2))
    run_with_jumps(it, turns, BEGIN + 4 * HOUR)
    return it


def generate_jumps(number: int) -> dict[float, float]:
    """Up to four jumps, of seconds or of a year."""
    chance = random.Random(number)
    sizes = [chance.choice((-1, 1)) * chance.choice((10.0, 600.0, DAY, YEAR)) for _ in range(chance.randint(1, 4))]
    return {BEGIN + chance.uniform(1, 4 * HOUR): by for by in sizes}


@pytest.mark.parametrize("speaks", SPEAKING)
def test_jumps_change_nothing(speaks: bool) -> None:
    """Pulls, starts, burials and verdicts come at the very times at which they come without a jump."""
    calm = simulate_life(speaks, {})
    assert calm.memory.get_image(KEY).quarantine.keys() == {B}
    for number in range(12):
        turns = generate_jumps(number)
        shaken = simulate_life(speaks, turns)
        assert list_actions(shaken) == list_actions(calm), turns
        assert shaken.memory.get_image(KEY).quarantine.keys() == {B}, turns
        lost = sum(calm.memory.lost.values())
        assert sum(shaken.memory.lost.values()) == pytest.approx(lost, abs=1), turns


def list_actions(it: SimulatedHost) -> list[tuple[float, str]]:
    return [(round(at - BEGIN, 2), type(action).__name__) for at, action in it.executed_actions]


@pytest.mark.parametrize("by", [-YEAR, -DAY, -600.0, 600.0, DAY, YEAR])
def test_long_life_over_a_jump_is_no_short_one(by: float) -> None:
    """A life of ten hours is good, and one of a minute is not, though the clock jumped in the middle of it."""
    for lasts, good in ((36000.0, True), (60.0, False)):
        it = build_host(
            SimulatedRegistry([(0, A)], behaviours={A: DigestBehaviour(lasts, 0, writes_last_words=False)}),
            build_config(count=1),
        )
        it.run_pass(BEGIN)
        it.engine.clock_skew += by
        it.run_pass(BEGIN + lasts)
        assert bool(it.memory.get_image(KEY).goods) is good
        assert it.memory.counts.get("lives_good", 0) == good


def test_back_off_neither_hurries_nor_stalls() -> None:
    """A slot in its back-off is started when it would have been, whichever way the clock jumps."""
    for by in (-YEAR, -60.0, 60.0, YEAR):
        it = build_host(
            SimulatedRegistry([(0, B)], behaviours={B: DigestBehaviour(fails_after=1)}), build_config(count=1)
        )
        run_passes(it, BEGIN, 300)
        assert it.reasons["wn-01"].code == "backoff"
        wait, due = it.memory.get_slot("wn-01").not_before - (BEGIN + 300), it.wake_at
        it.engine.clock_skew += by
        born = it.engine.started_count
        assert it.run_pass(BEGIN + 300) == pytest.approx(due)
        assert it.memory.get_slot("wn-01").not_before - (BEGIN + 300 + by) == pytest.approx(wait)
        it.run_pass(BEGIN + 300 + wait + 1)
        assert it.engine.started_count == born + 1


def test_every_time_is_known() -> None:
    """Each number with a fraction in the memory is a time that moves with the clock, or counted seconds."""
    kinds = [kind for kind in vars(remembered).values() if dataclasses.is_dataclass(kind)]
    found = {name for kind in kinds for name, hint in typing.get_type_hints(kind).items() if hint is float}
    assert found == TIME_FIELDS | {"booted"}
    assert Memory in kinds
