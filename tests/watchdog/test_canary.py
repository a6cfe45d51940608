"""A part of a group's slots takes another tag, and its digest becomes the group's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from autopilot_watchdog.config import config_model
from autopilot_watchdog.config.canary_config import CanaryConfig
from autopilot_watchdog.config.canary_slots import is_canary_slot
from autopilot_watchdog.config.config_reader import ConfigError, parse_config
from autopilot_watchdog.core import operator_orders
from autopilot_watchdog.core.canary_state import explain_end
from autopilot_watchdog.core.memory import ImageMemory, Memory, SlotFailures
from autopilot_watchdog.core.slot_channel import build_channel_env
from autopilot_watchdog.registry.image_reference import split_host_and_path
from autopilot_watchdog.shell.registry_questions import list_failed_registries
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import AT_ONCE, BEGIN, IMAGE, KEY, A, B, C, build_config, build_failing_behaviour, run_passes

CANARY = IMAGE.replace(":stable", ":canary")
CANARY_KEY = f"docker {CANARY}"
HOUR = 3600.0
ONE_SLOT = {"image": ":canary", "slots": 1}
SIX_HOURS = {"rings": [{"share": "100%", "after": "6h"}], "spread": "0s"}
HOSTS = [f"wn{number:05}" for number in range(2500)]
SLOTS = [(host, f"{host}-{number:02}", number) for host in HOSTS for number in range(1, 5)]


def build_canary_host(
    *,
    canary: dict[str, Any] | None = None,
    stable: list[tuple[float, str]] | None = None,
    pushes: list[tuple[float, str]] | None = None,
    behaviours: dict[str, DigestBehaviour] | None = None,
    rollout: object = AT_ONCE,
    **rest: Any,
) -> SimulatedHost:
    """Build a host with three slots, the first of them a canary slot; the stable tag has A, the canary's B."""
    registry = SimulatedRegistry(
        stable or [(0, A)], behaviours=behaviours or {}, tag_pushes={CANARY: pushes or [(BEGIN + HOUR, B)]}
    )
    config = build_config(count=3, group={"canary": canary or ONE_SLOT}, rollout=rollout, **rest)
    return SimulatedHost(config, registry)


def list_running(host: SimulatedHost) -> list[str]:
    """Return the digests of the slots, in the order of their names."""
    alive = {container.slot: container.digest for container in host.engine.list_alive()}
    return [alive.get(f"wn-{number:02}", "") for number in (1, 2, 3)]


def renew_all(host: SimulatedHost, now: float, seconds: float = 600.0) -> float:
    """End every life, as the end of its lifetime does, and run passes for some time."""
    for container in host.engine.list_alive():
        host.engine.end_container(container.id, now)
    return run_passes(host, now, seconds)


@given(st.floats(0.001, 1.0))
@settings(max_examples=scale_examples(20), deadline=None)
def test_share_is_near_the_stated_one(share: float) -> None:
    """Of 10,000 slots the stated share are canary slots, within four standard deviations."""
    canary = CanaryConfig(image=":canary", share=share)
    chosen = sum(is_canary_slot(canary, *slot) for slot in SLOTS)
    deviation = (share * (1 - share) / len(SLOTS)) ** 0.5
    assert abs(chosen / len(SLOTS) - share) <= 4 * deviation + 1 / len(SLOTS)


@given(st.floats(0.001, 1.0), st.floats(0.001, 1.0), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=scale_examples(20), deadline=None)
def test_more_canaries_move_no_slot_out(share: float, other: float, slots: int, others: int) -> None:
    """A slot that is a canary slot stays one when the share or the number is raised."""
    small, large = sorted((share, other))
    few, many = sorted((slots, others))
    for slot in SLOTS[:2000]:
        if is_canary_slot(CanaryConfig(image=":canary", share=small), *slot):
            assert is_canary_slot(CanaryConfig(image=":canary", share=large), *slot)
        if is_canary_slot(CanaryConfig(image=":canary", slots=few), *slot):
            assert is_canary_slot(CanaryConfig(image=":canary", slots=many), *slot)


def test_a_host_knows_its_canary_slots_alone() -> None:
    """The choice depends on the names of host and slot and on nothing else: not on other hosts, not on the number."""
    canary = CanaryConfig(image=":canary", share=0.3)
    for host, slot, number in SLOTS[:1000]:
        assert is_canary_slot(canary, host, slot, number) == is_canary_slot(canary, host, slot, number + 7)
    named = CanaryConfig(image=":canary", hosts=("wn0000*", "gpu1"))
    assert [host for host in ("wn00001", "wn01000", "gpu1", "gpu10") if is_canary_slot(named, host, "x", 1)] == [
        "wn00001",
        "gpu1",
    ]


@pytest.mark.parametrize(
    ("canary", "rest", "sentence"),
    [
        ({"image": ":canary"}, {}, 'canary: must have one of "share", "slots" and "hosts", found none of them'),
        ({"share": "5%", "slots": 1, "image": ":c"}, {}, "found share and slots"),
        ({"image": ":canary", "slots": 3}, {}, "canary.slots: must be less than the group's 3 slots, found 3; leave"),
        ({"image": ":stable", "slots": 1}, {}, f"canary.image: is the group's own image {IMAGE}; give another tag"),
        ({"image": ":a b", "slots": 1}, {}, 'canary.image: must be a tag such as ":canary", found ":a b"'),
        ({"image": ":canary", "share": "0%"}, {}, 'canary.share: must be a share such as "5%"'),
        ({"image": ":canary", "slots": 1, "promote": "soon"}, {}, 'canary.promote: must be "manual", a duration such'),
        (
            {"image": ":canary", "share": "5%", "promote": {"good": 20}},
            {},
            'canary.promote: cannot wait for good lives without "consul"',
        ),
        (
            ONE_SLOT,
            {"rollout": {"rings": [{"share": "1%", "after": "0s"}, {"share": "100%", "needs": {"good": 3}}]}},
            'rollout.rings: cannot have `needs` without "consul"',
        ),
        (
            ONE_SLOT,
            {"rollout": {"rings": [{"share": "100%", "needs": {"good": 3}}]}},
            "rollout.rings: must be rings such as",
        ),
    ],
)
def test_wrong_canaries_are_refused(canary: dict[str, Any], rest: dict[str, Any], sentence: str) -> None:
    """A canary that cannot work is refused with its place and the remedy."""
    document = {"host": "h1", "slots": [{"name": "wn-NN", "image": IMAGE, "count": 3, "canary": canary}], **rest}
    with pytest.raises(ConfigError) as raised:
        parse_config(json.dumps(document))
    assert sentence in str(raised.value)


def test_rollout_belongs_to_the_group() -> None:
    """A group's keys of `rollout` replace those of the file, the others stay."""
    config = build_config(group={"rollout": {"spread": "7s", "windows": ["22:00-06:00"]}}, rollout=SIX_HOURS)
    rollout = config.find_rollout(config.slots[0])
    assert (rollout.spread, len(rollout.windows), rollout.rings) == (7.0, 1, config.rollout.rings)


def test_canary_slot_takes_the_canary() -> None:
    """The canary slot takes the canary's digest at its next life, without a ring; the others keep the stable one."""
    host = build_canary_host(rollout=SIX_HOURS)
    now = run_passes(host, BEGIN, HOUR)
    assert list_running(host) == [A, A, A]
    now = renew_all(host, now + 600)
    assert list_running(host) == [B, A, A]


def test_bad_canary_falls_back_to_the_stable_image() -> None:
    """A canary's digest that fails is quarantined, and the slot takes the stable image, not an older canary."""
    host = build_canary_host(pushes=[(0, C), (BEGIN + HOUR, B)], behaviours=build_failing_behaviour(B))
    now = run_passes(host, BEGIN, HOUR)
    assert list_running(host) == [C, A, A]
    renew_all(host, now + 600, 2 * HOUR)
    assert list_running(host) == [A, A, A]
    assert list(host.memory.get_image(CANARY_KEY).quarantine) == [B]
    assert not host.memory.get_image(KEY).quarantine


def test_bad_canary_stays_bad_as_stable() -> None:
    """A digest that failed as the canary and becomes the stable tag's is quarantined at once and never started."""
    host = build_canary_host(stable=[(0, A), (BEGIN + 4 * HOUR, B)], behaviours=build_failing_behaviour(B))
    now = renew_all(host, run_passes(host, BEGIN, HOUR) + 600, 3 * HOUR)
    starts = host.engine.started_count
    now = renew_all(host, run_passes(host, now, HOUR), HOUR)
    assert list_running(host) == [A, A, A]
    assert host.engine.started_count == starts + 3
    assert B in host.memory.get_image(KEY).quarantine


def test_slots_are_mapped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes with a canary do not choose the canary slots anew: the choice depends on the configuration alone."""
    chosen: list[str] = []

    def choose(canary: CanaryConfig, host: str, slot: str, number: int) -> bool:
        chosen.append(slot)
        return is_canary_slot(canary, host, slot, number)

    monkeypatch.setattr(config_model, "is_canary_slot", choose)
    host = build_canary_host()
    run_passes(host, BEGIN, 600)
    assert sorted(chosen) == ["wn-01", "wn-02", "wn-03"]


@pytest.mark.parametrize("other", ["wn-NN", "gpu-NN", ""])
def test_group_of_an_image(other: str) -> None:
    """An image is that of the named group, else of the first one; a group's own image comes before a canary's."""
    groups = [
        {"name": "wn-NN", "image": IMAGE, "count": 2, "canary": ONE_SLOT},
        {"name": "gpu-NN", "image": IMAGE, "count": 1, "canary": {"image": ":canary", "hosts": ["other"]}},
        {"name": "next-NN", "image": CANARY, "count": 1},
    ]
    config = parse_config(json.dumps({"host": "h1", "slots": groups}))
    assert config.find_group(KEY, other).name == (other or "wn-NN")
    assert config.find_group(CANARY_KEY, other).name == (other or "next-NN")
    assert config.find_group(CANARY_KEY, "gone").name == "next-NN"
    assert [group.name for group in config.list_canaries()] == ["wn-NN", "gpu-NN"]


def test_good_canary_does_not_wait_as_stable() -> None:
    """The stable tag gets a digest that proved good as the canary: no ring holds it back."""
    host = build_canary_host(stable=[(0, A), (BEGIN + 2 * HOUR, B)], rollout=SIX_HOURS)
    now = renew_all(host, run_passes(host, BEGIN, HOUR) + 600, HOUR)
    assert list_running(host) == [B, A, A]
    renew_all(host, run_passes(host, now, HOUR))
    assert list_running(host) == [B, B, B]


def test_canary_that_equals_stable_is_none() -> None:
    """While both tags have one digest, and after the stable one went on, canary slots take what all slots take."""
    host = build_canary_host(
        stable=[(0, A), (BEGIN + 2 * HOUR, C)], pushes=[(0, A)], rollout={**SIX_HOURS, "min_age": "0s"}
    )
    canary_group = host.config.list_channels()[1]
    now = run_passes(host, BEGIN, HOUR)
    assert "is no canary" in explain_end(host.memory, canary_group)  # type: ignore[arg-type]
    now = renew_all(host, run_passes(host, now, 2 * HOUR))
    assert list_running(host) == [A, A, A]  # C waits for its ring in the canary slot, too
    now = renew_all(host, run_passes(host, now, 6 * HOUR))
    assert list_running(host) == [C, C, C]


def test_urgent_stable_digest_suspends_an_older_canary() -> None:
    """A security fix under the stable tag takes the canary slots, too; an older canary does not come back before."""
    host = build_canary_host(
        stable=[(0, A), (BEGIN + 3 * HOUR, C)], behaviours={C: DigestBehaviour(urgency="now")}, rollout=SIX_HOURS
    )
    now = renew_all(host, run_passes(host, BEGIN, HOUR) + 600)
    assert list_running(host) == [B, A, A]
    run_passes(host, now, 6 * HOUR)
    assert list_running(host) == [C, C, C]


def test_blame_needs_a_stable_life() -> None:
    """If the stable image fails in the canary slot, too, the slot is broken: the canary's digest is not quarantined."""
    registry = SimulatedRegistry([(0, A)], tag_pushes={CANARY: [(0, B)]})
    config = build_config(count=3, group={"canary": ONE_SLOT})
    host = SimulatedHost(config, registry, find_fault=lambda slot, digest, started: 5.0 if slot == "wn-01" else None)
    run_passes(host, BEGIN, 12 * HOUR)
    failed = host.memory.get_slot("wn-01").failed
    assert {digest for digest, failures in failed.items() if failures.count} == {A, B}
    assert not any(image.quarantine for image in host.memory.images.values())


def test_good_canary_does_not_take_the_only_way_back() -> None:
    """A canary that lives well where the stable image fails does not condemn its only good digest."""

    def find_fault(slot: str, digest: str, started: float) -> float | None:
        return 5.0 if slot == "wn-01" and digest == A and started >= BEGIN + 2 * HOUR else None

    registry = SimulatedRegistry([(0, A)], tag_pushes={CANARY: [(0, A), (BEGIN + 5 * HOUR, B)]})
    host = SimulatedHost(build_config(count=3, group={"canary": ONE_SLOT}), registry, find_fault=find_fault)
    now = renew_all(host, run_passes(host, BEGIN, 2.5 * HOUR), 4 * HOUR)
    assert host.memory.get_slot("wn-01").failed.get(A, SlotFailures()).failed_at
    run_passes(host, now, 6 * HOUR)
    assert list_running(host) == [B, A, A]
    assert not host.memory.get_image(KEY).quarantine


def test_quarantined_canary_is_released_by_an_order() -> None:
    """`release` of the canary's digest lets its slot take it again."""
    host = build_canary_host(behaviours=build_failing_behaviour(B))
    now = renew_all(host, run_passes(host, BEGIN, HOUR) + 600, 2 * HOUR)
    assert list_running(host) == [A, A, A]
    host.registry.behaviours = {}
    host.memory, _ = operator_orders.release_quarantine(host.memory, CANARY_KEY, B, now)
    renew_all(host, now)
    assert list_running(host) == [B, A, A]


def test_canary_taken_out_of_the_configuration() -> None:
    """Without the key `canary` the next lives take the stable image, and the canary's digest leaves the disk."""
    host = build_canary_host()
    now = renew_all(host, run_passes(host, BEGIN, HOUR) + 600)
    host.config = build_config(count=3)
    now = renew_all(host, now)
    assert list_running(host) == [A, A, A]
    run_passes(host, now, HOUR)
    assert host.engine.digests == {A}


@given(st.text(), st.sampled_from(["", KEY, CANARY_KEY]), st.booleans(), st.booleans())
@settings(max_examples=scale_examples(200), deadline=None)
def test_container_is_told_its_channel(reason: str, key: str, has_canary: bool, in_canary_slot: bool) -> None:
    """A container gets channel and reason, in a length that Consul takes and without characters that mean something."""
    config = build_config(count=3, group={"canary": ONE_SLOT} if has_canary else {})
    group, _ = config.map_slots_to_groups()["wn-01" if in_canary_slot else "wn-02"]
    env = build_channel_env(group, key, reason)
    told = env["AUTOPILOT_IMAGE_REASON"]
    assert len(told.encode()) <= 512 and not set("{}\n\0") & set(told)
    if has_canary:
        runs_canary = in_canary_slot and key != KEY
        assert env["AUTOPILOT_CHANNEL"] == ("canary" if runs_canary else "stable")
    else:
        assert "AUTOPILOT_CHANNEL" not in env


@given(st.dictionaries(st.sampled_from([KEY, CANARY_KEY, "docker other:5000/site/wn:stable"]), st.booleans()))
@settings(max_examples=scale_examples(30), deadline=None)
def test_missing_tag_is_no_failure_of_its_registry(troubles: dict[str, bool]) -> None:
    """A pass waits for a registry that answered for one image, though it refused another one."""
    images = {key: ImageMemory(trouble="refused" if troubled else "") for key, troubled in troubles.items()}
    failed = list_failed_registries(build_config(count=3, group={"canary": ONE_SLOT}), Memory(images=images))
    both = troubles.get(KEY, False) and troubles.get(CANARY_KEY, False)
    assert failed == ({split_host_and_path(IMAGE)[0]} if both else set())
