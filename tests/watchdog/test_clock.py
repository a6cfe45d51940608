"""A clock that jumps: what is decided, and when, does not change."""

from __future__ import annotations

import dataclasses
import random
import typing

import pytest
from autopilot_watchdog.core import memory as remembered
from autopilot_watchdog.core.clock import TIMES
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.simulation.world import Behaviour, Host, Registry

from tests.watchdog.scenes import BEGIN, KEY, A, B, config, host, run

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
SPEAKING = [True, False]  # with last words, and an image that has none, of which only the engine's stamps are known


def lived(it: Host, turns: dict[float, float], end: float) -> None:
    """Passes every minute and when something is due, with the clock put on by so much at each of the times."""
    now, left = BEGIN, sorted(turns.items())
    while now < end:
        wake = it.run(now)
        times = [time for time in (wake, it.next_end()) if time is not None and time > now]
        now = min([*times, BEGIN + 60 * ((now - BEGIN) // 60 + 1)])
        while left and left[0][0] <= now:
            it.skew += left.pop(0)[1]


def life(speaks: bool, turns: dict[float, float]) -> Host:
    """Hours with a good push, a bad push and the ends of lives."""
    registry = Registry(
        [(0, A), (BEGIN + HOUR, B)],
        behaviours={A: Behaviour(HOUR, 600, speaks=speaks), B: Behaviour(fails_after=20, speaks=speaks)},
    )
    it = host(registry, config(count=2))
    lived(it, turns, BEGIN + 4 * HOUR)
    return it


def random_turns(number: int) -> dict[float, float]:
    """Up to four jumps, of seconds or of a year."""
    chance = random.Random(number)
    sizes = [chance.choice((-1, 1)) * chance.choice((10.0, 600.0, DAY, YEAR)) for _ in range(chance.randint(1, 4))]
    return {BEGIN + chance.uniform(1, 4 * HOUR): by for by in sizes}


@pytest.mark.parametrize("speaks", SPEAKING)
def test_jumps_change_nothing(speaks: bool) -> None:
    """Pulls, starts, burials and verdicts come at the very times at which they come without a jump."""
    calm = life(speaks, {})
    assert calm.memory.image(KEY).quarantine.keys() == {B}
    for number in range(12):
        turns = random_turns(number)
        shaken = life(speaks, turns)
        assert deeds(shaken) == deeds(calm), turns
        assert shaken.memory.image(KEY).quarantine.keys() == {B}, turns
        lost = sum(calm.memory.lost.values())
        assert sum(shaken.memory.lost.values()) == pytest.approx(lost, abs=1), turns


def deeds(it: Host) -> list[tuple[float, str]]:
    return [(round(at - BEGIN, 2), type(action).__name__) for at, action in it.done]


@pytest.mark.parametrize("by", [-YEAR, -DAY, -600.0, 600.0, DAY, YEAR])
def test_long_life_over_a_jump_is_no_short_one(by: float) -> None:
    """A life of ten hours is good, and one of a minute is not, though the clock jumped in the middle of it."""
    for lasts, good in ((36000.0, True), (60.0, False)):
        it = host(Registry([(0, A)], behaviours={A: Behaviour(lasts, 0, speaks=False)}), config(count=1))
        it.run(BEGIN)
        it.skew += by
        it.run(BEGIN + lasts)
        assert bool(it.memory.image(KEY).goods) is good
        assert it.memory.counts.get("lives_good", 0) == good


def test_back_off_neither_hurries_nor_stalls() -> None:
    """A slot in its back-off is started when it would have been, whichever way the clock jumps."""
    for by in (-YEAR, -60.0, 60.0, YEAR):
        it = host(Registry([(0, B)], behaviours={B: Behaviour(fails_after=1)}), config(count=1))
        run(it, BEGIN, 300)
        assert it.reasons["wn-01"].code == "backoff"
        wait, due = it.memory.slot("wn-01").not_before - (BEGIN + 300), it.wake
        it.skew += by
        born = it.born
        assert it.run(BEGIN + 300) == pytest.approx(due)
        assert it.memory.slot("wn-01").not_before - (BEGIN + 300 + by) == pytest.approx(wait)
        it.run(BEGIN + 300 + wait + 1)
        assert it.born == born + 1


def test_every_time_is_known() -> None:
    """Each number with a fraction in the memory is a time that moves with the clock, or counted seconds."""
    kinds = [kind for kind in vars(remembered).values() if dataclasses.is_dataclass(kind)]
    found = {name for kind in kinds for name, hint in typing.get_type_hints(kind).items() if hint is float}
    assert found == TIMES | {"booted"}
    assert Memory in kinds
