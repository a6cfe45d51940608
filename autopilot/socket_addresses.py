"""Address unix sockets by paths of any length: the kernel takes 107 bytes, and a batch job's directory may need more.

This module imports little on purpose: the first job waits for it.
"""

from __future__ import annotations

import os

MAX_ADDRESS_BYTES = 107  # unix(7)
MAX_NAME_BYTES = 80  # of the last part of a longer path: the rest of the address is a descriptor

_directories: dict[str, int] = {}  # descriptors by path; asyncio looks at a socket's address again when it closes it


def build_socket_address(path: str) -> str:
    """Return the address to bind or to connect for the socket at a path.

    A longer path than the kernel takes goes through a descriptor of its directory, which then stays open here.

    Raises:
        OSError: The directory of such a path cannot be opened.
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        return path
    directory, name = os.path.split(path)
    if directory not in _directories:
        _directories[directory] = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{_directories[directory]}/{name}"


def is_name_too_long(path: str) -> bool:
    """Return True for a path that no address can be built of."""
    return len(os.fsencode(path)) > MAX_ADDRESS_BYTES and len(os.fsencode(os.path.basename(path))) > MAX_NAME_BYTES
