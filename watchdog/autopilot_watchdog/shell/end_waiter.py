"""Wait for the end of containers: look at the engines whenever one of them tells of an end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.engine.engine_registry import create_engines
from autopilot_watchdog.shell.engine_listener import start_listener
from autopilot_watchdog.shell.slot_finder import LiveSlot, SlotFinder
from autopilot_watchdog.shell.wake_queue import WakeQueue

LOOK_PERIOD_S = 30.0  # between looks without an event


class EndWaiter:
    """Waiter for the end of some containers; `remaining` are those that have not ended yet."""

    def __init__(self, config: Config, containers: Iterable[LiveSlot]) -> None:
        self._config = config
        self._remaining = {found.container.id: found for found in containers}

    @property
    def remaining(self) -> list[LiveSlot]:
        """Containers that have not ended, as far as their engines tell."""
        return list(self._remaining.values())

    def wait(self, limit_s: float | None = None) -> Iterator[LiveSlot]:
        """Yield each container when it has ended, and end after the last one.

        Args:
            limit_s: End after so many seconds in any case; None for no limit.
        """
        wakes, engines = WakeQueue(), list(create_engines(self._config).values())
        for engine in engines:
            start_listener(engine, wakes, engines)
        end = None if limit_s is None else time.monotonic() + limit_s
        try:
            while True:
                yield from self._take_ended()
                left_s = LOOK_PERIOD_S if end is None else min(LOOK_PERIOD_S, end - time.monotonic())
                if not self._remaining or left_s <= 0:
                    return
                wakes.wait(left_s)
        finally:
            engines.clear()  # nobody listens any more

    def _take_ended(self) -> list[LiveSlot]:
        """Remove the ended containers from the remaining ones and return them; a silent engine has ended none."""
        finder = SlotFinder(self._config)
        alive = {found.container.id for found in finder.list_live()}
        ended = [
            found
            for id, found in self._remaining.items()
            if id not in alive and found.container.engine not in finder.silent_engines
        ]
        for found in ended:
            del self._remaining[found.container.id]
        return ended
