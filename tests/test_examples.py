"""Every folder of examples/ is loaded, so that none of them rots."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from autopilot_watchdog.config.config_reader import load_config

from examples.demo.batch_worker import Worker

EXAMPLES = Path(__file__).parents[1] / "examples"
ENVIRONMENT = {
    "CONDOR_HOST": "manager.pool",
    "CVMFS": "test.example.org",
    "CONSUL_JOIN": "consul.pool",
    "LIFETIME": "30s",
    "PILOT_DIRECTORY": "/tmp",
    "PILOT_POOL": "manager.pool",
    "PILOT_CPUS": "1",
    "PILOT_MEMORY_MB": "512",
    "PILOT_TOKEN": "/tmp/pilot.token",
    "PYTHON": sys.executable,
    "BATCH_WORKER": str(EXAMPLES / "demo" / "batch_worker.py"),
    "BATCH_SOCKET": "/tmp/batch.sock",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
}
SPECS = sorted(EXAMPLES.glob("*/*.json5"))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.parent.name}/{spec.name}")
def test_spec_is_valid(spec: Path) -> None:
    """`autopilot check` finds nothing wrong with an example's job spec."""
    checked = subprocess.run(
        [sys.executable, "-m", "autopilot", "check", str(spec)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_worker_of_one_job() -> None:
    """With PAYLOADS=1 the worker's job spec is valid, and its lives take one job each."""
    spec = EXAMPLES / "worker-node" / "autopilot.json5"
    planned = subprocess.run(
        [sys.executable, "-m", "autopilot", "plan", str(spec)],
        env={**ENVIRONMENT, "PAYLOADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(planned.stdout)["lifetime"]["payloads"] == 1


def test_every_example_has_a_spec() -> None:
    """No folder of examples/ is left out of the test above."""
    folders = {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir() and not folder.name.startswith("_")}
    elsewhere = {"ci", "monitoring", "watchdog"}  # CI servers, Prometheus and the watchdog read them: see their tests
    assert folders - elsewhere == {spec.parent.name for spec in SPECS}


@pytest.mark.parametrize("name", ["worker-node", "slurm-worker", "access-point"])
def test_dockerfile_copies_what_is_there(name: str) -> None:
    """Each file that an image takes from its folder exists there, but for the wheelhouse, which is made."""
    recipe = (EXAMPLES / name / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", recipe) for word in line.split()]
    assert "autopilot.json5" in copied
    assert [file for file in copied if file != "wheelhouse" and not (EXAMPLES / name / file).exists()] == []


@pytest.mark.parametrize("name", ["worker-node", "slurm-worker", "access-point"])
def test_readme_names_every_variable(name: str) -> None:
    """An example's README tells of each environment variable that its job spec reads."""
    spec = (EXAMPLES / name / "autopilot.json5").read_text()
    readme = (EXAMPLES / name / "README.md").read_text()
    assert [word for word in re.findall(r"{{ (?:if )?\.(\w+)", spec) if f"`{word}`" not in readme] == []


def test_access_point_slot_has_its_volumes() -> None:
    """The watchdog's example mounts the spool where the access point's job spec has it, and the users' directories."""
    folder = EXAMPLES / "access-point"
    (slot,) = load_config(folder / "autopilot-watchdog.json").slots
    (spool,) = re.findall(r'spool: "(.*)"', (folder / "autopilot.json5").read_text())
    assert {volume.split(":")[1] for volume in slot.volumes} == {spool, "/home", "/run/secrets/condor"}


def test_stand_in_refuses_while_draining(tmp_path: Path) -> None:
    """The demo's stand-in batch worker starts no job once it drains, though a slot is free."""
    worker = Worker(tmp_path / "jobs")
    assert worker.answer(["status"]) == "idle"
    worker.answer(["drain"])
    worker.answer(["submit", "0"])
    assert worker.answer(["drained"]) == "yes"
    assert (tmp_path / "jobs").read_text() == '{"1.0": "Idle"}'
