"""The host's own pre-flight: disk, load, mounts, clock. A host that is not fit starts nothing; what runs, runs on."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from autopilot_watchdog.config.config_model import Fitness


def find_unfit_reasons(settings: Fitness, disks: Iterable[Path], now: float) -> Iterator[str]:
    """Why this host should start nothing now."""
    for disk in disks:
        try:
            free = shutil.disk_usage(disk).free
        except FileNotFoundError:
            continue  # before the first pass there is no state
        except OSError as error:
            yield f"cannot look at the disk of {disk}: {error.strerror}"
            continue
        if free < settings.free_disk:
            need = f"at least {settings.free_disk / 1e9:.1f} GB are needed"
            yield f"{free / 1e9:.1f} GB are free on the disk of {disk}, {need}"
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if settings.load_per_cpu and load > settings.load_per_cpu * cpus:
        yield f"the load is {load:.1f} on {cpus} CPUs, at most {settings.load_per_cpu * cpus:.1f} is allowed"
    if now < datetime.datetime.fromisoformat(settings.earliest).replace(tzinfo=datetime.UTC).timestamp():
        yield f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}, which is before {settings.earliest}"
    for mount in settings.mounts:
        if trouble := _check_mount(mount, settings.mount_timeout):
            yield f"{mount} {trouble}"


_hanging_children: dict[
    str, subprocess.Popen[bytes]
] = {}  # by folder: at most one child each, however long `watch` stays


def _check_mount(mount: str, timeout: float) -> str:
    """List the folder in a child: a mount that hangs must hang the child, not us. It also wakes an automounter."""
    if (earlier := _hanging_children.pop(mount, None)) is not None and earlier.poll() is None:
        _hanging_children[mount] = earlier
        return "does not answer (a process of ours hangs in it since an earlier pass)"
    child = subprocess.Popen(
        ["ls", mount], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return "" if child.wait(timeout) == 0 else "cannot be read"
    except subprocess.TimeoutExpired:
        child.kill()  # it may stay in the kernel until the mount answers
        _hanging_children[mount] = child
        return f"does not answer within {timeout:.0f} s"


def read_boot() -> tuple[str, float]:
    """The kernel's name of its present life, and when that began, in epoch seconds by the present clock."""
    name = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return name, time.time() - float(Path("/proc/uptime").read_text().split()[0])
