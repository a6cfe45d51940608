"""Every process we started, and the one place that waits for them.

Theory of operation. SIGCHLD (or a start) leads to `reap`, which collects every child that ended, ours or an adopted
orphan. A leader's end is told at once (`on_exit`), whoever still holds its output; when members of its job are
left, they are watched by pidfd and the last one's end is told (`on_empty`). Nothing here sleeps or polls.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from autopilot.process import exit_status, job_processes
from autopilot.process.line_buffer import LineSplitter
from autopilot.process.spawn import SpawnedProcess, read_problem, spawn
from autopilot.spec.plan import Command

MAX_WATCHED_MEMBERS = 8  # members of one job that are watched at a time
READ_CHUNK_BYTES = 16 * 1024  # bytes read from one pipe before others have their turn
MAX_FINAL_READ_BYTES = 1 << 20  # bytes read at most at a job's end; a pipe holds 64 KiB, unless somebody enlarged it

OnLines = Callable[[str, list[bytes]], None]  # stream ("stdout", "stderr") and its lines
OnExit = Callable[[int, str | None, int], None]  # status, why it could not start, members left


class Backpressure(Protocol):
    """Whether the place where lines go wants them slower for a moment."""

    def is_backlogged(self) -> bool: ...
    def call_when_ready(self, resume: Callable[[], None]) -> None: ...


class OutputPipe:
    """One pipe of a process: its lines go to `sink` as they come; closing it loses nothing that was written."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        stream: str,
        on_lines: OnLines,
        backpressure: Backpressure | None = None,
    ) -> None:
        self._loop, self._fd, self._stream, self._on_lines, self._backpressure = (
            loop,
            fd,
            stream,
            on_lines,
            backpressure,
        )
        self._splitter = LineSplitter()
        self._open = True
        loop.add_reader(fd, self._read)

    def _read(self) -> None:
        if self._backpressure is not None and self._backpressure.is_backlogged():
            self._loop.remove_reader(self._fd)
            self._backpressure.call_when_ready(self._resume_reading)
        elif self.read_chunk() == 0:
            self.close()

    def _resume_reading(self) -> None:
        if self._open:
            self._loop.add_reader(self._fd, self._read)

    def read_chunk(self) -> int | None:
        """What one read brought, in bytes; 0 at the end of the stream, None when nothing is there."""
        try:
            data = os.read(self._fd, READ_CHUNK_BYTES)
        except BlockingIOError:
            return None
        lines = self._splitter.feed(data)
        if lines:
            self._on_lines(self._stream, lines)
        return len(data)

    def flush(self) -> None:
        """All that is there now, an unterminated last line too: its writer is gone."""
        taken = 0
        while self._open and taken < MAX_FINAL_READ_BYTES:
            count = self.read_chunk()
            if not count:
                break
            taken += count
        rest = self._splitter.take_rest()
        if rest:
            self._on_lines(self._stream, rest)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            rest = self._splitter.take_rest()
            if rest:
                self._on_lines(self._stream, rest)


class Process:
    """One started process with all that descends from it."""

    def __init__(
        self, table: ProcessTable, spawned: SpawnedProcess, on_exit: OnExit, on_empty: Callable[[], None]
    ) -> None:
        self.pid: int = spawned.pid
        self._table = table
        self._mark: int = spawned.mark
        self._problem_fd: int = spawned.problem_fd
        self._on_exit, self._on_empty = on_exit, on_empty
        self._members: set[int] = set()
        self._watched_pidfds: dict[int, int] = {}  # pid of a member left behind -> pidfd
        self._exited = False
        self._killing = False
        self.outputs: list[OutputPipe] = []

    # --- told by the owner of a job ---

    def signal(self, number: int, *, group: bool) -> None:
        """To the leader alone, or to its group and to every descendant that left it. One that was stopped goes on, or
        it would never act on it."""
        self._find_members()
        self._send_all(number, group=group)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            self._send_all(signal.SIGCONT, group=group)

    def _send_all(self, number: int, *, group: bool) -> None:
        if not self._exited:  # once reaped, its number may be another's
            if group:
                with suppress(ProcessLookupError):  # just forked, it has no group of its own yet
                    os.killpg(self.pid, number)
            if not group or not self._is_in_group(self.pid):
                self._send(self.pid, number)
        if group:
            for pid in self._members:
                if self._exited or not self._is_in_group(pid):
                    self._send(pid, number)

    def kill(self) -> None:
        """SIGKILL to everything, and to whatever still turns up."""
        self._killing = True
        self.signal(signal.SIGKILL, group=True)

    def list_remaining(self) -> list[str]:
        """`name (pid)` of everything that is alive."""
        leader = [] if self._exited else [self.pid]
        return [f"{job_processes.read_name(pid)} ({pid})" for pid in (*leader, *sorted(self._find_members()))]

    # --- told by the reaper ---

    def handle_leader_exit(self, wait_status: int) -> None:
        self._exited = True
        for output in self.outputs:
            output.flush()
        left = self._find_members()
        if self._killing:
            self._kill_members()
        self._watch_members(left)
        self._on_exit(exit_status.decode_wait_status(wait_status), read_problem(self._problem_fd), len(left))
        if not left:
            self._close()

    def recheck_members(self) -> None:
        """A member ended: who is left, and is that the end?"""
        before = bool(self._watched_pidfds)
        left = self._find_members()
        if self._killing:
            self._kill_members()
        self._watch_members(left)
        if before and not left:
            self._close()
            self._on_empty()

    # --- inside ---

    def _find_members(self) -> set[int]:
        self._members = job_processes.find_members(
            None if self._exited else self.pid, self._mark, self._members, self._table.get_leaders()
        )
        return self._members

    def _kill_members(self) -> None:
        for pid in self._members:
            self._send(pid, signal.SIGKILL)

    def _is_in_group(self, pid: int) -> bool:
        try:
            return os.getpgid(pid) == self.pid
        except ProcessLookupError:
            return True

    def _send(self, pid: int, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)

    def _watch_members(self, members: set[int]) -> None:
        """Watch some of these: the end of any of them is worth another look. Not all, a job may leave thousands."""
        if not self._exited:
            return
        for pid in self._watched_pidfds.keys() - members:
            self._table.unwatch(self._watched_pidfds.pop(pid))
        for pid in sorted(members - self._watched_pidfds.keys())[: MAX_WATCHED_MEMBERS - len(self._watched_pidfds)]:
            with suppress(ProcessLookupError):
                self._watched_pidfds[pid] = self._table.watch(pid, self)

    def _close(self) -> None:
        for output in self.outputs:
            output.flush()
            output.close()
        self._table.remove(self)


class ProcessTable:
    """The owner of waitpid."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_leader: dict[int, Process] = {}  # until its leader is reaped
        self._lingering: set[Process] = set()  # leader gone, members left
        self.orphans_reaped = 0

    def start(
        self,
        command: Command,
        environ: Mapping[str, str],
        *,
        on_lines: OnLines,
        on_exit: OnExit,
        on_empty: Callable[[], None] = lambda: None,
        own_pid_variables: Iterable[str] = (),
        backpressure: Backpressure | None = None,
    ) -> Process:
        """Start `command`; raises CannotSpawn. `on_exit` comes from the loop, never before this returns."""
        spawned = spawn(command, environ, own_pid_variables=own_pid_variables)
        return self.adopt(spawned, on_lines=on_lines, on_exit=on_exit, on_empty=on_empty, backpressure=backpressure)

    def adopt(
        self,
        spawned: SpawnedProcess,
        *,
        on_lines: OnLines,
        on_exit: OnExit,
        on_empty: Callable[[], None] = lambda: None,
        backpressure: Backpressure | None = None,
    ) -> Process:
        """Take over a process that was started before the loop was there."""
        process = Process(self, spawned, on_exit, on_empty)
        self._by_leader[process.pid] = process
        process.outputs = [
            OutputPipe(self._loop, spawned.stdout_fd, "stdout", on_lines, backpressure),
            OutputPipe(self._loop, spawned.stderr_fd, "stderr", on_lines, backpressure),
        ]
        return process

    def reap(self) -> None:
        """Collect every child that has ended."""
        orphans = False
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            process = self._by_leader.pop(pid, None)
            if process is not None:
                self._lingering.add(process)
                process.handle_leader_exit(wait_status)
            else:
                self.orphans_reaped += 1
                orphans = True
        if orphans:
            for process in list(self._lingering):
                process.recheck_members()

    def get_leaders(self) -> set[int]:
        return set(self._by_leader)

    def list_strays(self) -> list[str]:
        """`name (pid)` of every live process below us that is no leader."""
        return [
            f"{job_processes.read_name(pid)} ({pid})" for pid in sorted(job_processes.find_strays(self.get_leaders()))
        ]

    def kill_all(self, max_wait_s: float = 0.5) -> None:
        """The end, without a loop: SIGKILL to every process below us, and at most `patience` seconds for them to go."""
        until = time.monotonic() + max_wait_s
        while left := job_processes.find_strays(set()):
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                pidfd = os.pidfd_open(min(left))
                select.select([pidfd], [], [], max(0.0, until - time.monotonic()))
                os.close(pidfd)
            if time.monotonic() >= until:
                break
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def watch(self, pid: int, process: Process) -> int:
        """A pidfd whose end leads to another look; raises ProcessLookupError when the process is gone already."""
        pidfd = os.pidfd_open(pid)

        def handle_end() -> None:
            self._loop.remove_reader(pidfd)
            self.reap()  # when it is our child it must not count as alive any more
            process.recheck_members()

        self._loop.add_reader(pidfd, handle_end)
        return pidfd

    def unwatch(self, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)

    def remove(self, process: Process) -> None:
        self._lingering.discard(process)
