"""The whole loop on a real pool: push, the old container's lifetime ends, the new one runs the next job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import docker_engine, pool_settings, worker_image
from lab.containers import ContainerPool
from lab.netns import enter_network_of
from lab.registry_server import start_registry
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot

pytestmark = [pytest.mark.real("docker", "registry"), pytest.mark.xdist_group("machine")]

LIFETIME = "20s"


@pytest.fixture(scope="module")
def built() -> worker_image.WorkerImage:
    """Build the worker image."""
    with docker_engine.open_build_engine() as engine:
        return worker_image.build_worker_image(engine)


@pytest.fixture
def farm(tmp_path: Path, built: worker_image.WorkerImage) -> Iterator[tuple[Site, ContainerPool]]:
    """A pool's manager in a container, and a host with a watchdog, both on one engine and its network."""
    with ExitStack() as stack:
        engine = stack.enter_context(docker_engine.open_container_engine())
        pid = Path(engine.socket).with_name("pid")
        if pid.exists():  # an engine of ours, which has a network of its own
            stack.enter_context(enter_network_of(int(pid.read_text())))
        images, pool = stack.enter_context(start_registry()), stack.enter_context(ContainerPool(engine, built))
        site = Site(tmp_path, "docker", engine, images, engine)
        token = tmp_path / "tokens"
        token.mkdir(mode=0o700)
        (token / "worker").write_text(pool.create_token())
        (token / "worker").chmod(0o600)
        site.write_config(
            {
                "name": "worker-NN",
                "hostname": "worker-NN.pool",
                "network": pool.network_name,
                "extra_hosts": {pool_settings.CONDOR_HOST: pool.manager.address},
                "dns_options": ["timeout:1", "attempts:1"],
                "env": {"CONDOR_HOST": pool_settings.CONDOR_HOST, "LIFETIME": LIFETIME, "LIFETIME_JITTER": "0s"},
                "volumes": [f"{token}:/run/secrets/condor:ro"],
            }
        )
        try:
            yield site, pool
        finally:
            names = engine.run("ps", "--all", "--quiet", "--filter", "label=autopilot.watchdog").split()
            for name in names:
                print(engine.run("logs", name, check=False)[-3000:])
                engine.run("rm", "--force", "--volumes", name)


def push_release(site: Site, built: worker_image.WorkerImage, number: int, *, urgent: bool = False) -> str:
    """Push the worker image as that version; returns its digest."""
    labels = f"release={number}{' autopilot.urgency=now' if urgent else ''}"
    site.builder.run("build", "--tag", site.push_reference, "-", stdin=f"FROM {built.worker_tag}\nLABEL {labels}\n")
    output = site.builder.run("push", site.push_reference, timeout=300)
    site.builder.run("rmi", site.push_reference)
    return next(word for word in output.split() if word.startswith("sha256:") and len(word) == 71)


# Of HTCondor's job ad: what an eviction, a hold, a restart or a lost connection would have left in it.
TRACES = (
    *("NumVacates", "NumVacatesByReason", "LastVacateTime", "VacateReason", "VacateReasonCode"),
    *("NumHolds", "HoldReason", "LastHoldReason", "NumJobReconnects", "NumShadowExceptions", "NumSystemHolds"),
    *("JobDisconnectedDate", "NumCkpts"),
)
ONCE = ("NumJobStarts", "NumShadowStarts", "JobRunCount", "NumJobMatches", "NumJobCompletions")


def assert_undisturbed(pool: ContainerPool, job: str) -> None:
    """The schedd's history shows one start, one end, status 0 and no trace of anything in between."""
    ad = pool.get_job_ad(job)
    assert {key: ad.get(key) for key in ONCE} == dict.fromkeys(ONCE, 1), ad
    assert not {key: ad[key] for key in TRACES if ad.get(key)}, ad
    assert (ad["JobStatus"], ad["ExitCode"], ad["ExitBySignal"]) == (4, 0, False)
    # all of its time in the queue since it began was this one run: nothing was thrown away
    assert ad["JobCurrentStartDate"] == ad["JobStartDate"]
    assert abs(ad["RemoteWallClockTime"] - (ad["CompletionDate"] - ad["JobStartDate"])) <= 1


def test_renewal(farm: tuple[Site, ContainerPool], built: worker_image.WorkerImage) -> None:
    """v2 is pushed while v1 runs a job: the job ends, v2 takes the slot and runs the next; nothing was evicted."""
    site, pool = farm
    old = push_release(site, built, 1)
    with site.run_watch():
        pool.wait_until(pool.list_slots, 120, "the first container joins")
        first = pool.submit(30)
        pool.wait_until(lambda: pool.get_job_status(first) == "Running", 60, "the first job runs")
        assert get_slot(site, "worker-01")["digest"] == old
        new = push_release(site, built, 2)
        eventually(lambda: get_slot(site, "worker-01")["state"] == "draining", 90, "its lifetime ends")
        second = pool.submit(5)
        pool.wait_until(lambda: pool.get_job_status(first) == "Completed", 90, "the first job ends")
        eventually(lambda: is_running(site, new), 60, "v2 runs")
        started = get_slot(site, "worker-01")["since"]
        pool.wait_until(pool.list_slots, 60, "v2 joins")
        joined = time.time()
        pool.wait_until(lambda: pool.get_job_status(second) == "Running", 60, "the second job runs")
        pool.wait_until(lambda: pool.get_job_status(second) == "Completed", 60, "the second job ends")
    assert_undisturbed(pool, first)
    assert_undisturbed(pool, second)
    begin, last = pool.get_job_ad(second)["JobStartDate"], pool.get_job_ad(first)["CompletionDate"]
    parts = (
        f"v2 started {started - last:.1f} s, its slot in the pool {joined - started:.1f} s, job {begin - joined:.1f} s"
    )
    print(f"renewal gap {begin - last} s: {parts}")
    assert begin - last <= 40, "the next pass would have been a minute later"
    removal = site.read_audit("remove")[-1]
    assert removal["code"] == "lifetime" and removal["verdict"] in ("neutral", "good")


def test_urgent_push(farm: tuple[Site, ContainerPool], built: worker_image.WorkerImage) -> None:
    """A push with an urgent label takes a slot whose lifetime would have lasted a day; its job is not disturbed."""
    site, pool = farm
    site.document["slots"][0]["env"]["LIFETIME"] = "24h"
    site.write_config(rollout={"rings": [{"share": "100%", "after": "10h"}]}, registry={"check_every": "1s"})
    push_release(site, built, 1)
    with site.run_watch():
        pool.wait_until(pool.list_slots, 120, "the first container joins")
        job = pool.submit(45)
        pool.wait_until(lambda: pool.get_job_status(job) == "Running", 60, "the job runs")
        fix = push_release(site, built, 2, urgent=True)
        eventually(lambda: get_slot(site, "worker-01")["state"] == "draining", 90, "it drains")
        assert pool.get_job_status(job) == "Running"
        pool.wait_until(lambda: pool.get_job_status(job) == "Completed", 90, "the job ends")
        eventually(lambda: is_running(site, fix), 60, "the fix runs")
    assert_undisturbed(pool, job)
    assert [removal["code"] for removal in site.read_audit("remove")] == ["drain"]


def is_running(site: Site, digest: str) -> bool:
    """Return True if the slot runs the digest."""
    status = get_slot(site, "worker-01")
    return bool(status["container"]) and status["digest"] == digest
