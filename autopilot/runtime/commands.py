"""Commands with a time limit: the one way the supervisor runs a helper program (a health check, a condor tool) and waits for it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from autopilot.spec.plan import Command


class Finished(NamedTuple):
    """How a command ended. `status` is the shell's (126, 127, 128+n), `output` the end of stdout and stderr together."""

    status: int
    output: str
    timed_out: bool
    seconds: float


class CommandRunner(Protocol):
    async def run(self, command: Command, *, timeout: float, name: str) -> Finished:
        """Run `command`; after `timeout` seconds kill all of it. Never raises for what the command does."""
        ...
