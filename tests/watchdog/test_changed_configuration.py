"""Slots stay single, and hold what is theirs, however the configuration changes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.config_reader import parse_config
from autopilot_watchdog.config.slot_claims import (
    SlotClaims,
    are_in_conflict,
    compute_claims,
    format_claims,
    parse_claims,
    read_host_config,
)
from autopilot_watchdog.core.slot_actions import Drain, Outcome
from autopilot_watchdog.simulation.simulated_engine import DRAIN_S
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.changing_host import ChangingHost, list_doubled_slots, list_shared_claims
from tests.watchdog.scenes import AT_ONCE, BEGIN, IMAGE, A, build_config, run_passes

SCRATCH: dict[str, Any] = {
    "volumes": ["/scratch/{number}:/scratch", "/cvmfs:/cvmfs"],
    "ports": ["9620:9618"],
    "cpus": 2.0,
}


def build_groups(*groups: dict[str, Any], **rest: Any) -> Config:
    """Build a configuration with several groups of slots."""
    slots = [{"image": IMAGE, **group} for group in groups]
    return parse_config(json.dumps({"host": "h1", "slots": slots, **{"rollout": AT_ONCE, **rest}}))


def build_filled_host(config: Config) -> ChangingHost:
    """Build a host with every slot filled, for an hour."""
    host = ChangingHost(config, SimulatedRegistry([(0, A)]))
    run_passes(host, BEGIN, 3600)
    assert {reason.code for reason in host.reasons.values()} == {"running"}
    return host


def list_slots(host: ChangingHost) -> list[str]:
    """Return the slots of the living containers."""
    return sorted(container.slot for container in host.list_alive())


def test_engine_changes() -> None:
    """A container on the former engine keeps its slot to the end of its life; the next life is on the new engine."""
    host = build_filled_host(build_config(count=2))
    host.config = build_config(count=2, group={"engine": "podman"})
    now = run_passes(host, BEGIN + 3600, 3600)
    assert [container.engine for container in host.list_alive()] == ["docker", "docker"]
    assert {reason.code for reason in host.reasons.values()} == {"running"}
    host.end_containers("wn-01", now)
    run_passes(host, now, 60)
    assert sorted((container.slot, container.engine) for container in host.list_alive()) == [
        ("wn-01", "podman"),
        ("wn-02", "docker"),
    ]
    host.end_containers("wn-02", now)
    run_passes(host, now + 60, 2 * 3600)
    assert list(host.memory.engines) == ["podman"]


def test_former_engine_is_silent() -> None:
    """A slot whose container may live on a silent former engine stays empty until that engine answers or reboots."""
    host = build_filled_host(build_config(count=2))
    host.get_engine("docker").is_up = False
    host.config = build_config(count=2, group={"engine": "podman"})
    now = run_passes(host, BEGIN + 3600, 3600)
    assert {reason.code for reason in host.reasons.values()} == {"engine-unknown"}
    assert "wn-01 had a container on docker" in host.reasons["wn-01"].sentence
    assert host.memory.last_success <= BEGIN + 3600
    host.get_engine("docker").is_up = True
    now = run_passes(host, now, 60)
    assert {reason.code for reason in host.reasons.values()} == {"running"}
    host.get_engine("docker").is_up = False
    for container in host.get_engine("docker").list_alive():
        host.get_engine("docker").end_container(container.id, now, 137)
    host.boot = "2"
    now = run_passes(host, now, 60)
    assert [container.engine for container in host.list_alive()] == ["podman", "podman"]
    assert list(host.memory.engines) == ["podman"] and host.memory.last_success == host.memory.last_pass


def test_socket_of_an_engine_changes() -> None:
    """An engine whose name gets another socket is looked at under both."""
    host = build_filled_host(build_config(count=1))
    host.config = build_config(count=1, engines={"docker": "/run/second.sock"})
    former = "docker@/var/run/docker.sock"
    host.engines[former] = host.engines.pop("docker")
    host.engines[former].name = former
    for container in host.list_alive():
        object.__setattr__(container, "engine", former)
    now = run_passes(host, BEGIN + 3600, 60)
    assert [(container.slot, container.engine) for container in host.list_alive()] == [("wn-01", former)]
    host.end_containers("wn-01", now)
    now = run_passes(host, now, 2 * 3600)
    assert [(container.slot, container.engine) for container in host.list_alive()] == [("wn-01", "docker")]
    assert list(host.memory.engines) == ["docker"]


def test_engine_with_two_names() -> None:
    """A container that is seen through two names of one engine is one container, and no surplus."""
    host = build_filled_host(build_config(count=1))
    engine = host.get_engine("docker")
    host.engines["podman"] = engine
    host.config = build_config(count=1, group={"engine": "podman"})
    run_passes(host, BEGIN + 3600, 600)
    assert host.reasons["wn-01"].code == "running" and not host.memory.drained
    assert len(engine.list_alive()) == 1


def test_two_containers_of_one_slot() -> None:
    """If a slot has containers on two engines, the one on the configured engine stays and the other is drained."""
    host = build_filled_host(build_config(count=1))
    config = build_config(count=1, group={"engine": "podman"})
    host.get_engine("podman").digests.add(A)
    host.get_engine("podman").now = BEGIN + 3600
    host.get_engine("podman").start_container(config.slots[0], 1, A, host="h1", state_folder=None)
    host.config = config
    run_passes(host, BEGIN + 3600, 60)
    surplus = {name: reason.sentence for name, reason in host.reasons.items() if reason.code == "surplus"}
    assert list(surplus) == ["wn-01-1"] and "wn-01 has another container" in surplus["wn-01-1"]
    run_passes(host, BEGIN + 3660, DRAIN_S)
    assert [container.engine for container in host.list_alive()] == ["podman"]


@pytest.mark.parametrize("mode", ["drain", "keep"])
def test_fewer_slots(mode: str) -> None:
    """The surplus slots are drained, or kept; the others are filled as before."""
    host = build_filled_host(build_config(count=4, group=SCRATCH))
    host.config = build_config(count=2, group=SCRATCH, surplus=mode)
    now = run_passes(host, BEGIN + 3600, 60)
    assert host.reasons["wn-03"].code == host.reasons["wn-04"].code == "surplus"
    host.end_containers("wn-01", now)
    now = run_passes(host, now, 60)
    assert host.reasons["wn-01"].code == "running"
    run_passes(host, now, DRAIN_S)
    assert list_slots(host) == ["wn-01", "wn-02"] + ([] if mode == "drain" else ["wn-03", "wn-04"])


def test_new_names() -> None:
    """A slot with a new name starts when the container that has its folder and port has ended."""
    host = build_filled_host(build_config(count=2, group=SCRATCH))
    host.config = build_config(count=2, group={**SCRATCH, "name": "node-NN"})
    now = run_passes(host, BEGIN + 3600, 60)
    assert list_slots(host) == ["wn-01", "wn-02"]
    assert host.reasons["node-01"].code == "resource-busy"
    assert "wn-01-1 still has the port 9620/tcp" in host.reasons["node-01"].sentence
    host.end_containers("wn-02", now)
    now = run_passes(host, now, 60)
    assert list_slots(host) == ["node-02", "wn-01"]
    run_passes(host, now, DRAIN_S)
    assert list_slots(host) == ["node-01", "node-02"]


def test_new_names_without_resources() -> None:
    """Without any declared resource, too, no more containers run than the host had slots."""
    host = build_filled_host(build_config(count=3))
    host.config = build_config(count=3, group={"name": "node-NN"})
    now = run_passes(host, BEGIN + 3600, 60)
    host.end_containers("wn-02", now)
    run_passes(host, now, 60)
    assert list_slots(host) == ["node-01", "wn-01", "wn-03"]
    assert "wn-01-1 is still in its place" in host.reasons["node-02"].sentence


def test_larger_slots() -> None:
    """A slot with more CPUs starts when surplus containers have left it enough."""
    host = build_filled_host(build_config(count=4, group={"cpus": 2.0}))
    host.config = build_config(count=2, group={"cpus": 4.0})
    now = BEGIN + 3600
    host.end_containers("wn-01", now)
    now = run_passes(host, now, 60)
    assert "the slot needs 4 CPUs, 2 are free" in host.reasons["wn-01"].sentence
    run_passes(host, now, DRAIN_S + 60)
    assert list_slots(host) == ["wn-01", "wn-02"]


def test_resource_of_another_slot() -> None:
    """A slot whose new port belongs to a running neighbour's container waits, and no image is blamed."""
    host = build_filled_host(build_config(count=2, group={"ports": ["9620:9618"]}))
    host.config = build_config(count=2, group={"ports": ["9621:9618"]})
    now = BEGIN + 3600
    host.end_containers("wn-01", now)
    now = run_passes(host, now, 600)
    assert host.reasons["wn-01"].code == "resource-busy"
    host.end_containers("wn-02", now)
    run_passes(host, now, 60)
    assert list_slots(host) == ["wn-01", "wn-02"]


def test_pause_drains_nothing() -> None:
    """A paused watchdog leaves surplus containers alone."""
    host = build_filled_host(build_config(count=2))
    host.config = build_config(count=1)
    object.__setattr__(host.memory, "paused", True)
    run_passes(host, BEGIN + 3600, 600)
    assert not [action for _, action in host.executed_actions if isinstance(action, Drain)]


def test_failed_drains_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that cannot be asked to drain is asked again at growing intervals, and forgotten at its end."""
    host = build_filled_host(build_config(count=2))
    host.config = build_config(count=1)
    asked: list[float] = []
    execute = host._execute

    def refuse_drain(action: Any, now: float) -> Outcome:
        if isinstance(action, Drain):
            asked.append(now)
            return Outcome(action, "autopilot: not found")
        return execute(action, now)

    monkeypatch.setattr(host, "_execute", refuse_drain)
    now = run_passes(host, BEGIN + 3600, 6 * 3600)
    assert 5 <= len(asked) <= 20 and host.memory.drain_retries
    host.end_containers("wn-02", now)
    run_passes(host, now, 60)
    assert not host.memory.drain_retries


def test_claims_of_slots() -> None:
    """A slot's own are the texts that differ between slots; in a group of one slot, all; read-only folders never."""
    group = {**SCRATCH, "devices": ["/dev/fuse", "/dev/nvidia{number}"], "volumes": [*SCRATCH["volumes"], "/e:/e:ro"]}
    config = build_config(count=2, group=group)
    claims = compute_claims(config.slots[0], "h1", 2)
    assert claims.own == ("port 9621/tcp", "folder /scratch/02", "device /dev/nvidia02")
    assert parse_claims(format_claims(claims)) == claims
    alone = compute_claims(build_config(count=1, group=group).slots[0], "h1", 1)
    assert {"folder /cvmfs", "device /dev/fuse"} < set(alone.own) and "folder /e" not in alone.own


@pytest.mark.parametrize(
    ("claim", "other", "conflict"),
    [
        ("folder /scratch", "folder /scratch/01", True),
        ("folder /", "folder /scratch", True),
        ("folder /scratch/1", "folder /scratch/10", False),
        ("port 1/tcp", "port 1/tcp", True),
        ("port 1/tcp", "port 1/udp", False),
        ("port 1", "port 1/tcp", False),
    ],
)
def test_conflicts(claim: str, other: str, conflict: bool) -> None:
    """Equal claims conflict, and folders inside each other."""
    assert are_in_conflict(claim, other) is are_in_conflict(other, claim) is conflict


@pytest.mark.parametrize("label", ["", "x", "[]", "3", "null", '{"own": 3, "cpus": "x", "drain": [1]}', "[" * 5000])
def test_garbage_in_the_label(label: str) -> None:
    """A label of another shape claims nothing."""
    assert parse_claims(label) in (None, SlotClaims())


def test_container_without_the_label() -> None:
    """Of an older watchdog's container the engine tells ports, folders, devices and CPUs."""
    found = read_host_config(
        {
            "Binds": ["/scratch/01:/scratch", "/cvmfs:/cvmfs:ro,rslave", 3],
            "PortBindings": {"9618/tcp": [{"HostPort": "9620"}, None], "1/udp": None},
            "Devices": [{"PathOnHost": "/dev/nvidia0"}],
            "NanoCpus": 2_000_000_000,
        }
    )
    assert found == SlotClaims(("port 9620/tcp", "folder /scratch/01", "device /dev/nvidia0"), 2.0)
    assert read_host_config({"Binds": 3, "PortBindings": [], "NanoCpus": True}) == SlotClaims()
    assert read_host_config(None) == SlotClaims()


GROUPS = st.fixed_dictionaries(
    {
        "count": st.integers(1, 3),
        "engine": st.sampled_from(["docker", "podman"]),
        "cpus": st.sampled_from([0, 2.0, 4.0]),
    },
    optional={
        "volumes": st.sampled_from([["/scratch/{number}:/s"], ["/scratch/{slot}:/s"], ["/scratch:/s"]]),
        "ports": st.sampled_from([["9620:1"], ["9621:1"], ["9620:1/udp"]]),
    },
)


class Step(NamedTuple):
    """Configuration, and the state of the engines under it."""

    name: str
    group: dict[str, Any]
    gpus: dict[str, Any]
    surplus: str
    silent: str  # engine that does not answer
    seconds: int

    def build_config(self) -> Config:
        """Build the configuration."""
        second = [{**self.gpus, "name": "gpu-NN", "ports": ["9700:1"]}] if self.gpus else []
        return build_groups({"name": f"{self.name}-NN", **self.group}, *second, surplus=self.surplus)


STEPS = st.builds(
    Step,
    st.sampled_from(["wn", "node"]),
    GROUPS,
    st.just({}) | GROUPS,
    st.sampled_from(["drain", "drain", "keep"]),
    st.sampled_from(["docker", "podman", ""]),
    st.integers(60, 3000),
)


@pytest.mark.slow
@given(steps=st.lists(STEPS, min_size=2, max_size=6))
@settings(max_examples=scale_examples(60), deadline=None, phases=[Phase.explicit, Phase.generate])
def test_any_sequence_of_configurations(steps: list[Step]) -> None:
    """No slot ever has two containers, none uses what another one has, surplus ends, and the memory stays small."""
    host, now, room = ChangingHost(steps[0].build_config(), SimulatedRegistry([(0, A)])), BEGIN, 0
    shared: set[str] = set()
    for step in steps:
        config = host.config = step.build_config()
        room = max(room, len(config.map_slots_to_groups()))
        for name in ("docker", "podman"):
            host.get_engine(name).is_up = name != step.silent
        now = run_passes(host, now, step.seconds, every=300)
        alive = host.list_alive()
        assert not list_doubled_slots(alive)
        shared |= list_shared_by_design(config)
        assert not [pair for pair in list_shared_claims(alive) if not shared.intersection(pair)]
        assert len(alive) <= room
    for name in ("docker", "podman"):
        host.get_engine(name).is_up = True
    config = host.config = build_groups({"name": "end-NN", "count": 2, "engine": "podman"}, surplus="drain")
    now = run_passes(host, now, 2 * DRAIN_S + 3 * 3600, every=300)
    assert list_slots(host) == ["end-01", "end-02"]
    assert set(host.memory.slots) == {"end-01", "end-02"}
    assert list(host.memory.engines) == ["podman"]
    assert not host.memory.drained and not host.memory.drain_retries and host.memory.room == 2


def list_shared_by_design(config: Config) -> set[str]:
    """Return the claims that the configuration gives to several slots."""
    claims = [compute_claims(group, "h1", number).own for group, number in config.map_slots_to_groups().values()]
    return {
        claim
        for own in claims
        for claim in own
        if sum(any(are_in_conflict(claim, one) for one in other) for other in claims) > 1
    }
