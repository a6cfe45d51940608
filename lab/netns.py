"""Enter the network of another process: sockets of this thread and of its children are then opened there."""

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
