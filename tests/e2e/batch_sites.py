"""Give one test list to every batch system: a site makes nodes of one of them, and says its own names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from lab.pool import Pool
from lab.slurm_cluster import SlurmCluster
from tests.e2e.node import BEGUN_PATH, MASTER, BatchNode, Node
from tests.e2e.slurm_node import MUNGED, SLURMD, SlurmWorker

COUNT: dict[str, Any] = {"name": "count", "exec": ["sh", "-c", f"until [ -e {BEGUN_PATH} ]; do sleep 0.1; done"]}


class BatchSite(ABC):
    """A pool or cluster of one batch system.

    Attributes:
        key: The batch system's section of the job spec.
        jobs: The jobs of a node; the last one is the main process.
        pool: The pool or cluster.
    """

    key: ClassVar[str]
    jobs: ClassVar[list[dict[str, Any]]]
    pool: Any

    @property
    def main_name(self) -> str:
        """The name of the main process's job."""
        return str(self.jobs[-1]["name"])

    @abstractmethod
    def start_node(self, *, lifetime: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> BatchNode:
        """Start a node with further keys of the job spec."""

    def start_lasting_node(self, **lifetime: Any) -> BatchNode:
        """Start a node whose lifetime counts from `BatchNode.begin_lifetime`, however long all before it takes."""
        after = {"source": COUNT["name"], "once": "exitSuccess"}
        keys = {"after": after, "drain": {self.key: True}, **lifetime}
        return self.start_node(lifetime=keys, spec={"jobs": [*self.jobs, COUNT]})

    def build_lifetime(self, **keys: Any) -> dict[str, Any]:
        """Return a lifetime that counts from the moment when the node is healthy."""
        return {"after": {"source": self.main_name, "once": "healthy"}, "drain": {self.key: True}, **keys}


class HtcondorSite(BatchSite):
    """A pool of HTCondor, one for each test."""

    key, jobs = "htcondor", [MASTER]

    def __init__(self, pool: Pool) -> None:
        self.pool: Pool = pool

    def start_node(self, *, lifetime: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> BatchNode:
        return Node(self.pool, lifetime=lifetime, spec=spec)


class SlurmSite(BatchSite):
    """A Slurm cluster, one for all tests: each node is removed by its own end, or by the end of the test."""

    key, jobs = "slurm", [MUNGED, SLURMD]

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
        cluster.ensure_manager()  # a test that failed may have left it stopped
        cluster.clear()
