"""Does what the core decides: one method for each action, each at once, each answered with cues."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from autopilot.adapters.logs import Log
from autopilot.machines import actions, cues
from autopilot.process import oom
from autopilot.process.spawn import CannotSpawn, Spawned
from autopilot.process.status import words
from autopilot.runtime.commands import Commands
from autopilot.runtime.processes import Process, Processes
from autopilot.spec.plan import ExecProbe, Health, HtcondorProbe, HttpProbe, Plan, TcpProbe

if TYPE_CHECKING:
    from autopilot.adapters.exec_drain import ExecDrain
    from autopilot.adapters.htcondor import Htcondor

KILLED, STOPPED_UNSTARTED = 128 + 9, 128 + 15


class Permits(Protocol):
    """Limits between hosts."""

    @property
    def needed(self) -> Collection[str]:
        """Jobs whose runs need one, and "" for the lifetime's end."""
        ...

    def ask(self, holder: str, granted: Callable[[bool], None]) -> None:
        """`granted` is called when it is the holder's turn, whenever that is."""
        ...

    def release(self, holder: str) -> None:
        """Nothing where none is held."""
        ...


class Effects:
    def __init__(
        self,
        plan: Plan,
        *,
        loop: asyncio.AbstractEventLoop,
        processes: Processes,
        commands: Commands,
        environ: Callable[[], Mapping[str, str]],
        log: Log,
        feed: Callable[[cues.Cue], None],
        background: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        prestarted: dict[str, Spawned],
        permits: Permits,
        oom_kills: int,
    ) -> None:
        """`prestarted`: jobs that run already; `oom_kills`: the kernel's count for our cgroup before the first one."""
        self._condor_job = plan.htcondor.job if plan.htcondor else None
        self._loop, self._processes, self._commands, self._environ = loop, processes, commands, environ
        self._log, self._feed, self._background = log, feed, background
        self._prestarted = prestarted
        self._live: dict[str, tuple[int, Process]] = {}
        self._permits = permits
        self._queued: dict[str, actions.Spawn] = {}  # wait for a permit
        self._later: deque[actions.Spawn] = deque()  # periodic runs: one for each turn of the loop
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._oom_kills = oom_kills
        self.node: Htcondor | ExecDrain | None = None  # what is drained
        self.condor: Htcondor | None = None
        self.finished: asyncio.Future[actions.Finish] = loop.create_future()

    def do(self, action: actions.Action) -> None:  # noqa: PLR0912 - one arm for each action
        match action:
            case actions.Spawn(periodic=True):
                self._later.append(action)
                if len(self._later) == 1:
                    self._loop.call_soon(self._spawn_next)
            case actions.Spawn(job) if job in self._permits.needed:
                self._queued[job] = action
                self._permits.ask(job, lambda _: self._permitted(job))
            case actions.Spawn():
                self._spawn(action)
            case actions.Signal(job, run, number, group):
                process = self._process(job, run)
                if process is not None:
                    process.signal(number, group=group)
            case actions.Kill(job, run):
                process = self._process(job, run)
                if process is not None:
                    self._log.say("warning", "killing what is left", job=job, processes=process.left())
                    process.kill()
            case actions.RunCheck(job, run, plan):
                self._checks[job] = self._background(self._check(job, run, plan))
            case actions.DropCheck(job) if job in self._checks:  # else its answer is on its way, and comes too late
                self._checks.pop(job).cancel()
            case actions.AskPermit():
                self._permits.ask("", lambda known: self._feed(cues.Permitted(known)))
            case actions.BeginDrain(reason):
                if self.node is None:
                    self._feed(cues.Drained())
                else:
                    self.node.begin_drain(reason)
            case actions.SoftenDrain() if self.node is not None:
                self.node.soften()
            case actions.HardenDrain() if self.node is not None:
                self.node.harden()
            case actions.Evict() if self.condor is not None:
                self.condor.evict()
            case actions.Evict():
                self._feed(cues.Evicted())
            case actions.Finish() if not self.finished.done():
                self.finished.set_result(action)

    def pids(self) -> dict[str, int]:
        """The leaders of the jobs that run now."""
        return {name: process.pid for name, (_, process) in self._live.items()}

    # --- processes ---

    def _process(self, job: str, run: int) -> Process | None:
        """The process of that run; None when it ended, or had not even started: then it never will."""
        for spawn in self._later:
            if (spawn.job, spawn.run) == (job, run):
                self._later.remove(spawn)
                self._feed(cues.Exited(job, run, STOPPED_UNSTARTED))
                return None
        queued = self._queued.get(job)
        if queued is not None and queued.run == run:
            del self._queued[job]
            self._permits.release(job)
            self._feed(cues.Exited(job, run, STOPPED_UNSTARTED))
            return None
        live = self._live.get(job)
        return live[1] if live is not None and live[0] == run else None

    def _permitted(self, job: str) -> None:
        """It is the job's turn, unless somebody stopped it meanwhile."""
        action = self._queued.pop(job, None)
        if action is not None:
            self._spawn(action)

    def _spawn_next(self) -> None:
        """One periodic run; the others wait behind whatever else has happened meanwhile."""
        if self._later:
            self._spawn(self._later.popleft())
        if self._later:
            self._loop.call_soon(self._spawn_next)

    def _spawn(self, action: actions.Spawn) -> None:
        name, run, job = action.job, action.run, action.plan
        condor = self.condor if name == self._condor_job else None

        def exited(status: int, problem: str | None, leftovers: int) -> None:
            if condor is not None:
                condor.master_exited()
            if not leftovers:
                self._live.pop(name, None)
                self._permits.release(name)
            self._feed(cues.Exited(name, run, status, leftovers, problem, self._out_of_memory(status)))

        def emptied() -> None:
            self._live.pop(name, None)
            self._permits.release(name)
            self._feed(cues.Emptied(name, run))

        def sink(stream: str, lines: list[bytes]) -> None:
            self._log.lines(name, stream, lines, raw=job.raw, pid=process.pid)

        try:
            early = self._prestarted.pop(name, None)
            if early is not None:
                process = self._processes.adopt(early, sink=sink, on_exit=exited, on_empty=emptied, pace=self._log.sink)
            else:
                process = self._processes.start(
                    job.command,
                    {**self._environ(), **(condor.environment() if condor else {})},
                    sink=sink,
                    on_exit=exited,
                    on_empty=emptied,
                    own_pid_in=condor.own_pid_in if condor else (),
                    pace=self._log.sink,
                )
        except CannotSpawn as cannot:
            self._permits.release(name)
            self._feed(cues.Exited(name, run, cannot.status, problem=cannot.problem))
            return
        self._live[name] = (run, process)
        if condor is not None:
            condor.master_started(process.pid)
        self._feed(cues.Spawned(name, run, process.pid))

    def _out_of_memory(self, status: int) -> bool:
        """A SIGKILL, and the kernel has counted one more victim."""
        if status != KILLED:
            return False
        before, self._oom_kills = self._oom_kills, oom.kills()
        return self._oom_kills > before

    # --- checks ---

    async def _check(self, name: str, run: int, health: Health) -> None:
        passed, output = await self._verdict(name, health)
        self._checks.pop(name, None)
        self._feed(cues.Checked(name, run, passed, output))

    async def _verdict(self, name: str, health: Health) -> tuple[bool, str]:
        """The core's deadline ends what takes too long; the limits below are only for those that must know theirs."""
        match health.probe:
            case ExecProbe(command=command, raw=raw):
                sink = partial(self._log.check_lines, name, raw=raw)
                done = await self._commands.run(command, timeout=health.timeout + 1, name=f"{name}.health", sink=sink)
                return done.status == 0, done.output.strip() or words(done.status)
            case HtcondorProbe(aspect=aspect) if self.condor is not None:
                return await self.condor.probe(aspect, health.timeout)
            case HttpProbe() as probe:
                from autopilot.adapters import probes  # loaded by those who use it

                return await probes.http(probe)
            case TcpProbe() as probe:
                from autopilot.adapters import probes

                return await probes.tcp(probe)
        return False, "this check needs an htcondor section"
