"""Claims on preparing steps: one process at a time, ended by the kernel when that process dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from autopilot_watchdog.core.slot_actions import Preflight, Preparation, Pull, Verify
from autopilot_watchdog.shell.state_file import StateError
from autopilot_watchdog.shell.work_claims import WorkClaims

from tests.watchdog.scenes import KEY, A, B

CLAIM_AND_STAY = """
import sys
from pathlib import Path
from autopilot_watchdog.core.slot_actions import Pull
from autopilot_watchdog.shell.work_claims import WorkClaims
claims = WorkClaims(Path(sys.argv[1]))
claims.claim(Pull(sys.argv[2], sys.argv[3]), 1234.5)
print("claimed", flush=True)
sys.stdin.read()
"""


def test_claims_are_seen_by_all(tmp_path: Path) -> None:
    """Every step under way is listed with its begin, by its own process too, until it is released."""
    claims, other = WorkClaims(tmp_path), WorkClaims(tmp_path)
    steps: dict[Preparation, float] = {Pull(KEY, A): 1.0, Verify(KEY, B): 2.5, Preflight("podman x", A): 3.0}
    assert other.list_claimed() == {}
    for step, since in steps.items():
        claims.claim(step, since)
    assert claims.list_claimed() == other.list_claimed() == steps
    other.remove_leftovers()
    assert other.list_claimed() == steps
    for step in steps:
        claims.release(step)
        claims.release(step)
    assert other.list_claimed() == {} and not list((tmp_path / "work").iterdir())


def test_claim_of_a_killed_process(tmp_path: Path) -> None:
    """The claim of a process that is killed is over at once, and its file is removed by the next pass."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_STAY, str(tmp_path), KEY, A],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "claimed\n"
        claims = WorkClaims(tmp_path)
        assert claims.list_claimed() == {Pull(KEY, A): 1234.5}
        process.kill()
        process.wait()
    assert claims.list_claimed() == {}
    claims.claim(Pull(KEY, B), 1.0)
    claims.remove_leftovers()
    assert len(list((tmp_path / "work").iterdir())) == 1
    claims.release(Pull(KEY, B))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"kind": "pull"}', '{"kind": "start", "since": 1}', '{"since": true}']
)
def test_claims_of_wrong_shape(tmp_path: Path, text: str) -> None:
    """A locked file that is no claim is passed over."""
    claims, other = WorkClaims(tmp_path), WorkClaims(tmp_path)
    claims.claim(Pull(KEY, A), 1.0)
    (path,) = (tmp_path / "work").iterdir()
    path.write_text(text)  # in place, so it stays locked
    assert other.list_claimed() == {}
    claims.release(Pull(KEY, A))


def test_claim_that_cannot_be_written(tmp_path: Path) -> None:
    """A claim that cannot be written is a failure of the state, so nothing is begun."""
    (tmp_path / "work").write_text("no folder")
    with pytest.raises(StateError, match="cannot write"):
        WorkClaims(tmp_path).claim(Pull(KEY, A), 1.0)
    assert WorkClaims(tmp_path).list_claimed() == {}
