"""Check the host's fitness: disk, load, mounts, clock. An unfit host starts nothing; its containers run on."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from autopilot_watchdog.config.config_model import FitnessConfig
from autopilot_watchdog.timestamps import format_date, parse_timestamp


def find_unfit_reasons(settings: FitnessConfig, disks: Iterable[Path], now: float) -> Iterator[str]:
    """Yield a sentence for each reason why this host should start nothing now.

    Args:
        settings: The limits.
        disks: Folders on the disks that need free space.
        now: Epoch seconds.
    """
    for disk in disks:
        try:
            free = shutil.disk_usage(disk).free
        except FileNotFoundError:
            continue  # the state folder, before the first pass
        except OSError as error:
            yield f"cannot read the free space of the disk of {disk}: {error.strerror}"
            continue
        if free < settings.free_disk:
            need = f"at least {settings.free_disk / 1e9:.1f} GB are needed"
            yield f"{free / 1e9:.1f} GB are free on the disk of {disk}, {need}"
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if settings.load_per_cpu and load > settings.load_per_cpu * cpus:
        yield f"the load is {load:.1f} on {cpus} CPUs, at most {settings.load_per_cpu * cpus:.1f} is allowed"
    if now < parse_timestamp(settings.earliest):
        yield f"the clock is wrong: it shows {format_date(now)}, a day before {settings.earliest}"
    for mount in settings.mounts:
        if problem := _check_mount(mount, settings.mount_timeout):
            yield f"{mount} {problem}"


# by folder; at most one child hangs in each, however long `watch` runs
_hanging_children: dict[str, subprocess.Popen[bytes]] = {}


def _check_mount(mount: str, timeout: float) -> str:
    """List a folder in a child process and return the problem, "" for none.

    A mount that hangs must hang the child, not us. The listing also wakes an automounter.
    """
    if (earlier := _hanging_children.pop(mount, None)) is not None and earlier.poll() is None:
        _hanging_children[mount] = earlier
        return "does not answer (a child process hangs in it since an earlier pass)"
    child = subprocess.Popen(
        ["ls", mount], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return "" if child.wait(timeout) == 0 else "cannot be read"
    except subprocess.TimeoutExpired:
        child.kill()  # it may stay in the kernel until the mount answers
        _hanging_children[mount] = child
        return f"does not answer within {timeout:g} s"


def read_boot() -> tuple[str, float]:
    """Return the kernel's id of its present run, and the start of that run in epoch seconds by the present clock."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return boot_id, time.time() - float(Path("/proc/uptime").read_text().split()[0])
