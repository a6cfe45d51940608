"""The decisions for one host, in virtual time."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import replace
from typing import Any

import pytest
from autopilot_watchdog.core import fleet_evidence, memory_updates, operator_orders
from autopilot_watchdog.core.decide import decide, list_images_to_check
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import EngineDown, FleetState, Observation, TagDigest
from autopilot_watchdog.core.slot_actions import (
    Action,
    Drain,
    Outcome,
    Preflight,
    Pull,
    RemoveContainer,
    RemoveImage,
    Start,
    Verify,
)
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry

from tests.watchdog.scenes import BEGIN, KEY, A, B, C, build_config, build_failing_behaviour, build_host, run_passes


def list_actions(host: SimulatedHost, kind: type[Any]) -> list[tuple[float, Any]]:
    """Return the executed actions of a kind with the virtual seconds since the beginning."""
    return [(at - BEGIN, action) for at, action in host.executed_actions if isinstance(action, kind)]


def list_digests(host: SimulatedHost) -> list[str]:
    """Return the digests of the living containers."""
    return sorted({container.digest for container in host.engine.list_alive()})


def test_missing_slots_are_filled() -> None:
    """An empty host pulls the newest digest once and starts every slot with it."""
    host = build_host()
    host.run_pass(BEGIN)
    assert [type(action).__name__ for _, action in host.executed_actions] == ["Pull", "Start", "Start"]
    assert list_digests(host) == [A]
    assert {reason.code for reason in host.reasons.values()} == {"running"}


def test_running_slot_is_never_stopped_for_an_update() -> None:
    """A push changes nothing that runs: the new image is fetched, and only the next lives take it."""
    host = build_host(SimulatedRegistry([(0, A), (BEGIN + 600, B)]))
    run_passes(host, BEGIN, 6 * 3600)
    assert list_digests(host) == [A]
    assert B in host.engine.digests
    assert not list_actions(host, Drain)
    first = host.engine.list_alive()[0]
    host.engine.end_container(first.id, BEGIN + 6 * 3600, 0)
    host.run_pass(BEGIN + 6 * 3600)
    assert list_digests(host) == [A, B]


def test_engine_down_is_unknown() -> None:
    """An engine that does not answer gives no action at all, and the reason engine-unknown."""
    host = build_host()
    host.run_pass(BEGIN)
    host.engine.is_up = False
    done = len(host.executed_actions)
    host.run_pass(BEGIN + 600)
    assert len(host.executed_actions) == done
    assert {reason.code for reason in host.reasons.values()} == {"engine-unknown"}


def test_unhealthy_container_is_shown_and_runs_on() -> None:
    """A container that fails the engine's health check has a code of its own with the check's output, and is kept."""
    host = build_host(configuration=build_config(count=1))
    host.run_pass(BEGIN)
    (life,) = host.engine.list_alive()
    host.engine._containers[life.id] = replace(life, health="unhealthy", health_output="no answer on port 80")
    host.run_pass(BEGIN + 60)
    assert host.reasons["wn-01"].code == "unhealthy"
    assert "no answer on port 80" in host.reasons["wn-01"].sentence
    assert [container.id for container in host.engine.list_alive()] == [life.id]


def test_killed_slot_is_refilled_at_once() -> None:
    """A first SIGKILL from outside costs no wait; a second soon after does."""
    host = build_host(configuration=build_config(count=1))
    host.run_pass(BEGIN)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 5, 137)
    host.run_pass(BEGIN + 5)
    assert len(host.engine.list_alive()) == 1
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 10, 137)
    host.run_pass(BEGIN + 10)
    assert host.reasons["wn-01"].code == "backoff"


def test_bad_push_is_quarantined_and_the_good_one_takes_over() -> None:
    """After three failed lives the slot has the last good digest at once; the bad one is not pulled again."""
    host = build_host(
        SimulatedRegistry([(0, A), (BEGIN + 600, B)], behaviours=build_failing_behaviour(B)), build_config(count=1)
    )
    run_passes(host, BEGIN, 1200)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 1200, 0)
    run_passes(host, BEGIN + 1200, 600)
    assert B in host.memory.get_image(KEY).quarantine
    assert list_digests(host) == [A]
    pulls = len(list_actions(host, Pull))
    run_passes(host, BEGIN + 1800, 7200)
    assert len(list_actions(host, Pull)) == pulls
    assert host.memory.get_image(KEY).quarantine[B].confirmed


def test_next_good_push_recovers_by_itself() -> None:
    """A push after a quarantined one is taken by the next life, without anybody's hand."""
    host = build_host(
        SimulatedRegistry([(0, A), (BEGIN + 600, B), (BEGIN + 7200, C)], behaviours=build_failing_behaviour(B)),
        build_config(count=1),
    )
    run_passes(host, BEGIN, 1200)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 1200, 0)
    run_passes(host, BEGIN + 1200, 9000)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 10200, 0)
    run_passes(host, BEGIN + 10200, 600)
    assert list_digests(host) == [C]
    assert host.memory.get_image(KEY).last_good == C


def test_broken_host_acquits_the_new_digest() -> None:
    """If the good digest fails as well, the host is to blame: nothing stays quarantined, and the host backs off."""
    broken = (BEGIN + 1100, BEGIN + 5 * 3600)
    registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)])
    host = build_host(registry, build_config(count=1), is_broken=lambda now: broken[0] <= now < broken[1])
    run_passes(host, BEGIN, 1200)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 1200, 0)
    run_passes(host, BEGIN + 1200, 2 * 3600)
    starts = len(list_actions(host, Start))
    assert starts < 25, "a crash loop"
    run_passes(host, BEGIN + 3 * 3600, 6 * 3600)
    assert not host.memory.get_image(KEY).quarantine
    assert list_digests(host) == [B]


def test_bad_first_image_backs_off() -> None:
    """With nothing to fall back on a failing image is tried again, later and later: no crash loop, no quarantine."""
    host = build_host(SimulatedRegistry([(0, B)], behaviours=build_failing_behaviour(B)))
    run_passes(host, BEGIN, 24 * 3600)
    assert not host.memory.get_image(KEY).quarantine
    assert len(list_actions(host, Start)) < 80


def test_registry_down_starts_the_last_good() -> None:
    """While the registry is away a slot is refilled with what is there, and the reason says how stale."""
    registry = SimulatedRegistry([(0, A)], outages=[(BEGIN + 60, BEGIN + 7200)])
    host = build_host(registry, build_config(count=1))
    run_passes(host, BEGIN, 3600)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 3600, 0)
    seen = host.observe(BEGIN + 3600)
    decision = decide(host.config, seen, host.memory, BEGIN + 3600)
    assert "the registry last answered" in decision.reasons["wn-01"].sentence
    host.run_pass(BEGIN + 3600)
    assert list_digests(host) == [A]


def test_pull_fails_last_good_starts() -> None:
    """A newest digest that cannot be pulled does not keep a slot empty."""
    host = build_host(SimulatedRegistry([(0, A), (BEGIN + 3600, B)]), build_config(count=1))
    run_passes(host, BEGIN, 3590)
    pull = Pull(KEY, B)
    host.memory = memory_updates.apply_registry_answers(host.memory, {KEY: TagDigest(B)}, BEGIN + 3600)
    host.memory = memory_updates.apply_outcome(host.config, host.memory, Outcome(pull, "unexpected EOF"), BEGIN + 3600)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 3605, 0)
    host.run_pass(BEGIN + 3605)
    assert list_digests(host) == [A]
    assert not list_actions(host, Pull)[1:], "tried again at once"


def test_signature_and_preflight_come_first() -> None:
    """A digest is verified, then pre-flighted, before its first life."""
    group = {"verify": {"exec": ["cosign"]}, "preflight": {"exec": ["true"]}}
    host = build_host(configuration=build_config(count=1, group=group))
    host.run_pass(BEGIN)
    assert [type(action) for _, action in host.executed_actions] == [Pull, Verify, Preflight, Start]


@pytest.mark.parametrize("order", ["pin", "rollback"])
def test_operator_chooses(order: str) -> None:
    """A pinned digest, or the one before after a rollback, is what the next life takes."""
    host = build_host(SimulatedRegistry([(0, A), (BEGIN + 600, B)]), build_config(count=1))
    run_passes(host, BEGIN, 3600)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 3600, 0)
    run_passes(host, BEGIN + 3600, 3600)
    assert list_digests(host) == [B]
    now = BEGIN + 7200
    give = {
        "pin": lambda: operator_orders.set_pin(host.memory, KEY, A[:12], now),
        "rollback": lambda: operator_orders.roll_back(host.memory, KEY, now),
    }
    host.memory, _ = give[order]()
    host.engine.end_container(host.engine.list_alive()[0].id, now, 0)
    run_passes(host, now, 3600)
    assert list_digests(host) == [A]
    undo = {
        "pin": lambda: operator_orders.remove_pin(host.memory, KEY),
        "rollback": lambda: operator_orders.release_quarantine(host.memory, KEY, B[:12], now),
    }
    host.memory, _ = undo[order]()
    host.engine.end_container(host.engine.list_alive()[0].id, now + 3600, 0)
    run_passes(host, now + 3600, 60)
    assert list_digests(host) == [B]


def test_paused_host_starts_nothing() -> None:
    """After `pause` an empty slot stays empty, and asks no registry; after `resume` it is filled."""
    host = build_host()
    host.memory, _ = operator_orders.pause(host.memory)
    host.run_pass(BEGIN)
    assert not host.executed_actions and not host.registry.request_counts
    host.memory, _ = operator_orders.resume(host.memory)
    host.run_pass(BEGIN + 1)
    assert len(host.engine.list_alive()) == 2


def test_unfit_host_starts_nothing() -> None:
    """A host whose own pre-flight fails starts nothing and pulls nothing, and removes its dead containers."""
    host = build_host(configuration=build_config(count=1))
    host.run_pass(BEGIN)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 600, 0)
    host.unfit_reasons = ("0.1 GB are free",)

    host.run_pass(BEGIN + 600)
    assert host.reasons["wn-01"].code == "host-unfit"
    assert [type(action) for at, action in host.executed_actions if at > BEGIN] == [RemoveContainer]


def test_garbage_keeps_what_may_be_needed() -> None:
    """Newest, last good, second last good and running images are kept; an older image goes."""
    digests_in_turn = [f"sha256:{number:064x}" for number in range(4)]
    registry = SimulatedRegistry([(BEGIN + number * 7200, digest) for number, digest in enumerate(digests_in_turn)])
    host = build_host(registry, build_config(count=1))
    for number in range(4):
        at = BEGIN + number * 7200
        for container in host.engine.list_alive():
            host.engine.end_container(container.id, at, 0)
        run_passes(host, at, 7200)
    assert host.engine.digests == set(digests_in_turn[2:])
    assert [action.digest for _, action in list_actions(host, RemoveImage)] == digests_in_turn[:2]


def test_garbage_that_somebody_uses_is_left_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that the engine does not remove is tried again an hour later, not at every pass."""
    digests_in_turn = [f"sha256:{number:064x}" for number in range(4)]
    registry = SimulatedRegistry([(BEGIN + number * 7200, digest) for number, digest in enumerate(digests_in_turn)])
    host = build_host(registry, build_config(count=1))
    refused: list[float] = []
    execute = host._execute

    def refuse_image_removal(action: Action, now: float) -> Outcome:
        if isinstance(action, RemoveImage):
            refused.append(now)
            return Outcome(action, "image is being used by a container")
        return execute(action, now)

    monkeypatch.setattr(host, "_execute", refuse_image_removal)
    for number in range(4):
        at = BEGIN + number * 7200
        for life in host.engine.list_alive():
            host.engine.end_container(life.id, at, 0)
        run_passes(host, at, 7200)
    first = [at for at in refused if at < BEGIN + 3 * 7200]
    assert 1 <= len(first) <= 2
    assert all(later - earlier >= 3600 for earlier, later in itertools.pairwise(first))


def test_clock_jumps() -> None:
    """A clock that jumps a year ahead and back again neither holds a slot back nor counts the year as lost."""
    host = build_host(SimulatedRegistry([(0, B)], behaviours=build_failing_behaviour(B)), build_config(count=1))
    run_passes(host, BEGIN, 600)
    year = 365 * 86400
    host.run_pass(BEGIN + year)
    host.run_pass(BEGIN + 700)
    host.registry.behaviours = {}
    run_passes(host, BEGIN + 701, 120)
    assert len(host.engine.list_alive()) == 1
    assert sum(host.memory.lost.values()) < 2000


def test_host_asks_the_registry_rarely() -> None:
    """A host whose slots all run asks once per check_every, however often it passes."""
    host = build_host()
    for second in range(0, 3600, 10):
        host.run_pass(BEGIN + second)
    assert sum(host.registry.request_counts.values()) == 12
    nothing = Observation({"docker": EngineDown("x")})
    assert list_images_to_check(host.config, nothing, Memory(), BEGIN) == []


def test_urgency_drains_a_canary_first() -> None:
    """An urgent push drains one old slot; the others only when the new digest has proved good."""
    registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)], behaviours={B: DigestBehaviour(urgency="now")})
    host = build_host(registry, build_config(count=4))
    run_passes(host, BEGIN, 1200)
    assert len(list_actions(host, Drain)) == 1
    run_passes(host, BEGIN + 1200, 3 * 3600)
    assert len(list_actions(host, Drain)) == 4
    assert list_digests(host) == [B]


def test_urgency_by_a_date_is_spread() -> None:
    """Until a date the turns of the slots are spread over the time left, and all are over in time."""
    date = datetime.datetime.fromtimestamp(BEGIN + 10 * 3600, datetime.UTC).isoformat()
    registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)], behaviours={B: DigestBehaviour(urgency=date)})
    host = build_host(registry, build_config(count=8, rollout={"rings": [{"share": "100%", "after": "100d"}]}))
    run_passes(host, BEGIN, 11 * 3600, every=300)
    turns = [at for at, _ in list_actions(host, Drain)]
    assert len(turns) == 8 and turns[-1] <= 10 * 3600
    assert turns[-1] - turns[0] > 2 * 3600
    assert list_digests(host) == [B]


@pytest.mark.parametrize("source", ["label", "key"])
def test_urgency_lifts_the_rings(source: str) -> None:
    """An urgent digest does not wait for its ring, whether its label or the fleet's key says so."""
    behaviours = {B: DigestBehaviour(urgency="now")} if source == "label" else {}
    registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)], behaviours=behaviours)
    host = build_host(registry, build_config(rollout={"rings": [{"share": "100%", "after": "100d"}]}))
    run_passes(host, BEGIN, 3600)
    if source == "key":
        assert list_digests(host) == [A]
        host.memory = fleet_evidence.apply_fleet_state(host.memory, FleetState(urgency="now"), BEGIN + 3600)
    run_passes(host, BEGIN + 3600, 7200)
    assert list_digests(host) == [B]


def test_bad_urgent_push_costs_one_slot() -> None:
    """An urgent push that fails never reaches the second slot."""
    registry = SimulatedRegistry(
        [(0, A), (BEGIN + 600, B)], behaviours={B: DigestBehaviour(urgency="now", fails_after=1)}
    )
    host = build_host(registry, build_config(count=4))
    run_passes(host, BEGIN, 12 * 3600)
    assert len(list_actions(host, Drain)) == 1
    assert list_digests(host) == [A]


def test_surplus_slot_runs_on() -> None:
    """A slot that the configuration no longer has is left alone, and not refilled when it ends."""
    host = build_host(configuration=build_config(count=2))
    host.run_pass(BEGIN)
    host.config = build_config(count=1)
    host.run_pass(BEGIN + 60)
    assert host.reasons["wn-02"].code == "surplus"
    second = next(container for container in host.engine.list_alive() if container.slot == "wn-02")
    host.engine.end_container(second.id, BEGIN + 120, 0)
    host.run_pass(BEGIN + 120)
    assert len(host.engine.list_alive()) == 1
