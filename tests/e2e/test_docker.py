"""The worker-node image on a real Docker engine, in a real pool of containers."""

from __future__ import annotations

import json

import pytest

from lab.containers import Container, ContainerPool
from lab.worker_image import WorkerImage

pytestmark = pytest.mark.real("docker")

STATE = "/var/lib/autopilot"
LONG = {"LIFETIME": "1h"}
CAPABILITIES = ("SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "KILL")
# as examples/worker-node/README.md says a worker is run
HARDENED = ["--cap-drop", "ALL", *(f"--cap-add={name}" for name in CAPABILITIES), "-v", "/var/lib/condor/execute"]


def start_job(pool: ContainerPool, worker: Container, seconds: float) -> str:
    """A job that runs on the worker now."""
    pool.wait_until(pool.list_slots, 60, f"{worker.name} joins")
    job = pool.submit(seconds)
    pool.wait_until(lambda: pool.is_executing(job), 30, "the job runs")
    return job


def read_last_words(worker: Container) -> dict[str, object]:
    return dict(json.loads(worker.read_file(f"{STATE}/last-words.json")))


def test_image_is_small(worker_image: WorkerImage) -> None:
    """The supervisor adds at most 80 MB to Debian's HTCondor."""
    overhead = worker_image.worker_size_bytes - worker_image.condor_size_bytes
    assert overhead <= 80_000_000, f"{overhead / 1e6:.1f} MB"


def test_stop_while_busy_puts_the_job_back(containers: ContainerPool) -> None:
    """`docker stop` with its usual 10 s leaves the job Idle in the queue within 2 s of the end, never in limbo."""
    worker = containers.start_worker(env=LONG, options=HARDENED)
    job = start_job(containers, worker, 600)
    worker.stop(grace=10)
    containers.wait_until(lambda: containers.get_job_status(job) == "Idle", 2, "the job is Idle again")
    assert worker.get_state()["ExitCode"] == 0, "the engine had to kill it"
    assert read_last_words(worker)["reason"] == "signal"


def test_killed_startd_gives_its_job_back(containers: ContainerPool) -> None:
    """With no more capabilities than a worker needs, a killed startd's job goes back to its queue."""
    worker = containers.start_worker(env=LONG, options=HARDENED)
    job = start_job(containers, worker, 600)
    worker.run("pkill", "-KILL", "-x", "condor_startd")
    containers.wait_until(lambda: "payloads_lost" in worker.read_log(), 30, "the loss is told")
    assert "given back" in next(line for line in worker.read_log().splitlines() if "payloads_lost" in line)
    containers.wait_until(lambda: int(containers.get_job_ad(job)["NumShadowStarts"]) == 2, 60, "the job starts again")


def test_healthcheck_turns_healthy(containers: ContainerPool) -> None:
    """The image's own HEALTHCHECK says healthy while the supervisor answers (asked more often here than its 30 s)."""
    worker = containers.start_worker(env=LONG, options=["--health-interval", "1s"])
    containers.wait_until(lambda: worker.health == "healthy", 30, "the container is healthy")


def test_lifetime_ends_while_busy(containers: ContainerPool) -> None:
    """At its lifetime's end the container lets the job finish, refuses the next, and exits 0."""
    worker = containers.start_worker(env={"LIFETIME": "15s", "LIFETIME_JITTER": "0s"}, options=HARDENED)
    job = start_job(containers, worker, 25)
    containers.wait_until(lambda: read_last_words(worker)["drain_started"], 30, "the drain begins")
    containers.wait_until(
        lambda: "Retiring" in [slot["Activity"] for slot in containers.list_slots()], 20, "the slot retires"
    )
    refused = containers.submit(1)
    assert worker.wait(60) == 0
    assert containers.get_job_status(job) == "Completed"
    assert containers.get_job_status(refused) == "Idle"
    assert read_last_words(worker)["reason"] == "lifetime"
