"""The engine port: a new engine is three files, and the rest of the watchdog knows the port only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from autopilot_watchdog.config import config_model
from autopilot_watchdog.config.config_reader import ConfigError
from autopilot_watchdog.core import operator_orders
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.engine import engine_registry
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.engine_registry import ENGINE_FACTORIES, create_engine, find_engine_kind
from autopilot_watchdog.engine.podman_engine import PodmanEngine
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.reconcile import Watchdog
from autopilot_watchdog.simulation.simulated_engine import SimulatedEngine
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry

from tests.watchdog.scenes import A, build_config

PACKAGE = Path(config_model.__file__).parents[1]
PORT_FILES = {"engine/engine_registry.py", "config/config_model.py"}  # beside an engine's own file


def list_words(path: Path) -> Iterator[str]:
    """Yield the names and the one-word strings of a file; sentences of docstrings and messages are no code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield f"{node.module}"
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


def test_podman_is_three_files() -> None:
    """No production file knows Podman but its own, the table of factories and the table of default sockets."""
    paths = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any("podman" in word.lower() for word in list_words(path))
    }
    assert paths == PORT_FILES | {"engine/podman_engine.py"}


def test_every_kind_has_a_default_socket() -> None:
    """The two tables name the same engines."""
    assert ENGINE_FACTORIES.keys() == config_model.DEFAULT_ENGINE_SOCKETS.keys()


def test_nothing_reaches_through_the_port() -> None:
    """Outside of engine/, only the port and the registry are imported, and no engine's client is touched."""
    allowed = {"autopilot_watchdog.engine.engine", "autopilot_watchdog.engine.engine_registry"}
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "engine":
            continue
        words = set(list_words(path))
        assert {word for word in words if word.startswith("autopilot_watchdog.engine")} <= allowed, path
        assert "_client" not in words, path


def test_third_engine_fills_a_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real passes pull to, start on, observe and clear an engine that only the two tables know."""
    with pytest.raises(ConfigError, match="must be one of docker, podman"):
        build_config(group={"engine": "virtual"})
    engines: list[SimulatedEngine] = []

    def create_virtual(name: str, socket: str, owner: str) -> SimulatedEngine:
        engines.append(SimulatedEngine(name, SimulatedRegistry([(0, A)])))
        return engines[-1]

    monkeypatch.setitem(engine_registry.ENGINE_FACTORIES, "virtual", create_virtual)
    monkeypatch.setitem(config_model.DEFAULT_ENGINE_SOCKETS, "virtual", "/run/virtual.sock")
    group = {"engine": "virtual", "image": "127.0.0.1:1/site/worker:stable"}
    config = build_config(count=1, group=group, state=str(tmp_path), fitness={"free_disk": 0})
    watchdog = Watchdog(config, Audit())
    memory, _ = operator_orders.set_pin(Memory(), config.slots[0].image_key, A, 0.0)
    watchdog.store.save(memory)
    report = watchdog.run_pass()
    assert report.reasons["wn-01"].code == "running", report
    (engine,) = engines
    (first,) = engine.list_alive()
    engine.end_container(first.id, engine.now, 137)
    watchdog.run_pass()
    assert [container.digest for container in engine.list_containers()] == [A]
    assert engine.list_alive()[0].id != first.id


@pytest.mark.parametrize(
    ("name", "address", "kind", "path"),
    [
        ("docker", "/var/run/docker.sock", "docker", "/var/run/docker.sock"),
        ("docker", "unix:///run/x.sock", "docker", "/run/x.sock"),
        ("podman", "/run/x.sock", "podman", "/run/x.sock"),
        ("docker", "/run/podman/podman.sock", "podman", "/run/podman/podman.sock"),
        ("second", "/run/user/1000/podman/podman.sock", "podman", "/run/user/1000/podman/podman.sock"),
        ("second", "/run/x.sock", "docker", "/run/x.sock"),
        ("second", "podman:/run/x.sock", "podman", "/run/x.sock"),
        ("second", "podman:///run/x.sock", "podman", "/run/x.sock"),
    ],
)
def test_kind_of_an_engine(name: str, address: str, kind: str, path: str) -> None:
    """The kind is told by the address, else by the engine's or the socket's name, else it is Docker."""
    assert find_engine_kind(name, address) == (kind, path)


def test_link_to_podman(tmp_path: Path) -> None:
    """A docker.sock that is a link to Podman's socket is Podman."""
    (tmp_path / "podman.sock").touch()
    link = tmp_path / "docker.sock"
    link.symlink_to(tmp_path / "podman.sock")
    assert isinstance(create_engine("docker", str(link), "x"), PodmanEngine)
    assert type(create_engine("docker", str(tmp_path / "other.sock"), "x")) is DockerEngine
