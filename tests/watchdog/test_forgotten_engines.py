"""An engine that is gone for ever is forgotten on order; nothing else waits for it."""

from __future__ import annotations

import pytest
from autopilot_watchdog.core.engine_memory import EngineOrderError, forget_engine
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.changing_host import ChangingHost
from tests.watchdog.scenes import BEGIN, A, build_config, run_passes
from tests.watchdog.test_changed_configuration import build_filled_host, list_slots


def build_moved_host() -> tuple[ChangingHost, float]:
    """Build a host that has moved from Docker to Podman, with one of two slots still on Docker, which is gone."""
    host = build_filled_host(build_config(count=2))
    host.config = build_config(count=3, group={"engine": "podman"})
    now = run_passes(host, BEGIN + 3600, 60)
    host.end_containers("wn-01", now)
    now = run_passes(host, now, 60)
    host.get_engine("docker").is_up = False
    return host, run_passes(host, now, 60)


def test_gone_engine_is_forgotten() -> None:
    """Only the slots of its containers wait, with the remedy; when it is forgotten, they are filled at once."""
    host, now = build_moved_host()
    codes = {name: reason.code for name, reason in host.reasons.items()}
    assert codes == {"wn-01": "running", "wn-02": "engine-unknown", "wn-03": "running"}
    assert "autopilot-watchdog forget-engine docker" in host.reasons["wn-02"].sentence
    host.end_containers("wn-03", now)
    now = run_passes(host, now, 60)
    assert host.reasons["wn-03"].code == "running", "nothing else is held up"
    host.memory, sentence = forget_engine(host.config, host.memory, "docker")
    assert "the next pass may fill wn-02" in sentence
    run_passes(host, now, 60)
    assert {reason.code for reason in host.reasons.values()} == {"running"}
    assert list(host.memory.engines) == ["podman"]
    assert not [key for key in host.memory.images if key.startswith("docker ")]


def test_engine_in_use_is_not_forgotten() -> None:
    """An engine of the configuration, or an unknown one, is refused with the remedy."""
    host, _ = build_moved_host()
    with pytest.raises(EngineOrderError, match="the configuration uses the engine podman"):
        forget_engine(host.config, host.memory, "podman")
    with pytest.raises(EngineOrderError, match="there is no former engine nerdctl; there are docker"):
        forget_engine(host.config, host.memory, "nerdctl")


def test_former_socket_is_forgotten() -> None:
    """An engine's former socket is forgotten by NAME@SOCKET; the name's present socket stays."""
    host = build_filled_host(build_config(count=1))
    config = build_config(count=1, engines={"docker": "/run/second.sock"})
    memory, sentence = forget_engine(config, host.memory, "docker@/var/run/docker.sock")
    assert "wn-01" in sentence
    assert {name: entry.address for name, entry in memory.engines.items()} == {"docker": "/run/second.sock"}


def test_only_engine_of_the_memory_is_forgotten() -> None:
    """The former engine is forgotten also before the first pass with the new one."""
    host = build_filled_host(build_config(count=1))
    config = build_config(count=1, group={"engine": "podman"})
    memory, _ = forget_engine(config, host.memory, "docker")
    assert list(memory.engines) == ["podman"]
    with pytest.raises(EngineOrderError, match="there are none"):
        forget_engine(config, memory, "docker")


@given(steps=st.lists(st.sampled_from(["pass", "end", "forget", "down", "up", "docker", "podman"]), max_size=12))
@settings(max_examples=scale_examples(60), deadline=None)
def test_no_slot_is_doubled_unless_forgotten(steps: list[str]) -> None:
    """In any order of events no slot is filled twice, as long as no engine with containers is forgotten."""
    host, now = ChangingHost(build_config(count=2), SimulatedRegistry([(0, A)])), BEGIN
    for step in steps:
        match step:
            case "end":
                host.end_containers("wn-01", now)
            case "down" | "up":
                host.get_engine("docker").is_up = step == "up"
            case "docker" | "podman":
                host.config = build_config(count=2, group={"engine": step})
            case "forget" if not host.get_engine("docker").list_alive() and isinstance(host.memory, Memory):
                try:
                    host.memory, _ = forget_engine(host.config, host.memory, "docker")
                except EngineOrderError:
                    assert "docker" in host.config.list_engines() or "docker" not in host.memory.engines
        now = run_passes(host, now, 300)
        slots = list_slots(host)
        assert len(slots) == len(set(slots))
    host.get_engine("docker").is_up = True
    run_passes(host, now, 1800)
    assert list_slots(host) == ["wn-01", "wn-02"]
