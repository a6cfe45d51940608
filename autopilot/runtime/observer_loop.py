"""Run observers, so that an internal error in one never ends a node.

An observer only reports: the monitor of the node, a watch in Consul, the telemetry port. Without it less is known, but
payloads run on. So its failure is a condition, and it starts again after a delay.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from autopilot.retry_delay import RetryDelay

RESTART_DELAY = RetryDelay(first_s=1.0, max_s=60.0)
RECOVERED_AFTER_S = 60.0  # without another failure

Work = Coroutine[Any, Any, None] | Callable[[], Coroutine[Any, Any, None]]  # a function returns a new run each time
OnFailure = Callable[[str, Exception], None]  # gets the observer's name and its exception
OnRecovered = Callable[[str], None]  # gets the observer's name


async def run_observer(
    name: str, observe: Callable[[], Awaitable[None]], on_failure: OnFailure, on_recovered: OnRecovered
) -> None:
    """Run an observer until it returns or is cancelled, and start it again with back-off after each exception.

    Args:
        name: The observer's name.
        observe: Returns a new run of the observer.
        on_failure: Called after each exception.
        on_recovered: Called when the observer has run for RECOVERED_AFTER_S after a failure, or has returned.
    """
    loop, failures = asyncio.get_running_loop(), 0
    while True:
        began = loop.time()
        recovery = loop.call_later(RECOVERED_AFTER_S, on_recovered, name) if failures else None
        try:
            await observe()
        except Exception as error:
            failures = 1 if loop.time() - began >= RECOVERED_AFTER_S else failures + 1
            on_failure(name, error)
        else:
            if failures:
                on_recovered(name)
            return
        finally:
            if recovery is not None:
                recovery.cancel()
        await asyncio.sleep(RESTART_DELAY.compute(failures, random.random()))
