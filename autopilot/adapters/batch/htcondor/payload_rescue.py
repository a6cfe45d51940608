"""Give the payloads of a startd that was killed back to their queue, before condor_master kills their starters.

Theory of operation. When the startd dies, condor_master has condor_procd kill the startd's whole family: its starters
tell nobody, and the schedd shows their jobs as running until the lease ends (40 minutes). A startd that is started
again cannot tell the schedd either: it does not know the session of the claim and refuses the shadow, which goes on
trying. A starter that is told to end, however, needs no startd to give its job back: in a test the job was Idle in
0.2 s.

So the kernel's note of the startd's end is handled at once: condor_master is stopped (SIGSTOP) before it acts, the
starters are told to end, and condor_master goes on when they are gone, or after a bound. It is a race that
condor_master may win on a busy machine: then the payloads are lost, as they would be without us.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from autopilot.adapters.batch.htcondor.daemons import find_daemons, send_signal
from autopilot.adapters.batch.htcondor.kernel_events import ProcessEndWatch, wait_until_ended
from autopilot.adapters.batch.htcondor.node_state import NodeState

SOFT_TIMEOUT_S = 1.2  # for jobs that obey their soft signal
HARD_TIMEOUT_S = 3.0  # for starters to kill their jobs; they need 0.1 s


class PayloadRescue:
    """The watch for the end of the startd, and the rescue of its payloads."""

    def __init__(self, node_state: NodeState, start_task: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """Wire the parts; `start_task` starts a background task of this life."""
        self._node_state, self._start_task = node_state, start_task
        self._startd_end = ProcessEndWatch(self._handle_startd_end)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the startd that was observed last."""
        startd = self._node_state.daemons.startd
        self._startd_end.set_watched(set() if startd is None else {startd}, loop)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch nothing any more."""
        self._startd_end.set_watched(set(), loop)

    def _handle_startd_end(self) -> None:
        """Stop condor_master, at once, if starters may have outlived their startd."""
        node = self._node_state
        master = node.daemons.master
        if master is None or master in node.daemons.stopped or not node.daemons.starters:
            return
        if not send_signal(master, signal.SIGSTOP):
            return
        starters = find_daemons(node.leader_pid, os.getpid()).starters
        if not starters:  # it ended in order, after them
            send_signal(master, signal.SIGCONT)
            return
        for starter in starters:
            send_signal(starter, signal.SIGTERM)
        self._start_task(self._run_rescue(master, starters))

    async def _run_rescue(self, master: int, starters: tuple[int, ...]) -> None:
        """End the starters softly, then hard, and let condor_master go on in any case."""
        try:
            await wait_until_ended(starters, SOFT_TIMEOUT_S)
            for starter in starters:
                send_signal(starter, signal.SIGQUIT)
            await wait_until_ended(starters, HARD_TIMEOUT_S)
        finally:
            send_signal(master, signal.SIGCONT)
            self._node_state.changed.set()
