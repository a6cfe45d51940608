"""Send signals to processes of a batch system, which may be stopped or gone."""

from __future__ import annotations

import contextlib
import os
import signal


def send_signal(pid: int, signal_number: int) -> bool:
    """Signal one process, and continue it if it is stopped: else it would never act on the signal.

    Returns:
        False when the process is gone or not ours.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal_number)
        if signal_number not in (signal.SIGCONT, signal.SIGSTOP, signal.SIGKILL):
            os.kill(pid, signal.SIGCONT)
        return True
    return False
