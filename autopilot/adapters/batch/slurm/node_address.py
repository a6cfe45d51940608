"""Tell whether slurmctld's address of a node is one of this host, so that no other host's node is touched."""

from __future__ import annotations

import errno
import ipaddress
import socket

PROBE_TIMEOUT_S = 0.5


def is_address_elsewhere(address: str) -> bool:
    """Return True for an IP address that this host does not have. A name is not looked up: that may block."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return False


def has_listener(address: str, port: int) -> bool:
    """Return True when something takes connections there; it blocks for PROBE_TIMEOUT_S at most."""
    try:
        with socket.create_connection((address, port), PROBE_TIMEOUT_S):
            return True
    except (OSError, OverflowError):
        return False
