"""Test that a process which changes its mark escapes neither its job's stop nor takes part in another job's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from autopilot.process.job_cgroups import create_job_cgroup
from autopilot.process.job_processes import FIRST_MARK
from tests.app.harness import SupervisorProcess, eventually

pytestmark = [pytest.mark.slow, pytest.mark.real("root")]

# an orphan of a session of its own, which changes its mark and then writes its pid
DAEMON = "prlimit --pid $$ --locks={mark}: && echo $$ > {place}.new && mv {place}.new {place} && exec sleep 600"
JOB = "(setsid sh -c '{daemon}' >/dev/null 2>&1 &); exec sleep 600"


def build_job(name, mark, folder):
    script = JOB.format(daemon=DAEMON.format(mark=mark, place=f"{folder}/{name}"))
    return {"name": name, "user": "54321", "exec": ["sh", "-c", script], "stop": {"timeout": "5s"}}


def is_running(pid):
    return os.path.exists(f"/proc/{pid}")


def test_forged_marks(tmp_path):
    """Processes of a job of another user that wear no mark, or another job's, end with their own job and no other."""
    probe = create_job_cgroup(999_999)
    if probe is not None:
        probe.remove()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        names = ("unmarked", "disguised")
        jobs = [
            {"name": "victim", "exec": ["sleep", "600"]},  # its mark is the first one
            build_job("unmarked", "unlimited", folder),
            build_job("disguised", FIRST_MARK, folder),
        ]
        with SupervisorProcess(tmp_path, {"jobs": jobs}) as pilot:
            eventually(lambda: all(Path(folder, name).exists() for name in names), "both daemons run")
            unmarked, disguised = (int(Path(folder, name).read_text()) for name in names)
            assert pilot.run_verb("stop", "victim").returncode == 0
            assert is_running(disguised) == (probe is not None)  # without cgroups the mark decides
            assert pilot.run_verb("stop", "unmarked").returncode == 0
            if probe is not None:
                eventually(lambda: not is_running(unmarked), "it ends with its job")
            assert pilot.run_verb("stop", "disguised").returncode == 0
            assert pilot.stop() == 0
        eventually(lambda: not is_running(unmarked) and not is_running(disguised), "none outlives the supervisor")
