"""Drains and stops of a node leave every job in the state that the schedd expects."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab.pool import Pool
from tests.adapters.batch.htcondor.conftest import Worker

pytestmark = pytest.mark.real("root", "htcondor")
Start = Callable[..., Worker]
IGNORES_TERM = "trap '' TERM; while :; do sleep 0.1; done"
EXITS_ON_TERM = "trap 'exit 3' TERM; while :; do sleep 0.1; done"
# answers 0 and does nothing when asked for a peaceful end; the directory comes first on PATH
CONDOR_OFF_WITHOUT_EFFECT = '#!/bin/sh\ncase "$*" in *-peaceful*) exit 0;; esac\nexec /usr/sbin/condor_off "$@"\n'
CONDOR_OFF_HANGING = '#!/bin/sh\ncase "$*" in *-peaceful*) sleep 600;; esac\nexec /usr/sbin/condor_off "$@"\n'


def write_script(worker: Worker, name: str, text: str) -> None:
    worker.host.write_file(f"/usr/local/sbin/{name}", text, mode=0o755)


def test_a_busy_node_finishes_its_job_and_takes_no_other(pool: Pool, worker: Start) -> None:
    """Drained comes only when the running job is Completed; the one queued meanwhile stays Idle; the master exits 0."""
    node = worker()
    node.wait_until_joined()
    job = node.start_job(seconds=8)
    node.send_command("drain")
    time.sleep(2)  # an open claim would be used again by now
    late = pool.submit(1)
    node.wait_for_report("Drained", 20)
    assert pool.get_job_status(job) == "Completed"
    assert pool.get_job_status(late) == "Idle"
    node.send_command("term")
    assert node.wait_for_report("MasterExited", 10)["status"] == 0
    assert node.list_reports("MasterExited")[0]["left"] == 0


def test_an_idle_node_is_drained_at_once(worker: Start) -> None:
    """Nothing runs: Drained within three seconds, and the held startd is no trouble."""
    node = worker()
    node.wait_until_joined()
    node.send_command("drain")
    began = node.wait_for_report("did", verb="drain")["at"]
    assert node.wait_for_report("Drained", 10)["at"] - began < 3
    assert not node.list_reports("ConditionDetected")


@pytest.mark.parametrize(
    "broken", [CONDOR_OFF_WITHOUT_EFFECT, CONDOR_OFF_HANGING], ids=["says 0 and does nothing", "hangs"]
)
def test_a_command_that_does_not_take_is_replaced_by_the_other_sequence(pool: Pool, worker: Start, broken: str) -> None:
    """condor_off's exit status is not believed: the drain goes on with `-drain -master`, and the job still finishes."""
    node = worker(constants={"condor_commands.COMMAND_TIMEOUT_S": 2.0})
    node.wait_until_joined()
    write_script(node, "condor_off", broken)
    job = node.start_job(seconds=20)
    node.send_command("drain")
    node.wait_for_drain_status("-drain", "retiring", timeout=25)
    late = pool.submit(1)
    node.wait_for_report("Drained", 40)
    assert pool.get_job_status(job) == "Completed"
    assert pool.get_job_status(late) == "Idle"


def test_the_soft_deadline_lets_a_job_clean_up(pool: Pool, worker: Start) -> None:
    """SIGTERM to the starter reaches the job; it is Idle again, not Completed, and the node is drained."""
    node = worker()
    node.wait_until_joined()
    job = node.start_job(script=EXITS_ON_TERM)
    node.send_command("drain")
    node.wait_for_drain_status("retiring")
    node.send_command("soft_stop")
    node.wait_for_job_status(job, "Idle", 3)
    node.wait_for_report("Drained", 15)


def test_the_hard_deadline_gives_a_deaf_job_back_at_once(pool: Pool, worker: Start) -> None:
    """SIGQUIT to the master: a job deaf to SIGTERM is Idle within two seconds, nothing is left."""
    node = worker()
    node.wait_until_joined()
    job = node.start_job(script=IGNORES_TERM)
    node.send_command("drain")
    node.wait_for_drain_status("retiring")
    node.send_command("soft_stop")
    time.sleep(1)
    assert pool.get_job_status(job) == "Running"
    node.send_command("hard_stop")
    node.wait_for_job_status(job, "Idle", 2)
    assert node.wait_for_report("MasterExited")["left"] == 0
    node.wait_for_report("Drained", 15)


@pytest.mark.parametrize("job", [EXITS_ON_TERM, IGNORES_TERM], ids=["tidy", "deaf"])
def test_an_ordered_stop_while_busy_leaves_no_job_in_limbo(pool: Pool, worker: Start, job: str) -> None:
    """`docker stop`: the job is Idle in its queue within two seconds, whether it heeds SIGTERM or not."""
    node = worker()
    node.wait_until_joined()
    name = node.start_job(script=job)
    node.send_command("evict")
    node.wait_for_job_status(name, "Idle", 2.5)  # half a second for the question itself
    assert node.wait_for_report("MasterExited")["left"] == 0


def test_a_stopped_master_obeys_an_emergency(pool: Pool, worker: Start) -> None:
    """A SIGSTOPped master is continued when it is told to quit, and the job is Idle at once."""
    node = worker()
    node.wait_until_joined()
    name = node.start_job(script=IGNORES_TERM)
    node.host.signal_processes("condor_master", 19)
    node.host.signal_processes("condor_startd", 19)
    node.send_command("emergency")
    node.wait_for_job_status(name, "Idle", 3)
    node.wait_for_report("MasterExited")


def test_a_killed_master_leaves_no_job_in_limbo(pool: Pool, worker: Start) -> None:
    """After `kill -9` of condor_master the job is Idle long before its lease ends; the payload is named for the
    kill.
    """
    node = worker()
    node.wait_until_joined()
    name = node.start_job(script=IGNORES_TERM)
    node.host.signal_processes("condor_master")
    node.wait_for_report("MasterExited")
    node.wait_for_job_status(name, "Idle", 20)


def test_a_drain_with_a_dead_startd_is_over_at_once(worker: Start) -> None:
    """No startd and no payload: nothing can run, so nothing is waited for."""
    node = worker()
    node.wait_until_joined()
    node.host.signal_processes("condor_startd")
    node.wait_for_report("ConditionDetected", 5)
    node.send_command("drain")
    began = node.wait_for_report("did", verb="drain")["at"]
    assert node.wait_for_report("Drained", 10)["at"] - began < 4
