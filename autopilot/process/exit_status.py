"""Exit statuses, as the shell counts them and as a person reads them."""

from __future__ import annotations

import os

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def decode_wait_status(wait_status: int) -> int:
    """waitpid's status as 0..255, 128+n for a death by signal n (POSIX shell, 2.8.2 Exit Status for Commands)."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def describe_status(status: int) -> str:
    """`exit 3`, `killed by SIGKILL`: what the number means."""
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
