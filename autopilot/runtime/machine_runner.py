"""Run a core on the event loop: cues in, effects out in order, one timer for the earliest deadline."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from autopilot.machines.core import Core, Effect
from autopilot.machines.cues import Cue


class MachineRunner:
    """Feeds cues to a core and performs its effects in order.

    A cue that arrives while effects are performed waits for its turn.
    """

    def __init__(self, core: Core, loop: asyncio.AbstractEventLoop, perform: Callable[[Effect], None]) -> None:
        self.core = core
        self._loop, self._perform = loop, perform
        self._cues: deque[Cue] = deque()
        self._working = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start the life."""
        self._run_effects(self.core.begin(self._loop.time(), time.time()))

    def feed(self, cue: Cue) -> None:
        """Feed one cue, now or after those that wait already."""
        self._cues.append(cue)
        if not self._working:
            self._run_effects([])

    def _run_effects(self, effects: list[Effect]) -> None:
        self._working = True
        try:
            while True:
                for effect in effects:
                    self._perform(effect)
                if not self._cues:
                    break
                effects = self.core.feed(self._cues.popleft(), self._loop.time(), time.time())
        finally:
            self._working = False
        self._set_timer()

    def _set_timer(self) -> None:
        deadline = self.core.get_deadline()
        if self._timer is not None:
            if deadline == self._timer.when():
                return
            self._timer.cancel()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._handle_deadline)

    def _handle_deadline(self) -> None:
        self._timer = None
        # the loop may call a little early, by its clock's resolution: then the deadline itself is the time
        now = max(self._loop.time(), self.core.get_deadline() or 0.0)
        self._run_effects(self.core.tick(now, time.time()))
