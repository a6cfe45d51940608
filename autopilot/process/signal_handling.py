"""Read from /proc/PID/status (proc(5)) which signals a process takes."""

from __future__ import annotations


def takes_signal(pid: int, number: int) -> bool:
    """Return True when a process handles a signal, or blocks it to wait for it; it would die of another one."""
    masks = {}
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("SigCgt", "SigBlk"):
                    masks[name] = int(value, 16)
    except (OSError, ValueError):
        return False
    return any(mask & 1 << number - 1 for mask in masks.values())
