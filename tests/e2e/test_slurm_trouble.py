"""Faults of a node in a real Slurm cluster, what slurmctld says of the job, and the example's own job spec."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab_errors import LabError
from lab.slurm_cluster import SlurmCluster
from tests.e2e.batch_sites import use_cluster
from tests.e2e.node import STATE_PATH
from tests.e2e.slurm_node import NODE_NAME, SlurmWorker

EXAMPLE = Path(__file__).parents[2] / "examples/slurm-worker/autopilot.json5"

pytestmark = [pytest.mark.real("root", "slurm"), pytest.mark.xdist_group("slurm")]


@pytest.fixture
def cluster(slurm_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    """The cluster without nodes and jobs."""
    with use_cluster(slurm_cluster):
        yield slurm_cluster


def test_the_controller_is_away_in_each_phase(cluster: SlurmCluster) -> None:
    """A node starts, works and begins its drain without slurmctld, loses no job, and ends when slurmctld is back."""
    cluster.stop_manager()
    node = SlurmWorker(cluster)
    node.wait_for_event("started")
    cluster.start_manager()
    node.wait_until_joined()
    job = node.start_lasting_job()
    cluster.stop_manager()
    node.drain()
    node.finish_jobs()
    cluster.wait_until(lambda: not node.worker.find_processes("sh"), 60, "the job has ended on the node")
    assert node.worker.exit_code is None
    cluster.start_manager()
    assert node.wait_for_exit() == 0
    assert (cluster.get_job_status(job), cluster.count_starts(job)) == ("Completed", 1)
    assert NODE_NAME not in cluster.list_nodes()
    assert node.read_last_words()["payloads_killed"] == 0


def test_a_stop_without_the_controller(cluster: SlurmCluster) -> None:
    """A busy node ends in order though nobody can be told, and says that its payload was killed."""
    node = SlurmWorker(cluster).wait_until_joined()
    node.start_job(300)
    cluster.stop_manager()
    node.worker.send_signal(signal.SIGTERM)
    assert node.wait_for_exit(30) == 0
    cluster.start_manager()
    words = node.read_last_words()
    assert (words["reason"], words["payloads_killed"]) == ("signal", 1)


def test_a_deadline_without_the_controller(cluster: SlurmCluster) -> None:
    """A job that obeys the deadline's SIGTERM while slurmctld is away is given back, not recorded as failed."""
    node = SlurmWorker(cluster, lifetime={"grace": "10m", "drain": {"slurm": True}}).wait_until_joined()
    job = node.start_lasting_job()
    cluster.stop_manager()
    node.drain("--deadline", "100ms")
    cluster.wait_until(lambda: not node.worker.find_processes("sh"), 60, "the job has ended on the node")
    cluster.start_manager()
    assert node.wait_for_exit() == 75
    assert cluster.get_job_status(job) == "Idle"
    assert NODE_NAME not in cluster.list_nodes()


def test_the_next_life_after_a_killed_one(cluster: SlurmCluster) -> None:
    """The next life of a slot whose container was killed gives its job back, and is the node at its own address."""
    killed = SlurmWorker(cluster).wait_until_joined()
    lost = killed.start_lasting_job()
    killed.worker.stop()
    assert NODE_NAME in cluster.list_nodes()
    node = SlurmWorker(cluster, node={"memory": "600MB"}).wait_until_healthy()
    assert (cluster.get_job_status(lost), cluster.count_starts(lost)) == ("Idle", 1)
    node.start_lasting_job()
    node.drain()
    node.finish_jobs()
    assert node.wait_for_exit() == 0
    assert NODE_NAME not in cluster.list_nodes()


def test_a_stop_requeues_only_the_array_task_of_this_node(cluster: SlurmCluster) -> None:
    """The last task of an array has the array's id: it is Idle after a stop of its node, and the other one runs on.

    An order that changes nothing is taken from root and refused to an ordinary user, as the node's own question is.
    """
    node = SlurmWorker(cluster).wait_until_joined()
    array = cluster.submit(300, options="#SBATCH --array=1-2")
    cluster.wait_until(lambda: cluster.count_starts(f"{array}_1") == 1, 60, "the first task runs")
    other = SlurmWorker(cluster, env={"AUTOPILOT_SLOT": "slot-2"}).wait_until_healthy()
    cluster.wait_until(lambda: cluster.count_starts(f"{array}_2") == 1, 60, "the second task runs")
    other.wait_for_event("payloads changed: 1 started")
    no_order = ["scontrol", "update", "nodename=slot-2", "comment="]
    cluster.run_on_manager(*no_order)
    with pytest.raises(LabError, match=r"Access/permission denied|Invalid user id"):
        cluster.run_on_manager(*no_order, user="alice")
    assert cluster.read_job(f"{array}_2")["JobId"] == array
    other.worker.send_signal(signal.SIGTERM)
    assert other.wait_for_exit(30) == 0
    assert cluster.get_job_status(f"{array}_2") == "Idle"
    assert (cluster.get_job_status(f"{array}_1"), cluster.count_starts(f"{array}_1")) == ("Running", 1)
    for worker in (node, other):
        assert not worker.find_events("cannot be given back|is not this host")


def test_a_killed_step_is_given_back(cluster: SlurmCluster) -> None:
    """A job whose slurmstepd was killed is requeued, though slurmd tells nobody; it counts as lost."""
    node = SlurmWorker(cluster).wait_until_joined()
    job = node.start_job(300)
    node.wait_for_event("payloads changed: 1 started")
    node.worker.signal_processes(f"slurmstepd: [{job}.batch]")
    cluster.wait_until(lambda: cluster.get_job_status(job) == "Idle", 30, "the job is Idle again")
    node.wait_for_event("its slurmstepd crashed or was killed")
    cluster.wait_until(lambda: not node.worker.find_processes("sleep"), 30, "its processes have ended")
    node.worker.send_signal(signal.SIGTERM)
    assert node.wait_for_exit(30) == 75
    assert node.read_last_words()["payloads_killed"] == 1


def test_a_killed_slurmd_ends_the_life(cluster: SlurmCluster) -> None:
    """A killed slurmd ends the node with its code; the job is Idle again, and the node is removed."""
    node = SlurmWorker(cluster).wait_until_joined()
    job = node.start_job(300)
    node.worker.signal_processes("slurmd")
    assert node.wait_for_exit(30) == 137
    cluster.wait_until(lambda: cluster.get_job_status(job) == "Idle", 30, "the job is Idle again")
    assert NODE_NAME not in cluster.list_nodes()
    words = node.read_last_words()
    assert (words["reason"], words["exit_code"], words["payloads_killed"]) == ("job-failed", 137, 1)


def test_the_example(cluster: SlurmCluster) -> None:
    """The job spec of examples/slurm-worker gets slurm.conf from the controller, and its life ends as it should."""
    env = {"SLURM_CONTROLLER": "manager", "LIFETIME": "1s", "LIFETIME_JITTER": "0s", "AUTOPILOT_SLOT": NODE_NAME}
    files = {"/etc/autopilot.json5": EXAMPLE.read_text()}
    worker = cluster.start_worker(
        ["autopilot", "run", "/etc/autopilot.json5"],
        env={"AUTOPILOT_STATE": STATE_PATH, **env},
        files=files,
        configured=False,
    )
    assert worker.wait(60) == 0
    assert '"reason": "lifetime"' in worker.read_file(f"{STATE_PATH}/last-words.json")
    assert NODE_NAME not in cluster.list_nodes()
