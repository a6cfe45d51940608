"""Commands with a time limit: how a helper program (a health check, a condor tool) is run and waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from autopilot.process.spawn import CannotSpawn
from autopilot.runtime.processes import Processes
from autopilot.spec.plan import Command

KEPT = 64 * 1024  # bytes of output kept, the last ones

OnLines = Callable[[str, list[bytes]], None]


class Finished(NamedTuple):
    """How a command ended: the shell's status (126, 127, 128+n) and the end of stdout and stderr together."""

    status: int
    output: str
    timed_out: bool
    seconds: float


class CommandRunner(Protocol):
    async def run(self, command: Command, *, timeout: float, name: str) -> Finished:
        """Run `command`; after `timeout` seconds kill all of it. Never raises for what the command does."""
        ...


class Commands:
    """Runs commands among our processes. A command that leaves processes behind has them killed."""

    def __init__(self, processes: Processes, environ: Callable[[], Mapping[str, str]]) -> None:
        self._processes = processes
        self._environ = environ

    async def run(self, command: Command, *, timeout: float, name: str, sink: OnLines | None = None) -> Finished:
        """As CommandRunner says; `sink` gets the lines as well, as they come. Cancelled, it kills the command."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        kept: deque[bytes] = deque()
        size = 0
        ended: asyncio.Future[int] = loop.create_future()

        def keep(stream: str, lines: list[bytes]) -> None:
            nonlocal size
            kept.extend(lines)
            size += sum(len(line) + 1 for line in lines)
            while size > KEPT and len(kept) > 1:
                size -= len(kept.popleft()) + 1
            if sink is not None:
                sink(stream, lines)

        def exited(status: int, problem: str | None, leftovers: int) -> None:
            if problem is not None:
                kept.append(problem.encode())
            if leftovers:
                process.kill()
            if not ended.done():
                ended.set_result(status)

        try:
            process = self._processes.start(command, self._environ(), sink=keep, on_exit=exited)
        except CannotSpawn as cannot:
            return Finished(cannot.status, cannot.problem, False, loop.time() - started)
        timed_out = False
        try:
            status = await asyncio.wait_for(asyncio.shield(ended), timeout)
        except TimeoutError:
            timed_out, status = True, 128 + 9
            process.kill()
        except asyncio.CancelledError:
            process.kill()
            raise
        output = b"\n".join(kept)[-KEPT:].decode(errors="replace")
        return Finished(status, output, timed_out, loop.time() - started)
