"""Measure the free space of HTCondor's directories."""

from __future__ import annotations

import os
from pathlib import Path

from autopilot.adapters.batch.htcondor.node_state import NodeState

SPACE_HYSTERESIS_FACTOR = 1.1  # space counts as there again a tenth above the limit


def read_free_bytes(path: str | Path) -> int:
    """Return the bytes that an unprivileged process may still write. Raises OSError for a path that is not there."""
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


def find_space_problem(node_state: NodeState, name: str) -> str | None:
    """Return one sentence when a directory has too little room.

    Args:
        node_state: The node; its settings have the limits.
        name: EXECUTE or LOG.
    """
    settings, path = node_state.plan, node_state.get_directory(name)
    limit = settings.min_execute if name == "EXECUTE" else settings.min_log
    if node_state.conditions.is_active(f"{name.lower()}-full"):
        limit = int(limit * SPACE_HYSTERESIS_FACTOR)
    try:
        free = read_free_bytes(path)
    except OSError:
        if name not in node_state.settings:
            return None  # its default place: HTCondor's configuration could not be read, it may be anywhere
        return f"{name} = {path} cannot be read: is it still mounted?"
    if free >= limit:
        return None
    return (
        f"{name} = {path} has {free >> 20} MiB free, less than {limit >> 20} MiB: "
        f"make room, or lower htcondor.min_{name.lower()}"
    )
