"""The verdict on every kind of end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from autopilot_watchdog.core.exit_verdict import FAILED, GOOD, NEUTRAL, judge_exit
from autopilot_watchdog.core.observation import Container, LastWords

LIFE = Container("1", "wn-01-x", "docker", "wn-01", "sha256:a", "r/i:t", "exited", started=1000.0, ended=1010.0)
ENDED = LastWords("ended", exit_code=0)


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({"exit_code": 1}, FAILED, "exited-early"),
        ({"exit_code": 0}, FAILED, "exited-early"),
        ({"exit_code": 1, "ended": 2000.0}, GOOD, "ended"),
        ({"exit_code": 1, "ended": 2000.0, "health": "unhealthy"}, FAILED, "exited-early"),
        ({"exit_code": 137}, NEUTRAL, "killed"),
        ({"exit_code": 137, "oom_killed": True}, FAILED, "oom"),
        ({"exit_code": 255, "started": 10.0, "ended": 20.0}, NEUTRAL, "host-crashed"),
        ({"state": "created", "started": 0.0}, NEUTRAL, "never-started"),
        ({"last_words": replace(ENDED, reason="lifetime")}, NEUTRAL, "lifetime"),
        ({"last_words": replace(ENDED, reason="lifetime", good=True)}, GOOD, "lifetime"),
        ({"last_words": replace(ENDED, reason="drain", exit_code=75)}, NEUTRAL, "drain"),
        ({"last_words": replace(ENDED, reason="job-failed", exit_code=4)}, FAILED, "job-failed"),
        ({"last_words": replace(ENDED, reason="job-failed", exit_code=4, good=True)}, FAILED, "job-failed"),
        (
            {"ended": 2000.0, "last_words": replace(ENDED, reason="job-failed", exit_code=4, good=True)},
            GOOD,
            "job-failed",
        ),
        ({"last_words": replace(ENDED, reason="signal", exit_code=143, good=True)}, GOOD, "signal"),
        ({"exit_code": 137, "oom_killed": True, "stop_asked": True}, NEUTRAL, "killed"),
        ({"exit_code": 143, "oom_killed": True}, NEUTRAL, "killed"),
        ({"exit_code": 1, "oom_killed": True}, FAILED, "oom"),
        ({"exit_code": 137, "oom_killed": True, "last_words": LastWords("running", good=True)}, FAILED, "oom"),
        (
            {"exit_code": 137, "oom_killed": True, "stop_asked": True, "last_words": LastWords("running", good=True)},
            GOOD,
            "killed",
        ),
        ({"exit_code": 137, "oom_killed": True, "ended": 2000.0}, GOOD, "oom"),
        ({"last_words": replace(ENDED, reason="payloads", payloads_finished=1)}, GOOD, "payloads"),
        ({"last_words": replace(ENDED, reason="payloads")}, NEUTRAL, "payloads"),
        (
            {"last_words": replace(ENDED, reason="payloads", payloads_finished=2, payloads_failed_fast=2)},
            NEUTRAL,
            "payloads",
        ),
        (
            {"last_words": replace(ENDED, reason="payloads", payloads_finished=2, payloads_failed_fast=1)},
            GOOD,
            "payloads",
        ),
        ({"last_words": replace(ENDED, reason="payloads", exit_code=75, payloads_finished=1)}, NEUTRAL, "payloads"),
        ({"last_words": replace(ENDED, reason="preflight", exit_code=75)}, NEUTRAL, "preflight"),
        ({"last_words": replace(ENDED, reason="gate-failed", exit_code=78)}, FAILED, "gate-failed"),
        ({"last_words": replace(ENDED, reason="config", exit_code=78)}, FAILED, "config"),
        ({"last_words": LastWords("running"), "exit_code": 137}, NEUTRAL, "killed"),
        ({"last_words": LastWords("running", good=True), "exit_code": 137}, GOOD, "killed"),
        ({"last_words": LastWords("running"), "exit_code": 139}, FAILED, "supervisor-died"),
        ({"last_words": LastWords("running", good=True), "exit_code": 139}, FAILED, "supervisor-died"),
    ],
)
def test_verdict(changes: dict[str, object], verdict: str, code: str) -> None:
    """Judged from the last words, else from what the engine says; what says nothing about the image is neutral."""
    end = judge_exit(replace(LIFE, **changes), good_after=120.0, booted=100.0)  # type: ignore[arg-type]
    assert (end.verdict, end.code) == (verdict, code)


def test_lack_of_memory_is_an_own_fault() -> None:
    """A life that the kernel ended for its memory counts as a failed one, if it ends soon after it had proved good."""
    end = judge_exit(replace(LIFE, exit_code=137, oom_killed=True, ended=2000.0), good_after=120.0, booted=100.0)
    assert (end.verdict, end.own_fault) == (GOOD, True)
    killed = replace(LIFE, exit_code=137, oom_killed=True, ended=2000.0, stop_asked=True)
    assert not judge_exit(killed, good_after=120.0, booted=100.0).own_fault
