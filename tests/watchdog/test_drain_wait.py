"""`drain --wait`: it returns when the containers have ended, and tells those that have not in time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from autopilot_watchdog.cli.main import main
from autopilot_watchdog.config import config_model
from autopilot_watchdog.config.config_reader import load_config
from autopilot_watchdog.engine import engine_registry
from autopilot_watchdog.simulation.simulated_engine import SimulatedEngine
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry
from click.testing import CliRunner, Result

from tests.watchdog.scenes import IMAGE, A


class ToldEngine(SimulatedEngine):
    """Engine that tells an end when the test says so."""

    def __init__(self) -> None:
        super().__init__("virtual", SimulatedRegistry([(0, A)]))
        self.ended = threading.Event()
        self.listened = threading.Event()

    def watch_container_ends(self) -> Iterator[str]:
        """Yield "", and then "" once more when something has ended."""
        yield ""
        self.listened.set()
        self.ended.wait()
        yield ""
        threading.Event().wait()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ToldEngine:
    """Let the configuration's engine be one of this test."""
    found = ToldEngine()
    monkeypatch.setitem(engine_registry.ENGINE_FACTORIES, "virtual", lambda *_: found)
    monkeypatch.setitem(config_model.DEFAULT_ENGINE_SOCKETS, "virtual", "/run/virtual.sock")
    return found


@pytest.fixture
def drain(tmp_path: Path, engine: ToldEngine) -> Callable[..., Result]:
    """Start two containers, and return a function that runs `drain` with further words."""
    path = tmp_path / "config.json"
    slots = [{"name": "wn-NN", "image": IMAGE, "count": 2, "engine": "virtual"}]
    path.write_text(json.dumps({"host": "h1", "state": str(tmp_path / "state"), "slots": slots}))
    for number in (1, 2):
        engine.start_container(load_config(path).slots[0], number, A, host="h1", state_folder=None)
    return lambda *words: CliRunner().invoke(main, ["drain", "--config", str(path), *words])


def test_it_returns_at_the_end_of_the_last_container(engine: ToldEngine, drain: Callable[..., Result]) -> None:
    """It waits until every named container has ended, and tells each end; other containers do not matter."""
    (first, _) = engine.list_alive()

    def end() -> None:
        engine.listened.wait()
        engine.end_container(first.id, 0.0, 0)
        engine.ended.set()

    threading.Thread(target=end, daemon=True).start()
    done = drain("wn-01", "--wait")
    assert done.exit_code == 0, done.output
    assert f"{first.name} has ended" in done.output and len(engine.list_alive()) == 1


def test_it_gives_up_after_its_time(engine: ToldEngine, drain: Callable[..., Result]) -> None:
    """After the time it tells which containers have not ended, with exit code 75; they drain on."""
    names = ", ".join(sorted(container.name for container in engine.list_alive()))
    done = drain("--host", "--wait", "--timeout", "100ms")
    assert done.exit_code == 75
    assert f"and still draining: {names}" in done.output


def test_silent_engine_has_ended_nothing(
    engine: ToldEngine, drain: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the engine does not answer, its containers have not ended as far as anybody knows."""
    asked = engine.execute_command

    def ask_and_die(container: str, command: tuple[str, ...], timeout: float = 30) -> tuple[int, str]:
        engine.is_up = False
        return asked(container, command, timeout)

    monkeypatch.setattr(engine, "execute_command", ask_and_die)
    done = drain("wn-01", "--wait", "--timeout", "100ms")
    assert done.exit_code == 75 and "still draining" in done.output


def test_a_limit_without_a_wait_is_refused(drain: Callable[..., Result]) -> None:
    """--timeout without --wait, and one that is no duration, are wrong uses."""
    assert "give --wait, too" in drain("wn-01", "--timeout", "1h").output
    assert "must be a duration" in drain("wn-01", "--wait", "--timeout", "soon").output
