"""The fleet's good digests: a fresh host has one while the newest is quarantined, and nobody else is disturbed."""

from __future__ import annotations

from dataclasses import replace

from autopilot_watchdog.core import operator_orders
from autopilot_watchdog.core.decide import decide
from autopilot_watchdog.core.fleet_good import MAX_FLEET_GOOD, GoodDigests, list_good_to_share
from autopilot_watchdog.core.memory import DigestRecord, ImageMemory, KnownGood, Memory, Quarantine
from autopilot_watchdog.core.observation import EngineView, FleetState, FleetVoices, Observation, TagDigest
from autopilot_watchdog.core.rollout import list_digest_choices
from autopilot_watchdog.core.slot_actions import Pull

from tests.watchdog.scenes import BEGIN, IMAGE, KEY, A, B, C, build_config

CONFIG = build_config(count=1, consul={})


def build_memory(newest: str, good: tuple[str, ...] = (), fleet_good: tuple[str, ...] = ()) -> Memory:
    """Build a memory of one image."""
    records = {digest: DigestRecord(BEGIN) for digest in (A, B, C)}
    known = tuple(KnownGood(digest, BEGIN - place) for place, digest in enumerate(good))
    return Memory(images={KEY: ImageMemory(newest=newest, records=records, known_good=known, fleet_good=fleet_good)})


def test_fresh_host_takes_the_fleets_good_digest() -> None:
    """A host that knows nothing pulls the fleet's good digest while the newest is quarantined for the fleet."""
    fleet = FleetState({B: "it fails everywhere"}, good={IMAGE: (B, A)})
    observation = Observation({"docker": EngineView()}, {KEY: TagDigest(B)}, boot="1", fleet=fleet)
    decision = decide(CONFIG, observation, Memory(), BEGIN)
    assert decision.actions == (Pull(KEY, A),)
    assert decision.reasons["wn-01"].code == "preparing"
    assert "good on other hosts of the fleet" in decision.reasons["wn-01"].sentence


def test_fresh_host_takes_no_condemned_digest() -> None:
    """A good digest that the fleet has condemned since is not taken by a host that has never seen it."""
    ordered = FleetState({B: "ordered", C: "ordered"}, good={IMAGE: (B, A)})
    agreed = FleetState({C: "ordered"}, voices={B: FleetVoices({"h2": "x", "h3": "x"})}, good={IMAGE: (B, A)})
    for fleet in (ordered, agreed):
        observation = Observation({"docker": EngineView()}, {KEY: TagDigest(C)}, boot="1", fleet=fleet)
        assert decide(CONFIG, observation, Memory(), BEGIN).actions == (Pull(KEY, A),)


def test_own_good_digest_comes_first() -> None:
    """A host with a good digest of its own takes no other host's word."""
    choices = list_digest_choices(build_memory(B, (C,), (A,)), KEY, CONFIG, BEGIN + 1)
    assert [choice.digest for choice in choices] == [B, C]


def test_fleets_digests_without_a_quarantine_only() -> None:
    """Of the fleet's good digests a quarantined one is not taken, and the newest is not listed twice."""
    memory = build_memory(B, (), (C, B, A))
    image = replace(memory.get_image(KEY), quarantine={C: Quarantine(BEGIN, "it failed")})
    choices = list_digest_choices(memory.replace_image(KEY, image), KEY, CONFIG, BEGIN)
    assert [choice.digest for choice in choices] == [B, A]


def test_one_write_per_digest_and_fleet() -> None:
    """A good digest that the fleet does not know is added in front, within the bound; one that it knows is not."""
    memory = build_memory(B, (A,))
    assert list(list_good_to_share(CONFIG, memory, None)) == []
    assert list(list_good_to_share(CONFIG, memory, FleetState(good={IMAGE: (C, A)}))) == []
    assert list(list_good_to_share(CONFIG, memory, FleetState({A: "bad"}))) == []
    many = tuple(f"sha256:{number:064}" for number in range(MAX_FLEET_GOOD))
    (good,) = list_good_to_share(CONFIG, memory, FleetState(good={IMAGE: many}))
    assert good == GoodDigests(IMAGE, (A, *many[:-1]))


def test_order_of_the_fleet_is_lifted_by_the_fleet() -> None:
    """A rollback for the fleet is a quarantine of the fleet's: it ends here when any host releases it."""
    memory, _ = operator_orders.roll_back(build_memory(B, (B, A)), KEY, BEGIN, "by alice", "fleet")
    assert memory.get_image(KEY).quarantine[B].source == "fleet"
    kept = Observation({"docker": EngineView()}, boot="1", fleet=FleetState({B: "by alice"}))
    memory = decide(CONFIG, kept, memory, BEGIN + 1).memory
    assert memory.get_image(KEY).quarantine[B].reason == "by alice"
    lifted = Observation({"docker": EngineView()}, boot="1", fleet=FleetState())
    assert not decide(CONFIG, lifted, memory, BEGIN + 2).memory.get_image(KEY).quarantine
