"""Many hosts in virtual time, and random days of one: what holds for all of them."""

from __future__ import annotations

import pytest
from autopilot_watchdog.config.values import Ring
from autopilot_watchdog.core.rollout import turn
from autopilot_watchdog.core.waiting import delay
from autopilot_watchdog.simulation.world import Behaviour, Fleet, Registry
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.watchdog.scenes import BEGIN, KEY, A, B, C, config, host

HOUR = 3600.0
RINGS = (Ring(0.01, 0.0), Ring(0.10, HOUR), Ring(1.0, 6 * HOUR))
DEFAULT = {
    "rings": [{"share": "1%", "after": "0s"}, {"share": "10%", "after": "1h"}, {"share": "100%", "after": "6h"}],
    "spread": "10m",
}


def fleet(registry: Registry, size: int = 200, rollout: object = DEFAULT, **rest: object) -> Fleet:
    return Fleet((host(registry, config(f"h{n}", 1, rollout, **rest)) for n in range(size)), BEGIN)


def test_rings_hold_their_shares_and_rotate() -> None:
    """1 % of 10,000 hosts may begin at once, 10 % after an hour, all after six; the canaries of two digests differ."""
    turns = {digest: {n: turn(f"h{n}", digest, RINGS, 600) for n in range(10_000)} for digest in (A, B)}
    for found in turns.values():
        assert 70 <= sum(after < HOUR for after in found.values()) <= 130
        assert 900 <= sum(after < 6 * HOUR for after in found.values()) <= 1100
        assert max(found.values()) <= 6 * HOUR + 600
    canaries = [{n for n, after in found.items() if after < HOUR} for found in turns.values()]
    assert len(canaries[0] & canaries[1]) < 10


def test_registry_never_sees_a_herd() -> None:
    """200 hosts ask a registry 40 times a minute on average, at worst 1.5 times that, pulls of a push spread out."""
    registry = Registry([(0, A), (BEGIN + HOUR, B)])
    it = fleet(registry)
    it.run_until(BEGIN + 9 * HOUR)
    begin = int(BEGIN // 60)
    minutes = [registry.heads[minute] for minute in range(begin + 6, begin + 540)]
    assert 38 <= sum(minutes) / len(minutes) <= 42
    assert max(minutes) <= 60
    assert max(registry.pulls[minute] for minute in range(begin + 60, begin + 540)) <= 40


@pytest.mark.parametrize("consul", [None, {}])
@pytest.mark.parametrize("speaks", [True, False])
def test_passes_left_out_change_nothing(consul: object, speaks: bool) -> None:
    """Passes that only hear again what they heard before may be counted in place of made: all else stays the same."""
    outcomes = []
    for every_pass in (False, True):
        behaviours = {
            A: Behaviour(3 * HOUR, HOUR, speaks=speaks),
            B: Behaviour(3 * HOUR, HOUR, fails_after=5, speaks=speaks),
            C: Behaviour(3 * HOUR, HOUR, urgency="now", speaks=speaks),
        }
        outages = [(BEGIN + 5 * HOUR, BEGIN + 6 * HOUR)]
        registry = Registry([(0, A), (BEGIN + HOUR, B), (BEGIN + 9 * HOUR, C)], outages, behaviours)
        rules = {} if consul is None else {"consul": consul}
        hosts = [host(registry, config(f"h{n}", 2, DEFAULT, **rules), settled=True) for n in range(8)]
        it = Fleet(hosts, BEGIN, every_pass=every_pass)
        it.run_until(BEGIN + 12 * HOUR)
        deeds = [[(round(at - BEGIN, 3), action) for at, action in host.done] for host in it.hosts]
        known = [host.memory.image(KEY) for host in it.hosts]
        found = [(image.goods, image.quarantine.keys(), image.head, image.trouble) for image in known]
        outcomes.append((deeds, found, round(it.lost(), 3), dict(registry.heads), registry.pulls))
    assert outcomes[0] == outcomes[1]


def test_bad_push_costs_a_few_slot_seconds() -> None:
    """A push that fails at once is quarantined on every host it reaches; each loses less than a minute."""
    registry = Registry(
        [(0, A), (BEGIN + HOUR, B)], behaviours={A: Behaviour(2 * HOUR, HOUR), B: Behaviour(fails_after=2)}
    )
    it = fleet(registry, 50)
    it.run_until(BEGIN + 15 * HOUR)
    assert all(B in it.hosts[n].memory.image(KEY).quarantine for n in range(50))
    assert it.share(A) == 1
    assert it.lost() / 50 < 60


def test_consul_spares_the_fleet() -> None:
    """When the hosts share their quarantines, a bad push reaches the canaries only."""
    registry = Registry(
        [(0, A), (BEGIN + HOUR, B)], behaviours={A: Behaviour(2 * HOUR, HOUR), B: Behaviour(fails_after=2)}
    )
    it = fleet(registry, 200, consul={})
    it.run_until(BEGIN + 15 * HOUR)
    tried = [
        host for host in it.hosts if host.memory.image(KEY).trials.get(B) and host.memory.counts.get("lives_failed")
    ]
    assert len(tried) < 20
    assert all(B in host.memory.image(KEY).quarantine for host in it.hosts)


events = st.lists(
    st.tuples(
        st.sampled_from(["kill", "end", "engine", "outage", "push", "break", "wait", "clock"]),
        st.integers(0, 3),
        st.floats(0, 4000),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(events)
def test_any_day_ends_well(day: list[tuple[str, int, float]]) -> None:
    """Whatever happens: one container per slot, no crash loop, and when all is well again all slots fill."""
    registry = Registry([(0.0, A)])
    broken: set[str] = set()
    it = host(registry, config(count=3), broken=lambda now: bool(broken))
    now = BEGIN
    for kind, number, seconds in day:
        it.run(now)
        living = it.living()
        if kind in ("kill", "end") and living:
            it.end(living[number % len(living)].id, now, 137 if kind == "kill" else None)
        elif kind == "engine":
            it.engine_up = not it.engine_up
        elif kind == "outage":
            registry.outages.append((now, now + seconds))
        elif kind == "push":
            registry.pushes.append((now, (A, B, C)[number % 3]))
        elif kind == "break":
            broken ^= {"x"}
        started = it.born
        it.run(now + 1)
        assert it.born - started <= 3 * 2, "a crash loop within a pass"
        slots = [container.slot for container in it.living()]
        assert len(slots) == len(set(slots))
        now += 1 + (seconds if kind != "clock" else -seconds)
    broken.clear()
    registry.outages.clear()
    it.engine_up = True
    for _ in range(200):
        now += 60
        it.run(now)
    assert len(it.living()) == 3


@given(st.integers(1, 10_000), st.floats(0.1, 100), st.floats(100, 10_000))
def test_waits_rise_and_stay_bounded(streak: int, initial: float, longest: float) -> None:
    """A wait is never longer than the longest, nor shorter than three quarters of the rule."""
    wait = delay(streak, initial, longest, "x")
    assert 0.75 * min(longest, initial * 2.0 ** min(streak - 1, 32)) <= wait <= longest
