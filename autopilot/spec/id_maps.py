"""Read which users and groups this process can take on in its user namespace (user_namespaces(7))."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

PROC_SELF = Path("/proc/self")


def is_mapped(kind: Literal["uid", "gid"], number: int) -> bool:
    """Return True when a user or a group exists in our user namespace; also where the kernel does not tell."""
    try:
        ranges = [line.split() for line in (PROC_SELF / f"{kind}_map").read_text(encoding="ascii").splitlines()]
        return any(int(first) <= number < int(first) + int(count) for first, _, count in ranges)
    except (OSError, ValueError):
        return True


def may_set_groups() -> bool:
    """Return False when our user namespace forbids setgroups(2) even to its root."""
    try:
        return (PROC_SELF / "setgroups").read_text(encoding="ascii").strip() != "deny"
    except (OSError, ValueError):
        return True
