"""Give one test list to every batch system: a site makes nodes of one of them, and says its own names and times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from lab.pool import Pool
from lab.slurm_cluster import SlurmCluster
from tests.e2e.node import MASTER, BatchNode, Node
from tests.e2e.slurm_node import SLURMD, SlurmWorker


class BatchSite(ABC):
    """A pool or cluster of one batch system.

    Attributes:
        key: The batch system's section of the job spec.
        main_job: The job of its main process.
        life: The lifetime of a node that expires while a job runs.
        job_s: Seconds of a job that outlives such a node's lifetime.
        short_job_s: Seconds of a job that still runs when a test has asked for the next thing.
        pool: The pool or cluster.
    """

    key: ClassVar[str]
    main_job: ClassVar[dict[str, Any]]
    life: ClassVar[str]
    job_s: ClassVar[float]
    short_job_s: ClassVar[float]
    pool: Any

    @abstractmethod
    def start_node(self, *, lifetime: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> BatchNode:
        """Start a node with further keys of the job spec."""

    def build_lifetime(self, **keys: Any) -> dict[str, Any]:
        """Return a lifetime that counts from the moment when the node is healthy."""
        after = {"source": self.main_job["name"], "once": "healthy"}
        return {"max": self.life, "after": after, "drain": {self.key: True}, **keys}


class HtcondorSite(BatchSite):
    """A pool of HTCondor, one for each test."""

    key, main_job, life, job_s, short_job_s = "htcondor", MASTER, "5s", 12, 6

    def __init__(self, pool: Pool) -> None:
        self.pool: Pool = pool

    def start_node(self, *, lifetime: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> BatchNode:
        return Node(self.pool, lifetime=lifetime, spec=spec)


class SlurmSite(BatchSite):
    """A Slurm cluster, one for all tests: each node is removed by its own end, or by the end of the test."""

    key, main_job, life, job_s, short_job_s = "slurm", SLURMD, "6s", 9, 3

    def __init__(self, cluster: SlurmCluster) -> None:
        self.pool: SlurmCluster = cluster

    def start_node(self, *, lifetime: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> BatchNode:
        return SlurmWorker(self.pool, lifetime=lifetime, spec=spec)


@contextmanager
def use_cluster(cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    """Lend a cluster to one test; then end its nodes and its jobs. A failed test shows the output of its nodes."""
    before = len(cluster.workers)
    try:
        yield cluster
    finally:
        for worker in cluster.workers[before:]:
            print(f"--- {worker.name}, PID 1 {worker.exit_code=}\n{worker.read_log()}")
            worker.stop()
        cluster.clear()
