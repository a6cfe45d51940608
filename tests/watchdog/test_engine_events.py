"""The events of an engine that wake `watch`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.podman_engine import PodmanEngine

from tests.watchdog.hostile_servers import serve_answers

VERSION = json.dumps({"ApiVersion": "1.41", "MinAPIVersion": "1.12"}).encode()


@pytest.mark.parametrize(
    ("kind", "words"),
    [(DockerEngine, {"die", "destroy"}), (PodmanEngine, {"die", "died", "destroy", "remove"})],
)
def test_events_that_wake(tmp_path: Path, kind: type[DockerEngine], words: set[str]) -> None:
    """The end and the removal of a container wake `watch`; its creation, its start and commands in it do not."""
    all_words = sorted({"create", "start", "exec_create", "exec_die", "kill", "die", "died", "destroy", "remove"})
    lines = [
        json.dumps({"Type": "container", "Action": word, "Actor": {"Attributes": {"autopilot.slot": word}}})
        for word in all_words
    ]
    path = str(tmp_path / "engine.sock")
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {
        "/version": (200, {}, VERSION),
        "/events": (200, {}, "\n".join(lines).encode()),
    }
    with serve_answers(answers, unix_path=path):
        found = list(kind("engine", path, "owner").watch_container_ends())
    assert found == ["", *(word for word in all_words if word in words)]
