"""Reserve ports and loopback networks, so that tests that run side by side never get the same one."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

from lab.lab_errors import LabError

LOWEST, HIGHEST = 15000, 60000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_tries = itertools.count()


def find_free_port() -> int:
    """Return a free TCP port that no other process of the lab on this machine gets while this one lives.

    It lies below the kernel's ephemeral ports: an outgoing connection of another program cannot take it before its use.

    Raises:
        LabError: all ports of the range are taken.
    """
    for port in _list_candidates():
        if _is_unused(port) and _reserve_name(f"port-{port}"):
            return port
    raise LabError(f"no free port from {LOWEST} on")


def find_free_network() -> str:
    """Return the first three numbers of a loopback network that no other process of the lab gets while this one lives.

    Raises:
        LabError: none was found.
    """
    for _ in range(1000):
        network = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"
        if _reserve_name(f"network-{network}"):
            return network
    raise LabError("no free loopback network")


def _reserve_name(name: str) -> bool:
    """Reserve a name for the life of this process, as an abstract Unix socket.

    Returns:
        False if another process has reserved it.
    """
    guard = socket.socket(socket.AF_UNIX)
    try:
        guard.bind(f"\0condor-autopilot-{name}")
    except OSError:
        guard.close()
        return False
    guard.detach()  # stays open until this process ends, and the kernel closes it
    return True


def _list_candidates() -> Iterator[int]:
    """Yield ports, starting at a different one in every process and continuing after the last one given."""
    ephemeral = int(EPHEMERAL.read_text().split()[0])
    count = (ephemeral if ephemeral > LOWEST + 1000 else HIGHEST) - LOWEST
    for _ in range(count):
        yield LOWEST + (os.getpid() * 64 + next(_tries)) % count


def _is_unused(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("", port))
        return True
    return False
