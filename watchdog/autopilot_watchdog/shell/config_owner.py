"""Compare the configuration file in use with the one that the state folder belongs to."""

from __future__ import annotations

import os
from pathlib import Path

from autopilot_watchdog.core.state_ownership import ConfigClaim


def is_file_gone(path: str) -> bool:
    """Return True if there is certainly no file at an absolute path."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return os.path.isabs(path)
    except (OSError, ValueError):  # it may be there
        return False
    return False


def compare_with_owner(path: Path, owner: str, *, is_in_use: bool) -> ConfigClaim:
    """Look at the file in use and at the owner's.

    Args:
        path: The file in use, perhaps relative.
        owner: The path of the file that the state folder belongs to; "" for none.
        is_in_use: A `watch` works with the folder.
    """
    mine = os.path.abspath(path)
    if owner in {"", mine}:
        return ConfigClaim(mine, is_owner=True)
    try:
        found = os.stat(owner)
    except (FileNotFoundError, NotADirectoryError):
        return ConfigClaim(mine, is_owner=False, is_owner_idle=True)
    except OSError:  # it may be there
        return ConfigClaim(mine, is_owner=False, is_owner_idle=not is_in_use)
    try:
        is_same = os.path.samestat(found, os.stat(mine))
    except OSError:
        is_same = False
    return ConfigClaim(mine, is_owner=is_same, is_owner_idle=not is_in_use)
