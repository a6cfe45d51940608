"""Run helper programs, such as health checks and batch system tools, with a time limit."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from autopilot.process.spawn import SpawnError
from autopilot.runtime.process_table import ProcessTable
from autopilot.spec.plan import Command

MAX_OUTPUT_BYTES = 64 * 1024  # bytes of output kept, the last ones

OnCommandLines = Callable[[str, list[bytes], int], None]  # stream, its lines, pid of the command


class CommandResult(NamedTuple):
    """Result of a command: its status as a shell has it (126, 127, 128+n), and its output.

    `output` is the end of stdout and stderr together, at most MAX_OUTPUT_BYTES.
    """

    status: int
    output: str
    timed_out: bool
    duration_s: float


def get_last_line(output: str) -> str:
    """Return the last line of a tool's output, shortened to 300 characters."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def describe_failure(result: CommandResult, subject: str) -> str:
    """Return one sentence about a tool that failed or timed out; `subject` is its first words."""
    if result.timed_out:
        return f"{subject} did not answer within {result.duration_s:.0f} s"
    return f"{subject} failed with status {result.status}: {get_last_line(result.output)}"


class CommandRunner(Protocol):
    """Runs commands for those that need their result."""

    async def run(self, command: Command, *, timeout: float, name: str) -> CommandResult:
        """Run a command, and kill every process of it after the timeout.

        Args:
            command: The command.
            timeout: Seconds.
            name: Name of the command for people.

        Returns:
            The result, also of a command that cannot start: no failure of a command raises.
        """
        ...


class ProcessCommandRunner:
    """Runs commands among our processes, and kills the processes that a command leaves behind."""

    def __init__(self, processes: ProcessTable, environ: Callable[[], Mapping[str, str]]) -> None:
        self._processes = processes
        self._environ = environ
        self._alive_names: Counter[str] = Counter()

    def is_alive(self, name: str) -> bool:
        """Return True while a command of this name has not ended, although it may have been killed long ago."""
        return self._alive_names[name] > 0

    async def run(
        self, command: Command, *, timeout: float, name: str, on_lines: OnCommandLines | None = None
    ) -> CommandResult:
        """Run a command as `CommandRunner.run` describes; when the task is cancelled, the command is killed.

        Args:
            command: The command.
            timeout: Seconds.
            name: Name of the command for people.
            on_lines: Gets the lines of the output as they come, and the pid.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        kept: deque[bytes] = deque()
        size = 0
        ended: asyncio.Future[int] = loop.create_future()

        def keep_lines(stream: str, lines: list[bytes]) -> None:
            nonlocal size
            kept.extend(lines)
            size += sum(len(line) + 1 for line in lines)
            while size > MAX_OUTPUT_BYTES and len(kept) > 1:
                size -= len(kept.popleft()) + 1
            if on_lines is not None:
                on_lines(stream, lines, process.pid)

        def handle_exit(status: int, problem: str | None, leftovers: int) -> None:
            self._alive_names[name] -= 1
            if problem is not None:
                kept.append(problem.encode())
            if leftovers:
                process.kill()
            if not ended.done():
                ended.set_result(status)

        try:
            process = self._processes.start(command, self._environ(), on_lines=keep_lines, on_exit=handle_exit)
        except SpawnError as cannot:
            return CommandResult(cannot.status, cannot.problem, False, loop.time() - started)
        self._alive_names[name] += 1
        timed_out = False
        try:
            status = await asyncio.wait_for(asyncio.shield(ended), timeout)
        except TimeoutError:
            timed_out, status = True, 128 + 9
            process.kill()
        except asyncio.CancelledError:
            process.kill()
            raise
        output = b"\n".join(kept)[-MAX_OUTPUT_BYTES:].decode(errors="replace")
        return CommandResult(status, output, timed_out, loop.time() - started)
