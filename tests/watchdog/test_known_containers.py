"""Answers of an engine about running containers that are remembered while its events are heard."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.known_containers import MAX_AGE_S, KnownContainers
from autopilot_watchdog.engine.podman_engine import PodmanEngine

from tests.watchdog.hostile_servers import CannedServer, serve_answers

VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12"}
KINDS = [DockerEngine, PodmanEngine]


def build_answer(answer: object) -> tuple[int, dict[str, str], bytes]:
    """Build the answer of an engine."""
    return 200, {}, json.dumps(answer).encode()


def set_containers(server: CannedServer, states: dict[str, str], health: str = "") -> None:
    """Let the engine have these containers, by id."""
    remark = f" ({health})" if health else ""
    items = [{"Id": id, "State": state, "Status": f"Up 2 hours{remark}"} for id, state in states.items()]
    server.answers["/containers/json"] = build_answer(items)
    for id, state in states.items():
        found: dict[str, Any] = {"Status": state, **({"Health": {"Status": health}} if health else {})}
        document = {"Id": id, "Config": {"Labels": {"autopilot.slot": id}}, "State": found}
        server.answers[f"/{id}/json"] = build_answer(document)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CannedServer]:
    """Serve an engine with two running containers."""
    with serve_answers({"/version": build_answer(VERSION)}, unix_path=str(tmp_path / "engine.sock")) as found:
        set_containers(found, {"c1": "running", "c2": "running"})
        yield found


def set_events(server: CannedServer, *events: tuple[str, str]) -> None:
    """Let the engine's stream have these events, each with the container's id, and then the end of another one."""
    lines = [
        {"Type": "container", "Action": action, "Actor": {"ID": id, "Attributes": {"autopilot.slot": id}}}
        for action, id in (*events, ("die", "c9"))
    ]
    server.answers["/events"] = 200, {}, "\n".join(map(json.dumps, lines)).encode()


def list_questions(server: CannedServer, engine: DockerEngine) -> list[str]:
    """List the containers, and return the ids of those that the engine was asked about."""
    server.requests.clear()
    assert {container.id for container in engine.list_containers()} >= {"c1"}
    paths = [path.split("/") for _, path, _ in server.requests]
    return [words[-2] for words in paths if words[-1] == "json" and words[-2] != "containers"]


@pytest.mark.parametrize("kind", KINDS)
def test_unchanged_containers_are_not_asked_about(
    tmp_path: Path, server: CannedServer, kind: type[DockerEngine]
) -> None:
    """A container is asked about once while the stream of events is open, and each time without the stream."""
    set_events(server)
    engine = kind("engine", str(tmp_path / "engine.sock"), "owner")
    assert list_questions(server, engine) == list_questions(server, engine) == ["c1", "c2"]
    stream = engine.watch_container_ends()
    assert next(stream) == ""
    assert list_questions(server, engine) == ["c1", "c2"] and list_questions(server, engine) == []
    assert [container.slot for container in engine.list_containers()] == ["c1", "c2"]
    set_containers(server, {"c1": "running", "c3": "running", "c2": "exited"})
    assert list_questions(server, engine) == ["c3", "c2"] and list_questions(server, engine) == ["c2"]
    assert list(stream) == ["c9"]
    assert list_questions(server, engine) == list_questions(server, engine) == ["c1", "c3", "c2"]


CHANGES = [*sorted(DockerEngine.END_ACTIONS | DockerEngine.CHANGE_ACTIONS), "health_status: unhealthy", "unheard of"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", [*CHANGES, "exec_create: /check", "exec_die"])
def test_changed_containers_are_asked_about(
    tmp_path: Path, server: CannedServer, kind: type[DockerEngine], action: str
) -> None:
    """Each event makes the watchdog ask about its container again, and about no other; commands in it do not."""
    set_events(server, (action, "c1"))
    engine = kind("engine", str(tmp_path / "engine.sock"), "owner")
    stream = engine.watch_container_ends()
    next(stream)
    list_questions(server, engine)
    list(zip(range(1 + (action in kind.END_ACTIONS)), stream, strict=False))  # up to the other container's end
    assert list_questions(server, engine) == ([] if action.startswith("exec_") else ["c1"])


@pytest.mark.parametrize(
    ("health", "asked"), [("", False), ("healthy", False), ("starting", True), ("unhealthy", True)]
)
def test_health(tmp_path: Path, server: CannedServer, health: str, asked: bool) -> None:
    """A container whose health check fails, or has not ended yet, is asked about at each look."""
    set_events(server)
    set_containers(server, {"c1": "running"}, health)
    engine = DockerEngine("engine", str(tmp_path / "engine.sock"), "owner")
    stream = engine.watch_container_ends()
    assert next(stream) == ""
    list_questions(server, engine)
    assert bool(list_questions(server, engine)) == asked
    server.answers["/containers/json"] = build_answer([{"Id": "c1", "State": "running", "Status": "Up (unhealthy)"}])
    assert list_questions(server, engine) == ["c1"]


@pytest.mark.parametrize("state", ["created", "paused", "restarting", "removing", "exited", "dead", "unknown", ""])
def test_only_running_containers_are_known(state: str) -> None:
    """Nothing is remembered about a container in another state, nor used if the list tells another state."""
    known = KnownContainers()
    running, other = (Container("c1", "n", "docker", "s", "d", "i", each) for each in ("running", state))
    with known.listen():
        known.remember(other, known.count_changes())
        assert known.find({"Id": "c1", "State": "running", "Status": "Up"}) is None
        known.remember(running, known.count_changes())
        assert known.find({"Id": "c1", "State": "running", "Status": "Up"}) is running
        assert known.find({"Id": "c1", "State": state, "Status": "Up"}) is None


def test_answer_during_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is not remembered if something changed while it was on its way, and is used for a limited time."""
    known, item = KnownContainers(), {"Id": "c1", "State": "running", "Status": "Up"}
    container = Container("c1", "n", "docker", "s", "d", "i", "running")
    with known.listen():
        changes = known.count_changes()
        known.forget("c1")
        known.remember(container, changes)
        assert known.find(item) is None
        known.remember(container, known.count_changes())
        assert known.find(item) is container
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + MAX_AGE_S + 1)
        assert known.find(item) is None
    known.remember(container, known.count_changes())
    assert known.find(item) is None
