"""Troubles of the host itself: its clock, its mounts, its load, and a host that has cron and no systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lab.faults import clock_off, hanging_mount
from lab.pyz import make
from lab.tiny import good_life
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import SLOT, container, kill
from tests.watchdog.test_trouble import emptied

pytestmark = pytest.mark.real("docker", "podman", "registry")

JUMPS = ["+400d", "+0", "-300d", "+0"]  # "-300d": still after `fitness.earliest`


@pytest.fixture
def clock(site: Site) -> Iterator[Callable[[str], object]]:
    """Sets the watchdog's clock, and that of nobody else."""
    file = site.folder / "clock"
    file.write_text("+0")
    site.before = clock_off(file)
    yield file.write_text
    site.before = []


@pytest.mark.real("faketime")
def test_clock_jumps(site: Site, clock: Callable[[str], object]) -> None:
    """A clock that jumps by a year, either way: no slot is refilled early or held back, no image promoted or blamed."""
    site.write(failures={"initial": "1h", "longest": "1h", "good_after": "1h"})
    site.push("sleep 100000")  # of this image only the engine's stamps are known
    site.run()
    first = container(site)
    for by in JUMPS:
        clock(by)
        site.run()
        assert container(site)["container"] == first["container"]
        assert not site.image()["goods"], f"{by}: not yet an hour old"
    site.push("exit 3")
    emptied(site)
    site.run()
    eventually(lambda: container(site)["state"] in ("starting", "backoff"), 10, "it has failed")
    site.run()
    assert container(site)["state"] == "backoff"
    starts = len(site.audit("start"))
    for by in JUMPS:
        clock(by)
        site.run()
        status = container(site)
        assert status["state"] == "backoff" and len(site.audit("start")) == starts, by
        left = site.state()["slots"][SLOT]["not_before"] - site.state()["last_pass"]
        assert 1800 < left <= 3600, by
    assert not site.image()["quarantine"]
    assert site.state()["lost"].get("backoff", 0) < 120


@pytest.mark.real("faketime")
def test_watch_over_a_jump(site: Site, clock: Callable[[str], object]) -> None:
    """`watch` refills a slot at once, whatever its clock did the moment before."""
    site.push(good_life())
    with site.watching():
        name = eventually(lambda: container(site)["container"], 30, "the slot is filled")
        for by in JUMPS:
            clock(by)
            kill(site, name)
            # without the engine's event it would be the next minute's pass
            name = eventually(lambda gone=name: other(site, gone), 20, f"refilled after {by}")


def other(site: Site, gone: str) -> str:
    name = container(site)["container"]
    return name if name != gone else ""


@pytest.mark.real("fuse")
def test_hanging_mount(site: Site) -> None:
    """While a mount hangs nothing is started and nothing hangs; what runs, runs on; after it all is well by itself."""
    site.push()
    cvmfs = site.folder / "cvmfs"
    cvmfs.mkdir()
    site.write({"count": 2}, fitness={"free_disk": 0, "mounts": [str(cvmfs)], "mount_timeout": "1s"})
    site.run()
    runs_on = container(site, "wn-02")
    emptied(site)
    with hanging_mount(cvmfs):
        began = time.monotonic()
        said = site.run()
        assert time.monotonic() - began < 10
        assert f"{cvmfs} does not answer within 1 s" in said
        status = site.status()
        assert status[SLOT]["state"] == "host-unfit" and not status[SLOT]["container"]
        assert status["wn-02"] == runs_on
    site.run()
    assert container(site)["state"] == "running"


@pytest.mark.real("fuse")
def test_watch_leaves_one_process_in_a_hanging_mount(site: Site) -> None:
    """However long a mount hangs, `watch` has at most one process stuck in it, and goes on when it is back."""
    site.push()
    cvmfs = site.folder / "cvmfs"
    cvmfs.mkdir()
    site.write(fitness={"free_disk": 0, "mounts": [str(cvmfs)], "mount_timeout": "200ms"})
    with hanging_mount(cvmfs):
        process = subprocess.Popen([*site.command("watch"), "--every", "300ms"], stderr=subprocess.DEVNULL)
        try:
            eventually((site.home / "state.json").exists, 30, "it has begun")
            eventually(lambda: site.state()["lost"].get("host-unfit", 0) > 3, 30, "several passes")
            assert len(psutil.Process(process.pid).children()) <= 2, "one at work, one that was just given up"
        finally:
            process.terminate()
            process.wait(10)


def test_load(site: Site) -> None:
    """Above `fitness.load_per_cpu` nothing is started, and the reason has both figures."""
    site.push()
    site.write(fitness={"free_disk": 0, "load_per_cpu": 0.02 / (os.cpu_count() or 1)})
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        eventually(lambda: os.getloadavg()[0] > 0.04, 30, "the kernel has seen the load")
        site.run()
    finally:
        busy.kill()
        busy.wait()
    status = container(site)
    assert status["state"] == "host-unfit" and "the load is " in status["sentence"] and "CPUs" in status["sentence"]
    site.write(fitness={"free_disk": 0, "load_per_cpu": 1000})
    site.run()
    assert container(site)["state"] == "running"


@pytest.mark.slow
@pytest.mark.real("cron")
def test_cron_line(docker_site: Site) -> None:
    """The cron line of examples/watchdog, in a real cron, refills a slot at the next minute and writes to the log."""
    site = docker_site
    site.push()
    site.run()
    place = site.folder / "cron"
    for folder in ("bin", "cron.d", "crontabs", "run"):
        (place / folder).mkdir(parents=True)
    make(place / "bin/autopilot-watchdog")
    (place / "bin/logger").write_text(f'#!/bin/sh\necho "$@" >> {place}/log; exec cat >> {place}/log\n')
    (place / "bin/logger").chmod(0o755)
    shutil.copy(Path(__file__).parents[2] / "examples/watchdog/cron.d", place / "cron.d/autopilot-watchdog")
    (place / "crontab").touch()
    (place / "autopilot-watchdog.json").write_bytes(site.config.read_bytes())
    over = {"bin": "/usr/local/bin", "cron.d": "/etc/cron.d", "crontabs": "/var/spool/cron/crontabs", "run": "/run",
            "crontab": "/etc/crontab"}  # fmt: skip
    mounts = " && ".join(f"mount --bind {place}/{here} {there}" for here, there in over.items())
    overlay = f"mount --bind {place}/autopilot-watchdog.json /etc/autopilot-watchdog.json"
    config = Path("/etc/autopilot-watchdog.json")
    made = not config.exists() and not config.touch()
    first = container(site)["container"]
    kill(site, first)
    command = ["unshare", "--mount", "sh", "-c", f"{mounts} && {overlay} && exec cron -f"]
    process = subprocess.Popen(command, stderr=sys.stderr)
    try:
        eventually(lambda: container(site)["container"] not in (None, first), 75, "refilled at the next minute")
        eventually(lambda: "start: wn-01" in (place / "log").read_text(), 20, "it is in the log")
    finally:
        process.terminate()
        process.wait(10)
        if made:
            config.unlink()
    assert "-t autopilot-watchdog" in (place / "log").read_text()
