"""Give a slot's folder to the user that root inside of the slot's containers is, as a rootless engine needs it."""

from __future__ import annotations

import os
from pathlib import Path

SHARED_MODE = 0o775  # our group may write, too: we complete the last words of a dead supervisor


def give_folder(folder: Path, user: int) -> str:
    """Give a folder to a user, and keep it writable for our own group.

    Returns:
        A sentence about the failure; "" if the user can write the folder.
    """
    found = os.stat(folder)
    if user in {found.st_uid, 0}:
        return ""
    try:
        os.chmod(folder, SHARED_MODE)
        os.chown(folder, user, -1)
    except OSError as error:
        remedy = "run the watchdog as that user, or allow it CAP_CHOWN"
        return f"the engine is rootless, and {folder} cannot be given to its user {user}: {error.strerror}; {remedy}"
    return ""
