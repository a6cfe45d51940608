"""Decide whether a Host header names this container: a browser that was tricked by DNS sends a foreign name."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection

PRIVATE_SUFFIXES = (".consul", ".internal", ".local", ".localdomain", ".localhost")  # nobody can register these


def is_own_host(header: str, names: Collection[str]) -> bool:
    """Return True for a Host header that no public site can have.

    Args:
        header: The value of the header, "" if there is none: browsers always send it.
        names: Further names that are ours.

    Returns:
        True for addresses, names without a dot, names below private domains, our host name and `names`.
    """
    name = _remove_port(header.strip()).rstrip(".").lower()
    if not name or ("." not in name and ":" not in name) or name.endswith(PRIVATE_SUFFIXES):
        return True
    if name in {os.uname().nodename.lower(), *(other.lower() for other in names)}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _remove_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
