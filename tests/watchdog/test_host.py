"""Troubles of the host itself: its clock, its mounts, its load, and a host that has cron and no systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from lab.faults import build_clock_offset_prefix, mount_hanging_filesystem
from lab.tiny_images import format_healthy_script
from lab.zipapp_build import build_zipapp
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import SLOT, get_slot, is_refilled, kill_container
from tests.watchdog.test_trouble import clear_slot

pytestmark = pytest.mark.real("docker", "podman", "registry")

JUMPS = ["+400d", "+0", "-300d", "+0"]  # "-300d": still after `fitness.earliest`


@pytest.fixture
def clock(site: Site) -> Iterator[Callable[[str], object]]:
    """Sets the watchdog's clock, and that of nobody else."""
    file = site.folder / "clock"
    file.write_text("+0")
    site.command_prefix = build_clock_offset_prefix(file)
    yield file.write_text
    site.command_prefix = []


@pytest.mark.real("faketime")
def test_clock_jumps(site: Site, clock: Callable[[str], object]) -> None:
    """A clock that jumps by a year, either way: no slot is refilled early or held back, no image promoted or blamed."""
    site.write_config(failures={"initial": "1h", "longest": "1h", "good_after": "1h"})
    site.push_image("sleep 100000")  # of this image only the engine's stamps are known
    site.run_once()
    first = get_slot(site)
    for by in JUMPS:
        clock(by)
        site.run_once()
        assert get_slot(site)["container"] == first["container"]
        assert not site.get_image_record()["known_good"], f"{by}: not yet an hour old"
    site.push_image("exit 3")
    clear_slot(site)
    site.run_once()
    eventually(lambda: get_slot(site)["state"] in ("starting", "backoff"), 10, "it has failed")
    site.run_once()
    assert get_slot(site)["state"] == "backoff"
    starts = len(site.read_audit("start"))
    for by in JUMPS:
        clock(by)
        site.run_once()
        status = get_slot(site)
        assert status["state"] == "backoff" and len(site.read_audit("start")) == starts, by
        remaining = site.read_state()["slots"][SLOT]["not_before"] - site.read_state()["last_pass"]
        assert 1800 < remaining <= 3600, by
    assert not site.get_image_record()["quarantine"]
    assert site.read_state()["lost"].get("backoff", 0) < 120


@pytest.mark.real("faketime")
def test_watch_over_a_jump(site: Site, clock: Callable[[str], object]) -> None:
    """`watch` refills a slot at once, whatever its clock did the moment before."""
    site.write_config(failures={"initial": "100ms", "longest": "100ms"})  # short lives in a row are held back
    site.push_image(format_healthy_script())
    with site.run_watch():
        name = eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
        for by in JUMPS:
            clock(by)
            kill_container(site, name)
            # without the engine's event it would be the next minute's pass
            eventually(partial(is_refilled, site, name), 10, f"refilled after {by}")
            name = get_slot(site)["container"]


@pytest.mark.real("fuse")
def test_hanging_mount(site: Site) -> None:
    """While a mount hangs nothing is started and nothing hangs; what runs, runs on; after it all is well by itself."""
    site.push_image()
    cvmfs = site.folder / "cvmfs"
    cvmfs.mkdir()
    site.write_config({"count": 2}, fitness={"free_disk": 0, "mounts": [str(cvmfs)], "mount_timeout": "1s"})
    site.run_once()
    runs_on = get_slot(site, "wn-02")
    clear_slot(site)
    with mount_hanging_filesystem(cvmfs):
        began = time.monotonic()
        output = site.run_once()
        assert time.monotonic() - began < 60
        assert f"{cvmfs} does not answer within 1 s" in output
        status = site.get_slots()
        assert status[SLOT]["state"] == "host-unfit" and not status[SLOT]["container"]
        assert status["wn-02"] == runs_on
    site.run_once()
    assert get_slot(site)["state"] == "running"


@pytest.mark.real("fuse")
def test_watch_leaves_one_process_in_a_hanging_mount(site: Site) -> None:
    """However long a mount hangs, `watch` has at most one process stuck in it, and goes on when it is back."""
    site.push_image()
    cvmfs = site.folder / "cvmfs"
    cvmfs.mkdir()
    site.write_config(fitness={"free_disk": 0, "mounts": [str(cvmfs)], "mount_timeout": "200ms"})
    with mount_hanging_filesystem(cvmfs):
        process = subprocess.Popen([*site.build_command("watch"), "--every", "300ms"], stderr=subprocess.DEVNULL)
        try:
            eventually((site.state_folder / "state.json").exists, 30, "it has begun")
            eventually(lambda: site.read_state()["lost"].get("host-unfit", 0) > 3, 30, "several passes")
            assert len(psutil.Process(process.pid).children()) <= 2, "one at work, one that was just given up"
        finally:
            process.terminate()
            process.wait(60)


def test_load(site: Site) -> None:
    """Above `fitness.load_per_cpu` nothing is started, and the reason has both figures."""
    site.push_image()
    site.write_config(fitness={"free_disk": 0, "load_per_cpu": 0.02 / (os.cpu_count() or 1)})
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        eventually(lambda: os.getloadavg()[0] > 0.04, 30, "the kernel has seen the load")
        site.run_once()
    finally:
        busy.kill()
        busy.wait()
    status = get_slot(site)
    assert status["state"] == "host-unfit" and "the load is " in status["sentence"] and "CPUs" in status["sentence"]
    site.write_config(fitness={"free_disk": 0, "load_per_cpu": 1000})
    site.run_once()
    assert get_slot(site)["state"] == "running"


@pytest.mark.slow
@pytest.mark.real("cron")
def test_cron_line(docker_site: Site) -> None:
    """The cron line of examples/watchdog, in a real cron, refills a slot at the next minute and writes to the log."""
    site = docker_site
    site.push_image()
    site.run_once()
    place = site.folder / "cron"
    for folder in ("bin", "cron.d", "crontabs", "run"):
        (place / folder).mkdir(parents=True)
    build_zipapp(place / "bin/autopilot-watchdog")
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
    made = not config.exists()
    config.touch()
    first = get_slot(site)["container"]
    kill_container(site, first)
    command = ["unshare", "--mount", "sh", "-c", f"{mounts} && {overlay} && exec cron -f"]
    process = subprocess.Popen(command, stderr=sys.stderr)
    try:
        eventually(lambda: get_slot(site)["container"] not in (None, first), 75, "refilled at the next minute")
        eventually(lambda: "start: wn-01" in (place / "log").read_text(), 20, "it is in the log")
    finally:
        process.terminate()
        process.wait(60)
        if made:
            config.unlink()
    assert "-t autopilot-watchdog" in (place / "log").read_text()
