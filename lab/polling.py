"""Poll for a condition that nothing can notify of, such as a daemon that starts to answer."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from lab.lab_errors import LabError

T = TypeVar("T")
BUSY_FACTOR = 5.0  # times as many seconds are given as are enough on an idle machine


def poll_until(
    predicate: Callable[[], T],
    timeout_s: float,
    describe_failure: Callable[[T], str],
    *,
    interval_s: float = 0.05,
    process: subprocess.Popen[bytes] | None = None,
) -> T:
    """Call `predicate` until its result is true, and return that result.

    Args:
        predicate: the condition.
        timeout_s: seconds after which the condition counts as failed on an idle machine; a busy one is given
            BUSY_FACTOR times as many. The limit only guards against a hang.
        describe_failure: called with the last result; returns the error's message.
        interval_s: seconds between two calls.
        process: a daemon whose own end makes waiting useless.

    Raises:
        LabError: the time is over, or `process` has ended.
    """
    deadline = time.monotonic() + BUSY_FACTOR * timeout_s
    while not (result := predicate()):
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            raise LabError(describe_failure(result))
        time.sleep(interval_s)
    return result


def wait_until(predicate: Callable[[], T], timeout: float, description: str = "") -> T:
    """Poll until the predicate's result is true, and return that result.

    Args:
        predicate: the condition.
        timeout: seconds that are enough on an idle machine; BUSY_FACTOR times as many are granted.
        description: sentence that should become true, for the error's message.

    Raises:
        LabError: it did not become true; the message contains the last result.
    """
    return poll_until(
        predicate,
        timeout,
        lambda result: f"not within {timeout * BUSY_FACTOR:g} s: {description or predicate} (last result: {result!r})",
    )
