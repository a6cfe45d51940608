"""Start real engines and a real registry once for all tests of the watchdog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.dockerd import DockerDaemon, start_docker_daemon
from lab.podman_engine import Podman, start_podman
from lab.registry_server import Registry, start_registry
from tests.watchdog.site import Site, eventually


@pytest.fixture(scope="session")
def docker() -> Iterator[DockerDaemon]:
    """Start a Docker engine."""
    with start_docker_daemon() as found:
        yield found


@pytest.fixture(scope="session")
def podman_service() -> Iterator[Podman]:
    """Start Podman's API service."""
    with start_podman("127.0.0.1") as found:
        yield found


@pytest.fixture(scope="session")
def the_registry() -> Iterator[Registry]:
    """Start a registry."""
    with start_registry() as found:
        yield found


@pytest.fixture
def docker_site(tmp_path: Path, docker: DockerDaemon, the_registry: Registry) -> Iterator[Site]:
    """Set up a host with Docker; remove its containers at the end and keep its images for the next test."""
    found = Site(tmp_path, "docker", docker, the_registry, docker.engine)
    yield found
    names = docker.engine.run("ps", "--all", "--quiet").split()
    if names:
        docker.engine.run("rm", "--force", "--volumes", *names)


@pytest.fixture
def podman_site(tmp_path: Path, docker: DockerDaemon, podman_service: Podman, the_registry: Registry) -> Iterator[Site]:
    """Set up a host with Podman; its images are built with Docker."""
    yield Site(tmp_path, "podman", podman_service, the_registry, docker.engine)
    eventually(lambda: remove_containers(podman_service) == "", 60, "no container stays for the next test")


def remove_containers(podman: Podman) -> str:
    """Remove all containers, and return the lines of those that stay."""
    podman.run("rm", "--all", "--force", "--time=0", check=False)
    left = podman.run("ps", "--all", "--no-trunc")
    if len(left.splitlines()) <= 1:  # the heading
        return ""
    print(f"podman has not removed:\n{left}")
    return left


@pytest.fixture(params=["docker", "podman"])
def site(request: pytest.FixtureRequest) -> Site:
    """Run the test on both engines."""
    found = request.getfixturevalue(f"{request.param}_site")
    assert isinstance(found, Site)
    return found
