"""A promotion begins, holds and ends: by rules, pushes, orders, the fleet, and changes of the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from autopilot_watchdog.core import fleet_evidence, memory_updates, operator_orders
from autopilot_watchdog.core.canary_changes import list_promotion_changes
from autopilot_watchdog.core.canary_state import find_promotion
from autopilot_watchdog.core.group_history import follow_groups
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import FleetPromotion, FleetState, TagDigest
from autopilot_watchdog.core.promotion import follow_fleet_promotions, list_promotion_waits
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour

from tests.watchdog.scenes import AT_ONCE, BEGIN, IMAGE, KEY, A, B, C, build_config, run_passes
from tests.watchdog.test_canary import (
    CANARY,
    CANARY_KEY,
    HOUR,
    ONE_SLOT,
    build_canary_host,
    list_running,
    renew_all,
)
from tests.watchdog.test_canary_promotion import NO_SLOT_HERE, get_group, promote, run_canary

GROUP = "wn-NN"


@pytest.mark.parametrize("urgency", ["", "now"])
@pytest.mark.parametrize("rule", ["4h", {"good": 2}])
def test_rule_puts_no_canary_over_a_later_push(rule: Any, urgency: str) -> None:
    """A canary whose time or evidence comes after a push to the stable tag is not promoted over that push."""
    host = build_canary_host(
        canary={**ONE_SLOT, "promote": rule},
        stable=[(0, A), (BEGIN + 3 * HOUR, C)],
        behaviours={C: DigestBehaviour(urgency=urgency)},
    )
    now = run_passes(host, run_canary(host), 2 * HOUR)
    for _ in range(3):
        now = renew_all(host, now, 2 * HOUR)
    assert list_running(host) == [C if urgency else B, C, C]
    assert not host.memory.groups[GROUP].promotion.digest
    waits = list(list_promotion_waits(host.config, host.memory, get_group(host), now))
    assert any("a push to the canary's tag after that of" in wait for wait in waits)


def test_promotion_that_is_over_stays_over() -> None:
    """A promotion does not come back when its tag gets the former digest again; a new order of the fleet counts."""
    host = build_canary_host(stable=[(0, A), (BEGIN + 4 * HOUR, C), (BEGIN + 6 * HOUR, A)])
    fleet = FleetState(promotions={IMAGE: FleetPromotion(B, A, CANARY, "by an admin", "2026-01-01T00:00Z")})
    now = run_canary(host)
    host.memory = follow_fleet_promotions(host.config, host.memory, fleet, now)
    now = renew_all(host, now)
    assert list_running(host) == [B, B, B]
    run_passes(host, now, 7 * HOUR)
    now = renew_all(host, BEGIN + 9 * HOUR)
    assert list_running(host) == [A, A, A]
    assert follow_fleet_promotions(host.config, host.memory, fleet, now) == host.memory
    again = FleetState(promotions={IMAGE: FleetPromotion(B, A, CANARY, "by an admin", "2026-01-02T00:00Z")})
    followed = follow_fleet_promotions(host.config, host.memory, again, now)
    assert find_promotion(followed, GROUP) is not None


def test_second_rollback_of_a_promotion_is_refused() -> None:
    """A repeated `rollback` leaves the stable digest alone; with `--fleet` it extends the first one, once."""
    host = build_canary_host(stable=[(0, C), (BEGIN + 600, A)])
    now = run_passes(host, BEGIN, 600)
    now = renew_all(host, now, HOUR)
    now = renew_all(host, now, HOUR)
    assert list_running(host) == [B, A, A]
    promote(host, now)
    host.memory, _ = operator_orders.roll_back(host.memory, KEY, now)
    with pytest.raises(operator_orders.OrderError, match=f"{B} is quarantined already .* the last good digest is {A}"):
        operator_orders.roll_back(host.memory, KEY, now)
    extended, sentence = operator_orders.roll_back(host.memory, KEY, now, "bad", "fleet")
    assert extended.get_image(CANARY_KEY).quarantine[B].source == "fleet" and "whole fleet's now" in sentence
    assert not extended.get_image(KEY).quarantine
    with pytest.raises(operator_orders.OrderError, match=f"{B} is quarantined already"):
        operator_orders.roll_back(extended, KEY, now, "bad", "fleet")


@pytest.mark.parametrize("by_fleet", [True, False])
def test_fleet_quarantine_ends_a_promotion_that_was_not_pulled(by_fleet: bool) -> None:
    """A promoted digest that this host never had, and the canary's tag has no more, is quarantined with the fleet."""
    host = build_canary_host(canary=NO_SLOT_HERE)
    now = run_passes(host, BEGIN, HOUR)
    fleet = FleetState(promotions={IMAGE: FleetPromotion(B, A, CANARY, "by an admin on h7")})
    if by_fleet:
        host.memory = follow_fleet_promotions(host.config, host.memory, fleet, now)
    else:
        promote(host, now, B, force=True)
    memory = memory_updates.apply_registry_answers(host.memory, {CANARY_KEY: TagDigest(C)}, now)
    assert find_promotion(memory, GROUP) is not None
    memory = fleet_evidence.apply_fleet_state(memory, FleetState(quarantine={B: "bad"}), now)
    assert find_promotion(memory, GROUP) is None


def list_events(before: Memory, after: Memory) -> list[tuple[str, str]]:
    """Return the events of a promotion, each with the end of its sentence."""
    return [(str(event), sentence.rpartition(": ")[2]) for sentence, event, _ in list_promotion_changes(before, after)]


def test_promotions_are_told_with_the_cause_of_their_ends() -> None:
    """A pin ends no promotion; a quarantine and a push do, and a release brings it back; the audit log tells each."""
    host = build_canary_host(stable=[(0, A), (BEGIN + 4 * HOUR, C)])
    now = run_canary(host)
    promote(host, now)
    promoted = host.memory
    pinned, _ = operator_orders.set_pin(promoted, KEY, A, now)
    unpinned, _ = operator_orders.remove_pin(pinned, KEY)
    assert find_promotion(pinned, GROUP) is None
    assert list_events(promoted, pinned) == list_events(pinned, unpinned) == []
    bad, _ = operator_orders.roll_back(promoted, KEY, now)
    assert list_events(promoted, bad) == [("canary-ended", "the digest is quarantined")]
    released, _ = operator_orders.release_quarantine(bad, CANARY_KEY, B, now)
    assert list_events(bad, released) == [("canary-promoted", "by an admin")]
    run_passes(host, now, 4 * HOUR)
    ((event, cause),) = list_events(promoted, host.memory)
    assert event == "canary-ended" and cause.endswith(f"has another digest, {C}")


@pytest.mark.parametrize("by_fleet", [True, False])
@pytest.mark.parametrize("canary", [None, {**ONE_SLOT, "image": ":next"}])
def test_another_canary_in_the_configuration_ends_no_promotion(canary: dict[str, Any] | None, by_fleet: bool) -> None:
    """A promotion holds without its canary until the stable tag moves; then the digest leaves the disk."""
    host = build_canary_host(stable=[(0, A), (BEGIN + 8 * HOUR, C)])
    fleet = FleetState(promotions={IMAGE: FleetPromotion(B, A, CANARY, "by an admin on h7")})
    now = run_canary(host)
    if by_fleet:
        host.memory = follow_fleet_promotions(host.config, host.memory, fleet, now)
    else:
        promote(host, now)
    host.config = build_config(count=3, group={"canary": canary} if canary else {}, rollout=AT_ONCE)
    for _ in range(2):
        host.memory = follow_fleet_promotions(host.config, host.memory, fleet if by_fleet else FleetState(), now)
        now = renew_all(host, now)
        assert list_running(host) == [B, B, B]
    host.memory = follow_fleet_promotions(host.config, host.memory, FleetState(), now)
    assert (find_promotion(host.memory, GROUP) is None) == by_fleet
    run_passes(host, now, 8 * HOUR)
    for _ in range(2):
        now = renew_all(host, BEGIN + 12 * HOUR, HOUR)
    assert list_running(host) == [C, C, C]
    assert B not in host.engine.digests and CANARY_KEY not in host.memory.images


def test_another_engine_ends_no_promotion() -> None:
    """On another engine the group's history has the promotion, with the canary's image there."""
    host = build_canary_host()
    now = run_canary(host)
    promote(host, now)
    config = build_config(count=3, group={"canary": ONE_SLOT, "engine": "podman"}, engines={"podman": "/run/podman"})
    memory = follow_groups(config, host.memory)
    found = find_promotion(memory, GROUP)
    assert found is not None and found.canary == f"podman {CANARY}" and B in memory.get_image(found.canary).records
