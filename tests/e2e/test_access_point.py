"""Two lives of examples/access-point on a real pool: the first hands its queue over, the second empties it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lab.lab_errors import LabError
from lab.lab_host import Host
from lab.pool import Pool
from lab.pool_settings import SITE_CONFIG_PATH, WORKER_CONFIG
from lab.schedd import JOB_STATUS_NAMES

EXAMPLE = Path(__file__).parents[2] / "examples" / "access-point"
STATE = "/var/lib/autopilot"
WORKER_START = "install -d -o condor -g condor /run/condor /var/lock/condor; exec condor_master -f"
# Jobs need an owner in the container. Quick cycles, and a shadow that tells the queue at once that its job has started.
ACCESS_POINT_START = "useradd --uid 3000 --home-dir /home/alice alice; exec autopilot run /etc/autopilot.json5"
QUICK = "SCHEDD_INTERVAL = 2\nSCHEDD_MIN_INTERVAL = 1\nSHADOW_QUEUE_UPDATE_INTERVAL = 1\nUID_DOMAIN = pool\n"
JOB_COUNT = 10
JOBS = f"""\
executable = /bin/sh
transfer_executable = false
should_transfer_files = YES
arguments = "-c 'until test -e /released; do sleep 0.2; done; echo done'"
request_cpus = 1
request_memory = 16M
request_disk = 1M
log = /home/alice/jobs.log
output = /home/alice/output.$(Process)
queue {JOB_COUNT}
"""
# of the jobs' log, by HTCondor's code
EXPECTED_EVENTS = {
    "000": JOB_COUNT,  # submitted
    "001": JOB_COUNT,  # began, once each
    "022": JOB_COUNT,  # disconnected
    "023": JOB_COUNT,  # reconnected
    "005": JOB_COUNT,  # terminated
    "004": 0,  # evicted
    "007": 0,  # exception in the shadow
}

pytestmark = pytest.mark.real("root", "htcondor")


class AccessPoint:
    """One life of the example, on volumes that outlive it."""

    def __init__(self, pool: Pool, volumes: Path, token: str, **env: str) -> None:
        self.pool = pool
        self.host: Host = pool.start_worker(
            ["sh", "-c", ACCESS_POINT_START],
            env={"AUTOPILOT_STATE": STATE, **env},
            files={
                "/etc/autopilot.json5": (EXAMPLE / "autopilot.json5").read_text().replace("15s", "2s"),
                "/etc/condor/config.d/40-quick.conf": QUICK,
            },
            disks={"/var/lib/condor/spool": str(volumes / "spool"), "/home": str(volumes / "home")},
            token=token,
            token_path="/run/secrets/condor/access-point",
        )

    def read_jobs(self) -> list[dict[str, Any]]:
        """Return the ads of the queue; [] while the schedd does not answer."""
        output = self.host.run(["condor_q", "-allusers", "-json"], check=False).strip()
        return list(json.loads(output)) if output.startswith("[") else []

    def count_states(self) -> Counter[str]:
        return Counter(JOB_STATUS_NAMES.get(ad["JobStatus"], "?") for ad in self.read_jobs())

    def read_status(self) -> dict[str, Any]:
        output = self.host.run(["autopilot", "status", "-o", "json"], check=False)
        return dict(json.loads(output).get("access_point", {})) if output.startswith("{") else {}

    def wait_until_joined(self) -> None:
        self.pool.wait_until(lambda: self.read_status().get("in_pool"), 60, "the access point sees itself in the pool")

    def submit(self) -> str:
        return self.host.run(["condor_submit", "-terse", "-"], user="alice", stdin=JOBS)

    def read_last_words(self) -> dict[str, Any]:
        return dict(json.loads(self.host.read_file(f"{STATE}/last-words.json")))


def create_volumes(folder: Path) -> Path:
    """Make an empty spool, and the home directory of a user."""
    for name in ("spool", "home/alice"):
        (folder / name).mkdir(parents=True)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    (folder / "home/alice").chmod(0o777)
    return folder


@pytest.fixture
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every user of the containers can enter."""
    folder = tmp_path_factory.mktemp("volumes")
    for path in (folder, *folder.parents):
        if path.stat().st_mode & 0o005 != 0o005 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    return create_volumes(folder)


def prepare_pool(pool: Pool) -> str:
    """Let access points join, as the example's README says, start two workers, and return the token."""
    pool.manager.write_file(
        "/etc/condor/config.d/60-access-points.conf", (EXAMPLE / "manager/60-access-points.conf").read_text()
    )
    pool.run_on_manager("condor_reconfig")
    (command,) = re.findall(r"(?m)^condor_token_create (.*(?:\\\n.*)*) > ", (EXAMPLE / "README.md").read_text())
    token = pool.run_on_manager("condor_token_create", *command.replace("\\\n", " ").split())
    config = f"{WORKER_CONFIG}NUM_CPUS = {JOB_COUNT // 2}\nMEMORY = 1024\nUPDATE_INTERVAL = 5\n"
    for _ in range(2):
        pool.start_worker(["sh", "-c", WORKER_START], files={SITE_CONFIG_PATH: config})
    return token


def test_two_lives_lose_no_job(pool: Pool, volumes: Path) -> None:
    """Ten running jobs outlive their access point, complete in its next life with one start each, and a drain of that
    one refuses new jobs, waits for them and exits with 0.
    """
    token = prepare_pool(pool)
    first = AccessPoint(pool, volumes, token)
    first.wait_until_joined()
    first.submit()
    pool.wait_until(lambda: first.count_states()["Running"] == JOB_COUNT, 60, "the jobs run")
    pool.wait_until(
        lambda: [ad["NumJobStarts"] for ad in first.read_jobs()] == [1] * JOB_COUNT, 60, "the queue knows of the starts"
    )
    shown = f"queue of ap@pool: {JOB_COUNT} running"
    pool.wait_until(lambda: shown in first.host.run(["autopilot", "status"]), 60, "the status shows the queue")

    rival = first.host.run("AUTOPILOT_STATE=/tmp/rival autopilot run /etc/autopilot.json5; echo exit $?", timeout=300)
    assert "is in use by another access point (ap@pool on " in rival and rival.endswith("exit 75\n")

    first.host.run(["autopilot", "drain", "--no-wait"])
    assert first.host.wait(60) == 0
    words = first.read_last_words()
    assert (words["reason"], words["exit_code"], words["payloads_killed"]) == ("drain", 0, 0)
    assert sum(len(worker.find_processes("condor_starter")) for worker in pool.workers[:2]) == JOB_COUNT

    second = AccessPoint(pool, volumes, token, DRAIN="queue")
    second.wait_until_joined()  # a tool of HTCondor that runs before the supervisor is ready would make its directories
    pool.wait_until(lambda: second.count_states()["Running"] == JOB_COUNT, 60, "the next life has the running jobs")
    second.host.run(["autopilot", "drain", "--no-wait"])
    pool.wait_until(lambda: "waiting" in (second.read_status().get("drain") or ""), 60, "the schedd refuses new jobs")
    with pytest.raises(LabError, match="is being drained and takes no new jobs"):
        second.submit()
    assert "the life ends when the queue is empty" in second.host.run(["autopilot", "why", "condor-master"])
    assert 'autopilot_queue_jobs{state="running"}' in second.host.run("curl -s http://127.0.0.1:9090/metrics")
    for worker in pool.workers[:2]:
        worker.write_file("/released", "")
    assert second.host.wait(120) == 0
    assert second.read_last_words()["reason"] == "drain"

    log = (volumes / "home/alice/jobs.log").read_text()
    events = Counter(re.findall(r"(?m)^(\d{3}) \(", log))
    assert {code: events[code] for code in EXPECTED_EVENTS} == EXPECTED_EVENTS
    history = (volumes / "spool/history").read_text()
    starts = Counter(re.findall(r"(?m)^(NumJobStarts|NumShadowStarts) = (\d+)$", history))
    assert starts == {("NumJobStarts", "1"): JOB_COUNT, ("NumShadowStarts", "2"): JOB_COUNT}
    outputs = [path.read_text() for path in sorted((volumes / "home/alice").glob("output.*"))]
    assert outputs == ["done\n"] * JOB_COUNT
