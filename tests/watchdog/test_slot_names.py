"""Verbs take slots and containers: those of the configuration, surplus ones, those on former engines, and dead ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from autopilot_watchdog.cli.main import main
from autopilot_watchdog.config.config_reader import load_config
from autopilot_watchdog.core.memory import EngineMemory, Memory
from autopilot_watchdog.core.slot_actions import RemoveContainer
from autopilot_watchdog.engine import engine_registry
from autopilot_watchdog.shell.life_archive import LifeArchive, build_life
from autopilot_watchdog.shell.state_file import StateStore
from autopilot_watchdog.simulation.simulated_engine import SimulatedEngine
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry
from click.testing import CliRunner, Result

from tests.watchdog.scenes import BEGIN, IMAGE, A

FORMER = "former"  # an engine that the configuration has no more


@dataclass
class NamedHost:
    """Host with a container of each kind; `names` has them by kind."""

    config: Path
    engines: dict[str, SimulatedEngine]
    names: dict[str, str]

    def run_verb(self, *words: str) -> Result:
        """Run a verb."""
        return CliRunner().invoke(main, [words[0], "--config", str(self.config), *words[1:]])

    def read_memory(self) -> Memory:
        """Read the memory."""
        return StateStore(self.config.parent / "state").peek()

    def is_draining(self, name: str) -> bool:
        """Return True if the container was asked to drain."""
        containers = [one for engine in self.engines.values() for one in engine.list_alive()]
        return {one.name: one.id for one in containers}[name] in self.read_memory().drained


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NamedHost:
    """Build a host with two slots, one of them on a former engine, a surplus container, and a past life."""
    engines = {name: SimulatedEngine(name, SimulatedRegistry([(0, A)])) for name in ("docker", FORMER)}
    monkeypatch.setitem(engine_registry.ENGINE_FACTORIES, "docker", lambda name, socket, owner: engines[name])
    path, state = tmp_path / "wd.json", tmp_path / "state"
    slots = [{"name": "wn-NN", "image": IMAGE, "count": 3}]
    path.write_text(json.dumps({"host": "h1", "state": str(state), "slots": slots}))
    (group,) = load_config(path).slots
    path.write_text(json.dumps({"host": "h1", "state": str(state), "slots": [{**slots[0], "count": 2}]}))
    names = {}
    for kind, engine, number in (("own", "docker", 1), ("former", FORMER, 2), ("surplus", "docker", 3)):
        engines[engine].now = BEGIN
        engines[engine].started_count = 10 * number
        id = engines[engine].start_container(group, number, A, host="h1", state_folder=None)
        names[kind] = next(one.name for one in engines[engine].list_alive() if one.id == id)
    engines["docker"].started_count = 50
    dead = engines["docker"].start_container(group, 1, A, host="h1", state_folder=None)
    container = next(one for one in engines["docker"].list_alive() if one.id == dead)
    names["dead"] = container.name
    engines["docker"].remove_container(dead)
    LifeArchive(state).add(
        "wn-01",
        build_life(container, RemoveContainer(dead, "wn-01", "docker", "lifetime", "it ended", "good")),
        "its last output",
    )
    StateStore(state).save(Memory(engines={FORMER: EngineMemory("docker:/run/former.sock")}))
    return NamedHost(path, engines, names)


SLOTS = {"own": "wn-01", "former": "wn-02", "surplus": "wn-03"}


@pytest.mark.parametrize("by_slot", [True, False], ids=["slot", "container"])
@pytest.mark.parametrize("kind", SLOTS)
@pytest.mark.parametrize("verb", ["drain", "retire", "stop", "logs", "explain", "exec", "history"])
def test_verbs_find_containers(host: NamedHost, verb: str, kind: str, by_slot: bool) -> None:
    """Each verb acts on a living container by the name of its slot in `status`, and by its own name."""
    name = SLOTS[kind] if by_slot else host.names[kind]
    done = host.run_verb(verb, name, *(["--", "true"] if verb == "exec" else []))
    assert done.exit_code == 0, done.output
    assert host.is_draining(host.names[kind]) is (verb in {"drain", "retire"}) if verb != "stop" else True
    cordoned = {SLOTS[kind]} if verb in {"retire", "stop"} and kind != "surplus" else set()
    assert set(host.read_memory().cordons) == cordoned
    if verb == "explain":
        assert done.output.startswith(SLOTS[kind]) and host.names[kind] in done.output
    if verb == "stop":
        assert host.names[kind] not in [one.name for engine in host.engines.values() for one in engine.list_alive()]


@pytest.mark.parametrize("verb", ["cordon", "retry"])
def test_orders_about_slots(host: NamedHost, verb: str) -> None:
    """A container's name stands for its slot; a surplus container has none, which is said."""
    done = host.run_verb(verb, host.names["former"])
    assert done.exit_code == 0
    refused = host.run_verb(verb, host.names["surplus"])
    assert refused.exit_code == 64 and "surplus" in refused.output
    assert set(host.read_memory().cordons) == ({"wn-02"} if verb == "cordon" else set())


def test_uncordon_takes_a_container(host: NamedHost) -> None:
    """A cordon is ended by the name of the slot's container, too."""
    host.run_verb("cordon", "wn-01")
    assert host.run_verb("uncordon", host.names["own"]).exit_code == 0
    assert not host.read_memory().cordons


def test_dead_containers(host: NamedHost) -> None:
    """`logs` and `history` know a dead container by its name."""
    assert host.run_verb("logs", host.names["dead"]).output == "its last output\n"
    assert host.names["dead"] in host.run_verb("history", host.names["dead"]).output
    assert "there is no slot" in host.run_verb("drain", host.names["dead"]).output


@pytest.mark.parametrize("verb", ["drain", "stop", "retire", "logs", "explain", "history", "cordon", "retry"])
def test_unknown_names(host: NamedHost, verb: str) -> None:
    """A name that nothing has is refused with the known ones."""
    done = host.run_verb(verb, "wn-99")
    assert done.exit_code == 64 and "there is no slot wn-99" in done.output and "wn-03" in done.output


def test_silent_engine(host: NamedHost) -> None:
    """While a former engine is silent, an unknown name may be one of its containers, and nothing else is held up."""
    host.engines[FORMER].is_up = False
    done = host.run_verb("drain", host.names["former"])
    assert done.exit_code == 75 and f"cannot reach {FORMER}" in done.output
    assert host.run_verb("drain", "wn-01").exit_code == 0
    host.engines["docker"].is_up = False
    assert host.run_verb("drain", "wn-01").exit_code == 75


def test_fleet_of_verbs_that_empty_the_host(host: NamedHost) -> None:
    """`drain --host` asks the containers on former engines and surplus ones, too."""
    assert host.run_verb("drain", "--host").exit_code == 0
    assert all(host.is_draining(host.names[kind]) for kind in SLOTS)


def test_verb_that_forgets_an_engine(host: NamedHost) -> None:
    """`forget-engine` is refused while the engine answers or the configuration uses it; then its slot is filled."""
    refused = host.run_verb("forget-engine", FORMER)
    assert refused.exit_code == 64 and "answers at docker:/run/former.sock" in refused.output
    host.engines[FORMER].is_up = False
    refused = host.run_verb("forget-engine", "docker")
    assert refused.exit_code == 64 and "the configuration uses the engine docker" in refused.output
    assert host.run_verb("forget-engine", FORMER).exit_code == 0
    assert set(host.read_memory().engines) == {"docker"}
    refused = host.run_verb("forget-engine", FORMER)
    assert refused.exit_code == 64 and f"there is no former engine {FORMER}; there are none" in refused.output
