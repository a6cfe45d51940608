"""A real supervisor inside of a batch job: it drains in time, says so everywhere, and needs no short path."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.app.harness import SupervisorProcess, eventually

pytestmark = pytest.mark.slow

# the kill of payloads may take 35 s, the stop 5 s and the margin is 5 s: the drain begins so long before the end
LIFETIME: dict[str, Any] = {"deadline": "10m", "grace": "10s", "drain": {"exec": ["true"], "until": ["true"]}}
BUDGET_S = 600 + 10 + 35 + 5 + 5


def build_spec(**within: Any) -> dict[str, Any]:
    return {
        "jobs": [{"name": "main", "exec": ["sleep", "1000"], "stop": {"timeout": "5s"}}],
        "lifetime": {**LIFETIME, "within": {"margin": "5s", **within}},
        "logging": {"format": "json"},
    }


def test_a_batch_job_that_is_shortened(tmp_path: Path) -> None:
    """Status, why, log and last words name the end; when the site shortens the job the life drains and exits with 0."""
    left = tmp_path / "left"
    left.write_text("86400")
    with SupervisorProcess(tmp_path, build_spec(exec=["cat", str(left)], poll="200ms")) as pilot:
        line = pilot.wait_for(lambda line: line.get("event") == "outer_end_changed")
        assert line["message"].startswith("bounded by the batch job around it until ") and line["origin"] == "cat"
        assert "bounded by the batch job until " in pilot.run_verb("status").stdout
        lifetime = pilot.get_status()["lifetime"]
        assert lifetime["batch_job"]["source"] == "cat"
        assert lifetime["batch_job"]["ends"] - lifetime["ends"] == pytest.approx(BUDGET_S, abs=10)
        assert lifetime["ends"] > time.time() + 3600
        assert pilot.read_last_words()["batch_job_ends"] is not None
        left.with_name("draft").write_text("600")
        left.with_name("draft").replace(left)
        assert pilot.wait() == 0
        assert pilot.find_events("drain begun: the batch job around it ends soon")
        words = pilot.read_last_words()
        assert (words["reason"], words["exit_code"]) == ("lifetime", 0)


@pytest.mark.parametrize(
    ("printed", "code", "reason"), [("nothing", 78, "config"), ("30", 75, "preflight"), ("unlimited", 78, "config")]
)
def test_a_life_that_cannot_begin(tmp_path: Path, printed: str, code: int, reason: str) -> None:
    """No job starts in a batch job whose end is unknown, or too near for a drain; the last words say why."""
    with SupervisorProcess(tmp_path, build_spec(exec=["echo", printed])) as pilot:
        assert pilot.wait() == code
        words = pilot.read_last_words()
        assert (words["reason"], words["exit_code"]) == (reason, code)
        assert "batch job" in words["detail"]
        assert pilot.find_events("started") == []


def test_a_deep_state_directory(tmp_path: Path) -> None:
    """The control socket works at a path that is longer than an address of a unix socket, and is removed at the end."""
    place = tmp_path / ("deep" * 20) / ("deeper" * 20)
    place.mkdir(parents=True)
    spec = {"jobs": [{"name": "main", "exec": ["sleep", "1000"]}]}
    with SupervisorProcess(place, spec) as pilot:
        pilot.wait_for_event("main", "started")
        socket = pilot.state / "autopilot.sock"
        assert len(str(socket)) > 107
        assert pilot.get_pids()["main"] is not None
        socket.unlink()
        eventually(socket.exists, "the socket is made again")
        assert pilot.get_pids()["main"] is not None
        assert pilot.stop() == 0
        assert not socket.exists()
