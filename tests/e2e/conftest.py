"""Real parts for the end-to-end tests: the worker-node image, and a pool of containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import docker, image
from lab.containers import ContainerPool


@pytest.fixture(scope="session")
def worker_image() -> image.Image:
    """examples/worker-node, built from this checkout."""
    with docker.builder() as engine:
        return image.build(engine)


@pytest.fixture
def containers(worker_image: image.Image) -> Iterator[ContainerPool]:
    """A pool of containers without workers. What its workers printed is shown when the test fails."""
    with docker.runner() as engine, ContainerPool(engine, worker_image) as pool:
        yield pool
        for worker in pool.workers:
            print(f"--- {worker.name} {worker.state()}\n{worker.log()}")
