"""Faults of a node in a real HTCondor pool are detected, reported and treated, and what the schedd says of the job."""

from __future__ import annotations

import base64
import json
import signal
import time

import pytest

from lab.lab_errors import LabError
from tests.app.harness import PROMPT_S
from tests.e2e.node import MASTER, SETTINGS, Node, compute_seconds_between

pytestmark = pytest.mark.real("root", "htcondor")


def test_master_killed(pool):
    """A killed condor_master ends the node with its code; the job is Idle again in seconds, no payload survives."""
    node = Node(pool).wait_until_joined()
    job = node.start_job(300)
    killed = time.monotonic()
    node.worker.signal_processes("condor_master", signal.SIGKILL)
    pool.wait_until(lambda: pool.get_job_status(job) == "Idle", 30, "the job is Idle again")
    assert time.monotonic() - killed < 60  # seconds of it are HTCondor's: condor_procd died with the master
    assert node.wait_for_exit(30) == 137
    words = node.read_last_words()
    assert (words["reason"], words["exit_code"]) == ("job-failed", 137)


def test_master_killed_and_restarted(pool):
    """A master that may restart comes back, no orphan of the first one runs beside it, and the job runs to its end.

    The run that died with the first master counts as a lost payload.
    """
    node = Node(pool, master={"essential": False, "restarts": "unlimited"}).wait_until_joined()
    job = node.start_job(script="sleep 6")
    node.worker.signal_processes("condor_master", signal.SIGKILL)
    node.wait_for_event("restarts in")
    pool.wait_until(lambda: pool.get_job_status(job) == "Completed", 90, "the job completes on the new master")
    assert len(node.worker.find_processes("condor_master")) == 1
    node.worker.send_signal(signal.SIGTERM)
    assert node.wait_for_exit(30) == 75
    assert node.read_last_words()["payloads_killed"] == 1


def test_startd_stopped(pool):
    """A hung startd is seen by the health check while condor_master still says Alive."""
    node = Node(pool).wait_until_joined()
    node.wait_for_event("healthy")
    node.worker.signal_processes("condor_startd", signal.SIGSTOP)
    assert "unhealthy" in node.wait_for_event("^marked unhealthy", 60)["message"]
    node.worker.send_signal(signal.SIGTERM)
    assert node.wait_for_exit(30) == 0


def test_startd_killed_while_draining(pool):
    """A payload whose startd is killed counts as killed, is given back to its queue, and the drain ends with 75."""
    node = Node(pool, lifetime={"drain": {"htcondor": True}}).wait_until_joined()
    job = node.start_job(300)
    node.wait_for_event("payloads changed: 1 started")
    node.drain()
    node.worker.signal_processes("condor_startd", signal.SIGKILL)
    assert node.wait_for_exit(60) == 75
    words = node.read_last_words()
    assert (words["reason"], words["payloads_killed"], words["payloads_run"]) == ("drain", 1, 1)
    (lost,) = node.find_events("^payloads lost: condor_startd")
    assert job in lost["payloads"][0]
    assert "given back" in lost["message"]
    pool.wait_until(lambda: pool.get_job_status(job) == "Idle", 30, "the job is Idle again")


def test_startd_killed_while_busy(pool):
    """The payload goes back to its queue, a new startd takes it, and the life that ends later tells of the loss."""
    node = Node(pool).wait_until_joined()
    job = node.start_job(600)
    node.wait_for_event("payloads changed: 1 started")
    node.worker.signal_processes("condor_startd", signal.SIGKILL)
    assert "given back" in node.wait_for_event("^payloads lost: condor_startd")["message"]
    pool.wait_until(lambda: pool.get_job_ad(job)["NumShadowStarts"] == 2, 60, "the job starts on the new startd")
    node.worker.send_signal(signal.SIGTERM)
    assert node.wait_for_exit(60) == 75
    assert node.read_last_words()["payloads_killed"] == 1


def test_starter_killed_while_draining(pool):
    """A payload whose starter is killed counts as killed, and the drain ends with 75.

    Nothing is said of the queue: a startd that drains may end before the shadow asks it.
    """
    node = Node(pool, lifetime={"drain": {"htcondor": True}}).wait_until_joined()
    node.start_job(300)
    node.wait_for_event("payloads changed: 1 started")
    node.drain()
    node.worker.signal_processes("condor_starter", signal.SIGKILL)
    assert node.wait_for_exit(60) == 75
    words = node.read_last_words()
    assert (words["reason"], words["payloads_killed"], words["payloads_run"]) == ("drain", 1, 1)
    assert len(node.find_events("^payloads lost: condor_starter .* signal 9")) == 1


def test_helpers_stopped_while_draining(pool):
    """A stopped condor_procd or condor_shared_port is said and continued, and the payload runs to its end."""
    node = Node(pool, lifetime={"drain": {"htcondor": True}}).wait_until_joined()
    job = node.start_job(script="sleep 3")
    node.wait_for_event("payloads changed: 1 started")
    for name in ("condor_procd", "condor_shared_port"):
        node.worker.signal_processes(name, signal.SIGSTOP)
    assert "condor_procd" in node.wait_for_event("was stopped by SIGSTOP")["message"]
    node.drain()
    assert node.wait_for_exit(90) == 0
    assert pool.get_job_status(job) == "Completed"
    assert node.read_last_words()["payloads_killed"] == 0


def test_startd_stopped_while_draining(pool):
    """A startd that hangs in the drain does not keep the node for ever: the deadline's hard stop ends it."""
    node = Node(pool, lifetime={"grace": "3s", "drain": {"htcondor": True}}).wait_until_joined()
    job = node.start_job(300)
    node.drain("--deadline", "6s")
    node.worker.signal_processes("condor_startd", signal.SIGSTOP)
    assert node.wait_for_exit(90) == 75
    pool.wait_until(lambda: pool.get_job_status(job) == "Idle", 30, "the job is Idle again")


def test_wrong_token(pool):
    """A token of another pool: said before anything starts, or seen by the membership probe; never a silent node."""
    parts = ({"alg": "HS256", "kid": "POOL"}, {"iat": 1600000000, "iss": "other", "jti": "1", "sub": "worker@other"})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    other = ".".join([*encoded, "c2lnbmF0dXJl"])
    node = Node(pool, token=other)
    line = pool.wait_until(lambda: node.find_events("(?i)token|pool"), 60, "the trouble is said")[0]
    assert line["level"] == "error"
    assert not pool.list_slots()


def test_missing_token(pool):
    """No token at all: one line with the remedy, exit 78, nothing started."""
    node = Node(
        pool,
        token="",
        spec={"htcondor": {"job": "condor-master", "node": {"condor_host": "manager", "token": "/run/secrets/condor"}}},
    )
    assert node.wait_for_exit(30) == 78
    assert any("token" in line["message"] for line in node.read_log())
    assert not node.find_events("^started")
    assert node.read_last_words()["reason"] == "config"


def test_unresolvable_manager(pool):
    """A manager that cannot be resolved: one line with the remedy, exit 78, nothing started."""
    node = Node(pool, spec={"htcondor": {"job": "condor-master", "node": {"condor_host": "no-such-host"}}})
    assert node.wait_for_exit(60) == 78
    assert any("no-such-host" in line["message"] for line in node.read_log())
    assert not node.find_events("^started")


def test_manager_down_at_start(pool):
    """A manager that comes up later: the node says that it is not in the pool, and joins soon after its return."""
    pool.stop_manager()
    node = Node(pool)
    node.wait_for_event("(?i)pool", 60)
    pool.start_manager()
    back = time.monotonic()
    node.wait_until_joined()
    assert time.monotonic() - back < 120
    job = node.start_job(1)
    pool.wait_until(lambda: pool.get_job_status(job) == "Completed", 30, "a job runs")


def test_execute_full(pool):
    """A full EXECUTE is no black hole: it is said, new jobs wait in their queue, and run once there is room."""
    condor = {"job": "condor-master", "poll": "1s", "min_execute": "8MB", "min_log": "1MB"}
    node = Node(
        pool,
        disks={"/var/lib/condor/execute": f"size=24m,mode=755,{pool.format_owner('condor')}"},
        spec={"htcondor": {**condor, "node": {"condor_host": "manager", "settings": SETTINGS}}},
    ).wait_until_joined()
    node.worker.run("dd if=/dev/zero of=/var/lib/condor/execute/filler bs=1M count=20 2>/dev/null", check=False)
    assert "EXECUTE" in node.wait_for_event("EXECUTE", 30)["message"]
    pool.wait_until(lambda: not any(slot["Start"] for slot in pool.list_slots()), 30, "the node takes no jobs")
    job = pool.submit(1)
    with pytest.raises(LabError, match="runs or holds"):
        pool.wait_until(lambda: pool.get_job_status(job) != "Idle", 6, "the full node runs or holds a job")
    node.worker.run(["rm", "/var/lib/condor/execute/filler"])
    pool.wait_until(lambda: pool.get_job_status(job) == "Completed", 60, "the job runs once there is room")


def test_supervisor_killed(pool):
    """Even a SIGKILL of PID 1 leaves last words that say it was running."""
    node = Node(pool).wait_until_joined()
    node.wait_for_event("healthy")
    node.worker.send_signal(signal.SIGKILL)
    node.wait_for_exit(30)
    assert node.read_last_words()["state"] == "running"


def test_hung_command(pool):
    """A condor_off that hangs delays neither another job's restart nor the drain, which takes the other sequence, nor
    the stop.
    """
    victim = {"name": "victim", "exec": "tail -f /dev/null", "restarts": "unlimited", "backoff": {"initial": "1ms"}}
    node = Node(pool, spec={"jobs": [MASTER, victim]}).wait_until_joined()
    node.worker.write_file("/usr/local/sbin/condor_off", "#!/bin/sh\nexec sleep 1000\n", mode=0o755)
    node.drain()
    pool.wait_until(lambda: node.worker.find_processes("sleep"), 20, "the command hangs")
    node.worker.signal_processes("tail")
    pool.wait_until(lambda: len(find_job_events(node, "victim", "started")) == 2, 20, "the victim runs again")
    assert (
        compute_seconds_between(
            find_job_events(node, "victim", "ended")[0], find_job_events(node, "victim", "started")[1]
        )
        < PROMPT_S * 5
    )
    asked = time.monotonic()
    node.worker.send_signal(signal.SIGTERM)
    assert node.wait_for_exit(20) == 0
    assert time.monotonic() - asked < 60


def find_job_events(node, job, event):
    return [line for line in node.read_log() if line.get("job") == job and line["message"].startswith(event)]
