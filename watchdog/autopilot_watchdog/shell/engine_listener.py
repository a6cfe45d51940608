"""Forward the events of an engine to a queue, for those who wait for the end of a container."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from autopilot_watchdog.core.retry_delay import compute_retry_delay
from autopilot_watchdog.engine.engine import Engine, EngineError
from autopilot_watchdog.shell.wake_queue import WakeQueue, WakeReason

RECONNECT_INITIAL_S, RECONNECT_MAX_S = 0.25, 5.0  # waits before an engine is asked for its events again


def start_listener(engine: Engine, wakes: WakeQueue, wanted: Collection[Engine]) -> None:
    """Start a thread that forwards the events of an engine as long as it is wanted."""
    threading.Thread(
        target=_forward_events, args=(engine, wakes, wanted), daemon=True, name=f"events of {engine.name}"
    ).start()


def _forward_events(engine: Engine, wakes: WakeQueue, wanted: Collection[Engine]) -> None:
    """Forward every end of a container, and every connection to a wanted engine, to the queue; reconnect for ever."""
    failures = 0
    while engine in wanted:
        try:
            for _ in engine.watch_container_ends():
                wakes.put(WakeReason.ENGINE)
                failures = 0
        except (EngineError, ValueError):
            pass  # the next look at the engine reports it
        failures += 1
        # nothing notifies us of a socket that comes into being
        time.sleep(compute_retry_delay(failures, RECONNECT_INITIAL_S, RECONNECT_MAX_S, engine.name))
