"""A pilot: an unprivileged job of a real outer pool runs the supervisor, which joins another real pool as a worker."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.lab_host import Host
from lab.pool import Pool
from lab.pool_settings import DOMAIN, MANAGER_CONFIG, MANAGER_SETUP_SCRIPT, SITE_CONFIG_PATH, WORKER_CONFIG
from lab.schedd import Schedd
from lab.wheelhouse import fill_wheelhouse

pytestmark = pytest.mark.real("root", "htcondor")

EXAMPLE = Path(__file__).parents[2] / "examples/pilot"
PYTHON_VERSION = "3.13"  # of the lab's Debian
WALL_S = 86400
FOLDER = "/home/alice/pilot"
# the budget of an end is 600 + 10 + 35 (kill of payloads) + 20 (ordered stop) + 5 = 670 s
SETTINGS = "PILOT_DEADLINE=600 PILOT_GRACE=10 PILOT_MARGIN=5 PILOT_POLL=1 PILOT_MIN_DISK=10MB"
BUDGET_S = 670


class UserPool(Schedd):
    """The pool that pilots join: its manager is a host beside the outer pool's."""

    def __init__(self, outer: Pool) -> None:
        self.host = outer.start_worker(["sleep", "infinity"], token="")
        self.name = f"{self.host.name}.{DOMAIN}"
        config = re.sub(r"(?m)^CONDOR_HOST = .*$", f"CONDOR_HOST = {self.name}", MANAGER_CONFIG)
        self.host.write_file(SITE_CONFIG_PATH, config)
        self.host.run(MANAGER_SETUP_SCRIPT)
        self.host.run(["condor_master"])
        self.wait_until(self.is_manager_up, 60, "the manager of the users' pool is up")

    def run_on_manager(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        return self.host.run(argv, user=user, stdin=stdin, check=check)


class Site:
    """The outer pool with one worker, and the files of the example at its user."""

    def __init__(self, outer: Pool, tarball: bytes) -> None:
        self.outer = outer
        self.worker: Host = outer.start_worker(["condor_master", "-f"], files={SITE_CONFIG_PATH: WORKER_CONFIG})
        self.users = UserPool(outer)
        outer.wait_until(outer.list_slots, 60, "the outer worker joins")
        for name in ("start-pilot", "autopilot.json5", "pilot.sub"):
            outer.manager.write_file(f"{FOLDER}/{name}", (EXAMPLE / name).read_text(), mode=0o755)
        outer.manager.write_file(f"{FOLDER}/pilot.token", self.users.create_token())
        outer.manager.write_file(f"{FOLDER}/autopilot.tar.gz", tarball)
        outer.manager.run(["chown", "-R", "alice:", FOLDER])

    def submit_pilot(self) -> str:
        """Submit the example's file with the sizes of the lab, and return the id of the batch job."""
        lines = [
            f'environment = "PILOT_POOL={self.users.name} {SETTINGS}"',
            f"allowed_job_duration = {WALL_S}",
            "request_cpus = 1",
            "request_memory = 512M",
            "request_disk = 200M",
        ]
        words = [word for line in lines for word in ("-append", line)]
        command = ["sh", "-c", 'cd "$0" && exec condor_submit -terse "$@"', FOLDER, *words, "pilot.sub"]
        return self.outer.run_on_manager(*command, user="alice").split(" - ")[0].strip()

    def start_user_job(self, seconds: float) -> str:
        """Submit a job to the users' pool, and return its id when a pilot runs it."""
        job = self.users.submit(seconds)
        self.users.wait_until(lambda: self.users.is_executing(job), 60, "the user's job runs in the pilot")
        return job

    def list_pilot_ends(self) -> list[str]:
        """Return how the batch jobs on the worker have ended, as their starters wrote it."""
        logs = self.worker.run("cat /var/log/condor/StarterLog.slot*")
        return re.findall(r"Process exited, pid=\d+, (\w+=\d+)", logs)

    def find_sandbox(self) -> str:
        """Return the directory of the batch job that runs on the worker."""
        return self.worker.run("ls -d /var/lib/condor/execute/dir_*").split()[0]

    def run_verb(self, *words: str) -> str:
        """Run a verb of the command line against the pilot, with the software and the user of the batch job."""
        sandbox = self.find_sandbox()
        setting = f"PYTHONPATH={sandbox}/pilot/software AUTOPILOT_STATE={sandbox}/pilot/state"
        return self.worker.run(["sh", "-c", f"exec env {setting} python3 -m autopilot {' '.join(words)}"])


@pytest.fixture
def site(pool: Pool, tmp_path: Path) -> Iterator[Site]:
    """The outer pool, and the supervisor as the README packs it. What a pilot printed is shown when the test fails."""
    wheels = tmp_path / "wheelhouse"
    fill_wheelhouse(wheels, PYTHON_VERSION)
    subprocess.run([EXAMPLE / "build-tarball", wheels, PYTHON_VERSION], cwd=tmp_path, check=True)
    site = Site(pool, (tmp_path / "autopilot.tar.gz").read_bytes())
    yield site
    print(pool.run_on_manager("sh", "-c", f"tail -n 50 {FOLDER}/pilot.*.out {FOLDER}/pilot.*.err", check=False))
    print(site.worker.run("tail -n 50 /var/lib/condor/execute/dir_*/_condor_std* /var/log/condor/Star*", check=False))


def read_log(site: Site, pilot: str) -> list[dict[str, Any]]:
    """Return the log of a pilot that has ended: the output of its batch job."""
    text = site.outer.run_on_manager("cat", f"{FOLDER}/pilot.{pilot}.out")
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_pilots_end_in_time(site: Site) -> None:
    """A pilot runs a job and drains before its wall time; one whose slot is taken back returns its job."""
    pilot = site.submit_pilot()
    job = site.start_user_job(8)
    status = json.loads(site.run_verb("status", "-o", "json"))
    started = site.outer.get_job_ad(pilot)["JobCurrentStartDate"]
    assert status["lifetime"]["batch_job"] == {"ends": started + WALL_S, "source": "AllowedJobDuration"}
    assert status["lifetime"]["ends"] == pytest.approx(started + WALL_S - BUDGET_S, abs=2)
    assert "bounded by the batch job until" in site.run_verb("status")
    (slot,) = [slot for slot in site.users.list_slots() if slot["SlotType"] == "Partitionable"]
    assert (slot["TotalCpus"], slot["TotalMemory"] <= 512) == (1, True)

    # the wall time is nearly over: HTCondor has no way to change it in a running job, so the ad is changed here
    left = int(time.time() - started) + BUDGET_S - 10
    ad = f"{site.find_sandbox()}/.job.ad"
    site.worker.run(f"sed -i 's/^AllowedJobDuration = .*/AllowedJobDuration = {left}/' {ad}")
    site.outer.wait_until(lambda: site.outer.get_job_status(pilot) == "Completed", 90, "the pilot ends")
    assert site.outer.get_job_ad(pilot)["ExitCode"] == 0
    site.users.wait_until(lambda: site.users.get_job_status(job) == "Completed", 60, "the user's job is complete")
    assert site.users.get_job_ad(job)["NumJobStarts"] == 1
    log = read_log(site, pilot)
    (begun,) = [line for line in log if line.get("event") == "drain_begun"]
    assert begun["message"].startswith("drain begun: the batch job around it ends soon")
    assert log[-1]["message"] == "exit 0: drained"

    ends_before = site.list_pilot_ends()
    pilot = site.submit_pilot()
    job = site.start_user_job(600)
    site.outer.run_on_manager("condor_rm", pilot, user="alice")
    site.users.wait_until(lambda: site.users.get_job_status(job) == "Idle", 60, "the user's job is Idle again")
    site.outer.wait_until(lambda: site.list_pilot_ends() != ends_before, 60, "the batch job is removed")
    assert site.list_pilot_ends() == [*ends_before, "status=0"]
