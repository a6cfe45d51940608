"""Start, signal and kill the jobs' processes as the core orders, and answer with cues."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autopilot.adapters.logs.logger import Logger
from autopilot.app.life_context import BootHandover
from autopilot.app.permit_port import Permits
from autopilot.machines import actions, cues
from autopilot.process import cgroup_counters
from autopilot.process.signal_handling import takes_signal
from autopilot.process.spawn import SpawnError
from autopilot.runtime.process_table import JobRoot, Process, ProcessTable

if TYPE_CHECKING:
    from autopilot.adapters.batch.batch_system import BatchSystem

KILLED_STATUS, STOPPED_BEFORE_START_STATUS = 128 + 9, 128 + 15
HANDLER_WAITS_S = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)  # a process that has just started sets its handlers now


class JobLauncher:
    """Runs of jobs: those that wait for a permit or their turn, and those that have a process."""

    def __init__(
        self,
        boot: BootHandover,
        *,
        processes: ProcessTable,
        environ: Callable[[], Mapping[str, str]],
        log: Logger,
        feed: Callable[[cues.Cue], None],
        permits: Permits,
        start_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """Wire the launcher.

        Args:
            boot: Jobs that run already, and the kernel's count of OOM kills before them.
            processes: The jobs' processes.
            environ: Returns the environment of a job that starts now.
            log: The log.
            feed: Takes cues for the core.
            permits: Limits among hosts.
            start_task: Starts a task whose failure is an internal error.
        """
        self._prestarted, self._oom_kills = boot.prestarted, boot.oom_kills
        self._processes, self._environ, self._log, self._feed = processes, environ, log, feed
        self._permits, self._start_task = permits, start_task
        self._running: dict[str, tuple[int, Process]] = {}
        self._ended_cpu_seconds: dict[str, float] = {}  # by job, of runs that have ended
        self._waiting_for_permit: dict[str, actions.Spawn] = {}
        self._periodic_queue: deque[actions.Spawn] = deque()  # periodic runs: one for each turn of the loop
        self._reloading: set[str] = set()  # jobs that get a SIGHUP when they have a handler for it
        self._batch_job: str | None = None
        self._batch_system: BatchSystem | None = None

    def attach_batch_system(self, batch_system: BatchSystem, main_job: str | None) -> None:
        """Report starts and ends of `main_job` to the batch system, and start it with the environment it asks for."""
        self._batch_system, self._batch_job = batch_system, main_job

    def get_pids(self) -> dict[str, int]:
        """Return the leader's pid of each job that runs now."""
        return {name: process.pid for name, (_, process) in self._running.items()}

    def list_jobs_without_permit(self) -> set[str]:
        """Return the names of the jobs whose run waits for its permit."""
        return set(self._waiting_for_permit)

    def get_job_roots(self) -> dict[str, JobRoot]:
        """Return the places from which the processes of each job that runs now are found."""
        return {name: process.get_root() for name, (_, process) in self._running.items()}

    def get_ended_cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time of the leaders that have ended and of the descendants that they waited for, by job."""
        return dict(self._ended_cpu_seconds)

    def start(self, action: actions.Spawn) -> None:
        """Start a run: at once, in its turn if it is periodic, or when its permit is granted."""
        job = action.job
        if action.periodic:
            self._periodic_queue.append(action)
            if len(self._periodic_queue) == 1:
                asyncio.get_running_loop().call_soon(self._spawn_next)
        elif job in self._permits.lock_holders:
            self._waiting_for_permit[job] = action
            self._permits.request_permit(job, lambda _: self._spawn_permitted(job))
        else:
            self._spawn(action)

    def signal(self, job: str, run: int, number: int, *, group: bool) -> None:
        """Send a signal to a run; a run that has not started yet is cancelled, one that has ended is left alone."""
        process = self._find_process_or_cancel_start(job, run)
        if process is not None:
            process.signal(number, group=group)

    def reload(self, job: str, run: int) -> None:
        """Send SIGHUP to a run as soon as it has a handler for it; does nothing while an earlier reload waits."""
        if job not in self._reloading:
            self._reloading.add(job)
            self._start_task(self._send_sighup(job, run))

    def kill(self, job: str, run: int) -> None:
        """Send SIGKILL to every remaining process of a run; a run that has not started yet is cancelled."""
        process = self._find_process_or_cancel_start(job, run)
        if process is not None:
            sentence, remaining = "sending SIGKILL to the remaining processes", process.list_remaining()
            self._log.log("warning", "sigkill_sent", sentence, job=job, processes=remaining)
            process.kill()

    def _find_process_or_cancel_start(self, job: str, run: int) -> Process | None:
        """Return the process of a run; None when it has ended. A run that has not even started is cancelled."""
        for spawn in self._periodic_queue:
            if (spawn.job, spawn.run) == (job, run):
                self._periodic_queue.remove(spawn)
                self._feed(cues.Exited(job, run, STOPPED_BEFORE_START_STATUS))
                return None
        queued = self._waiting_for_permit.get(job)
        if queued is not None and queued.run == run:
            del self._waiting_for_permit[job]
            self._permits.release_permit(job)
            self._feed(cues.Exited(job, run, STOPPED_BEFORE_START_STATUS))
            return None
        live = self._running.get(job)
        return live[1] if live is not None and live[0] == run else None

    def _spawn_permitted(self, job: str) -> None:
        """Start a job that has its permit now, unless it was stopped meanwhile."""
        action = self._waiting_for_permit.pop(job, None)
        if action is not None:
            self._spawn(action)

    def _spawn_next(self) -> None:
        """Start one periodic run; the others wait for the next turn of the loop."""
        if self._periodic_queue:
            self._spawn(self._periodic_queue.popleft())
        if self._periodic_queue:
            asyncio.get_running_loop().call_soon(self._spawn_next)

    def _spawn(self, action: actions.Spawn) -> None:
        name, run, job = action.job, action.run, action.plan
        batch_system = self._batch_system if name == self._batch_job else None

        def report_exit(status: int, problem: str | None, leftovers: int) -> None:
            self._ended_cpu_seconds[name] = self._ended_cpu_seconds.get(name, 0.0) + process.cpu_seconds
            if batch_system is not None:
                batch_system.on_exited()
            if not leftovers:
                self._running.pop(name, None)
                self._permits.release_permit(name)
            self._feed(cues.Exited(name, run, status, leftovers, problem, self._detect_oom_kill(status)))

        def report_empty() -> None:
            self._running.pop(name, None)
            self._permits.release_permit(name)
            self._feed(cues.GroupEmptied(name, run))

        def write_lines(stream: str, lines: list[bytes]) -> None:
            self._log.log_job_lines(name, stream, lines, raw=job.raw, pid=process.pid)

        try:
            early = self._prestarted.pop(name, None)
            if early is not None:
                process = self._processes.adopt(
                    early,
                    on_lines=write_lines,
                    on_exit=report_exit,
                    on_empty=report_empty,
                    backpressure=self._log.choose_backpressure(raw=job.raw),
                )
            else:
                if batch_system is not None:
                    batch_system.on_starting()
                arguments = batch_system.build_arguments() if batch_system is not None else ()
                process = self._processes.start(
                    replace(job.command, argv=(*job.command.argv, *arguments)),
                    {**self._environ(), **(batch_system.build_environment() if batch_system else {})},
                    on_lines=write_lines,
                    on_exit=report_exit,
                    on_empty=report_empty,
                    own_pid_variables=batch_system.own_pid_variables if batch_system else (),
                    backpressure=self._log.choose_backpressure(raw=job.raw),
                    with_cgroup=True,
                )
        except SpawnError as cannot:
            self._permits.release_permit(name)
            self._feed(cues.Exited(name, run, cannot.status, problem=cannot.problem))
            return
        self._running[name] = (run, process)
        if batch_system is not None:
            batch_system.on_started(process.pid)
        self._feed(cues.Spawned(name, run, process.pid))

    async def _send_sighup(self, job: str, run: int) -> None:
        """Send SIGHUP to a job that has a handler for it, or gets one soon; a process without one would die of it."""
        for wait_s in HANDLER_WAITS_S:
            await asyncio.sleep(wait_s)
            live = self._running.get(job)
            if live is None or live[0] != run:  # the next run reads its configuration as it starts
                self._reloading.discard(job)
                return
            if takes_signal(live[1].pid, signal.SIGHUP):
                self._reloading.discard(job)
                live[1].signal(signal.SIGHUP, group=False)
                return
        self._reloading.discard(job)
        problem = "cannot be reloaded: its process has no handler for SIGHUP and would die of it"
        self._log.log("warning", "reload_not_sent", f"{problem}; write on_change: {{restart}}", job=job)

    def _detect_oom_kill(self, status: int) -> bool:
        """Return True for a SIGKILL when the kernel has counted one more victim."""
        if status != KILLED_STATUS:
            return False
        before, self._oom_kills = self._oom_kills, cgroup_counters.count_oom_kills()
        return self._oom_kills > before
