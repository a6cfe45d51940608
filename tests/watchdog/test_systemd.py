"""The units as an administrator installs them, under a real systemd that drives a real engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cache import workplace
from lab.dockerd import Dockerd
from lab.pyz import make
from lab.systemd import Systemd, systemd
from lab.wheelhouse import REPO
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import container, kill

pytestmark = pytest.mark.real("docker", "registry", "systemd")

UNITS = ["autopilot-watchdog.service", "autopilot-watchdog-events.service", "autopilot-watchdog.timer"]
SOON = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nRandomizedDelaySec=0\n"  # every 2 s in place of a minute


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pyz") / "watchdog.pyz"
    make(target)
    return target


@pytest.fixture
def booted(site: Site, docker: Dockerd, pyz: Path) -> Iterator[Systemd]:
    """A host that runs systemd, with the watchdog installed and configured, and nothing enabled yet."""
    with workplace() as folder:  # not below /tmp, which a sandboxed unit does not share
        yield from _booted(site, docker, pyz, folder)


def _booted(site: Site, docker: Dockerd, pyz: Path, state: Path) -> Iterator[Systemd]:
    here = {str(state): str(state), str(Path(site.service.socket).parent): "/engine"}
    here |= {str(pyz.parent): "/pyz", str(REPO): "/repo:ro"}
    site.write(state=str(state), metrics={"textfile": ""})
    with systemd(docker.engine, here) as found:
        found.run("install", "-D", "-m", "755", "/pyz/watchdog.pyz", "/usr/local/bin/autopilot-watchdog")
        units = "install -D -m 644 -t /usr/local/lib/systemd/system /repo/systemd/*.service /repo/systemd/*.timer"
        found.run("sh", "-c", units)
        inside = {**site.document, "engines": {site.engine: f"/engine/{Path(site.service.socket).name}"}}
        found.write("/etc/autopilot-watchdog.json", json.dumps(inside))
        for unit in UNITS[:2]:  # the tests' state folder is where the engine can see it
            found.run("mkdir", "-p", f"/etc/systemd/system/{unit}.d")
            found.write(f"/etc/systemd/system/{unit}.d/test.conf", f"[Service]\nReadWritePaths={state}\n")
        found.run("mkdir", "-p", "/etc/systemd/system/autopilot-watchdog.timer.d")
        found.write("/etc/systemd/system/autopilot-watchdog.timer.d/test.conf", SOON)
        found.run("systemctl", "daemon-reload")
        yield found


def test_units_are_sound(booted: Systemd) -> None:
    """systemd-analyze has nothing to say against the units, and their exposure is at most 2.0."""
    said = booted.run("systemd-analyze", "verify", *(f"/usr/local/lib/systemd/system/{unit}" for unit in UNITS))
    assert not said.strip()
    for unit in UNITS[:2]:
        table = booted.run("systemd-analyze", "security", "--no-pager", unit)
        exposure = re.search(r"Overall exposure level for .*: ([0-9.]+)", table)
        assert exposure is not None and float(exposure[1]) <= 2.0, table
        print(unit, exposure[1])


def test_timer_refills(booted: Systemd, site: Site) -> None:
    """The real timer fills the slot, and refills it at most one period after its end, from within the sandbox."""
    site.push()
    booted.run("systemctl", "start", "autopilot-watchdog.timer")
    first = eventually(lambda: container(site)["container"], 30, "the slot is filled")
    kill(site, first)
    eventually(lambda: container(site)["container"] not in (None, first), 10, "it is refilled")
    assert "bury: wn-01" in booted.journal("autopilot-watchdog")


def test_watch_under_systemd(booted: Systemd, site: Site) -> None:
    """The events service reacts within 2 s, and stays."""
    site.push()
    booted.run("systemctl", "start", "autopilot-watchdog-events.service")
    first = eventually(lambda: container(site)["container"], 30, "the slot is filled")
    kill(site, first)
    eventually(lambda: container(site)["container"] not in (None, first), 5, "it is refilled")
    assert booted.run("systemctl", "is-active", "autopilot-watchdog-events.service").strip() == "active"


def test_failure_calls_the_hook(booted: Systemd, site: Site) -> None:
    """A pass that fails calls the site's own hook with the unit's name."""
    booted.write("/etc/autopilot-watchdog.on-failure", '#!/bin/sh\necho "$1" > /run/alerted\n')
    booted.run("chmod", "755", "/etc/autopilot-watchdog.on-failure")
    booted.write("/etc/autopilot-watchdog.json", "{")
    booted.run("systemctl", "start", "autopilot-watchdog.service", check=False)
    eventually(lambda: "autopilot-watchdog.service" in booted.run("cat", "/run/alerted", check=False), 10, "alerted")
    assert "cannot read the configuration as JSON" in booted.journal("autopilot-watchdog")


def test_install(tmp_path: Path) -> None:
    """`make install-watchdog` puts one file and the units where systemd looks."""
    done = subprocess.run(
        ["make", "install-watchdog", f"DESTDIR={tmp_path}", f"BIN={Path(sys.executable).parent}", "READY="],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    command = tmp_path / "usr/local/bin/autopilot-watchdog"
    assert "run" in subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "usr/local/lib/systemd/system/autopilot-watchdog.timer").exists()
