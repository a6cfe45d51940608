"""The verdict on every kind of end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from autopilot_watchdog.core.lives import FAILED, GOOD, NEUTRAL, judge
from autopilot_watchdog.core.observation import Container, Words

LIFE = Container("1", "wn-01-x", "docker", "wn-01", "sha256:a", "r/i:t", "exited", started=1000.0, ended=1010.0)
ENDED = Words("ended", exit_code=0)


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({"exit_code": 1}, FAILED, "exited-early"),
        ({"exit_code": 0}, FAILED, "exited-early"),
        ({"exit_code": 1, "ended": 2000.0}, GOOD, "ended"),
        ({"exit_code": 137}, NEUTRAL, "killed"),
        ({"exit_code": 137, "oom_killed": True}, FAILED, "oom"),
        ({"exit_code": 255, "started": 10.0, "ended": 20.0}, NEUTRAL, "host-crashed"),
        ({"state": "created", "started": 0.0}, NEUTRAL, "never-started"),
        ({"words": replace(ENDED, reason="lifetime")}, NEUTRAL, "lifetime"),
        ({"words": replace(ENDED, reason="lifetime", good=True)}, GOOD, "lifetime"),
        ({"words": replace(ENDED, reason="drain", exit_code=75)}, NEUTRAL, "drain"),
        ({"words": replace(ENDED, reason="job-failed", exit_code=4)}, FAILED, "job-failed"),
        ({"words": replace(ENDED, reason="job-failed", exit_code=4, good=True)}, GOOD, "job-failed"),
        ({"words": replace(ENDED, reason="preflight", exit_code=75)}, NEUTRAL, "preflight"),
        ({"words": replace(ENDED, reason="config", exit_code=78)}, FAILED, "config"),
        ({"words": Words("running"), "exit_code": 137}, NEUTRAL, "killed"),
        ({"words": Words("running", good=True), "exit_code": 137}, GOOD, "killed"),
        ({"words": Words("running"), "exit_code": 139}, FAILED, "supervisor-died"),
    ],
)
def test_verdict(changes: dict[str, object], verdict: str, code: str) -> None:
    """Judged from the last words, else from what the engine says; what says nothing about the image is neutral."""
    end = judge(replace(LIFE, **changes), good_after=120.0, booted=100.0)  # type: ignore[arg-type]
    assert (end.verdict, end.code) == (verdict, code)
