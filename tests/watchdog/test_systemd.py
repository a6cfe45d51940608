"""The units as an administrator installs them, under a real systemd that drives a real engine."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.cache import create_run_folder
from lab.dockerd import DockerDaemon
from lab.faults import start_faulty_proxy
from lab.systemd_container import SystemdContainer, start_systemd
from lab.wheelhouse import REPO
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot, is_refilled, kill_container
from tests.watchdog.test_killed import list_own_containers

pytestmark = pytest.mark.real("docker", "podman", "registry", "systemd")

UNITS = ["autopilot-watchdog.service", "autopilot-watchdog-events.service", "autopilot-watchdog.timer"]
TEXTFILE = "/var/lib/prometheus/node-exporter/autopilot_watchdog.prom"
SOON = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nRandomizedDelaySec=0\n"  # every 2 s in place of a minute


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the watchdog into an empty folder with `make install-watchdog`."""
    target = tmp_path_factory.mktemp("installed")
    done = subprocess.run(
        ["make", "install-watchdog", f"DESTDIR={target}", f"BIN={Path(sys.executable).parent}", "READY="],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def booted(site: Site, docker: DockerDaemon, installed: Path) -> Iterator[SystemdContainer]:
    """A host that runs systemd, with the watchdog installed and configured, and nothing enabled yet."""
    with create_run_folder() as folder:  # not below /tmp, which a sandboxed unit does not share
        yield from _boot_systemd(site, docker, installed, folder)


def _boot_systemd(site: Site, docker: DockerDaemon, installed: Path, state: Path) -> Iterator[SystemdContainer]:
    mounts = {str(state): str(state), str(Path(site.service.socket).parent): "/engine", str(installed): "/installed:ro"}
    site.write_config(state=str(state), metrics={"textfile": TEXTFILE})
    with start_systemd(docker.engine, mounts) as found:
        found.run("cp", "-a", "/installed/.", "/")
        found.run("systemd-tmpfiles", "--create", "autopilot-watchdog.conf")
        write_config(found, site)
        for unit in UNITS[:2]:  # the tests' state folder is where the engine can see it
            write_drop_in(found, unit, f"[Service]\nReadWritePaths={state}\n")
        write_drop_in(found, "autopilot-watchdog.timer", SOON)
        yield found


def write_config(booted: SystemdContainer, site: Site) -> None:
    """The site's configuration is the one inside, too, where the engine's socket is elsewhere."""
    inside = {**site.document, "engines": {site.engine: f"/engine/{Path(site.service.socket).name}"}}
    booted.write_file("/etc/autopilot-watchdog.json", json.dumps(inside))


def write_drop_in(booted: SystemdContainer, unit: str, text: str) -> None:
    """Add a drop-in to a unit."""
    folder = f"/etc/systemd/system/{unit}.d"
    booted.run("mkdir", "-p", folder)
    booted.write_file(f"{folder}/test{abs(hash(text))}.conf", text)
    booted.run("systemctl", "daemon-reload")


def test_units_are_sound(booted: SystemdContainer) -> None:
    """systemd-analyze has nothing to say against the units, and their exposure is at most 2.0."""
    output = booted.run("systemd-analyze", "verify", *(f"/usr/local/lib/systemd/system/{unit}" for unit in UNITS))
    assert not output.strip()
    for unit in UNITS[:2]:
        table = booted.run("systemd-analyze", "security", "--no-pager", unit)
        exposure = re.search(r"Overall exposure level for .*: ([0-9.]+)", table)
        assert exposure is not None and float(exposure[1]) <= 2.0, table
        print(unit, exposure[1])


def test_timer_refills(booted: SystemdContainer, site: Site) -> None:
    """The real timer fills the slot, and refills it at most one period after its end, from within the sandbox."""
    site.push_image()
    booted.run("systemctl", "start", "autopilot-watchdog.timer")
    first = eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
    kill_container(site, first)
    eventually(lambda: get_slot(site)["container"] not in (None, first), 10, "it is refilled")
    assert "remove: wn-01" in booted.read_journal("autopilot-watchdog")


def test_watch_under_systemd(booted: SystemdContainer, site: Site) -> None:
    """The events service refills a slot long before its next pass, a minute later, and stays."""
    site.push_image()
    booted.run("systemctl", "start", "autopilot-watchdog-events.service")
    first = eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
    kill_container(site, first)
    eventually(lambda: get_slot(site)["container"] not in (None, first), 10, "it is refilled")
    assert booted.run("systemctl", "is-active", "autopilot-watchdog-events.service").strip() == "active"


def test_failure_calls_the_hook(booted: SystemdContainer, site: Site) -> None:
    """A pass that fails calls the site's own hook with the unit's name."""
    booted.write_file("/etc/autopilot-watchdog.on-failure", '#!/bin/sh\necho "$1" > /run/alerted\n')
    booted.run("chmod", "755", "/etc/autopilot-watchdog.on-failure")
    booted.write_file("/etc/autopilot-watchdog.json", "{")
    booted.run("systemctl", "start", "autopilot-watchdog.service", check=False)
    eventually(lambda: "autopilot-watchdog.service" in booted.run("cat", "/run/alerted", check=False), 10, "alerted")
    assert "cannot read the configuration as JSON" in booted.read_journal("autopilot-watchdog")


def test_long_pull_is_given_the_time(booted: SystemdContainer, site: Site) -> None:
    """A pull that takes much longer than TimeoutStartSec= is not cut off: the watchdog asks for the time it needs."""
    write_drop_in(booted, "autopilot-watchdog.service", "[Service]\nTimeoutStartSec=8s\n")
    with start_faulty_proxy(site.registry.port) as slow:
        site.use_registry_address(slow.address)
        write_config(booted, site)
        site.push_image(bulk=3_000_000)
        slow.delay_s = 0.3  # s for each 64 KiB
        began = time.monotonic()
        booted.run("systemctl", "start", "autopilot-watchdog.service", timeout=120)
        assert time.monotonic() - began > 10, "that was no long pull"
    assert get_slot(site)["state"] == "running"


def test_hang_is_cut_off(booted: SystemdContainer, site: Site) -> None:
    """A pass that hangs where it never should is ended by systemd, and the next one does the work."""
    site.push_image()
    write_drop_in(booted, "autopilot-watchdog-events.service", "[Service]\nWatchdogSec=30s\nRestartSec=100ms\n")
    booted.run("systemctl", "start", "autopilot-watchdog-events.service")
    first = eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
    sign = find_later_sign(booted, "")
    for _ in range(2):
        sign = eventually(partial(find_later_sign, booted, sign), 60, "`watch` gives a sign of life")
    assert count_restarts(booted) == 0
    eventually(lambda: stop_between_passes(booted, site), 30, "it is stopped where nothing extends its time")
    kill_container(site, first)
    eventually(lambda: count_restarts(booted) >= 1, 60, "systemd has seen the hang")
    eventually(lambda: get_slot(site)["container"] not in (None, first), 30, "it is refilled")


def stop_between_passes(booted: SystemdContainer, site: Site) -> bool:
    """Stop `watch`; let it go on, and return False, if it holds the state's lock: a pass may take longer."""
    booted.run("systemctl", "kill", "--signal=STOP", "autopilot-watchdog-events.service")
    with (site.state_folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            booted.run("systemctl", "kill", "--signal=CONT", "autopilot-watchdog-events.service")
            return False
    return True


def find_later_sign(booted: SystemdContainer, known: str) -> str:
    """Return the monotonic time of the events service's last sign of life; "" if it is the known one."""
    unit = "autopilot-watchdog-events"
    found = booted.run("systemctl", "show", "--property=WatchdogTimestampMonotonic", "--value", unit).strip()
    return found if found != known else ""


def count_restarts(booted: SystemdContainer) -> int:
    """Return the number of restarts of the events service."""
    return int(booted.run("systemctl", "show", "--property=NRestarts", "--value", "autopilot-watchdog-events"))


def test_timer_and_watch_together(booted: SystemdContainer, site: Site) -> None:
    """Both units at once, the timer every 2 s: no slot is doubled, no run of the timer fails."""
    site.write_config({"count": 2}, failures={"initial": "100ms", "longest": "100ms"})  # short lives are held back
    write_config(booted, site)
    site.push_image()
    booted.run("systemctl", "start", "autopilot-watchdog.timer", "autopilot-watchdog-events.service")
    eventually(lambda: all(slot["container"] for slot in site.get_slots().values()), 30, "the slots are filled")
    for _ in range(3):
        gone = get_slot(site)["container"]
        kill_container(site, gone)
        eventually(partial(is_refilled, site, gone), 40, "it is refilled")
        running = [item for item in list_own_containers(site) if item["State"] == "running"]
        assert sorted(item["Labels"]["autopilot.slot"] for item in running) == ["wn-01", "wn-02"]
    failed = booted.run("systemctl", "list-units", "--failed", "--no-legend", "--plain")
    assert "autopilot" not in failed


def test_textfile_from_within_the_sandbox(booted: SystemdContainer, site: Site) -> None:
    """systemd-tmpfiles makes node-exporter's folder; the sandboxed unit writes its textfile there, for all to read."""
    site.push_image()
    booted.run("systemctl", "start", "autopilot-watchdog.service")
    assert booted.run("stat", "--format=%a %U", TEXTFILE).strip() == "644 root"
    assert booted.run("stat", "--format=%a %U", str(Path(TEXTFILE).parent)).strip() == "755 root"
    assert 'autopilot_watchdog_slots{code="running"} 1.0' in booted.run("cat", TEXTFILE)


def test_install(installed: Path, tmp_path: Path) -> None:
    """`make install-watchdog` puts one file and the units where systemd looks; PREFIX moves all of it."""
    command = installed / "usr/local/bin/autopilot-watchdog"
    assert "run" in subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    found = {str(path.relative_to(installed / "usr/local")) for path in installed.rglob("*") if path.is_file()}
    assert found == {
        "bin/autopilot-watchdog",
        *(f"lib/systemd/system/{unit}" for unit in [*UNITS, "autopilot-watchdog-alert@.service"]),
        "lib/tmpfiles.d/autopilot-watchdog.conf",
    }
    subprocess.run(
        ["make", "install-watchdog", f"DESTDIR={tmp_path}", "PREFIX=/opt/w", f"BIN={Path(sys.executable).parent}",
         "READY="], cwd=REPO, capture_output=True, check=True,
    )  # fmt: skip
    units = tmp_path / "opt/w/lib/systemd/system"
    assert "ExecStart=/opt/w/bin/autopilot-watchdog run\n" in (units / "autopilot-watchdog.service").read_text()
