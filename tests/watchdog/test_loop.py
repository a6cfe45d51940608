"""The whole loop on a real pool: push, the old container's lifetime ends, the new one runs the next job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import docker, image, settings
from lab.containers import ContainerPool
from lab.netns import entered
from lab.registry import registry
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import container

pytestmark = pytest.mark.real("docker", "registry")

LIFETIME = "20s"


@pytest.fixture(scope="module")
def built() -> image.Image:
    with docker.builder() as engine:
        return image.build(engine)


@pytest.fixture
def farm(tmp_path: Path, built: image.Image) -> Iterator[tuple[Site, ContainerPool]]:
    """A pool's manager in a container, and a host with a watchdog, both on one engine and its network."""
    with ExitStack() as stack:
        engine = stack.enter_context(docker.runner())
        pid = Path(engine.socket).with_name("pid")
        if pid.exists():  # an engine of ours, which has a network of its own
            stack.enter_context(entered(int(pid.read_text())))
        images, pool = stack.enter_context(registry()), stack.enter_context(ContainerPool(engine, built))
        site = Site(tmp_path, "docker", engine, images, engine)
        token = tmp_path / "tokens"
        token.mkdir(mode=0o700)
        (token / "worker").write_text(pool.token())
        (token / "worker").chmod(0o600)
        site.write(
            {
                "name": "worker-NN",
                "hostname": "worker-NN.pool",
                "network": pool.name,
                "extra_hosts": {settings.CONDOR_HOST: pool.manager.address},
                "dns_options": ["timeout:1", "attempts:1"],
                "env": {"CONDOR_HOST": settings.CONDOR_HOST, "LIFETIME": LIFETIME, "LIFETIME_JITTER": "0s"},
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


def release(site: Site, built: image.Image, number: int) -> str:
    """Push the worker image as that version; returns its digest."""
    site.builder.run("build", "--tag", site.pushed, "-", stdin=f"FROM {built.worker}\nLABEL release={number}\n")
    said = site.builder.run("push", site.pushed, timeout=300)
    site.builder.run("rmi", site.pushed)
    return next(word for word in said.split() if word.startswith("sha256:") and len(word) == 71)


def test_renewal(farm: tuple[Site, ContainerPool], built: image.Image) -> None:
    """v2 is pushed while v1 runs a job: the job ends, v2 takes the slot and runs the next; nothing was evicted."""
    site, pool = farm
    old = release(site, built, 1)
    with site.watching():
        pool.wait(pool.slots, 120, "the first container joins")
        first = pool.submit(30)
        pool.wait(lambda: pool.job_status(first) == "Running", 60, "the first job runs")
        assert container(site, "worker-01")["digest"] == old
        new = release(site, built, 2)
        eventually(lambda: container(site, "worker-01")["state"] == "draining", 90, "its lifetime ends")
        second = pool.submit(5)
        pool.wait(lambda: pool.job_status(first) == "Completed", 90, "the first job ends")
        eventually(
            lambda: container(site, "worker-01")["digest"] == new and container(site, "worker-01")["container"],
            60,
            "v2 runs",
        )
        started = container(site, "worker-01")["since"]
        pool.wait(pool.slots, 60, "v2 joins")
        joined = time.time()
        pool.wait(lambda: pool.job_status(second) == "Running", 60, "the second job runs")
        pool.wait(lambda: pool.job_status(second) == "Completed", 60, "the second job ends")
    for job in (first, second):
        ad = pool.job(job)
        assert (ad.get("NumJobStarts"), ad.get("NumShadowStarts")) == (1, 1), ad
    begin, last = pool.job(second)["JobStartDate"], pool.job(first)["CompletionDate"]
    parts = (
        f"v2 started {started - last:.1f} s, its slot in the pool {joined - started:.1f} s, job {begin - joined:.1f} s"
    )
    print(f"renewal gap {begin - last} s: {parts}")
    assert begin - last <= 10
    bury = site.audit("bury")[-1]
    assert bury["code"] == "lifetime" and bury["verdict"] in ("neutral", "good")
