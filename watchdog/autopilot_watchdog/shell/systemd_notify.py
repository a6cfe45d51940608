"""Notify systemd by sd_notify(3): ready, alive, more time. Without a notification socket nothing happens."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

GRACE_S = 60.0  # that systemd waits beyond our own limit


def notify(*lines: str) -> None:
    """Send assignments such as READY=1 to systemd; a failure is ignored."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        except OSError:
            return  # systemd does not listen: the work goes on


def get_watchdog_interval_s() -> float | None:
    """Return the seconds that systemd waits for a sign of life (WatchdogSec=); None for no limit."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    return int(micros) / 1e6 if micros.isdigit() and int(micros) else None


def report_alive() -> None:
    """Give systemd a sign of life."""
    notify("WATCHDOG=1")


@contextmanager
def extend_timeout(seconds: float) -> Iterator[None]:
    """Extend TimeoutStartSec= and WatchdogSec= for a block that ends by itself within so many seconds.

    The time is asked for before the block and not with each sign of progress: an engine may be silent for minutes
    while it pulls one large layer.
    """
    limit_us, usual = int((seconds + GRACE_S) * 1e6), get_watchdog_interval_s()
    notify(
        f"EXTEND_TIMEOUT_USEC={limit_us}",
        *([f"WATCHDOG_USEC={max(limit_us, int(usual * 1e6))}", "WATCHDOG=1"] if usual else []),
    )
    try:
        yield
    finally:
        if usual:
            notify(f"WATCHDOG_USEC={int(usual * 1e6)}", "WATCHDOG=1")
