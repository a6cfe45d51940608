"""Many hosts in virtual time, and random days of one."""

from __future__ import annotations

from typing import Any

import pytest
from autopilot_watchdog.config.value_readers import Ring
from autopilot_watchdog.core.retry_delay import compute_retry_delay
from autopilot_watchdog.core.rollout import compute_rollout_delay
from autopilot_watchdog.simulation.simulated_fleet import SimulatedFleet
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import BEGIN, KEY, A, B, C, build_config, build_host

pytestmark = pytest.mark.slow

HOUR = 3600.0
RINGS = (Ring(0.01, 0.0), Ring(0.10, HOUR), Ring(1.0, 6 * HOUR))
DEFAULT = {
    "rings": [{"share": "1%", "after": "0s"}, {"share": "10%", "after": "1h"}, {"share": "100%", "after": "6h"}],
    "spread": "10m",
}


def build_fleet(registry: SimulatedRegistry, size: int = 200, rollout: object = DEFAULT, **rest: Any) -> SimulatedFleet:
    """Build a fleet of hosts with one slot each."""
    return SimulatedFleet((build_host(registry, build_config(f"h{n}", 1, rollout, **rest)) for n in range(size)), BEGIN)


def test_rings_hold_their_shares_and_rotate() -> None:
    """1 % of 10,000 hosts may begin at once, 10 % after an hour, all after six; the canaries of two digests differ."""
    delays = {
        digest: {n: compute_rollout_delay(f"h{n}", digest, RINGS, 600) for n in range(10_000)} for digest in (A, B)
    }
    for found in delays.values():
        assert 70 <= sum(after < HOUR for after in found.values()) <= 130
        assert 900 <= sum(after < 6 * HOUR for after in found.values()) <= 1100
        assert max(found.values()) <= 6 * HOUR + 600
    canaries = [{n for n, after in found.items() if after < HOUR} for found in delays.values()]
    assert len(canaries[0] & canaries[1]) < 10


def test_registry_never_sees_a_herd() -> None:
    """200 hosts ask a registry 40 times a minute on average, at worst 1.5 times that, pulls of a push spread out."""
    registry = SimulatedRegistry([(0, A), (BEGIN + HOUR, B)])
    fleet = build_fleet(registry)
    fleet.run_until(BEGIN + 9 * HOUR)
    begin = int(BEGIN // 60)
    minutes = [registry.request_counts[minute] for minute in range(begin + 6, begin + 540)]
    assert 38 <= sum(minutes) / len(minutes) <= 42
    assert max(minutes) <= 60
    assert max(registry.pull_counts[minute] for minute in range(begin + 60, begin + 540)) <= 40


@pytest.mark.parametrize("consul", [None, {}])
@pytest.mark.parametrize("writes_last_words", [True, False])
@pytest.mark.parametrize("broken", ["", "wn-01", "wn-0"], ids=["well", "broken slot", "broken host"])
def test_passes_left_out_change_nothing(consul: object, writes_last_words: bool, broken: str) -> None:
    """Passes with the same answer of the registry may be counted and not run: all else stays the same."""

    def find_fault(slot: str, digest: str, started: float) -> float | None:
        is_broken = broken and slot.startswith(broken) and BEGIN + 2 * HOUR <= started < BEGIN + 7 * HOUR
        return 8.0 if is_broken else None

    outcomes = []
    for every_pass in (False, True):
        behaviours = {
            A: DigestBehaviour(3 * HOUR, HOUR, writes_last_words=writes_last_words),
            B: DigestBehaviour(3 * HOUR, HOUR, fails_after=5, writes_last_words=writes_last_words),
            C: DigestBehaviour(3 * HOUR, HOUR, urgency="now", writes_last_words=writes_last_words),
        }
        outages = [(BEGIN + 5 * HOUR, BEGIN + 6 * HOUR)]
        registry = SimulatedRegistry([(0, A), (BEGIN + HOUR, B), (BEGIN + 9 * HOUR, C)], outages, behaviours)
        rules: dict[str, Any] = {} if consul is None else {"consul": consul}
        hosts = [
            build_host(registry, build_config(f"h{n}", 2, DEFAULT, **rules), staggered=True, find_fault=find_fault)
            for n in range(8)
        ]
        fleet = SimulatedFleet(hosts, BEGIN, every_pass=every_pass)
        fleet.run_until(BEGIN + 12 * HOUR)
        actions = [[(round(at - BEGIN, 3), action) for at, action in host.executed_actions] for host in fleet.hosts]
        known = [host.memory.get_image(KEY) for host in fleet.hosts]
        found = [(image.known_good, image.quarantine.keys(), image.newest, image.trouble) for image in known]
        outcomes.append(
            (
                actions,
                found,
                round(fleet.compute_lost_slot_seconds(), 3),
                dict(registry.request_counts),
                registry.pull_counts,
            )
        )
    assert outcomes[0] == outcomes[1]


def test_bad_push_costs_a_few_slot_seconds() -> None:
    """A push that fails at once is quarantined on every host it reaches; each loses less than a minute."""
    registry = SimulatedRegistry(
        [(0, A), (BEGIN + HOUR, B)], behaviours={A: DigestBehaviour(2 * HOUR, HOUR), B: DigestBehaviour(fails_after=2)}
    )
    fleet = build_fleet(registry, 50)
    fleet.run_until(BEGIN + 15 * HOUR)
    assert all(B in fleet.hosts[n].memory.get_image(KEY).quarantine for n in range(50))
    assert fleet.compute_share(A) == 1
    assert fleet.compute_lost_slot_seconds() / 50 < 60


def test_consul_spares_the_fleet() -> None:
    """If the hosts share their quarantines, a bad push reaches the canaries only."""
    registry = SimulatedRegistry(
        [(0, A), (BEGIN + HOUR, B)], behaviours={A: DigestBehaviour(2 * HOUR, HOUR), B: DigestBehaviour(fails_after=2)}
    )
    fleet = build_fleet(registry, 200, consul={})
    fleet.run_until(BEGIN + 15 * HOUR)
    tried = [
        host
        for host in fleet.hosts
        if host.memory.get_image(KEY).records.get(B) and host.memory.counts.get("lives_failed")
    ]
    assert len(tried) < 20
    assert all(B in host.memory.get_image(KEY).quarantine for host in fleet.hosts)


events = st.lists(
    st.tuples(
        st.sampled_from(["kill", "end", "engine", "outage", "push", "break", "wait", "clock"]),
        st.integers(0, 3),
        st.floats(0, 4000),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=scale_examples(150))
@given(events)
def test_any_day_ends_well(day: list[tuple[str, int, float]]) -> None:
    """Whatever happens: one container per slot, no crash loop, and when all is well again all slots fill."""
    registry = SimulatedRegistry([(0.0, A)])
    broken: set[str] = set()
    host = build_host(registry, build_config(count=3), is_broken=lambda now: bool(broken))
    now = BEGIN
    for kind, number, seconds in day:
        host.run_pass(now)
        living = host.engine.list_alive()
        if kind in ("kill", "end") and living:
            host.engine.end_container(living[number % len(living)].id, now, 137 if kind == "kill" else None)
        elif kind == "engine":
            host.engine.is_up = not host.engine.is_up
        elif kind == "outage":
            registry.outages.append((now, now + seconds))
        elif kind == "push":
            registry.pushes.append((now, (A, B, C)[number % 3]))
        elif kind == "break":
            broken ^= {"x"}
        started = host.engine.started_count
        host.run_pass(now + 1)
        assert host.engine.started_count - started <= 3 * 2, "a crash loop within a pass"
        slots = [container.slot for container in host.engine.list_alive()]
        assert len(slots) == len(set(slots))
        now += 1 + (seconds if kind != "clock" else -seconds)
    broken.clear()
    registry.outages.clear()
    host.engine.is_up = True
    for _ in range(200):
        now += 60
        host.run_pass(now)
    assert len(host.engine.list_alive()) == 3


@given(st.integers(1, 10_000), st.floats(0.1, 100), st.floats(100, 10_000))
def test_waits_rise_and_stay_bounded(streak: int, initial: float, longest: float) -> None:
    """A wait is never longer than the longest, nor shorter than three quarters of the rule."""
    wait = compute_retry_delay(streak, initial, longest, "x")
    assert 0.75 * min(longest, initial * 2.0 ** min(streak - 1, 32)) <= wait <= longest
