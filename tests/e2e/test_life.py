"""The life of a worker node on a real HTCondor pool: what the schedd says of its jobs, and what it says itself."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from lab.lab_errors import LabError
from lab.pool_settings import WORKER_CONFIG
from tests.e2e.node import AT_ONCE, CONFIG_PATH, LIFETIME, STATE_PATH, Node, compute_seconds_between

DATA = Path(__file__).parent.parent / "spec/data"

pytestmark = pytest.mark.real("root", "htcondor")


def test_expiry_while_busy(pool):
    """The running job outlives the lifetime and completes, the next one is refused, and the node exits with 0."""
    node = Node(pool, lifetime=LIFETIME).wait_until_joined()
    running = node.start_job(15)
    node.wait_for_event("drain begun")
    node.wait_until_retiring()
    refused = pool.submit(1)
    assert node.wait_for_exit() == 0
    assert pool.get_job_status(running) == "Completed"
    assert pool.get_job_ad(running)["NumJobStarts"] == 1
    assert pool.get_job_status(refused) == "Idle"
    words = node.read_last_words()
    assert (words["reason"], words["exit_code"], words["payloads_run"], words["payloads_killed"]) == (
        "lifetime",
        0,
        1,
        0,
    )


def test_expiry_while_idle(pool):
    """An idle node ends at once when its lifetime is over."""
    node = Node(pool, lifetime={**LIFETIME, "max": "2s"}).wait_until_joined()
    begun = node.wait_for_event("drain begun")
    assert node.wait_for_exit(20) == 0
    assert node.read_last_words()["reason"] == "lifetime"
    assert compute_seconds_between(begun, node.find_events("exit 0")[0]) < 5


def test_idle_end(pool):
    """A node on which nothing has run for long enough ends before its lifetime; while a job runs it does not."""
    node = Node(pool, lifetime={**LIFETIME, "max": "1h", "idle": "4s"}).wait_until_joined()
    job = node.start_job(8)
    assert node.wait_for_exit() == 0
    assert pool.get_job_status(job) == "Completed"
    assert node.read_last_words()["reason"] == "idle"


def test_deadline_soft(pool):
    """At the drain's deadline the job gets its SIGTERM and the time for its clean-up; the end is recorded as forced."""
    script = "trap 'touch /tmp/cleaned-up; exit 0' TERM; while :; do sleep 0.1; done"
    node = Node(pool, lifetime={"grace": "30s", "drain": {"htcondor": True}}).wait_until_joined()
    job = node.start_job(script=script)
    node.drain("--deadline", "2s")
    assert node.wait_for_exit() == 75
    assert pool.get_job_status(job) == "Idle"
    words = node.read_last_words()
    assert (words["reason"], words["payloads_killed"]) == ("drain", 1)
    assert node.find_events("payloads are asked to end") and not node.find_events("drain grace expired")


def test_deadline_hard(pool):
    """A job that ignores its SIGTERM is killed after the grace, and is Idle in its queue, not in limbo."""
    script = "trap '' TERM; while :; do sleep 0.1; done"
    node = Node(pool, lifetime={"grace": "3s", "drain": {"htcondor": True}}).wait_until_joined()
    job = node.start_job(script=script)
    node.drain("--deadline", "2s")
    assert node.wait_for_exit() == 75
    assert pool.get_job_status(job) == "Idle"
    assert node.find_events("drain grace expired")
    assert node.read_last_words()["payloads_killed"] == 1


def test_drain_by_command(pool):
    """`autopilot drain` lets the running job finish, refuses the next, and returns when the node has ended."""
    node = Node(pool).wait_until_joined()
    running = node.start_job(12)
    node.drain()
    node.wait_until_retiring()
    refused = pool.submit(1)
    assert node.wait_for_exit() == 0
    assert (pool.get_job_status(running), pool.get_job_status(refused)) == ("Completed", "Idle")
    assert node.read_last_words()["reason"] == "drain"


def test_stop_while_busy(pool):
    """SIGTERM to PID 1, as `docker stop` sends it, has the job Idle in its queue at once, and the exit is clean."""
    node = Node(pool).wait_until_joined()
    job = node.start_job(300)
    asked = time.monotonic()
    node.worker.send_signal(signal.SIGTERM)
    pool.wait_until(lambda: pool.get_job_status(job) == "Idle", 10, "the job is Idle again")
    assert time.monotonic() - asked < AT_ONCE
    assert node.wait_for_exit(20) == 0
    words = node.read_last_words()
    assert (words["reason"], words["payloads_killed"]) == ("signal", 1)


def test_reload_while_busy(pool):
    """A new job spec takes effect beside a running payload, which never notices. One that would restart condor_master
    is refused, and a lifetime that got shorter ends the node peacefully.
    """
    node = Node(pool, lifetime={**LIFETIME, "max": "1h"}).wait_until_joined()
    job = node.start_job(15)
    spec = json.loads(node.worker.read_file(CONFIG_PATH))
    spec["jobs"].append({"name": "sidecar", "exec": ["sleep", "1000"]})
    node.worker.write_file(CONFIG_PATH, json.dumps(spec))
    assert "sidecar: started" in node.worker.run(["autopilot", "reload"])
    other = json.loads(json.dumps(spec))
    other["jobs"][0]["exec"].append("-t")
    node.worker.write_file(CONFIG_PATH, json.dumps(other))
    with pytest.raises(LabError, match="would kill the payloads"):
        node.worker.run(["autopilot", "reload"])
    spec["lifetime"]["max"] = "1s"
    node.worker.write_file(CONFIG_PATH, json.dumps(spec))
    node.worker.run(["autopilot", "reload", "--no-wait"])
    assert node.wait_for_exit() == 0
    assert pool.get_job_status(job) == "Completed" and pool.get_job_ad(job)["NumJobStarts"] == 1
    assert len([line for line in node.find_events("^started$") if line["job"] == "condor-master"]) == 1
    assert node.read_last_words()["reason"] == "lifetime"


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


def test_stop_while_busy_with_a_deaf_job(pool):
    """Also a job that ignores SIGTERM is Idle in its queue at once."""
    node = Node(pool).wait_until_joined()
    job = node.start_job(script="trap '' TERM; while :; do sleep 0.1; done")
    asked = time.monotonic()
    node.worker.send_signal(signal.SIGTERM)
    pool.wait_until(lambda: pool.get_job_status(job) == "Idle", 10, "the job is Idle again")
    assert time.monotonic() - asked < AT_ONCE
    assert node.wait_for_exit(20) == 0


def test_sigterm_drains(pool):
    """With `on_sigterm: drain` SIGTERM lets the running job finish."""
    node = Node(pool, spec={"on_sigterm": "drain"}).wait_until_joined()
    job = node.start_job(8)
    node.worker.send_signal(signal.SIGTERM)
    assert node.wait_for_exit() == 0
    assert pool.get_job_status(job) == "Completed"
    assert node.read_last_words()["reason"] == "signal"


def test_any_batch_system(pool):
    """The drain may be commands of one's own: here HTCondor's, as another batch system would be driven."""
    begin = "condor_off -peaceful -daemon startd"
    until = ["sh", "-c", "condor_who -quick | grep -q 'STARTD = \"Hold\"'"]
    lifetime = {**LIFETIME, "drain": {"exec": begin, "until": until, "poll": "200ms"}}
    node = Node(pool, lifetime=lifetime).wait_until_joined()
    job = node.start_job(10)
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
