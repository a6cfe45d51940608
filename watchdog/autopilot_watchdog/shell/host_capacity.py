"""Compare the resources that all slots get with those of this machine; the warnings of `check`.

The configuration may be written for another machine, so nothing here is a problem of the configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autopilot_watchdog.config.config_model import DEFAULT_ENGINE_SOCKETS, Config
from autopilot_watchdog.config.slot_resources import list_cores, shift_cpuset
from autopilot_watchdog.engine.engine_registry import DEFAULT_KIND, find_engine_kind


@dataclass(frozen=True, slots=True)
class HostCapacity:
    """Resources of a machine."""

    cores: frozenset[int]
    memory: int  # bytes


def read_host_capacity() -> HostCapacity:
    """Return the resources of this machine."""
    try:
        cores = frozenset(list_cores(Path("/sys/devices/system/cpu/online").read_text().strip()))
    except (OSError, ValueError):
        cores = frozenset(range(os.cpu_count() or 1))
    return HostCapacity(cores, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def find_capacity_warnings(config: Config, host: HostCapacity) -> Iterator[str]:
    """Yield a sentence for each resource if the slots together get more than the machine has."""
    cpus = sum(group.cpus * group.count for group in config.slots)
    if cpus > len(host.cores):
        yield f"the slots may use {cpus:g} CPU cores together, and this machine has {len(host.cores)}"
    memory = sum(group.memory * group.count for group in config.slots)
    if memory > host.memory:
        present = f"this machine has {host.memory / 1e9:.1f} GB"
        yield f"the slots may use {memory / 1e9:.1f} GB of memory together, and {present}"
    users: dict[int, str] = {}
    for name, (group, number) in config.map_slots_to_groups().items():
        cpuset = shift_cpuset(group.cpuset, number)
        cores = list_cores(cpuset)
        missing = [core for core in cores if core not in host.cores]
        if missing:
            yield f"{name} gets the cores {cpuset}, and this machine has no core {missing[0]}"
        shared = sorted({users[core] for core in cores if core in users})
        if shared:
            yield f"{name} shares cores with {', '.join(shared)}"
        users |= dict.fromkeys(cores, name)
    sockets = {**DEFAULT_ENGINE_SOCKETS, **config.engines}
    for group in config.slots:
        if group.gpus and find_engine_kind(group.engine, sockets[group.engine])[0] != DEFAULT_KIND:
            yield f"{group.name} gets no GPU from {group.engine} by `gpus`; pass the device files on by `devices`"
