"""Enter the network of another process, and create an interface for networks of the kind macvlan."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.lab_errors import LabError

CLONE_NEWNET = 0x40000000  # sched.h; Python has os.setns from 3.12 on only


@contextmanager
def enter_network_of(pid: int) -> Iterator[None]:
    """Enter the network of process `pid`, with its loopback up; return to the own network at the end."""
    with open("/proc/thread-self/ns/net") as home, open(f"/proc/{pid}/ns/net") as there:
        _set_network_namespace(there.fileno())
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            _set_network_namespace(home.fileno())


def _set_network_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise LabError(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")


@contextmanager
def create_parent_interface(name: str) -> Iterator[None]:
    """Create an interface that is up and leads nowhere: the parent of a macvlan network of an engine.

    One end of a virtual cable serves as a dummy, which not every kernel has. It is removed at the end.

    Args:
        name: name of the interface, at most 12 characters.
    """
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-up"], check=True)
    try:
        for end in (name, f"{name}-up"):
            subprocess.run(["ip", "link", "set", end, "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)
