"""Pulls that take long, in virtual time: no slot waits for them longer than it may, and none is made twice."""

from __future__ import annotations

from typing import Any

import pytest
from autopilot_watchdog.core.slot_actions import Pull, RemoveImage, Start
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import AT_ONCE, BEGIN, A, B, C, build_config, build_host, run_passes

pytestmark = pytest.mark.slow

PATIENCE_S = 2.0  # the default of rollout.patience
PUSH = BEGIN + 1000


def build_slow_host(pull_s: float, *pushes: tuple[float, str], count: int = 2, **rest: Any) -> SimulatedHost:
    """Build a host with a slow registry that has A first."""
    host = build_host(SimulatedRegistry([(0.0, A), *pushes]), build_config(count=count, **rest))
    host.pull_s = pull_s
    return host


def list_alive(host: SimulatedHost) -> list[tuple[str, str]]:
    """Return slot and digest of the living containers."""
    return sorted((container.slot, container.digest) for container in host.engine.list_alive())


def end_containers(host: SimulatedHost, now: float) -> None:
    """End all containers by hand of an operator."""
    for container in host.engine.list_alive():
        host.engine.end_container(container.id, now, 0)


def test_slots_do_not_wait_for_a_slow_pull() -> None:
    """With a good image on disk, a slot is refilled within the patience, however slow the pull of the newer one is."""
    host = build_slow_host(600, (PUSH, B))
    run_passes(host, BEGIN, 1000)
    assert [digest for _, digest in list_alive(host)] == [A, A]
    now = run_passes(host, PUSH, 400)
    assert list(host.pull_begins) == [Pull(host.config.slots[0].image_key, B)]
    end_containers(host, now)
    host.run_pass(now)
    assert [digest for _, digest in list_alive(host)] == [A, A], "the pull has lasted longer than the patience"
    run_passes(host, now, 700)
    assert B in host.engine.digests and not host.pull_begins


def test_slot_waits_for_a_quick_pull() -> None:
    """A pull that ends within the patience is waited for; the reason tells it."""
    host = build_slow_host(1.5, (PUSH, B), registry={"fresh": "0s"})
    run_passes(host, BEGIN, 1000)
    end_containers(host, PUSH)
    assert host.run_pass(PUSH) == PUSH + 1.5
    reason = host.reasons["wn-01"]
    assert (reason.code, reason.sentence) == ("preparing", f"the watchdog pulls {B[:19]} since 0 s, the newest")
    host.run_pass(PUSH + 1.5)
    assert [digest for _, digest in list_alive(host)] == [B, B]


def test_slot_gives_up_waiting() -> None:
    """A pass is due when the patience ends; then the good image is started, and the reason tells the pull."""
    host = build_slow_host(600, (PUSH, B), registry={"fresh": "0s"})
    run_passes(host, BEGIN, 1000)
    end_containers(host, PUSH)
    assert host.run_pass(PUSH) == PUSH + PATIENCE_S
    host.run_pass(PUSH + PATIENCE_S)
    assert [digest for _, digest in list_alive(host)] == [A, A]


def test_nothing_to_start_but_what_is_pulled() -> None:
    """Without an image on disk the slots wait as long as the pull takes, and tell since when."""
    host = build_slow_host(600)
    host.run_pass(BEGIN)
    host.run_pass(BEGIN + 300)
    assert not list_alive(host)
    assert {(reason.code, reason.sentence) for reason in host.reasons.values()} == {
        ("preparing", f"the watchdog pulls {A[:19]} since 300 s")
    }
    host.run_pass(BEGIN + 600)
    assert [action for _, action in host.executed_actions if isinstance(action, Pull)] == [
        Pull(host.config.slots[0].image_key, A)
    ]
    assert len(list_alive(host)) == 2


def test_pull_of_an_outdated_digest_holds_nothing_up() -> None:
    """The pull of a digest that a newer push made irrelevant goes on, and the newer one is pulled beside it."""
    host = build_slow_host(600, (PUSH, B), (PUSH + 100, C), registry={"check_every": "10s"})
    run_passes(host, BEGIN, 1000)
    run_passes(host, PUSH, 200)
    assert {pull.digest for pull in host.pull_begins} == {B, C}
    run_passes(host, PUSH + 200, 900)
    assert C in host.engine.digests


def test_no_image_is_removed_during_a_pull() -> None:
    """Unused images are removed when nothing is under way, since a pull may share their layers."""
    pushes = [(PUSH + 2000 * number, digest) for number, digest in enumerate([B, C, A, B, C])]
    host = build_slow_host(600, *pushes)
    now = BEGIN
    while now < PUSH + 12_000:
        now = run_passes(host, now, 200)
        end_containers(host, now)
        before = len(host.executed_actions)
        busy = dict(host.pull_begins)
        host.run_pass(now)
        if busy and host.pull_begins == busy:
            assert not any(isinstance(action, RemoveImage) for _, action in host.executed_actions[before:])


DAYS = st.lists(
    st.tuples(
        st.sampled_from(["kill", "end", "engine", "outage", "push", "wait"]), st.integers(0, 3), st.floats(0, 900)
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=scale_examples(60))
@given(DAYS, st.sampled_from([0.0, 1.0, 40.0, 700.0]))
def test_any_day_with_slow_pulls(day: list[tuple[str, int, float]], pull_s: float) -> None:
    """Whatever happens: no digest is pulled twice at once, no slot is doubled, and at the end all slots fill."""
    registry = SimulatedRegistry([(0.0, A)])
    host = build_host(registry, build_config(count=3, rollout=AT_ONCE))
    host.pull_s = pull_s
    now = BEGIN
    for kind, number, seconds in day:
        living = host.engine.list_alive()
        if kind in ("kill", "end") and living:
            host.engine.end_container(living[number % len(living)].id, now, 137 if kind == "kill" else None)
        elif kind == "engine":
            host.engine.is_up = not host.engine.is_up
        elif kind == "outage":
            registry.outages.append((now, now + seconds))
        elif kind == "push":
            registry.pushes.append((now, (A, B, C)[number % 3]))
        for later in (0.0, 1.0, 3.0):
            busy, before = set(host.pull_begins), len(host.executed_actions)
            host.run_pass(now + later)
            done = [action for _, action in host.executed_actions[before:]]
            assert not [action for action in done if isinstance(action, Pull) and action in busy and pull_s > 3]
            starts = [action.slot for action in done if isinstance(action, Start)]
            assert len(starts) == len(set(starts))
            slots = [container.slot for container in host.engine.list_alive()]
            assert len(slots) == len(set(slots))
        now += 3 + seconds
    registry.outages.clear()
    host.engine.is_up = True
    run_passes(host, now, 12_000)
    assert len(host.engine.list_alive()) == 3


@pytest.mark.parametrize("pull_s", [0.0, 42.0])
def test_boot_of_many_slots(pull_s: float) -> None:
    """All slots of a host cost one question to the registry and one pull, and start in the order of their numbers."""
    host = build_slow_host(pull_s, count=64)
    run_passes(host, BEGIN, 60)
    starts = [action.slot for _, action in host.executed_actions if isinstance(action, Start)]
    assert starts == [f"wn-{number:02}" for number in range(1, 65)]
    assert sum(isinstance(action, Pull) for _, action in host.executed_actions) == 1
    assert sum(host.registry.request_counts.values()) <= 2  # the second after registry.fresh, while slots are empty
