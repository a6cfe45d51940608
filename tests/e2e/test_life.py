"""The life of a worker node of HTCondor, as far as no other batch system has the case (`test_batch_life`)."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from lab.pool_settings import WORKER_CONFIG
from tests.e2e.batch_sites import HtcondorSite
from tests.e2e.node import AT_ONCE, CONFIG_PATH, STATE_PATH, Node

DATA = Path(__file__).parent.parent / "spec/data"

pytestmark = pytest.mark.real("root", "htcondor")


def test_stop_while_a_job_arrives(pool):
    """A job whose input files are still on their way is Idle again too, and not in limbo (its starter crashes then)."""
    pool.run_on_manager("truncate", "-s", "1G", "/home/alice/input", user="alice")
    node = Node(pool).wait_until_joined()
    job = pool.submit(300, inputs=["/home/alice/input"])
    arriving = "ls /var/lib/condor/execute/dir_*/input"
    pool.wait_until(lambda: node.worker.run(arriving, check=False), 30, "the input arrives")
    assert not pool.is_executing(job)
    asked = time.monotonic()
    node.worker.send_signal(signal.SIGTERM)
    pool.wait_until(lambda: pool.get_job_status(job) == "Idle", 10, "the job is Idle again")
    assert time.monotonic() - asked < AT_ONCE
    assert node.wait_for_exit(20) == 0
    assert pool.get_job_status(job) == "Idle"


def test_any_batch_system(pool):
    """The drain may be commands of one's own: here HTCondor's, as another batch system would be driven."""
    begin = "condor_off -peaceful -daemon startd"
    until = ["sh", "-c", "condor_who -quick | grep -q 'STARTD = \"Hold\"'"]
    drain = {"exec": begin, "until": until, "poll": "200ms"}
    node = HtcondorSite(pool).start_lasting_node(max="1s", drain=drain).wait_until_joined()
    job = node.start_job(10)
    node.begin_lifetime()
    assert node.wait_for_exit() == 0
    assert pool.get_job_status(job) == "Completed"


def test_figure_4(pool):
    """The paper's job spec, corrected and but for its 30 minutes unchanged: after the delay the startd is told to end
    peacefully, the running job completes, and then all daemons end and the container exits with 0.
    """
    text = (DATA / "figure4.json").read_text().replace('"30m"', '"6s"')
    files = {CONFIG_PATH: text, "/etc/condor/config.d/40-site.conf": WORKER_CONFIG}
    worker = pool.start_worker(["autopilot", "run", CONFIG_PATH], env={"AUTOPILOT_STATE": STATE_PATH}, files=files)
    pool.wait_until(pool.list_slots, 60, "the worker joins the pool")
    running = pool.submit(12)
    pool.wait_until(lambda: pool.get_job_status(running) == "Running", 60, "the job runs")
    asked = '"job": "has-payload", "event": "job_exited"'
    pool.wait_until(lambda: asked in worker.read_log(), 60, "the startd has been told to end")
    refused = pool.submit(1)
    assert worker.wait(60) == 0
    assert (pool.get_job_status(running), pool.get_job_status(refused)) == ("Completed", "Idle")
