"""One life: everything live is made here, runs until the core says Finish, and is ended here."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopilot.adapters import control, narrator
from autopilot.adapters.journal import Journal
from autopilot.adapters.loglines import Lines, lines_for
from autopilot.adapters.logs import Log
from autopilot.adapters.sink import Sink
from autopilot.app import status
from autopilot.app.effects import Effects
from autopilot.app.lastwords import HEARTBEAT, LastWords
from autopilot.app.outside import CannotReachOut, Outside, shouted
from autopilot.app.surroundings import Surroundings
from autopilot.machines.actions import Outcome
from autopilot.machines.core import Core, Effect
from autopilot.machines.cues import Asked, Cue, NodeRecovered, NodeTrouble, PlanChanged, SignalCame
from autopilot.machines.facts import Fact, PlanSettled
from autopilot.process.spawn import Spawned
from autopilot.runtime import calendar
from autopilot.runtime.commands import Commands
from autopilot.runtime.processes import Processes
from autopilot.runtime.runner import Runner
from autopilot.spec.plan import Plan

if TYPE_CHECKING:
    from autopilot.adapters.wire import Answer
    from autopilot.app.reloading import Reloader

TERMINATE = (signal.SIGTERM, signal.SIGINT)
FOR_JOBS = (signal.SIGHUP, signal.SIGUSR2)
MASTERS_LAST_CHANCE = 3.0  # s; condor_master needs 0.1-0.3 s to give its jobs back after SIGQUIT


class CannotLive(Exception):
    """The life cannot begin; nothing was started."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class Supervisor:
    """Raises OSError when its log cannot be opened. `prestarted`: jobs that were started before the loop was there, by
    name; `listening`: the control socket's descriptor; `oom_kills`: the kernel's count for our cgroup before the first
    of them; `containerpilot`: as that program does; `missing`: why there is no job at all."""

    def __init__(
        self,
        plan: Plan,
        *,
        config: Path | None,
        loop: asyncio.AbstractEventLoop,
        state: Path,
        socket_path: Path,
        listening: int,
        where: Surroundings,
        env: Mapping[str, str],
        prestarted: dict[str, Spawned],
        oom_kills: int,
        containerpilot: bool = False,
        missing: str = "",
    ) -> None:
        self._plan, self._loop, self._state, self._socket, self.env = plan, loop, state, socket_path, dict(env)
        self._where, self._containerpilot, self._missing = where, containerpilot, missing
        self.begins_anew = False  # the end of this life is the begin of one with a configuration
        self._journal = Journal([job.name for job in plan.jobs])
        self._sink, self.log = _log(plan, loop, where, containerpilot, self._journal)
        self._words = LastWords(state, where)
        self._processes = Processes(loop)
        self._commands = Commands(self._processes, self._environ)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = socket.socket(fileno=listening)
        self._outside = Outside(
            plan,
            state=state,
            where=where,
            life=self._words.life,
            env=self.env,
            report=self.feed,
            background=self._background,
            look=self._status,
            counts=lambda: (self._processes.orphans_reaped, self._sink.dropped),
            run=self._commands,
            containerpilot=containerpilot,
        )
        self._effects = Effects(
            plan,
            loop=loop,
            processes=self._processes,
            commands=self._commands,
            environ=self._environ,
            log=self.log,
            feed=self.feed,
            background=self._background,
            prestarted=prestarted,
            permits=self._outside,
            oom_kills=oom_kills,
        )
        self._runner = Runner(
            Core(plan, rng=random.Random(), now=loop.time(), next_time=calendar.next_time), loop, self._do
        )
        self._config = config
        self._reloader: Reloader | None = None

    # --- the life ---

    async def live(self, signals_so_far: list[int]) -> Outcome:
        """From the first job to the last; returns how it ended. What was signalled before the loop ran is heard now."""
        self._loop.set_exception_handler(self._loop_failed)
        self._hear_signals()
        try:
            self._background(control.serve(self._listening, self._handle, self._answered))
            self._claim_state()
            await self._unless_ended(self._prepare_node())
            self._outside.prepare()
        except CannotReachOut as cannot:
            return Outcome("config", str(cannot), os.EX_CONFIG)
        except CannotLive as cannot:
            return cannot.outcome
        self._beat()
        self._say_doubt()
        self._runner.begin()
        self._outside.begin()
        if self._missing:
            self.feed(NodeTrouble("no-config", f"{self._missing}. Nothing is run until there is one"))
        self._processes.reap()
        for number in signals_so_far:
            self._signalled(signal.Signals(number))
        finish = await self._effects.finished
        await self._outside.leave()
        await self._journal.close()
        left = self._processes.strays()
        if left:
            self.log.say("error", "left behind, killed", jobs=list(finish.stragglers), processes=left)
        return finish.outcome

    def close(self, outcome: Outcome) -> None:
        """The end: nothing below us survives, the last words are written, the log is out."""
        for task in self._tasks:
            task.cancel()
        self._processes.sweep()
        with suppress(OSError):
            self._socket.unlink(missing_ok=True)
        self._write_words(lambda: self._words.finish(outcome))
        level = "info" if outcome.code == 0 else "error"
        self.log.say(level, f"exit {outcome.code}: {outcome.detail}", reason=outcome.reason)
        self._sink.drain()

    def die(self, error: BaseException) -> Outcome:
        """An internal error. Our end kills everything at once, and a payload killed that way stays in limbo in the
        queue for 40 minutes: so the batch system ends first, within a bound."""
        text = "".join(traceback.format_exception(error)).strip()
        self.log.say("error", f"internal error: {error!r}; please report it", traceback=text)
        condor = self._effects.condor
        pid = self._effects.pids().get(self._plan.htcondor.job) if self._plan.htcondor else None
        if condor is not None and pid is not None:
            condor.last_resort()
            with suppress(ProcessLookupError):
                select.select([os.pidfd_open(pid)], [], [], MASTERS_LAST_CHANCE)
        return Outcome("internal", repr(error), os.EX_SOFTWARE)

    def feed(self, cue: Cue) -> None:
        self._runner.feed(cue)

    # --- effects ---

    def _do(self, effect: Effect) -> None:
        self._write_words(lambda: self._words.hear(effect))
        self._outside.hear(effect)
        if not isinstance(effect, Fact):
            self._effects.do(effect)
            return
        self._journal.hear(effect)
        if self._reloader is not None and isinstance(effect, PlanSettled):
            self._reloader.settled.set()
        said = narrator.sentence(effect)
        if said is not None:
            level, sentence, fields = said
            self.log.say(level, sentence, **fields)

    def _beat(self) -> None:
        self._write_words(self._words.beat)
        self._loop.call_later(HEARTBEAT, self._beat)

    def _write_words(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:  # a full disk must not end a life
            self.log.say("error", f"cannot write the last words: {error}")

    # --- before the first job ---

    async def _unless_ended(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, but do not hold up an end that is asked for meanwhile."""
        task = self._loop.create_task(work)
        either: list[asyncio.Future[Any]] = [task, self._effects.finished]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        else:
            task.cancel()

    def _claim_state(self) -> None:
        try:
            self._words.begin()
        except OSError as error:
            why = error.strerror or error
            detail = f"cannot use the state directory {self._state}: {why}; set `state` or AUTOPILOT_STATE"
            raise CannotLive(Outcome("config", detail, os.EX_CONFIG)) from None

    async def _prepare_node(self) -> None:
        """Make the batch system's adapter, if one is planned. Raises CannotLive with all that is wrong."""
        plan, lifetime = self._plan.htcondor, self._plan.lifetime
        if plan is not None:
            from autopilot.adapters.htcondor import Htcondor  # loaded by those who use it

            condor = Htcondor(
                plan,
                lifetime,
                run=self._commands,
                report=self.feed,
                state=self._state,
                life=self._words.life,
                env=self.env,
            )
            problems = await condor.prepare()
            for problem in problems:
                self.log.say("error", problem)
            if problems:
                raise CannotLive(Outcome("config", "; ".join(problems), os.EX_CONFIG))
            self._effects.node = self._effects.condor = condor
            self._background(condor.watch())
        if lifetime is not None and not lifetime.drain.htcondor:
            from autopilot.adapters.exec_drain import ExecDrain

            self._effects.node = ExecDrain(
                lifetime.drain, run=self._commands, report=self.feed, background=self._background
            )

    async def _handle(self, method: str, path: str, body: Mapping[str, object]) -> Answer:
        from autopilot.app.requests import Requests  # most containers are never asked anything

        requests = Requests(
            feed=self.feed,
            status=self._status,
            record=self._outside.record,
            put_environment=self._put_environment,
            jobs=[job.name for job in self._plan.jobs],
            plan=self._shown_plan,
            reload=self._reload,
            journal=self._journal,
            end=self._effects.finished,
        )
        return await requests.handle(method, path, body)

    def _shown_plan(self) -> Mapping[str, object]:
        from autopilot.spec.plandata import plan_to_data

        return {"plan": plan_to_data(self._plan), "state": os.fspath(self._state)}

    # --- another plan ---

    async def _reload(self, wait: bool) -> Mapping[str, object]:
        """What it did. Raises CannotReload: then everything goes on as it was, and the trouble is shown until it is
        over."""
        from autopilot.app.reloading import CannotReload, Reloader  # most lives have one job spec

        if self._config is None:
            return await self._find_config()
        if self._reloader is None:
            self._reloader = Reloader(
                self._config,
                self._state,
                run=self._commands,
                plan=lambda: self._plan,
                adopt=self._adopt,
                ending=lambda: self._runner.core.ending,
            )
        try:
            done = await self._reloader.reload(wait=wait)
        except CannotReload as cannot:
            self.feed(NodeTrouble("reload", f"cannot reload: {cannot}; everything goes on as it was"))
            raise
        if "reload" in self._runner.core.troubles:
            self.feed(NodeRecovered("reload"))
        return done

    async def _find_config(self) -> Mapping[str, object]:
        """There was none: a life that has one begins in our place, for it may be built on other things than this one.
        Raises CannotReload."""
        from autopilot.app.places import NoConfig, default_config
        from autopilot.app.reloading import CannotReload, described, read
        from autopilot.machines import changes

        try:
            config = Path(default_config(self.env, self._containerpilot))
        except NoConfig as none:
            raise CannotReload(str(none)) from None
        plan, warnings = await read(config, self._state, self._commands)
        self.begins_anew = True  # as soon as whoever asked for it has been told
        return described(changes.between(self._plan, plan), plan, warnings)

    def _answered(self, status: int, path: str) -> None:
        self._outside.answered(status, path)
        if self.begins_anew:
            self.feed(Asked("stop", "a reload, which found a configuration"))

    def _adopt(self, plan: Plan) -> None:
        """Raises CannotReload, with everything as it was."""
        from autopilot.app.reloading import CannotReload

        log_fd = None
        if plan.logging.output != self._plan.logging.output:
            try:
                log_fd = _log_fd(plan.logging.output)
            except OSError as error:
                raise CannotReload(f"cannot open the log {plan.logging.output}: {error.strerror}") from None
        try:
            self._outside.adopt(plan, self._runner.core.healthy())
        except CannotReachOut as cannot:
            if log_fd is not None and log_fd not in STANDARD.values():
                os.close(log_fd)
            raise CannotReload(str(cannot)) from None
        self._plan = plan
        if log_fd is not None:
            self._sink.reopen(log_fd)
        self.log.configure(_lines(plan, self._where, self._containerpilot), level=plan.logging.level)
        self._journal.adopt([job.name for job in plan.jobs])
        self._say_doubt()
        self.feed(PlanChanged(plan))

    def _say_doubt(self) -> None:
        if doubt := calendar.doubt(self._plan.jobs):
            self.log.say("warning", doubt)

    # --- signals and tasks ---

    def _hear_signals(self) -> None:
        for number in (*TERMINATE, *FOR_JOBS):
            self._loop.add_signal_handler(number, self._signalled, number)
        self._loop.add_signal_handler(signal.SIGUSR1, self._reopen_log)
        self._loop.add_signal_handler(signal.SIGCHLD, self._processes.reap)

    def _signalled(self, number: signal.Signals) -> None:
        if number in TERMINATE:
            self.feed(Asked("terminate", number.name))
        else:
            self.feed(SignalCame(number.name))

    def _reopen_log(self) -> None:
        if self._plan.logging.output not in STANDARD:
            try:
                self._sink.reopen(_log_fd(self._plan.logging.output))
            except OSError as error:
                self.log.say("error", f"cannot reopen the log {self._plan.logging.output}: {error.strerror}")

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure is an internal error, not a forgotten line."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _loop_failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:  # said by the garbage collector of what nobody uses any more
            self.log.say("error", f"internal error: {context['message']}; everything goes on; please report it")
            return
        if isinstance(error, OSError) and error.errno in (
            errno.EMFILE,
            errno.ENFILE,
        ):  # said by accept(): it tries again
            self.log.say("error", f"too many open files: {context['message']}")
            return
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._effects.finished.done():
            self._effects.finished.set_exception(error)

    # --- what others see ---

    def _environ(self) -> Mapping[str, str]:
        pids = {f"CONTAINERPILOT_{shouted(job)}_PID": str(pid) for job, pid in self._effects.pids().items()}
        return {**self.env, "CONTAINERPILOT_PID": str(os.getpid()), **self._outside.environment(), **pids}

    def _put_environment(self, changes: Mapping[str, str]) -> None:
        """For all that starts from now on; "" unsets."""
        for name, value in changes.items():
            self.env.pop(name, None)
            if value:
                self.env[name] = value
        put, gone = [name for name in changes if changes[name]], [name for name in changes if not changes[name]]
        self.log.say("info", "environment changed", set=put, unset=gone)  # values may be secrets

    def _status(self) -> dict[str, object]:
        core, condor = self._runner.core, self._effects.condor
        shown = status.snapshot(core, now=self._loop.time(), wall=time.time(), life=self._words.life)
        if condor is not None:
            shown["htcondor"] = {"job": self._plan.htcondor and self._plan.htcondor.job, **condor.status()}
        return {**shown, **self._outside.shown()}


STANDARD = {"stdout": 1, "stderr": 2}


def _log_fd(output: str) -> int:
    """Raises OSError when a file cannot be opened, or is a FIFO that nobody reads: to wait for its reader would be to
    hang."""
    if output in STANDARD:
        return STANDARD[output]
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return os.open(output, flags, 0o644)


def _log(
    plan: Plan, loop: asyncio.AbstractEventLoop, where: Surroundings, containerpilot: bool, journal: Journal
) -> tuple[Sink, Log]:
    fd = _log_fd(plan.logging.output)
    sink = Sink(loop, fd)
    return sink, Log(sink, _lines(plan, where, containerpilot), level=plan.logging.level, keep=journal.lines)


def _lines(plan: Plan, where: Surroundings, containerpilot: bool) -> Lines:
    a_file = -1
    terminal = os.isatty(STANDARD.get(plan.logging.output, a_file))
    return lines_for(plan.logging.format, terminal=terminal, containerpilot=containerpilot, context=where.named())
