"""A canary's digest becomes the group's, and rings wait for evidence."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from autopilot_watchdog.cli.status import list_channel_reasons
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.config.value_readers import LifeNeeds, Ring
from autopilot_watchdog.core import good_lives, operator_orders, promotion
from autopilot_watchdog.core.canary_changes import list_promotion_changes
from autopilot_watchdog.core.canary_state import find_promotion
from autopilot_watchdog.core.memory import DigestRecord, FleetLives, GroupMemory, ImageMemory, Memory
from autopilot_watchdog.core.observation import FleetPromotion, FleetState
from autopilot_watchdog.core.ring_evidence import NEVER, compute_ring_turn, find_ring
from autopilot_watchdog.core.slot_actions import ShareLives
from autopilot_watchdog.core.slot_channel import SlotChannel, find_channel
from autopilot_watchdog.simulation.simulated_fleet import SimulatedFleet
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import (
    BEGIN,
    IMAGE,
    KEY,
    A,
    B,
    C,
    build_config,
    build_failing_behaviour,
    build_host,
    run_passes,
)
from tests.watchdog.test_canary import (
    CANARY,
    CANARY_KEY,
    HOUR,
    ONE_SLOT,
    SIX_HOURS,
    build_canary_host,
    list_running,
    renew_all,
)

NO_SLOT_HERE = {"image": ":canary", "hosts": ["other"]}


def get_group(host: SimulatedHost) -> SlotGroup:
    """Return the only group of a host."""
    return host.config.slots[0]


def promote(host: SimulatedHost, now: float, digest: str = "", **options: Any) -> str:
    """Promote the canary's digest on a host; return the sentence."""
    host.memory, sentence = promotion.promote_canary(
        host.memory, get_group(host), digest, "by an admin", now=now, **options
    )
    return sentence


def run_canary(host: SimulatedHost) -> float:
    """Run a host until its canary has proved good; return the time."""
    now = renew_all(host, run_passes(host, BEGIN, HOUR) + 600, HOUR)
    assert list_running(host) == [B, A, A]
    return now


def test_promotion_holds_until_the_tag_moves() -> None:
    """After `promote` every slot takes the canary's digest at its next life; a push to the stable tag ends that."""
    host = build_canary_host(stable=[(0, A), (BEGIN + 8 * HOUR, C)], rollout={**SIX_HOURS, "rings": SIX_HOURS["rings"]})
    now = run_canary(host)
    before = host.memory
    assert promote(host, now).startswith(f"{B} of {CANARY} is promoted")
    ((sentence, event, digest),) = list_promotion_changes(before, host.memory)
    assert (str(event), digest) == ("canary-promoted", B) and sentence.endswith("by an admin")
    now = renew_all(host, now)
    assert list_running(host) == [B, B, B]
    run_passes(host, now, 14 * HOUR)
    renew_all(host, BEGIN + 16 * HOUR)
    assert list_running(host) == [C, C, C]


def find_canary_channel(host: SimulatedHost) -> SlotChannel:
    """Return the channel of the canary slot, as `status` tells it."""
    group, _ = host.config.map_slots_to_groups()["wn-01"]
    return find_channel(host.memory, group, list_running(host)[0])


def test_channel_is_that_of_the_present_life() -> None:
    """A slot's channel is that of its living container; the sentence tells that the next life takes another one."""
    host = build_canary_host()
    now = run_passes(host, BEGIN, HOUR + 600)
    found = find_canary_channel(host)
    assert (found.name, found.image) == ("stable", IMAGE) and found.reason.endswith(f": its next life takes {CANARY}")
    now = renew_all(host, now, HOUR)
    found = find_canary_channel(host)
    assert (found.name, found.image) == ("canary", CANARY) and found.reason.endswith(f": it takes {CANARY}")
    promote(host, now)
    found = find_canary_channel(host)
    assert (found.name, found.image) == ("stable", IMAGE) and f"which follows {IMAGE} now" in found.reason
    host.memory, _ = operator_orders.roll_back(host.memory, KEY, now)
    found = find_canary_channel(host)
    assert found.name == "canary" and f"whose next life follows {IMAGE} now" in found.reason


def test_status_tells_a_promotion_once() -> None:
    """`status` has a line for each canary slot, and one for the others together, which a promotion moves."""
    host = build_canary_host()
    now = run_canary(host)
    groups = host.config.map_slots_to_groups()

    def list_names() -> list[str]:
        reasons = {slot: find_channel(host.memory, group).reason for slot, (group, _) in groups.items()}
        rows = [{"slot": slot, "channel_reason": reason or None} for slot, reason in reasons.items()]
        return [name for name, _ in list_channel_reasons(rows, groups)]

    assert list_names() == ["wn-01"]
    promote(host, now)
    assert list_names() == ["wn-01", "wn-NN"]


def test_promoted_digest_does_not_wait_again_under_the_stable_tag() -> None:
    """A host that ran nothing of a promoted digest takes it after the push to the stable tag, before its ring."""
    host = build_canary_host(
        canary=NO_SLOT_HERE, stable=[(0, A), (BEGIN + 3 * HOUR, B)], rollout={**SIX_HOURS, "min_age": "1h"}
    )
    now = run_passes(host, BEGIN, 2 * HOUR)
    promote(host, now, B, force=True)
    now = run_passes(host, now, 2 * HOUR)
    assert host.memory.get_image(KEY).newest == B and find_promotion(host.memory, "wn-NN") is None
    renew_all(host, now)
    assert list_running(host) == [B, B, B]


def test_promotion_needs_a_good_life() -> None:
    """A digest that has no good life here and none elsewhere is refused unless it is forced."""
    host = build_canary_host(canary=NO_SLOT_HERE)
    now = run_passes(host, BEGIN, HOUR)
    with pytest.raises(
        operator_orders.OrderError,
        match="this host does not know its digest; give the order on a host with a canary slot",
    ):
        promote(host, now)
    with pytest.raises(operator_orders.OrderError, match="no life of it has proved good"):
        promote(host, now, B)
    promote(host, now, B, force=True)
    renew_all(host, now)
    assert list_running(host) == [B, B, B]


def test_quarantined_and_equal_digests_are_not_promoted() -> None:
    """A digest that is quarantined is refused, and so is the one that the stable tag has."""
    host = build_canary_host(behaviours=build_failing_behaviour(B))
    now = renew_all(host, run_passes(host, BEGIN, HOUR) + 600, 2 * HOUR)
    with pytest.raises(operator_orders.OrderError, match="it is quarantined"):
        promote(host, now, force=True)
    with pytest.raises(operator_orders.OrderError, match="has it already"):
        promote(host, now, A, force=True)


def test_rollback_takes_a_promotion_back() -> None:
    """`rollback` of the stable image quarantines the promoted digest; the next lives take the stable one again."""
    host = build_canary_host()
    now = run_canary(host)
    promote(host, now)
    now = renew_all(host, now)
    host.memory, sentence = operator_orders.roll_back(host.memory, KEY, now)
    assert sentence.endswith(f"take {A}")
    renew_all(host, now)
    assert list_running(host) == [A, A, A]
    assert B in host.memory.get_image(CANARY_KEY).quarantine


def test_bad_promotion_ends_by_itself() -> None:
    """A promoted digest that fails in the slots is quarantined, and the slots take the stable one."""
    host = build_canary_host(canary=NO_SLOT_HERE, behaviours=build_failing_behaviour(B))
    now = run_passes(host, BEGIN, HOUR)
    promote(host, now, B, force=True)
    renew_all(host, now, 2 * HOUR)
    assert list_running(host) == [A, A, A]
    assert B in host.memory.get_image(CANARY_KEY).quarantine


def test_time_promotes_into_the_rings() -> None:
    """A host without a canary slot follows the tag: after the time of the rule the digest waits for the host's ring."""
    host = build_canary_host(canary={**NO_SLOT_HERE, "promote": "2h"}, rollout=SIX_HOURS)
    now = renew_all(host, run_passes(host, BEGIN, 4 * HOUR))
    assert host.memory.groups["wn-NN"].promotion.digest == B
    assert list_running(host) == [A, A, A]
    now = renew_all(host, run_passes(host, now, 6 * HOUR))
    assert list_running(host) == [B, B, B]


def test_own_lives_promote_without_consul() -> None:
    """With `slots`, a host without Consul promotes a digest after so many good lives of its own canary slot."""
    host = build_canary_host(canary={**ONE_SLOT, "promote": {"good": 2}}, rollout=SIX_HOURS)
    now = run_canary(host)
    assert not host.memory.groups["wn-NN"].promotion.digest
    now = renew_all(host, now)
    assert host.memory.groups["wn-NN"].promotion.source == "evidence"
    renew_all(host, now)
    assert list_running(host) == [B, B, B]


def test_lives_that_fail_are_no_evidence() -> None:
    """A life that proved good and fails soon afterwards is taken back from the number of good lives."""
    host = build_canary_host(
        canary={**ONE_SLOT, "promote": {"good": 2}}, behaviours={B: DigestBehaviour(fails_after=300.0)}
    )
    run_passes(host, renew_all(host, run_passes(host, BEGIN, HOUR) + 600, 60), 12 * HOUR)
    assert not host.memory.groups["wn-NN"].promotion.digest
    assert good_lives.count_own_lives(host.memory, B) <= 1


def test_host_follows_the_fleet_once() -> None:
    """A host follows the fleet's promotion, drops it when it is taken back, and keeps an order of its own after it."""
    host = build_canary_host(canary=NO_SLOT_HERE)
    now = run_passes(host, BEGIN, HOUR)
    fleet = FleetState(promotions={IMAGE: FleetPromotion(B, A, CANARY, "by an admin on h7")})
    followed = promotion.follow_fleet_promotions(host.config, host.memory, fleet, now)
    assert followed.groups["wn-NN"].promotion.source == "fleet"
    assert B in followed.get_image(CANARY_KEY).records
    assert promotion.follow_fleet_promotions(host.config, followed, fleet, now + 1) == followed
    dropped = promotion.follow_fleet_promotions(host.config, followed, FleetState(), now)
    assert not dropped.groups["wn-NN"].promotion.digest
    own, _ = promotion.promote_canary(followed, get_group(host), C, "here", now=now, force=True)
    assert promotion.follow_fleet_promotions(host.config, own, fleet, now).groups["wn-NN"].promotion.digest == C
    other = FleetState(promotions={IMAGE: FleetPromotion(B, A, CANARY.replace("canary", "next"), "")})
    assert promotion.follow_fleet_promotions(host.config, host.memory, other, now) == host.memory


def build_ring_config(host: str, **rest: Any) -> Any:
    """Build a configuration with Consul and rings of which the second needs four good lives of two hosts."""
    rings = [{"share": "5%", "after": "0s"}, {"share": "100%", "needs": {"good": 4, "hosts": 2}, **rest}]
    return build_config(host, count=1, rollout={"rings": rings, "spread": "10m"}, consul={})


@given(st.floats(0, 1e6), st.one_of(st.none(), st.floats(0, 1e6)), st.integers(0, 2), st.booleans())
@settings(max_examples=scale_examples(100), deadline=None)
def test_closed_ring_opens_by_evidence_or_at_its_latest(
    after: float, opened: float | None, condemning: int, limited: bool
) -> None:
    """A ring with needs opens when the evidence comes, and not before its time; without it at the latest, or never."""
    ring = Ring(1.0, after, LifeNeeds(4), at_latest=after + 100.0 if limited else None)
    config = build_config(host="h1")
    group = config.slots[0]
    memory = Memory(
        images={KEY: ImageMemory(newest=B, records={B: DigestRecord(BEGIN)})},
        groups={group.name: GroupMemory(KEY, opened={} if opened is None else {B: BEGIN + opened})},
        fleet_lives={B: FleetLives(3, 2, condemning)},
    )
    rollout = config.rollout.__class__(rings=(ring,), spread=0.0)
    turn = compute_ring_turn(memory, group, B, host="h1", rollout=rollout)
    if opened is not None:
        assert turn == BEGIN + max(after, opened)
    else:
        assert turn == (BEGIN + after + 100.0 if limited and not condemning else NEVER)


def test_host_tells_what_decides_something() -> None:
    """A host tells its good lives until the fleet has enough, corrects one that fell, and takes back an old number."""
    config = build_ring_config("h1")
    record = DigestRecord(BEGIN, good_lives=3)
    memory = Memory(images={KEY: ImageMemory(newest=B, records={B: record})})

    def plan(lives: dict[str, dict[str, int]]) -> list[ShareLives]:
        return list(good_lives.plan_life_voices(config, memory, FleetState(lives=lives)))

    assert plan({}) == [ShareLives(KEY, B, 3)]
    assert plan({B: {"h1": 3}}) == []
    assert plan({B: {"h1": 1, "h2": 3}}) == []
    assert plan({B: {"h1": 5, "h2": 3}}) == [ShareLives(KEY, B, 3)]
    assert plan({B: {"h2": 4}}) == [ShareLives(KEY, B, 3)]  # four lives, but of one host only
    assert plan({B: {"h2": 2, "h3": 2}}) == []
    assert plan({B: {"h1": 3}, A: {"h1": 9, "h2": 1}}) == [ShareLives("", A, 0)]


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 4)), min_size=1, max_size=3),
    st.lists(st.integers(0, 20), min_size=1, max_size=5),
)
@settings(max_examples=scale_examples(100), deadline=None)
def test_fleet_learns_all_that_decides(needs: list[tuple[int, int]], own: list[int]) -> None:
    """After all hosts have told their part, the fleet has evidence for a ring exactly if the hosts have it together."""
    wanted = [LifeNeeds(good, hosts) for good, hosts in needs]
    rings = [{"share": f"{10 + 90 * n / len(needs):g}%", "needs": asdict(one)} for n, one in enumerate(wanted, 1)]
    rules = {"rollout": {"rings": [{"share": "1%", "after": "0s"}, *rings]}, "consul": {}}
    told: dict[str, int] = {}
    for number, count in enumerate(own):
        image = ImageMemory(newest=B, records={B: DigestRecord(BEGIN, good_lives=count)})
        fleet = FleetState(lives={B: told})
        config = build_config(f"h{number}", count=1, **rules)
        for word in good_lives.plan_life_voices(config, Memory(images={KEY: image}), fleet):
            told[config.host] = word.lives
    found, whole = (FleetLives(sum(lives), sum(one > 0 for one in lives)) for lives in (list(told.values()), own))
    assert all(good_lives.is_enough(found, one) == good_lives.is_enough(whole, one) for one in wanted)


def test_evidence_falls_after_the_canary_became_stable() -> None:
    """When the stable tag has the canary's digest, its lives that fail are taken back though the canary had them."""
    host = build_canary_host(stable=[(0, A), (BEGIN + 3 * HOUR, B)])
    now = renew_all(host, run_passes(host, run_canary(host), 3 * HOUR), HOUR)
    assert list_running(host) == [B, B, B]
    count, image = good_lives.count_own_lives(host.memory, B), host.memory.get_image(KEY)
    assert count == image.records[B].good_lives >= 1
    for fallen in range(count):
        host.memory = host.memory.replace_image(KEY, good_lives.change_good_lives(image, B, fallen - count, now))
        assert good_lives.count_own_lives(host.memory, B) == fallen


def run_fleet(behaviours: dict[str, DigestBehaviour], hours: float, **rest: Any) -> tuple[SimulatedFleet, list[str]]:
    """Push B to a fleet of 200 hosts, and run it for some hours; return the hosts of the first ring, too."""
    lives = {A: DigestBehaviour(4 * HOUR, 2 * HOUR), B: DigestBehaviour(4 * HOUR, 2 * HOUR)}
    registry = SimulatedRegistry([(0, A), (BEGIN + HOUR, B)], behaviours={**lives, **behaviours})
    hosts = [build_host(registry, build_ring_config(f"h{n}", **rest), staggered=True) for n in range(200)]
    fleet = SimulatedFleet(hosts, BEGIN)
    fleet.run_until(BEGIN + (1 + hours) * HOUR)
    rings = hosts[0].config.rollout.rings
    return fleet, [host.config.host for host in hosts if find_ring(host.config.host, B, rings)[0] is rings[0]]


@pytest.mark.slow
def test_evidence_opens_the_rings_of_a_good_push() -> None:
    """A good push reaches the first ring, then, by the evidence of its lives, the whole fleet."""
    fleet, first = run_fleet({}, 24)
    assert 4 <= len(first) <= 16
    assert fleet.compute_share(B) == 1.0
    assert sum(fleet.hosts[0].registry.lives[B].values()) < 4 + len(first)  # no more is told than decides something


@pytest.mark.slow
def test_bad_push_stays_in_the_first_ring() -> None:
    """A push that fails reaches no host beyond the first ring, also when a time limit would open the next one."""
    fleet, first = run_fleet({B: DigestBehaviour(fails_after=5.0)}, 24, at_latest="6h")
    touched = {host.config.host for host in fleet.hosts if B in host.engine.digests or B in _list_quarantined(host)}
    started = {host.config.host for host in fleet.hosts if host.memory.get_image(KEY).records[B].failures}
    assert started and started <= set(first)
    assert fleet.compute_share(B) == 0.0
    assert len(touched & set(first)) >= 2


def _list_quarantined(host: SimulatedHost) -> list[str]:
    return list(host.memory.get_image(KEY).quarantine)


@pytest.mark.slow
@pytest.mark.parametrize("consul", [None, {}], ids=["without Consul", "with Consul"])
def test_bad_canary_stays_in_its_share(consul: object) -> None:
    """A bad push to the canary's tag fails in the canary slots only, with and without Consul; no stable slot has it."""
    registry = SimulatedRegistry(
        [(0, A)],
        behaviours={A: DigestBehaviour(4 * HOUR, 2 * HOUR), B: DigestBehaviour(fails_after=5.0)},
        tag_pushes={CANARY: [(0, A), (BEGIN + HOUR, B)]},
    )
    rules: dict[str, Any] = {} if consul is None else {"consul": consul}
    canary = {"image": ":canary", "share": "1%", "promote": "manual"}
    hosts = [
        SimulatedHost(build_config(f"h{n}", 4, group={"canary": canary}, **rules), registry, staggered=True)
        for n in range(100)
    ]
    fleet = SimulatedFleet(hosts, BEGIN)
    fleet.run_until(BEGIN + 12 * HOUR)
    slots = {
        (host.config.host, slot)
        for host in hosts
        for slot, (group, _) in host.config.map_slots_to_groups().items()
        if group.image == CANARY
    }
    tried = {
        (host.config.host, slot) for host in hosts for slot, memory in host.memory.slots.items() if B in memory.failed
    }
    assert 1 <= len(slots) <= 12
    assert tried and tried <= slots
    assert fleet.compute_share(B) == 0.0
