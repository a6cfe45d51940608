"""The worker-node image on a real Docker engine, in a real pool of containers."""

from __future__ import annotations

import json
import time

import pytest

from lab.containers import Container, ContainerPool
from lab.image import Image

pytestmark = pytest.mark.real("docker")

STATE = "/var/lib/autopilot"
LONG = {"LIFETIME": "1h"}
CAPABILITIES = ("SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "KILL")
# as examples/worker-node/README.md says a worker is run
HARDENED = ["--cap-drop", "ALL", *(f"--cap-add={name}" for name in CAPABILITIES), "-v", "/var/lib/condor/execute"]


def busy(pool: ContainerPool, worker: Container, seconds: float) -> str:
    """A job that runs on the worker now."""
    pool.wait(pool.slots, 60, f"{worker.name} joins")
    job = pool.submit(seconds)
    pool.wait(lambda: pool.executing(job), 30, "the job runs")
    return job


def last_words(worker: Container) -> dict[str, object]:
    return dict(json.loads(worker.read(f"{STATE}/last-words.json")))


def test_image_is_small(worker_image: Image) -> None:
    """The supervisor adds at most 80 MB to Debian's HTCondor."""
    overhead = worker_image.worker_size - worker_image.condor_size
    assert overhead <= 80_000_000, f"{overhead / 1e6:.1f} MB"


def test_stop_while_busy_puts_the_job_back(containers: ContainerPool) -> None:
    """`docker stop` with its usual 10 s leaves the job Idle in the queue within 2 s of the end, never in limbo."""
    worker = containers.worker(env=LONG, options=HARDENED)
    job = busy(containers, worker, 600)
    began = time.monotonic()
    worker.stop(grace=10)
    took = time.monotonic() - began
    containers.wait(lambda: containers.job_status(job) == "Idle", 2, "the job is Idle again")
    assert worker.state()["ExitCode"] == 0
    assert took < 10, "the engine had to kill it"
    assert last_words(worker)["reason"] == "signal"


def test_healthcheck_turns_healthy(containers: ContainerPool) -> None:
    """The image's own HEALTHCHECK says healthy while the supervisor answers (asked more often here than its 30 s)."""
    worker = containers.worker(env=LONG, options=["--health-interval", "1s"])
    containers.wait(lambda: worker.health == "healthy", 30, "the container is healthy")


def test_lifetime_ends_while_busy(containers: ContainerPool) -> None:
    """At its lifetime's end the container lets the job finish, refuses the next, and exits 0."""
    worker = containers.worker(env={"LIFETIME": "15s", "LIFETIME_JITTER": "0s"}, options=HARDENED)
    job = busy(containers, worker, 25)
    containers.wait(lambda: last_words(worker)["drain_started"], 30, "the drain begins")
    containers.wait(lambda: "Retiring" in [slot["Activity"] for slot in containers.slots()], 20, "the slot retires")
    refused = containers.submit(1)
    assert worker.wait(60) == 0
    assert containers.job_status(job) == "Completed"
    assert containers.job_status(refused) == "Idle"
    assert last_words(worker)["reason"] == "lifetime"
