"""The image of examples/slurm-worker, built by its recipe and run by a real Docker engine without a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import docker_engine
from lab.containers import Container
from lab.polling import poll_until
from lab.worker_image import build_slurm_image

pytestmark = pytest.mark.real("docker")

NAME = "slurm-worker-alone"
# a cluster's key comes by a mount; PID 1 is the supervisor then, as by the image's own ENTRYPOINT
WITH_A_KEY = (
    "head -c 128 /dev/urandom > /etc/munge/munge.key && chown munge: /etc/munge/munge.key "
    "&& chmod 0400 /etc/munge/munge.key && exec autopilot run"
)


@pytest.fixture
def node() -> Iterator[Container]:
    """A container of the image; at the address of its controller nobody listens."""
    with docker_engine.open_build_engine() as engine:
        tag = build_slurm_image(engine)
    with docker_engine.open_container_engine() as engine:
        options = ["--env", "SLURM_CONTROLLER=127.0.0.1", "--hostname", "node-1", "--entrypoint", "sh"]
        engine.run("run", "--detach", "--name", NAME, *options, tag, "-c", WITH_A_KEY)
        try:
            yield Container(engine, NAME)
        finally:
            print(engine.run("logs", NAME, check=False, include_stderr=True)[-3000:])
            engine.run("rm", "--force", "--volumes", NAME)


def test_the_image(node: Container) -> None:
    """The spec passes `autopilot check` inside; slurmd waits for slurmctld when munged is healthy; a stop is clean."""
    assert "no problems" in node.run("autopilot", "check")
    poll_until(lambda: "gate_refused" in node.read_log(), 60, lambda _: "no gate has refused slurmd")
    assert "slurmctld" in node.run("autopilot", "why", "slurmd")
    assert node.run("slurmd", "-V").startswith("slurm")
    node.stop(grace=30)
    assert node.get_state()["ExitCode"] == 0
