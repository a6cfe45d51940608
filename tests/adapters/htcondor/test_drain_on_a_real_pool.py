"""How a life ends, as the schedd sees it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab.pool import Pool
from tests.adapters.htcondor.conftest import Worker

pytestmark = pytest.mark.real("root", "htcondor")
Start = Callable[..., Worker]
DEAF = "trap '' TERM; while :; do sleep 0.1; done"
TIDY = "trap 'exit 3' TERM; while :; do sleep 0.1; done"
# answers 0 and does nothing when asked for a peaceful end; the directory comes first on PATH
LYING_OFF = '#!/bin/sh\ncase "$*" in *-peaceful*) exit 0;; esac\nexec /usr/sbin/condor_off "$@"\n'
HUNG_OFF = '#!/bin/sh\ncase "$*" in *-peaceful*) sleep 600;; esac\nexec /usr/sbin/condor_off "$@"\n'


def script(worker: Worker, name: str, text: str) -> None:
    worker.host.write(f"/usr/local/sbin/{name}", text, mode=0o755)


def test_a_busy_node_finishes_its_job_and_takes_no_other(pool: Pool, worker: Start) -> None:
    """Drained comes only when the running job is Completed; the one queued meanwhile stays Idle; the master exits 0."""
    node = worker()
    node.joins()
    job = node.runs(seconds=8)
    node.ask("drain")
    time.sleep(2)  # an open claim would be used again by now
    late = pool.submit(1)
    node.hears("Drained", 20)
    assert pool.job_status(job) == "Completed"
    assert pool.job_status(late) == "Idle"
    node.ask("term")
    assert node.hears("MasterExited", 10)["status"] == 0
    assert node.heard("MasterExited")[0]["left"] == 0


def test_an_idle_node_is_drained_at_once(worker: Start) -> None:
    """Nothing runs: Drained within three seconds, and the held startd is no trouble."""
    node = worker()
    node.joins()
    node.ask("drain")
    began = node.hears("did", verb="drain")["at"]
    assert node.hears("Drained", 10)["at"] - began < 3
    assert not node.heard("NodeTrouble")


@pytest.mark.parametrize("broken", [LYING_OFF, HUNG_OFF], ids=["says 0 and does nothing", "hangs"])
def test_a_command_that_does_not_take_is_replaced_by_the_other_sequence(pool: Pool, worker: Start, broken: str) -> None:
    """condor_off's exit status is not believed: the drain goes on with `-drain -master`, and the job still finishes."""
    node = worker(constants={"tools.COMMAND_LIMIT": 2.0})
    node.joins()
    script(node, "condor_off", broken)
    job = node.runs(seconds=20)
    node.ask("drain")
    node.drains_by("-drain", "retiring", within=25)
    late = pool.submit(1)
    node.hears("Drained", 40)
    assert pool.job_status(job) == "Completed"
    assert pool.job_status(late) == "Idle"


def test_the_soft_deadline_lets_a_job_clean_up(pool: Pool, worker: Start) -> None:
    """SIGTERM to the starter reaches the job; it is Idle again, not Completed, and the node is drained."""
    node = worker()
    node.joins()
    job = node.runs(script=TIDY)
    node.ask("drain")
    node.drains_by("retiring")
    node.ask("soften")
    node.becomes(job, "Idle", 3)
    node.hears("Drained", 15)


def test_the_hard_deadline_gives_a_deaf_job_back_at_once(pool: Pool, worker: Start) -> None:
    """SIGQUIT to the master: a job deaf to SIGTERM is Idle within two seconds, nothing is left."""
    node = worker()
    node.joins()
    job = node.runs(script=DEAF)
    node.ask("drain")
    node.drains_by("retiring")
    node.ask("soften")
    time.sleep(1)
    assert pool.job_status(job) == "Running"
    node.ask("harden")
    node.becomes(job, "Idle", 2)
    assert node.hears("MasterExited")["left"] == 0
    node.hears("Drained", 15)


@pytest.mark.parametrize("job", [TIDY, DEAF], ids=["tidy", "deaf"])
def test_an_ordered_stop_while_busy_leaves_no_job_in_limbo(pool: Pool, worker: Start, job: str) -> None:
    """`docker stop`: the job is Idle in its queue within two seconds, whether it heeds SIGTERM or not."""
    node = worker()
    node.joins()
    name = node.runs(script=job)
    node.ask("evict")
    node.becomes(name, "Idle", 2.5)  # half a second for the question itself
    assert node.hears("MasterExited")["left"] == 0


def test_a_stopped_master_obeys_an_emergency(pool: Pool, worker: Start) -> None:
    """A SIGSTOPped master is continued when it is told to quit, and the job is Idle at once."""
    node = worker()
    node.joins()
    name = node.runs(script=DEAF)
    node.host.kill("condor_master", 19)
    node.host.kill("condor_startd", 19)
    node.ask("emergency")
    node.becomes(name, "Idle", 3)
    node.hears("MasterExited")


def test_a_killed_master_leaves_no_job_in_limbo(pool: Pool, worker: Start) -> None:
    """After `kill -9` of condor_master the job is Idle long before its lease ends; the payload is named for the
    kill."""
    node = worker()
    node.joins()
    name = node.runs(script=DEAF)
    node.host.kill("condor_master")
    node.hears("MasterExited")
    node.becomes(name, "Idle", 20)


def test_a_drain_with_a_dead_startd_is_over_at_once(worker: Start) -> None:
    """No startd and no payload: nothing can run, so nothing is waited for."""
    node = worker()
    node.joins()
    node.host.kill("condor_startd")
    node.hears("NodeTrouble", 5)
    node.ask("drain")
    began = node.hears("did", verb="drain")["at"]
    assert node.hears("Drained", 10)["at"] - began < 4
