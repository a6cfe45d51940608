"""systemd's notification socket (sd_notify(3)): ready, alive, more time. Nothing happens where there is none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

GRACE_S = 60.0  # s that systemd waits beyond what we allow ourselves


def notify(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        except OSError:
            return  # a supervisor that does not listen is no reason to fail


def get_watchdog_interval_s() -> float | None:
    """How long systemd waits for a sign of life (WatchdogSec=), in seconds; None: for ever."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    return int(micros) / 1e6 if micros.isdigit() and int(micros) else None


def report_alive() -> None:
    notify("WATCHDOG=1")


@contextmanager
def extend_timeout(seconds: float) -> Iterator[None]:
    """What follows ends by itself within so long: neither TimeoutStartSec= nor WatchdogSec= shall end it before.

    Told beforehand and not with every sign of progress: engines are silent for minutes over one large layer.
    """
    most, usual = int((seconds + GRACE_S) * 1e6), get_watchdog_interval_s()
    notify(
        f"EXTEND_TIMEOUT_USEC={most}",
        *([f"WATCHDOG_USEC={max(most, int(usual * 1e6))}", "WATCHDOG=1"] if usual else []),
    )
    try:
        yield
    finally:
        if usual:
            notify(f"WATCHDOG_USEC={int(usual * 1e6)}", "WATCHDOG=1")
