"""The verbs that end containers note their orders, also when an order, the state's disk or the engine fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.cli.main import main
from autopilot_watchdog.config import config_model
from autopilot_watchdog.config.config_reader import load_config
from autopilot_watchdog.core.decide import MAX_SILENT_IDS, _list_existing
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.engine import engine_registry
from autopilot_watchdog.engine.engine import EngineRefusedError, EngineUnreachableError
from autopilot_watchdog.shell.state_file import StateError, StateStore
from autopilot_watchdog.simulation.simulated_engine import SimulatedEngine
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry
from click.testing import CliRunner, Result

from tests.watchdog.scenes import BEGIN, IMAGE, A, build_config, build_host

RunVerb = Callable[..., Result]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SimulatedEngine:
    """Let the configuration's engine be one of this test."""
    found = SimulatedEngine("virtual", SimulatedRegistry([(0, A)]))
    monkeypatch.setitem(engine_registry.ENGINE_FACTORIES, "virtual", lambda *_: found)
    monkeypatch.setitem(config_model.DEFAULT_ENGINE_SOCKETS, "virtual", "/run/virtual.sock")
    return found


@pytest.fixture
def run_verb(tmp_path: Path, engine: SimulatedEngine) -> RunVerb:
    """Start two containers, and return a function that runs a verb."""
    path = tmp_path / "config.json"
    slots = [{"name": "wn-NN", "image": IMAGE, "count": 2, "engine": "virtual"}]
    path.write_text(json.dumps({"host": "h1", "state": str(tmp_path / "state"), "slots": slots}))
    for number in (1, 2):
        engine.start_container(load_config(path).slots[0], number, A, host="h1", state_folder=None)
    return lambda verb, *words: CliRunner().invoke(main, [verb, "--config", str(path), *words])


def load_memory(folder: Path) -> Memory:
    """Return the memory that the verbs have saved."""
    return StateStore(folder / "state").load()


def build_failure(error: Exception) -> Callable[..., Any]:
    """Return a function that raises the error."""

    def fail(*words: object, **options: object) -> None:
        raise error

    return fail


def find_ids(engine: SimulatedEngine) -> dict[str, str]:
    """Return the living containers' ids by slot."""
    return {container.slot: container.id for container in engine.list_alive()}


def test_drain_that_failed_is_no_order(
    engine: SimulatedEngine, run_verb: RunVerb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that could not be asked to drain has no order; the one that was asked before keeps its own."""
    ids = find_ids(engine)
    assert run_verb("drain", "wn-01").exit_code == 0
    monkeypatch.setattr(engine, "execute_command", lambda *_, **__: (1, "refused"))
    assert run_verb("drain", "wn-01", "wn-02").exit_code == 75
    memory = load_memory(tmp_path)
    assert memory.ordered_ends == memory.drained == (ids["wn-01"],)


FAILED_STOPS = [
    (EngineRefusedError(500, "no"), False),
    (EngineUnreachableError("gone"), False),
    (EngineUnreachableError("slow", timed_out=True), True),
]


@pytest.mark.parametrize(("error", "stays"), FAILED_STOPS, ids=["refused", "unreachable", "timed out"])
def test_stop_that_failed_is_no_order(
    engine: SimulatedEngine, run_verb: RunVerb, tmp_path: Path, error: Exception, stays: bool
) -> None:
    """A container that the engine does not stop has no order; one that it goes on stopping keeps its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "stop_container", build_failure(error))
        assert run_verb("stop", "wn-01").exit_code == 75
    assert load_memory(tmp_path).ordered_ends == ((find_ids(engine)["wn-01"],) if stays else ())


def test_full_disk_keeps_no_container_from_its_drain(
    engine: SimulatedEngine, run_verb: RunVerb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the state cannot be saved, `drain` asks the container all the same, and tells the failure with 73."""
    asked: list[str] = []

    def execute(container: str, *words: object, **options: object) -> tuple[int, str]:
        asked.append(container)
        return 0, ""

    monkeypatch.setattr(engine, "execute_command", execute)
    monkeypatch.setattr(StateStore, "save", build_failure(StateError("cannot write: no space left")))
    done = run_verb("drain", "wn-01")
    assert done.exit_code == 73 and "no space left" in done.output
    assert asked == [find_ids(engine)["wn-01"]]


def test_order_outlives_a_silent_engine() -> None:
    """An order is kept while the container's engine does not answer, and forgotten when the container is gone."""
    host = build_host(configuration=build_config(count=1))
    host.run_pass(BEGIN)
    (container,) = host.engine.list_alive()
    known = (container.id,)
    host.memory = replace(host.memory, ordered_ends=known, judged=known, drained=known)
    host.engine.is_up = False
    host.run_pass(BEGIN + 60)
    assert host.memory.ordered_ends == host.memory.judged == host.memory.drained == known
    host.engine.is_up = True
    host.engine.remove_container(container.id)
    host.run_pass(BEGIN + 120)
    assert container.id not in {*host.memory.ordered_ends, *host.memory.judged, *host.memory.drained}


def test_orders_during_a_long_silence_are_bounded() -> None:
    """While an engine is silent, the latest thousand ids are kept beside those of the containers that are seen."""
    ids = tuple(str(number) for number in range(MAX_SILENT_IDS + 10))
    assert _list_existing(ids, {"3"}, is_engine_silent=True) == ("3", *ids[10:])
    assert _list_existing(ids, {"3"}, is_engine_silent=False) == ("3",)
