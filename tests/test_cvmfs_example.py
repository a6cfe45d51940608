"""The wrapper and the files of examples/cvmfs; tests/e2e/test_cvmfs.py runs them on a real pool."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab import faults

EXAMPLE = Path(__file__).parents[1] / "examples" / "cvmfs"


def run_wrapper(tmp_path: Path, setup: str, patience: str = "60"):
    """Run the wrapper with a job; return its exit status, its output, and its error output."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "CVMFS_SETUP": setup,
        "CVMFS_PATIENCE": patience,
        "_CONDOR_SCRATCH_DIR": str(tmp_path),
    }
    job = ["sh", "-c", 'echo "$EXPERIMENT:$1"; exit 3', "job", "two  words"]
    command = [str(EXAMPLE / "cvmfs-job-wrapper"), *job]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert list(tmp_path.glob(".cvmfs-answer*")) == []
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "export EXPERIMENT=atlas\n",
        "",
        "while [ $# -gt 0 ]; do shift; done; export EXPERIMENT=atlas\n",
        "set -- other words; export EXPERIMENT=atlas\n",
        'names=(atlas cms); declare -x EXPERIMENT="${names[0]}"; [ -f "${BASH_SOURCE[0]}" ]\n',
        "set -eu; export EXPERIMENT=atlas\n",
    ],
    ids=["environment", "none", "shift", "set", "bash", "strict"],
)
def test_job_runs_in_its_environment(tmp_path, script):
    """The job gets the environment of the script, its own arguments unchanged, and its exit status is the wrapper's."""
    setup = tmp_path / "setup.sh"
    setup.write_text(script)
    experiment = "atlas" if script else ""
    assert run_wrapper(tmp_path, str(setup) if script else "") == (3, f"{experiment}:two  words\n", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the repository is not mounted, or has no such file"),
        ("false\n", "it ended with an error"),
        ("if then\n", "it ended with an error"),
        ("exit 0\n", "it ended the shell"),
        ("exit 3\n", "it ended the shell"),
        ("set -u; export A=$NO_SUCH_VARIABLE\n", "it ended the shell"),
    ],
    ids=["missing", "failing", "syntax", "exit-0", "exit-3", "unset"],
)
def test_job_does_not_run_without_it(tmp_path, content, reason):
    """Without the script, or when it fails, the job does not run, and its error output has the reason."""
    setup = tmp_path / "setup.sh"
    if content is not None:
        setup.write_text(content)
    status, output, told = run_wrapper(tmp_path, str(setup))
    assert (status, output) == (75, "") and reason in told and str(setup) in told
    assert told.count("cannot ") == 1


@pytest.mark.real("root", "fuse")
def test_hanging_repository(tmp_path):
    """A file system that hangs holds up the wrapper for its patience only, even if its reader cannot be killed."""
    place = tmp_path / "repository"
    place.mkdir()
    with faults.mount_hanging_filesystem(place, takes_requests=True):
        status, output, told = run_wrapper(tmp_path, f"{place}/setup.sh", patience="1")
    assert (status, output) == (75, "") and "no answer within 1 s, the file system hangs" in told


def test_slots_are_valid():
    """The watchdog takes the configuration of the example, and touches the repository that its slots name."""
    command = [sys.executable, "-m", "autopilot_watchdog", "check", str(EXAMPLE / "autopilot-watchdog.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (EXAMPLE / "autopilot-watchdog.json").read_text()
    assert {f'"mounts": ["/cvmfs/{name}"]' in text for name in re.findall(r'"CVMFS": "(.*?)"', text)} == {True}


def test_recipe_and_readme():
    """The image takes files that are there, and the README names every variable of both job specs."""
    recipe = (EXAMPLE / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"(?m)^COPY (.*) \S+$", recipe) for word in line.split()}
    assert [name for name in copied - {"packages"} if not (EXAMPLE / name).exists()] == []
    readme = (EXAMPLE / "README.md").read_text()
    for spec in EXAMPLE.glob("*.json5"):
        assert [name for name in re.findall(r"{{ \.(\w+)", spec.read_text()) if f"`{name}`" not in readme] == []
