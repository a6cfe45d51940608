"""Own every process that the supervisor started: the one place that waits for them.

Theory of operation. SIGCHLD (or a start) leads to `reap`, which collects every child that ended, ours or an adopted
orphan. The end of a leader is reported at once (`on_exit`), even while another process holds its output. Members of its
job that remain are watched by pidfd, and the end of the last one is reported (`on_empty`). There is no sleep or poll.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol

from autopilot.process import exit_status, job_processes
from autopilot.process.line_buffer import LineSplitter
from autopilot.process.spawn import SECRET_VARIABLES, SpawnedProcess, read_problem, spawn
from autopilot.spec.plan import Command

MAX_WATCHED_MEMBERS = 8  # members of one job watched at a time
READ_CHUNK_BYTES = 16 * 1024  # bytes read from one pipe before the others have their turn
MAX_FINAL_READ_BYTES = 1 << 20  # bytes read at most at a job's end; a pipe holds 64 KiB by default

OnLines = Callable[[str, list[bytes]], None]  # stream ("stdout", "stderr") and its lines
OnExit = Callable[[int, str | None, int], None]  # status, reason why it could not start, number of members left


class JobRoot(NamedTuple):
    """The places from which all processes of a run are found.

    Attributes:
        leader: The pid of the leader; None once it has ended.
        mark: The soft limit that marks the job's orphans.
    """

    leader: int | None
    mark: int


class Backpressure(Protocol):
    """A receiver of lines that may need a pause."""

    def is_backlogged(self) -> bool:
        """Return True while no more lines should come."""
        ...

    def call_when_ready(self, resume: Callable[[], None]) -> None:
        """Call `resume` once lines may come again."""
        ...


class OutputPipe:
    """Output pipe of a process. Its lines go to `on_lines` as they come; closing it loses no line that was written."""

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
        """Read once, and return the number of bytes; 0 at the end of the stream, None when the pipe is empty now."""
        try:
            data = os.read(self._fd, READ_CHUNK_BYTES)
        except BlockingIOError:
            return None
        lines = self._splitter.feed(data)
        if lines:
            self._on_lines(self._stream, lines)
        return len(data)

    def flush(self) -> None:
        """Read everything that is in the pipe, an unterminated last line too: its writer is gone."""
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
        """Close the pipe, and hand on its last line."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            rest = self._splitter.take_rest()
            if rest:
                self._on_lines(self._stream, rest)


class Process:
    """A started process and its descendants."""

    def __init__(
        self, table: ProcessTable, spawned: SpawnedProcess, on_exit: OnExit, on_empty: Callable[[], None]
    ) -> None:
        self.pid: int = spawned.pid
        self._table = table
        self._mark: int = spawned.mark
        self.cgroup = spawned.cgroup
        self._problem_fd: int = spawned.problem_fd
        self._on_exit, self._on_empty = on_exit, on_empty
        self._members: set[int] = set()
        self._watched_pidfds: dict[int, int] = {}  # pid of a member left behind -> pidfd
        self._exited = False
        self._killing = False
        self.cpu_seconds = 0.0  # of the leader and the descendants that it waited for, once it has ended
        self.outputs: list[OutputPipe] = []

    # --- for the owner of a job ---

    def signal(self, number: int, *, group: bool) -> None:
        """Send a signal to the leader alone, or to its group and to every descendant that left it.

        SIGCONT follows: a process that was stopped would never act on its signal.
        """
        self._find_members()
        self._send_all(number, group=group)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            self._send_all(signal.SIGCONT, group=group)

    def _send_all(self, number: int, *, group: bool) -> None:
        if not self._exited:  # once the leader is reaped, its pid may be that of another process
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
        """Send SIGKILL to every process of the job, and to each that turns up later."""
        self._killing = True
        if self.cgroup is not None:
            self.cgroup.kill()
        self.signal(signal.SIGKILL, group=True)

    def get_root(self) -> JobRoot:
        """Return the places from which all processes of the job are found."""
        return JobRoot(None if self._exited else self.pid, self._mark)

    def list_remaining(self) -> list[str]:
        """Return `name (pid)` of the live processes of the job, for people."""
        leader = [] if self._exited else [self.pid]
        return job_processes.describe_processes([*leader, *sorted(self._find_members())])

    # --- for the reaper ---

    def handle_leader_exit(self, wait_status: int, cpu_seconds: float) -> None:
        """Report the end of the leader, and watch the members that remain."""
        self._exited, self.cpu_seconds = True, cpu_seconds
        for output in self.outputs:
            output.flush()
        members = self._find_members()
        if self._killing:
            self._kill_members()
        self._watch_members(members)
        self._on_exit(exit_status.decode_wait_status(wait_status), read_problem(self._problem_fd), len(members))
        if not members:
            self._close()

    def recheck_members(self) -> None:
        """Look for the members that remain after the end of one, and report the end of the last."""
        had_members = bool(self._watched_pidfds)
        members = self._find_members()
        if self._killing:
            self._kill_members()
        self._watch_members(members)
        if had_members and not members:
            self._close()
            self._on_empty()

    # --- inside ---

    def _find_members(self) -> set[int]:
        self._members = job_processes.find_members(
            None if self._exited else self.pid,
            self._mark,
            self._members,
            self._table.get_leaders(),
            in_own_cgroup=None if self.cgroup is None else self.cgroup.list_pids(),
            in_other_cgroups=self._table.list_pids_in_other_cgroups(self),
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
        """Watch a few of the members, since a job may leave thousands; the end of any of them leads to a recheck."""
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
        if self.cgroup is not None:
            self.cgroup.remove()
        self._table.remove(self)


class ProcessTable:
    """All processes of the supervisor; only this class calls waitpid."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        withheld_variables: Iterable[str] = SECRET_VARIABLES,
        *,
        no_new_privs: bool = True,
    ) -> None:
        """Create an empty table.

        Args:
            loop: The event loop.
            withheld_variables: Variables that only processes of our own user get.
            no_new_privs: The default of that setting for commands with a user other than root.
        """
        self._loop, self._withheld_variables, self._no_new_privs = loop, withheld_variables, no_new_privs
        self._by_leader: dict[int, Process] = {}  # until its leader is reaped
        self._lingering: set[Process] = set()  # leader gone, members left
        self.orphans_reaped = 0
        self.on_environment: Callable[[Mapping[str, str]], None] = lambda _: None  # gets that of each new process

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
        with_cgroup: bool = False,
    ) -> Process:
        """Start a command.

        Args:
            command: The command.
            environ: Its environment.
            on_lines: Gets the lines of its output.
            on_exit: Is called when the leader has ended, never before this method returns.
            on_empty: Is called when the last member has ended, if the leader left any.
            own_pid_variables: Names of environment variables that get the process's own pid.
            backpressure: Pauses the reading of its output.
            with_cgroup: Give it a cgroup of its own, where that is possible and of use.

        Raises:
            SpawnError: The process cannot be created.
        """
        spawned = spawn(
            command,
            environ,
            own_pid_variables=own_pid_variables,
            withheld_variables=self._withheld_variables,
            no_new_privs=self._no_new_privs,
            with_cgroup=with_cgroup,
        )
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
        """Take over a process that was started before the event loop; the arguments are those of `start`."""
        process = Process(self, spawned, on_exit, on_empty)
        self._by_leader[process.pid] = process
        self.on_environment(spawned.environment)
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
                pid, wait_status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            process = self._by_leader.pop(pid, None)
            if process is not None:
                self._lingering.add(process)
                process.handle_leader_exit(wait_status, usage.ru_utime + usage.ru_stime)
            else:
                self.orphans_reaped += 1
                orphans = True
        if orphans:
            for process in list(self._lingering):
                process.recheck_members()

    def get_leaders(self) -> set[int]:
        """Return the pids of all leaders that are not reaped."""
        return set(self._by_leader)

    def list_pids_in_other_cgroups(self, process: Process) -> set[int]:
        """Return the processes in the cgroups of all other runs: none of them belongs to this one."""
        pids: set[int] = set()
        for other in {*self._by_leader.values(), *self._lingering}:
            if other is not process and other.cgroup is not None:
                pids |= other.cgroup.list_pids()
        return pids

    def list_strays(self) -> list[str]:
        """Return `name (pid)` of the live processes below the supervisor that are no leaders, for people."""
        return job_processes.describe_processes(sorted(job_processes.find_strays(self.get_leaders())))

    def kill_all(self, max_wait_s: float = 0.5) -> None:
        """Send SIGKILL to every process below the supervisor, without the loop, and wait `max_wait_s` at most."""
        deadline = time.monotonic() + max_wait_s
        while remaining := job_processes.find_strays(set()):
            for pid in remaining:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                pidfd = os.pidfd_open(min(remaining))
                select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
                os.close(pidfd)
            if time.monotonic() >= deadline:
                break
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def watch(self, pid: int, process: Process) -> int:
        """Watch a member of a job: its end leads to a recheck of the job's members.

        Returns:
            The pidfd, for `unwatch`.

        Raises:
            ProcessLookupError: The member is gone already.
        """
        pidfd = os.pidfd_open(pid)

        def handle_end() -> None:
            self._loop.remove_reader(pidfd)
            self.reap()  # a child of ours counts as alive until it is reaped
            process.recheck_members()

        self._loop.add_reader(pidfd, handle_end)
        return pidfd

    def unwatch(self, pidfd: int) -> None:
        """Stop watching a member."""
        self._loop.remove_reader(pidfd)
        os.close(pidfd)

    def remove(self, process: Process) -> None:
        """Forget a job whose last process is gone."""
        self._lingering.discard(process)
