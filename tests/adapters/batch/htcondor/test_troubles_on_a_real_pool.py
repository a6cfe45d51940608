"""Faults of a node are detected, reported in one line, and treated."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from lab.pool import Pool
from tests.adapters.batch.htcondor.conftest import SETTINGS, Worker

pytestmark = pytest.mark.real("root", "htcondor")
Start = Callable[..., Worker]


def test_a_healthy_node_answers_every_probe(pool: Pool, worker: Start) -> None:
    """All aspects pass within their time, the payload is named by its GlobalJobId, and no trouble is seen."""
    node = worker()
    node.wait_until_joined()
    job = node.start_job(seconds=60)
    pool.wait_until(lambda: node.get_status()["in_pool"] is True, 10, "the adapter knows that it joined")
    for aspect in ("startd", "pool", "master", "space"):
        answer = node.probe(aspect)
        assert answer["passed"], answer
    assert node.get_status()["payloads"] == [pool.get_job_ad(job)["GlobalJobId"]]
    assert not node.list_reports("ConditionDetected")


def test_a_stopped_startd_is_seen_and_told_to_go_on(pool: Pool, worker: Start) -> None:
    """A SIGSTOPped startd fails its probe in time, becomes a trouble, is continued, and its job goes on as if nothing
    was.
    """
    node = worker(constants={"node_monitor.STARTD_SILENCE_S": 2.0, "condor_commands.QUERY_TIMEOUT_S": 1.0})
    node.wait_until_joined()
    job = node.start_job(seconds=300)
    node.host.signal_processes("condor_startd", signal.SIGSTOP)
    answer = node.probe("startd", 1)
    assert not answer["passed"]
    assert answer["seconds"] < 10
    trouble = node.wait_for_report("ConditionDetected", 15, kind="startd-hung")
    assert "SIGSTOP" in trouble["detail"]
    node.wait_for_report("ConditionResolved", 10, kind="startd-hung")
    assert pool.get_job_status(job) == "Running"
    assert pool.get_job_ad(job)["NumShadowStarts"] == 1


def test_a_stopped_master_is_missed_by_its_heartbeat(pool: Pool, worker: Start) -> None:
    """The heartbeat stops, the master's probe fails, the master is continued, the job goes on."""
    node = worker(constants={"node_monitor.HEARTBEAT_TIMEOUT_S": 3.0, "htcondor_system.HEARTBEAT_TIMEOUT_S": 3.0})
    node.wait_until_joined()
    job = node.start_job(seconds=300)
    pool.wait_until(lambda: node.get_status()["heartbeat_age"] is not None, 15, "a first heartbeat")
    node.host.signal_processes("condor_master", signal.SIGSTOP)
    node.wait_for_report("ConditionDetected", 10, kind="master-silent")
    node.wait_for_report("ConditionResolved", 10, kind="master-silent")
    assert node.probe("master")["passed"]
    assert pool.get_job_status(job) == "Running"


def test_a_startd_that_dies_again_and_again_is_named(worker: Start) -> None:
    """Each death is told with what the master does about it; after the fourth start it is a crash loop."""
    node = worker(constants={"startd_health.CRASH_LOOP_STARTS": 2})
    node.wait_until_joined()
    node.host.signal_processes("condor_startd")
    assert "does not run" in node.wait_for_report("ConditionDetected", 15, kind="startd-down")["detail"]
    assert "StartLog" in node.wait_for_report("ConditionDetected", 20, kind="startd-crash-loop")["detail"]
    node.wait_for_report("ConditionResolved", 5, kind="startd-down")


def test_a_wrong_token_is_said_while_local_checks_are_green(pool: Pool, worker: Start) -> None:
    """The startd answers, the pool does not know it: the trouble quotes the collector's refusal."""
    with Pool() as other:
        foreign = other.create_token()
    node = worker(host={"token": foreign})
    trouble = node.wait_for_report("ConditionDetected", 40, kind="pool-membership")
    assert "refuses" in trouble["detail"], trouble
    assert node.probe("startd")["passed"]
    assert not node.probe("pool")["passed"]
    assert not pool.list_slots()


def test_without_a_token_nothing_is_started(worker: Start) -> None:
    """The missing token is one line with the command that makes one."""
    node = worker(host={"token": ""})
    lines = node.wait_for_report("Problems")["lines"]
    assert len(lines) == 1
    assert "no token" in lines[0] and "condor_token_create" in lines[0]
    assert not node.host.find_processes("condor_master")


def test_an_unresolvable_manager_is_said_before_anything_starts(worker: Start) -> None:
    """One line names the manager and where to look."""
    node = worker(node={"condor_host": "nowhere.example", "settings": SETTINGS})
    lines = node.wait_for_report("Problems", 20)["lines"]
    assert len(lines) == 1
    assert "cannot resolve the manager nowhere.example" in lines[0]


def test_a_manager_that_comes_late_is_joined_within_seconds(pool: Pool, worker: Start) -> None:
    """Down at our start, the manager is `manager-unreachable`; back again, the node joins without waiting for its
    update.
    """
    pool.stop_manager()
    node = worker(constants={"pool_membership.JOIN_PATIENCE_S": 0.0})
    node.wait_for_report("ConditionDetected", 20, kind="manager-unreachable")
    time.sleep(10)  # past the startd's own first attempts
    pool.start_manager()
    pool.wait_until(pool.list_slots, 35, "the worker joins")  # by itself it would take up to 300 s
    node.wait_for_report("ConditionResolved", 35, kind="manager-unreachable")
    pool.wait_until(lambda: node.probe("pool")["passed"], 35, "membership is seen")


def test_a_manager_that_crashed_is_noticed_by_the_lost_connection(pool: Pool, worker: Start) -> None:
    """Asked only every five minutes, yet the crash is known in seconds, and so is the return."""
    node = worker()
    node.wait_until_joined()
    pool.wait_until(lambda: node.get_status()["in_pool"], 10, "in")
    pool.stop_manager()
    node.wait_for_report("ConditionDetected", 15, kind="manager-unreachable")
    pool.start_manager()
    node.wait_for_report("ConditionResolved", 35, kind="manager-unreachable")
    pool.wait_until(pool.list_slots, 35, "the worker is back")


def test_a_full_execute_takes_no_job_instead_of_holding_them_all(pool: Pool, worker: Start) -> None:
    """With EXECUTE full the next job waits Idle, not Held; with room again it runs."""
    disks = {"/var/lib/condor/execute": f"size=16m,mode=755,{pool.format_owner('condor')}"}
    node = worker(host={"disks": disks}, min_execute=8 << 20)
    node.wait_until_joined()
    node.host.run("dd if=/dev/zero of=/var/lib/condor/execute/ballast bs=1M count=14 2>/dev/null", check=False)
    node.wait_for_report("ConditionDetected", 10, kind="execute-full")
    assert not node.probe("space")["passed"]
    pool.wait_until(lambda: node.get_status()["refusing_jobs"], 10, "the node refuses jobs")
    time.sleep(2)  # the reconfiguration reaches the negotiator with the next update
    job = pool.submit(2)
    time.sleep(6)  # three negotiation cycles
    assert pool.get_job_status(job) == "Idle"
    node.host.run("rm /var/lib/condor/execute/ballast")
    node.wait_for_report("ConditionResolved", 10, kind="execute-full")
    node.wait_for_job_status(job, "Completed", 30)
