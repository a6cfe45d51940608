"""Real parts for the end-to-end tests: the worker-node image, and a pool of containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import docker_engine
from lab.containers import ContainerPool
from lab.slurm_cluster import SlurmCluster
from lab.worker_image import WorkerImage, build_worker_image


@pytest.fixture(scope="session")
def worker_image() -> WorkerImage:
    """examples/worker-node, built from this checkout."""
    with docker_engine.open_build_engine() as engine:
        return build_worker_image(engine)


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A Slurm cluster without nodes, for all tests of the group `slurm`; `batch_sites.use_cluster` clears it."""
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def containers(worker_image: WorkerImage) -> Iterator[ContainerPool]:
    """A pool of containers without workers. What its workers printed is shown when the test fails."""
    with docker_engine.open_container_engine() as engine, ContainerPool(engine, worker_image) as pool:
        yield pool
        for worker in pool.workers:
            print(f"--- {worker.name} {worker.get_state()}\n{worker.read_log()}")
