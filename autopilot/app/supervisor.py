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

from autopilot.adapters.control import control_server
from autopilot.adapters.logs import log_messages
from autopilot.adapters.logs.journal import Journal
from autopilot.adapters.logs.log_formats import LogFormat, choose_format
from autopilot.adapters.logs.log_writer import LogWriter
from autopilot.adapters.logs.logger import Logger
from autopilot.app import status_report
from autopilot.app.action_executor import ActionExecutor
from autopilot.app.container_info import ContainerInfo
from autopilot.app.integrations import IntegrationError, Integrations, format_env_name
from autopilot.app.last_words import HEARTBEAT_INTERVAL_S, LastWords
from autopilot.machines.actions import Outcome
from autopilot.machines.core import Core, Effect
from autopilot.machines.cues import (
    ConditionDetected,
    ConditionResolved,
    Cue,
    PlanChanged,
    RequestReceived,
    SignalArrived,
)
from autopilot.machines.events import Event, PlanApplied
from autopilot.process.spawn import SpawnedProcess
from autopilot.runtime import cron_times
from autopilot.runtime.command_runner import ProcessCommandRunner
from autopilot.runtime.machine_runner import MachineRunner
from autopilot.runtime.process_table import ProcessTable
from autopilot.spec.plan import Plan

if TYPE_CHECKING:
    from autopilot.adapters.http_server import Response
    from autopilot.api.messages import ReloadResult, RunningPlan, Status
    from autopilot.app.plan_reload import Reloader

TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGINT)
JOB_SIGNALS = (signal.SIGHUP, signal.SIGUSR2)
MASTER_EXIT_TIMEOUT_S = 3.0  # s; condor_master needs 0.1-0.3 s to give its jobs back after SIGQUIT


class StartupError(Exception):
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
        control_fd: int,
        container_info: ContainerInfo,
        env: Mapping[str, str],
        prestarted: dict[str, SpawnedProcess],
        oom_kills: int,
        containerpilot: bool = False,
        missing_config: str = "",
    ) -> None:
        self._plan, self._loop, self._state, self._socket_path, self.env = plan, loop, state, socket_path, dict(env)
        self._container_info, self._containerpilot, self._missing_config = (
            container_info,
            containerpilot,
            missing_config,
        )
        self.restart_requested = False  # the end of this life is the begin of one with a configuration
        self._journal = Journal([job.name for job in plan.jobs])
        self._log_writer, self.log = _open_log(plan, loop, container_info, containerpilot, self._journal)
        self._last_words = LastWords(state, container_info)
        self._processes = ProcessTable(loop)
        self._commands = ProcessCommandRunner(self._processes, self._build_environ)
        self._tasks: set[asyncio.Task[None]] = set()
        self._control_socket = socket.socket(fileno=control_fd)
        self._integrations = Integrations(
            plan,
            state=state,
            container_info=container_info,
            life=self._last_words.life,
            env=self.env,
            report=self.feed,
            background=self._start_task,
            get_status=self._build_status,
            get_counts=lambda: (self._processes.orphans_reaped, self._log_writer.dropped_bytes),
            commands=self._commands,
            containerpilot=containerpilot,
        )
        self._executor = ActionExecutor(
            plan,
            loop=loop,
            processes=self._processes,
            commands=self._commands,
            environ=self._build_environ,
            log=self.log,
            feed=self.feed,
            background=self._start_task,
            prestarted=prestarted,
            permits=self._integrations,
            oom_kills=oom_kills,
        )
        self._runner = MachineRunner(
            Core(plan, rng=random.Random(), now=loop.time(), next_time=cron_times.find_next_time),
            loop,
            self._apply_effect,
        )
        self._config = config
        self._reloader: Reloader | None = None

    # --- the life ---

    async def run(self, early_signals: list[int]) -> Outcome:
        """From the first job to the last; returns how it ended. What was signalled before the loop ran is heard now."""
        self._loop.set_exception_handler(self._handle_loop_error)
        self._install_signal_handlers()
        try:
            self._start_task(control_server.serve(self._control_socket, self._handle_request, self._record_answer))
            self._claim_state_directory()
            await self._run_unless_ended(self._prepare_node())
            self._integrations.prepare()
        except IntegrationError as cannot:
            return Outcome("config", str(cannot), os.EX_CONFIG)
        except StartupError as cannot:
            return cannot.outcome
        self._write_heartbeat()
        self._log_timezone_warning()
        self._runner.begin()
        self._integrations.begin()
        if self._missing_config:
            self.feed(ConditionDetected("no-config", f"{self._missing_config}. Nothing is run until there is one"))
        self._processes.reap()
        for number in early_signals:
            self._handle_signal(signal.Signals(number))
        finish = await self._executor.finished
        await self._integrations.shut_down()
        await self._journal.close()
        left = self._processes.list_strays()
        if left:
            self.log.log("error", "left behind, killed", jobs=list(finish.remaining_jobs), processes=left)
        return finish.outcome

    def close(self, outcome: Outcome) -> None:
        """The end: nothing below us survives, the last words are written, the log is out."""
        for task in self._tasks:
            task.cancel()
        self._processes.kill_all()
        with suppress(OSError):
            self._socket_path.unlink(missing_ok=True)
        self._write_last_words(lambda: self._last_words.finish(outcome))
        level = "info" if outcome.code == 0 else "error"
        self.log.log(level, f"exit {outcome.code}: {outcome.detail}", reason=outcome.reason)
        self._log_writer.flush_remaining()

    def handle_internal_error(self, error: BaseException) -> Outcome:
        """An internal error. Our end kills everything at once, and a payload killed that way stays in limbo in the
        queue for 40 minutes: so the batch system ends first, within a bound."""
        text = "".join(traceback.format_exception(error)).strip()
        self.log.log("error", f"internal error: {error!r}; please report it", traceback=text)
        condor = self._executor.condor
        pid = self._executor.get_pids().get(self._plan.htcondor.job) if self._plan.htcondor else None
        if condor is not None and pid is not None:
            condor.evict_blocking()
            with suppress(ProcessLookupError):
                select.select([os.pidfd_open(pid)], [], [], MASTER_EXIT_TIMEOUT_S)
        return Outcome("internal", repr(error), os.EX_SOFTWARE)

    def feed(self, cue: Cue) -> None:
        self._runner.feed(cue)

    # --- effects ---

    def _apply_effect(self, effect: Effect) -> None:
        self._write_last_words(lambda: self._last_words.on_effect(effect))
        self._integrations.on_effect(effect)
        if not isinstance(effect, Event):
            self._executor.execute(effect)
            return
        self._journal.on_event(effect)
        if self._reloader is not None and isinstance(effect, PlanApplied):
            self._reloader.plan_applied.set()
        said = log_messages.describe_event(effect)
        if said is not None:
            level, sentence, fields = said
            self.log.log(level, sentence, **fields)

    def _write_heartbeat(self) -> None:
        self._write_last_words(self._last_words.write_heartbeat)
        self._loop.call_later(HEARTBEAT_INTERVAL_S, self._write_heartbeat)

    def _write_last_words(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:  # a full disk must not end a life
            self.log.log("error", f"cannot write the last words: {error}")

    # --- before the first job ---

    async def _run_unless_ended(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, but do not hold up an end that is asked for meanwhile."""
        task = self._loop.create_task(work)
        either: list[asyncio.Future[Any]] = [task, self._executor.finished]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        else:
            task.cancel()

    def _claim_state_directory(self) -> None:
        try:
            self._last_words.begin()
        except OSError as error:
            why = error.strerror or error
            detail = f"cannot use the state directory {self._state}: {why}; set `state` or AUTOPILOT_STATE"
            raise StartupError(Outcome("config", detail, os.EX_CONFIG)) from None

    async def _prepare_node(self) -> None:
        """Make the batch system's adapter, if one is planned. Raises CannotLive with all that is wrong."""
        plan, lifetime = self._plan.htcondor, self._plan.lifetime
        if plan is not None:
            from autopilot.adapters.batch.htcondor import HtcondorSystem  # loaded by those who use it

            condor = HtcondorSystem(
                plan,
                lifetime,
                command_runner=self._commands,
                report=self.feed,
                state_directory=self._state,
                life_id=self._last_words.life,
                env=self.env,
            )
            problems = await condor.prepare()
            for problem in problems:
                self.log.log("error", problem)
            if problems:
                raise StartupError(Outcome("config", "; ".join(problems), os.EX_CONFIG))
            self._executor.batch_system = self._executor.condor = condor
            self._start_task(condor.watch())
        if lifetime is not None and not lifetime.drain.htcondor:
            from autopilot.adapters.batch.command import CommandDrain

            self._executor.batch_system = CommandDrain(
                lifetime.drain, command_runner=self._commands, report=self.feed, start_task=self._start_task
            )

    async def _handle_request(self, method: str, path: str, body: Mapping[str, object]) -> Response:
        from autopilot.app.control_requests import ControlApi  # most containers are never asked anything

        requests = ControlApi(
            feed=self.feed,
            get_status=self._build_status,
            set_metric=self._integrations.set_metric,
            put_environment=self._put_environment,
            job_names=[job.name for job in self._plan.jobs],
            get_plan=self._build_plan_answer,
            reload=self._reload,
            journal=self._journal,
            finished=self._executor.finished,
        )
        return await requests.handle(method, path, body)

    def _build_plan_answer(self) -> RunningPlan:
        from autopilot.spec.plan_data import serialize_plan

        return {"plan": serialize_plan(self._plan), "state": os.fspath(self._state)}

    # --- another plan ---

    async def _reload(self, wait: bool) -> ReloadResult:
        """What it did. Raises CannotReload: then everything goes on as it was, and the trouble is shown until it is
        over."""
        from autopilot.app.plan_reload import Reloader, ReloadError  # most lives have one job spec

        if self._config is None:
            return await self._restart_with_found_config()
        if self._reloader is None:
            self._reloader = Reloader(
                self._config,
                self._state,
                commands=self._commands,
                get_plan=lambda: self._plan,
                apply_plan=self._apply_plan,
                is_ending=lambda: self._runner.core.ending,
            )
        try:
            done = await self._reloader.reload(wait=wait)
        except ReloadError as cannot:
            self.feed(ConditionDetected("reload", f"cannot reload: {cannot}; everything goes on as it was"))
            raise
        if "reload" in self._runner.core.conditions:
            self.feed(ConditionResolved("reload"))
        return done

    async def _restart_with_found_config(self) -> ReloadResult:
        """There was none: a life that has one begins in our place, for it may be built on other things than this one.
        Raises CannotReload."""
        from autopilot.app.paths import NoConfigError, find_default_config
        from autopilot.app.plan_reload import ReloadError, describe_changes, read_plan
        from autopilot.machines import plan_changes

        try:
            config = Path(find_default_config(self.env, self._containerpilot))
        except NoConfigError as none:
            raise ReloadError(str(none)) from None
        plan, warnings = await read_plan(config, self._state, self._commands)
        self.restart_requested = True  # as soon as whoever asked for it has been told
        return describe_changes(plan_changes.compare_plans(self._plan, plan), plan, warnings)

    def _record_answer(self, status: int, path: str) -> None:
        self._integrations.record_answer(status, path)
        if self.restart_requested:
            self.feed(RequestReceived("stop", "a reload, which found a configuration"))

    def _apply_plan(self, plan: Plan) -> None:
        """Raises CannotReload, with everything as it was."""
        from autopilot.app.plan_reload import ReloadError

        log_fd = None
        if plan.logging.output != self._plan.logging.output:
            try:
                log_fd = _open_log_fd(plan.logging.output)
            except OSError as error:
                raise ReloadError(f"cannot open the log {plan.logging.output}: {error.strerror}") from None
        try:
            self._integrations.apply_plan(plan, self._runner.core.list_healthy_jobs())
        except IntegrationError as cannot:
            if log_fd is not None and log_fd not in STANDARD_FDS.values():
                os.close(log_fd)
            raise ReloadError(str(cannot)) from None
        self._plan = plan
        if log_fd is not None:
            self._log_writer.reopen(log_fd)
        self.log.configure(
            _choose_log_format(plan, self._container_info, self._containerpilot), level=plan.logging.level
        )
        self._journal.set_jobs([job.name for job in plan.jobs])
        self._log_timezone_warning()
        self.feed(PlanChanged(plan))

    def _log_timezone_warning(self) -> None:
        if doubt := cron_times.build_timezone_warning(self._plan.jobs):
            self.log.log("warning", doubt)

    # --- signals and tasks ---

    def _install_signal_handlers(self) -> None:
        for number in (*TERMINATION_SIGNALS, *JOB_SIGNALS):
            self._loop.add_signal_handler(number, self._handle_signal, number)
        self._loop.add_signal_handler(signal.SIGUSR1, self._reopen_log)
        self._loop.add_signal_handler(signal.SIGCHLD, self._processes.reap)

    def _handle_signal(self, number: signal.Signals) -> None:
        if number in TERMINATION_SIGNALS:
            self.feed(RequestReceived("terminate", number.name))
        else:
            self.feed(SignalArrived(number.name))

    def _reopen_log(self) -> None:
        if self._plan.logging.output not in STANDARD_FDS:
            try:
                self._log_writer.reopen(_open_log_fd(self._plan.logging.output))
            except OSError as error:
                self.log.log("error", f"cannot reopen the log {self._plan.logging.output}: {error.strerror}")

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure is an internal error, not a forgotten line."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._handle_task_done)
        return task

    def _handle_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _handle_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:  # said by the garbage collector of what nobody uses any more
            self.log.log("error", f"internal error: {context['message']}; everything goes on; please report it")
            return
        if isinstance(error, OSError) and error.errno in (
            errno.EMFILE,
            errno.ENFILE,
        ):  # said by accept(): it tries again
            self.log.log("error", f"too many open files: {context['message']}")
            return
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._executor.finished.done():
            self._executor.finished.set_exception(error)

    # --- what others see ---

    def _build_environ(self) -> Mapping[str, str]:
        pids = {
            f"CONTAINERPILOT_{format_env_name(job)}_PID": str(pid) for job, pid in self._executor.get_pids().items()
        }
        return {**self.env, "CONTAINERPILOT_PID": str(os.getpid()), **self._integrations.get_job_environment(), **pids}

    def _put_environment(self, changes: Mapping[str, str]) -> None:
        """For all that starts from now on; "" unsets."""
        for name, value in changes.items():
            self.env.pop(name, None)
            if value:
                self.env[name] = value
        put, gone = [name for name in changes if changes[name]], [name for name in changes if not changes[name]]
        self.log.log("info", "environment changed", set=put, unset=gone)  # values may be secrets

    def _build_status(self) -> Status:
        core, condor = self._runner.core, self._executor.condor
        status = status_report.build_status(core, now=self._loop.time(), wall=time.time(), life=self._last_words.life)
        if condor is not None:
            job = self._plan.htcondor.job if self._plan.htcondor is not None else None
            status["htcondor"] = {"job": job, **condor.get_status()}
        if (consul := self._integrations.build_consul_status()) is not None:
            status["consul"] = consul
        return status


STANDARD_FDS = {"stdout": 1, "stderr": 2}


def _open_log_fd(output: str) -> int:
    """Raises OSError when a file cannot be opened, or is a FIFO that nobody reads: to wait for its reader would be to
    hang."""
    if output in STANDARD_FDS:
        return STANDARD_FDS[output]
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return os.open(output, flags, 0o644)


def _open_log(
    plan: Plan, loop: asyncio.AbstractEventLoop, container_info: ContainerInfo, containerpilot: bool, journal: Journal
) -> tuple[LogWriter, Logger]:
    fd = _open_log_fd(plan.logging.output)
    sink = LogWriter(loop, fd)
    return sink, Logger(
        sink,
        _choose_log_format(plan, container_info, containerpilot),
        level=plan.logging.level,
        on_job_lines=journal.add_lines,
    )


def _choose_log_format(plan: Plan, container_info: ContainerInfo, containerpilot: bool) -> LogFormat:
    a_file = -1
    terminal = os.isatty(STANDARD_FDS.get(plan.logging.output, a_file))
    return choose_format(
        plan.logging.format, terminal=terminal, containerpilot=containerpilot, context=container_info.get_log_context()
    )
