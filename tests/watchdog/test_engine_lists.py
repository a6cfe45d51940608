"""Lists that an engine fails to give: asked for a second time, and then nothing is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import EngineDown
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.engine import EngineRefusedError
from autopilot_watchdog.shell import observe

from tests.watchdog.hostile_servers import CannedServer, serve_answers
from tests.watchdog.scenes import build_config

LIST_PATH = "/containers/json"
CONTAINER = {"Id": "c1", "State": {"Status": "running"}, "Config": {"Labels": {"autopilot.slot": "wn-01"}}}
ANSWERS: dict[str, object] = {
    "/version": {"ApiVersion": "1.41", "MinAPIVersion": "1.12"},
    LIST_PATH: [{"Id": "c1", "Labels": {}}],
    "/c1/json": CONTAINER,
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CannedServer]:
    """Serve an engine with one container."""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {
        end: (200, {}, json.dumps(answer).encode()) for end, answer in ANSWERS.items()
    }
    with serve_answers(answers, unix_path=str(tmp_path / "docker.sock")) as found:
        yield found


def count_list_requests(server: CannedServer) -> int:
    """Return how often the list of containers was asked for."""
    return sum(LIST_PATH in path for _, path, _ in server.requests)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_list_that_fails_once(tmp_path: Path, server: CannedServer, status: int) -> None:
    """A list that the engine fails to give is asked for once more, and counts."""
    server.first_answers[LIST_PATH] = [(status, {}, b'{"message": "no such device"}')]
    found = DockerEngine("docker", str(tmp_path / "docker.sock"), "owner").list_containers()
    assert [container.slot for container in found] == ["wn-01"]
    assert count_list_requests(server) == 2


def test_list_that_fails_again(tmp_path: Path, server: CannedServer) -> None:
    """A second failure is told, and the engine's slots are unknown, not empty."""
    failure: tuple[int, dict[str, str], bytes] = (500, {}, b'{"message": "no such device"}')
    server.first_answers[LIST_PATH] = [failure] * 2
    engine = DockerEngine("docker", str(tmp_path / "docker.sock"), "owner")
    with pytest.raises(EngineRefusedError, match="no such device"):
        engine.list_containers()
    assert count_list_requests(server) == 2
    server.first_answers[LIST_PATH] = [failure] * 2
    view = observe.observe_engine(build_config(state=str(tmp_path)), engine, Memory())
    assert isinstance(view, EngineDown) and "no such device" in view.sentence


def test_list_that_is_refused(tmp_path: Path, server: CannedServer) -> None:
    """A refusal is no failure of the engine, so it is asked once."""
    server.first_answers[LIST_PATH] = [(400, {}, b'{"message": "bad filter"}')]
    with pytest.raises(EngineRefusedError, match="bad filter"):
        DockerEngine("docker", str(tmp_path / "docker.sock"), "owner").list_containers()
    assert count_list_requests(server) == 1
