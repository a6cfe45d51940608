"""Translate exit statuses: into the shell's numbers and into words."""

from __future__ import annotations

import os

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def decode_wait_status(wait_status: int) -> int:
    """Return 0..255 for waitpid's status, 128+n for a death by signal n (POSIX shell, 2.8.2)."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def describe_status(status: int) -> str:
    """Return the meaning of a status in words: `exit 3`, `killed by SIGKILL`."""
    if status == NOT_EXECUTABLE:
        return "exit 126 (cannot be executed)"
    if status == NOT_FOUND:
        return "exit 127 (command not found)"
    if status > 128:
        import signal  # its enums take 4 ms to load: not on the way to the first job

        try:
            return f"killed by {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"exit {status}"
