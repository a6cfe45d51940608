"""Execute the core's actions: at once, and answered with cues."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from autopilot.adapters.logs.logger import Logger
from autopilot.machines import actions, cues
from autopilot.process import oom
from autopilot.process.signal_handling import takes_signal
from autopilot.process.spawn import SpawnedProcess, SpawnError
from autopilot.runtime.command_runner import ProcessCommandRunner
from autopilot.runtime.process_table import Process, ProcessTable
from autopilot.spec.extensions import load_check_kind
from autopilot.spec.plan import Health, Plan

if TYPE_CHECKING:
    from autopilot.adapters.batch.batch_system import BatchSystem

HANDLER_WAITS_S = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)  # a process that has just started sets its handlers now
KILLED_STATUS, STOPPED_BEFORE_START_STATUS = 128 + 9, 128 + 15


class Permits(Protocol):
    """Permits of which only a few exist among all hosts."""

    @property
    def lock_holders(self) -> Collection[str]:
        """Jobs whose runs need a permit, and "" for the lifetime's end."""
        ...

    def request_permit(self, holder: str, on_granted: Callable[[bool], None]) -> None:
        """Ask for a permit; `on_granted` is called when it is the holder's turn, whenever that is."""
        ...

    def release_permit(self, holder: str) -> None:
        """Give a permit back; does nothing where none is held."""
        ...


class ActionExecutor:
    """Executes actions by processes, checks, permits and the batch system.

    Attributes:
        batch_system: The batch system, once the node is prepared; None without one.
        finished: Done when the core says Finish; an internal error is set as its exception.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        loop: asyncio.AbstractEventLoop,
        processes: ProcessTable,
        commands: ProcessCommandRunner,
        environ: Callable[[], Mapping[str, str]],
        log: Logger,
        feed: Callable[[cues.Cue], None],
        background: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        prestarted: dict[str, SpawnedProcess],
        permits: Permits,
        oom_kills: int,
    ) -> None:
        """Wire the executor.

        Args:
            plan: The plan; its batch section names the batch system's job.
            loop: The event loop.
            processes: The jobs' processes.
            commands: Runs commands of checks.
            environ: Returns the environment of a job that starts now.
            log: The log.
            feed: Takes cues for the core.
            background: Starts a task whose failure is an internal error.
            prestarted: Jobs that run already, by name.
            permits: Limits between hosts.
            oom_kills: The kernel's count for our cgroup, before the first job started.
        """
        self._batch_job = plan.batch.job if plan.batch else None
        self._loop, self._processes, self._commands, self._environ = loop, processes, commands, environ
        self._log, self._feed, self._start_task = log, feed, background
        self._prestarted = prestarted
        self._running: dict[str, tuple[int, Process]] = {}
        self._permits = permits
        self._waiting_for_permit: dict[str, actions.Spawn] = {}
        self._periodic_queue: deque[actions.Spawn] = deque()  # periodic runs: one for each turn of the loop
        self._reloading: set[str] = set()  # jobs that get a SIGHUP when they have a handler for it
        self._check_tasks: dict[str, asyncio.Task[None]] = {}
        self._oom_kills = oom_kills
        self.batch_system: BatchSystem | None = None
        self.finished: asyncio.Future[actions.Finish] = loop.create_future()

    def execute(self, action: actions.Action) -> None:  # noqa: PLR0912 - one arm for each action
        """Execute one action; never waits for its result."""
        match action:
            case actions.Spawn(periodic=True):
                self._periodic_queue.append(action)
                if len(self._periodic_queue) == 1:
                    self._loop.call_soon(self._spawn_next)
            case actions.Spawn(job) if job in self._permits.lock_holders:
                self._waiting_for_permit[job] = action
                self._permits.request_permit(job, lambda _: self._spawn_permitted(job))
            case actions.Spawn():
                self._spawn(action)
            case actions.Signal(job, run, number, group):
                process = self._find_process_or_cancel_start(job, run)
                if process is not None:
                    process.signal(number, group=group)
            case actions.Reload(job, run) if job not in self._reloading:  # else the handler's wait is on already
                self._reloading.add(job)
                self._start_task(self._send_sighup(job, run))
            case actions.Kill(job, run):
                process = self._find_process_or_cancel_start(job, run)
                if process is not None:
                    sentence, remaining = "sending SIGKILL to the remaining processes", process.list_remaining()
                    self._log.log("warning", "sigkill_sent", sentence, job=job, processes=remaining)
                    process.kill()
            case actions.RunCheck(job, run, plan):
                self._check_tasks[job] = self._start_task(self._run_check(job, run, plan))
            case actions.CancelCheck(job) if job in self._check_tasks:  # else its answer comes too late to be stopped
                self._check_tasks.pop(job).cancel()
            case actions.RequestPermit():
                self._permits.request_permit("", lambda known: self._feed(cues.PermitGranted(known)))
            case actions.StartDrain(reason):
                if self.batch_system is None:
                    self._feed(cues.Drained())
                else:
                    self.batch_system.begin_drain(reason)
            case actions.TerminatePayloads() if self.batch_system is not None:
                self.batch_system.soft_stop()
            case actions.KillPayloads() if self.batch_system is not None:
                self.batch_system.hard_stop()
            case actions.EvictPayloads() if self.batch_system is not None:
                self.batch_system.evict()
            case actions.EvictPayloads():
                self._feed(cues.Evicted())
            case actions.Finish() if not self.finished.done():
                self.finished.set_result(action)

    def get_pids(self) -> dict[str, int]:
        """Return the leader's pid of each job that runs now."""
        return {name: process.pid for name, (_, process) in self._running.items()}

    # --- processes ---

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
            self._loop.call_soon(self._spawn_next)

    def _spawn(self, action: actions.Spawn) -> None:
        name, run, job = action.job, action.run, action.plan
        batch_system = self.batch_system if name == self._batch_job else None

        def report_exit(status: int, problem: str | None, leftovers: int) -> None:
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
                process = self._processes.start(
                    job.command,
                    {**self._environ(), **(batch_system.build_environment() if batch_system else {})},
                    on_lines=write_lines,
                    on_exit=report_exit,
                    on_empty=report_empty,
                    own_pid_variables=batch_system.own_pid_variables if batch_system else (),
                    backpressure=self._log.choose_backpressure(raw=job.raw),
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
        before, self._oom_kills = self._oom_kills, oom.count_oom_kills()
        return self._oom_kills > before

    # --- checks ---

    async def _run_check(self, name: str, run: int, health: Health) -> None:
        passed, output = await self._evaluate_probe(name, health)
        self._check_tasks.pop(name, None)
        self._feed(cues.CheckFinished(name, run, passed, output))

    async def _evaluate_probe(self, name: str, health: Health) -> tuple[bool, str]:
        """Run a check of any kind. A check only observes, so its own failure is a failed check, never the life's end.

        The core's deadline cancels a check that takes too long.
        """
        from autopilot.adapters.checks.check_context import CheckContext  # loaded by those who use it

        def log_lines(stream: str, lines: list[bytes], raw: bool, pid: int) -> None:
            self._log.log_check_lines(name, stream, lines, raw=raw, pid=pid)

        context = CheckContext(
            job=name,
            timeout_s=health.timeout,
            commands=self._commands,
            log_lines=log_lines,
            batch_system=self.batch_system,
        )
        try:
            return await load_check_kind(health.probe.kind).run(health.probe, context)
        except Exception as error:
            text = "".join(traceback.format_exception(error)).strip()
            message = f"internal error in the {health.probe.kind} check: {error!r}"
            said = f"{message}; it counts as failed; please report it"
            self._log.log("error", "check_error", said, job=name, traceback=text)
            return False, message
