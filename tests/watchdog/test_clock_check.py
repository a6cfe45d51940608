"""A clock that jumps changes neither the decisions nor their times."""

from __future__ import annotations

import dataclasses
import random
import typing

import pytest
from autopilot_watchdog.core import memory as memory_module
from autopilot_watchdog.core.clock_check import TIME_FIELDS
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry

from tests.watchdog.scenes import BEGIN, KEY, A, B, build_config, build_host, run_passes

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
WRITES_LAST_WORDS = [True, False]  # of an image without last words only the engine's times are known


def run_with_jumps(host: SimulatedHost, jumps: dict[float, float], end: float) -> None:
    """Run passes every minute and when an action is due; at each time of `jumps` add its seconds to the clock."""
    now, remaining = BEGIN, sorted(jumps.items())
    while now < end:
        wake = host.run_pass(now)
        times = [time for time in (wake, host.engine.find_next_end()) if time is not None and time > now]
        now = min([*times, BEGIN + 60 * ((now - BEGIN) // 60 + 1)])
        while remaining and remaining[0][0] <= now:
            host.engine.clock_skew += remaining.pop(0)[1]


def simulate_life(writes_last_words: bool, jumps: dict[float, float]) -> SimulatedHost:
    """Simulate hours with a good push, a bad push and the ends of lives."""
    registry = SimulatedRegistry(
        [(0, A), (BEGIN + HOUR, B)],
        behaviours={
            A: DigestBehaviour(HOUR, 600, writes_last_words=writes_last_words),
            B: DigestBehaviour(fails_after=20, writes_last_words=writes_last_words),
        },
    )
    host = build_host(registry, build_config(count=2))
    run_with_jumps(host, jumps, BEGIN + 4 * HOUR)
    return host


def generate_jumps(number: int) -> dict[float, float]:
    """Draw up to four jumps, of seconds or of a year."""
    chance = random.Random(number)
    sizes = [chance.choice((-1, 1)) * chance.choice((10.0, 600.0, DAY, YEAR)) for _ in range(chance.randint(1, 4))]
    return {BEGIN + chance.uniform(1, 4 * HOUR): jump_s for jump_s in sizes}


@pytest.mark.slow
@pytest.mark.parametrize("writes_last_words", WRITES_LAST_WORDS)
def test_jumps_change_nothing(writes_last_words: bool) -> None:
    """Pulls, starts, removals and verdicts come at the very times at which they come without a jump."""
    reference = simulate_life(writes_last_words, {})
    assert reference.memory.get_image(KEY).quarantine.keys() == {B}
    for number in range(12):
        jumps = generate_jumps(number)
        shifted = simulate_life(writes_last_words, jumps)
        assert list_actions(shifted) == list_actions(reference), jumps
        assert shifted.memory.get_image(KEY).quarantine.keys() == {B}, jumps
        lost = sum(reference.memory.lost.values())
        assert sum(shifted.memory.lost.values()) == pytest.approx(lost, abs=1), jumps


def list_actions(host: SimulatedHost) -> list[tuple[float, str]]:
    """Return the executed actions with the virtual seconds since the beginning."""
    return [(round(at - BEGIN, 2), type(action).__name__) for at, action in host.executed_actions]


@pytest.mark.parametrize("jump_s", [-YEAR, -DAY, -600.0, 600.0, DAY, YEAR])
def test_long_life_over_a_jump_is_no_short_one(jump_s: float) -> None:
    """A life of ten hours is good, and one of a minute is not, though the clock jumped in the middle of it."""
    for lasts, good in ((36000.0, True), (60.0, False)):
        host = build_host(
            SimulatedRegistry([(0, A)], behaviours={A: DigestBehaviour(lasts, 0, writes_last_words=False)}),
            build_config(count=1),
        )
        host.run_pass(BEGIN)
        host.engine.clock_skew += jump_s
        host.run_pass(BEGIN + lasts)
        assert bool(host.memory.get_image(KEY).known_good) is good
        assert host.memory.counts.get("lives_good", 0) == good


def test_back_off_neither_hurries_nor_stalls() -> None:
    """A slot in its back-off is started when it would have been, whichever way the clock jumps."""
    for jump_s in (-YEAR, -60.0, 60.0, YEAR):
        host = build_host(
            SimulatedRegistry([(0, B)], behaviours={B: DigestBehaviour(fails_after=1)}), build_config(count=1)
        )
        run_passes(host, BEGIN, 300)
        assert host.reasons["wn-01"].code == "backoff"
        wait, due = host.memory.get_slot("wn-01").not_before - (BEGIN + 300), host.wake_at
        host.engine.clock_skew += jump_s
        born = host.engine.started_count
        assert host.run_pass(BEGIN + 300) == pytest.approx(due)
        assert host.memory.get_slot("wn-01").not_before - (BEGIN + 300 + jump_s) == pytest.approx(wait)
        host.run_pass(BEGIN + 300 + wait + 1)
        assert host.engine.started_count == born + 1


def test_every_time_is_known() -> None:
    """Every number with a fraction in the memory is a time that moves with the clock, or counted seconds."""
    kinds = [kind for kind in vars(memory_module).values() if dataclasses.is_dataclass(kind)]
    found = {name for kind in kinds for name, hint in typing.get_type_hints(kind).items() if hint is float}
    assert found == TIME_FIELDS | {"booted"}
    assert Memory in kinds
