"""Run one life: make everything live, run until the core decides to finish, and end everything."""

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
from collections import ChainMap
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from autopilot.adapters.control import control_server
from autopilot.adapters.logs.journal import Journal
from autopilot.amounts import format_count
from autopilot.app import status_report
from autopilot.app.action_executor import ActionExecutor
from autopilot.app.check_runner import CheckRunner
from autopilot.app.event_log import EventLog
from autopilot.app.gate_runner import GateRunner
from autopilot.app.integrations.integration_context import IntegrationContext, IntegrationError
from autopilot.app.integrations.integrations import Integrations
from autopilot.app.integrations.log_integration import LogIntegration
from autopilot.app.job_environment import JobEnvironment, get_batch_job_user, read_batch_job_variables
from autopilot.app.job_launcher import JobLauncher
from autopilot.app.kept_files import KeptFiles
from autopilot.app.last_words import LastWords, LastWordsListener
from autopilot.app.life_context import BootHandover, LifeContext
from autopilot.app.listeners import ListenerSet
from autopilot.app.log_setup import STANDARD_FDS, choose_log_format, open_log, open_log_fd
from autopilot.app.task_set import TaskSet
from autopilot.errors import AutopilotError
from autopilot.machines.actions import Finish, Outcome
from autopilot.machines.core import Core, Effect
from autopilot.machines.cues import (
    ConditionDetected,
    ConditionResolved,
    Cue,
    PlanChanged,
    RequestReceived,
    SignalArrived,
)
from autopilot.machines.events import Event
from autopilot.machines.lifetime import compute_longest_rest
from autopilot.process.spawn import SECRET_VARIABLES
from autopilot.runtime import cron_times
from autopilot.runtime.command_runner import ProcessCommandRunner
from autopilot.runtime.machine_runner import MachineRunner
from autopilot.runtime.observer_loop import Work, run_observer
from autopilot.runtime.process_table import ProcessTable
from autopilot.spec.plan import Plan

if TYPE_CHECKING:
    from autopilot.adapters.batch.outer_job_watch import OuterJobWatch
    from autopilot.adapters.http_server import Response
    from autopilot.adapters.telemetry.life_figures import LifeFigures
    from autopilot.api.messages import ReloadResult, RunningPlan, Status
    from autopilot.app.plan_reload import Reloader

TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGINT)
JOB_SIGNALS = (signal.SIGHUP, signal.SIGUSR2)
METRIC_PATHS = ("/v1/metrics", "/v3/metric")
MAIN_PROCESS_EXIT_TIMEOUT_S = 3.0  # for the batch system's main process, after the last resort
TASKS_END_TIMEOUT_S = 0.5  # for cancelled background tasks to clean up


class StartupError(AutopilotError):
    """The life cannot begin; nothing was started."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class Supervisor:
    """One life, from the first job to the exit code."""

    def __init__(self, plan: Plan, life: LifeContext, boot: BootHandover, loop: asyncio.AbstractEventLoop) -> None:
        """Make everything live; nothing runs yet.

        Args:
            plan: The plan to follow at first.
            life: Identity and places of this life.
            boot: Open resources and first results of the boot.
            loop: The event loop, not running yet.

        Raises:
            OSError: The log cannot be opened.
        """
        self._plan, self._life, self._boot, self._loop = plan, life, boot, loop
        self._state, self.env = life.state_directory, life.env
        self.restart_requested = False  # the process is to be executed anew, with the job spec found by a reload
        self._journal = Journal([job.name for job in plan.jobs])
        self.log = open_log(plan, loop, life, self._journal)
        self._last_words = LastWords(life.state_directory, life.container_info, life.life_id, self.log_moved_file)
        self._last_words_listener = LastWordsListener(self._last_words, loop, self._log_last_words_error)
        self._tasks = TaskSet(loop, self._fail)
        self._processes = ProcessTable(
            loop, () if life.containerpilot else SECRET_VARIABLES, no_new_privs=not life.containerpilot
        )
        self._commands = ProcessCommandRunner(self._processes, self._build_environ)
        self._control_socket = socket.socket(fileno=boot.control_fd)
        self._kept_files = KeptFiles(self._log_restored_file)
        self._integration_context = IntegrationContext(
            life,
            report=self.feed,
            start_task=self._start_observer,
            commands=self._commands,
            get_status=self.build_status,
            get_figures=self._get_figures,
            log_moved_file=self.log_moved_file,
            kept_files=self._kept_files,
        )
        self._integrations = Integrations(plan, self._integration_context)
        self._launcher = self._build_launcher()
        self._executor = self._build_executor()
        self._log_integration = LogIntegration(plan, self._integration_context, self.log, self._read_payload_id)
        self._processes.on_environment = self._log_integration.hide_environment
        self._environment = JobEnvironment(
            life.env,
            get_pids=self._executor.get_pids,
            get_addresses=self._integrations.address_book.get_advertised,
        )
        self._runner = MachineRunner(
            Core(plan, rng=random.Random(), now=loop.time(), next_time=cron_times.find_next_time),
            loop,
            self._apply_effect,
        )
        self._reloader: Reloader | None = None
        self._listeners = self._build_listeners()

    def _build_launcher(self) -> JobLauncher:
        return JobLauncher(
            self._boot,
            processes=self._processes,
            environ=self._build_environ,
            log=self.log,
            feed=self.feed,
            permits=self._integrations.consul,
            start_task=self._start_task,
        )

    def _build_executor(self) -> ActionExecutor:
        permits = self._integrations.consul
        check_runner = CheckRunner(commands=self._commands, log=self.log, feed=self.feed, start_task=self._start_task)
        gate_runner = GateRunner(commands=self._commands, log=self.log, feed=self.feed, start_task=self._start_task)
        finished: asyncio.Future[Finish] = self._loop.create_future()
        return ActionExecutor(
            self._launcher, check_runner, gate_runner, permits=permits, feed=self.feed, finished=finished
        )

    def _build_listeners(self) -> ListenerSet:
        listeners = ListenerSet(self._handle_listener_failure)
        listeners.add("last-words", self._last_words_listener)
        listeners.add_event_listener("consul", self._integrations.consul)
        listeners.add("telemetry", self._integrations.telemetry)
        listeners.add_event_listener("journal", self._journal)
        listeners.add_event_listener("log", EventLog(self.log, containerpilot=self._life.containerpilot))
        return listeners

    # --- the life ---

    async def run(self) -> Outcome:
        """Run the life and return its outcome; signals that arrived before the loop ran are handled now."""
        self._loop.set_exception_handler(self._handle_loop_error)
        self._install_signal_handlers()
        try:
            self._start_task(
                control_server.serve(
                    self._control_socket,
                    self._life.socket_path,
                    handler=self._handle_request,
                    on_answered=self._record_answer,
                    on_changing_request=self._log_changing_request,
                    on_removed=self._log_socket_removed,
                    on_moved=self.log_moved_file,
                )
            )
            self._claim_state_directory()
            outer_job_watch = self._create_outer_job_watch()
            if outer_job_watch is not None:
                await self._tasks.run_until(self._executor.finished, self._find_outer_end(outer_job_watch))
            await self._tasks.run_until(self._executor.finished, self._prepare_node())
            self._log_integration.require_libraries(self._plan)
            self._integrations.prepare()
        except IntegrationError as error:
            return Outcome("config", str(error), os.EX_CONFIG)
        except StartupError as error:
            return error.outcome
        self._last_words_listener.begin_heartbeat()
        self._log_timezone_warning()
        self._runner.begin()
        if outer_job_watch is not None:
            self._start_observer("batch-job", outer_job_watch.run)
        self._integrations.begin()
        self._log_integration.begin()
        self._start_observer("kept-files", self._kept_files.watch)
        self._log_containerpilot_start()
        if self._life.missing_config:
            self.feed(ConditionDetected("no-config", f"{self._life.missing_config}. Nothing is run until there is one"))
        self._processes.reap()
        for number in self._boot.early_signals:
            self._handle_signal(signal.Signals(number))
        finish = await self._executor.finished
        await self._integrations.shut_down()
        await self._journal.close()
        if abandoned := await self._tasks.cancel_and_wait(TASKS_END_TIMEOUT_S):
            self.log.log("debug", "tasks_abandoned", "background tasks did not end in time", tasks=abandoned)
        if strays := self._processes.list_strays():
            jobs = list(finish.remaining_jobs)
            self.log.log(
                "error", "processes_killed", "processes outlived their jobs, killed", jobs=jobs, processes=strays
            )
        return finish.outcome

    def close(self, outcome: Outcome) -> None:
        """End the life: kill every process below us, write the last words, and write the rest of the log."""
        self._tasks.cancel()
        self._processes.kill_all()
        with suppress(OSError):
            self._life.socket_path.unlink(missing_ok=True)
        self._last_words_listener.finish(outcome)
        self._log_integration.finish_files()
        level = "info" if outcome.code == 0 else "error"
        self.log.log(level, "exit", f"exit {outcome.code}: {outcome.detail}", reason=outcome.reason)
        self.log.flush_remaining()
        self._log_integration.flush_remaining(self._loop)

    def handle_internal_error(self, error: BaseException) -> Outcome:
        """Stop the batch system after an internal error, within a time limit, and return the outcome of the life.

        The end of PID 1 kills everything at once, and a payload killed that way stays in limbo in the queue for 40
        minutes: so the batch system is stopped first.
        """
        text = "".join(traceback.format_exception(error)).strip()
        self.log.log("error", "internal_error", f"internal error: {error!r}; please report it", traceback=text)
        self._stop_batch_system()
        return Outcome("internal", repr(error), os.EX_SOFTWARE)

    def _stop_batch_system(self) -> None:
        """Let the batch system give its payloads back, and wait for its main process, both within a bound."""
        batch, batch_system = self._plan.batch, self._executor.batch_system
        if batch_system is None:
            return
        try:
            batch_system.last_resort()
        except Exception as error:  # nothing may keep the last words from being written
            text = "".join(traceback.format_exception(error)).strip()
            self.log.log(
                "error", "batch_stop_failed", f"internal error: cannot stop the batch system: {error!r}", traceback=text
            )
        pid = self._executor.get_pids().get(batch.job) if batch is not None else None
        if pid is not None:  # else it has ended already, and left its payloads at most
            with suppress(ProcessLookupError):
                select.select([os.pidfd_open(pid)], [], [], MAIN_PROCESS_EXIT_TIMEOUT_S)

    def feed(self, cue: Cue) -> None:
        """Give `cue` to the core."""
        self._runner.feed(cue)

    # --- effects ---

    def _apply_effect(self, effect: Effect) -> None:
        """Tell all listeners of an effect of the core, then do it if it is an action."""
        self._listeners.on_effect(effect)
        if not isinstance(effect, Event):
            self._executor.execute(effect)

    def _handle_listener_failure(self, name: str, error: Exception, failures: int) -> None:
        """Show the first failure of a listener as a condition, and log the 1st, 10th, 100th, ... with its traceback."""
        if failures == 1:
            self.feed(ConditionDetected(f"listener-{name}", f"{name} failed on an event: {error!r}; please report it"))
        if str(failures).strip("0") == "1":
            text = "".join(traceback.format_exception(error)).strip()
            sentence = f"{name} failed on an event: {error!r}, the life continues"
            with suppress(Exception):  # the log itself may be the listener that fails; status shows the count
                self.log.log("error", "listener_failed", sentence, failures=failures, traceback=text)

    def run_observer(self, name: str, observe: Callable[[], Awaitable[None]]) -> Coroutine[Any, Any, None]:
        """Return a coroutine that runs an observer again and again, as `observer_loop.run_observer` does."""
        return run_observer(name, observe, self._handle_observer_failure, self._handle_observer_recovery)

    def _start_observer(self, name: str, work: Work) -> asyncio.Task[None]:
        if callable(work):
            return self._start_task(self.run_observer(name, work))
        task = self._start_task(self._run_guarded_observer(name, work))
        task.add_done_callback(lambda _: work.close())  # a life may end before the first step of its tasks
        return task

    async def _run_guarded_observer(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._handle_observer_failure(name, error)

    def _handle_observer_failure(self, name: str, error: Exception) -> None:
        """Count a failure of an observer, show it as a condition, and log the 1st, 10th, 100th, ... traceback."""
        kind = f"observer-{name}"
        self._listeners.failures[kind] += 1
        failures = self._listeners.failures[kind]
        sentence = f"internal error: the observer {name} failed ({format_count(failures, 'time')}): {error!r}"
        self.feed(ConditionDetected(kind, f"{sentence}; it starts again, everything else continues; please report it"))
        if str(failures).strip("0") == "1":
            text = "".join(traceback.format_exception(error)).strip()
            self.log.log("error", "observer_failed", sentence, failures=failures, traceback=text)

    def _handle_observer_recovery(self, name: str) -> None:
        if f"observer-{name}" in self._runner.core.conditions:
            self.feed(ConditionResolved(f"observer-{name}"))

    def log_moved_file(self, sentence: str) -> None:
        """Log that something foreign was moved out of the place of a file of ours."""
        self.log.log("warning", "file_moved_aside", sentence)

    def _log_restored_file(self, path: str, error: OSError | None) -> None:
        if error is None:
            self.log.log("warning", "file_remade", f"made again: {path} had been removed")
        else:
            sentence = f"removed, cannot be made again: {path}: {error.strerror or error}; it is tried again"
            self.log.log("error", "file_lost", sentence)

    def _log_last_words_error(self, error: OSError) -> None:
        self.log.log("error", "last_words_failed", f"cannot write the last words: {error}")

    # --- before the first job ---

    def _claim_state_directory(self) -> None:
        try:
            self._last_words.begin()
        except OSError as error:
            reason = error.strerror or error
            detail = f"cannot use the state directory {self._state}: {reason}; set `state` or AUTOPILOT_STATE"
            raise StartupError(Outcome("config", detail, os.EX_CONFIG)) from None
        self._last_words.keep_files(self._kept_files)
        self._keep_log()
        for path, descriptor in self._boot.locks.items():
            self._kept_files.keep_lock(path, descriptor, self.log_moved_file)

    def _create_outer_job_watch(self) -> OuterJobWatch | None:
        lifetime = self._plan.lifetime
        if lifetime is None or lifetime.within is None:
            return None
        from autopilot.adapters.batch.outer_job_watch import OuterJobWatch  # most lives are in no batch job

        return OuterJobWatch(lifetime, lifetime.within, commands=self._commands, env=self.env, report=self.feed)

    async def _find_outer_end(self, watch: OuterJobWatch) -> None:
        """Find the end of the batch job around this supervisor.

        Raises:
            StartupError: It is not known, or too near.
        """
        from autopilot.adapters.batch.outer_job_watch import OuterJobError

        try:
            await watch.prepare()
        except OuterJobError as error:
            reason, code = ("preflight", os.EX_TEMPFAIL) if error.is_temporary else ("config", os.EX_CONFIG)
            self.log.log("error", "startup_problem", str(error))
            raise StartupError(Outcome(reason, str(error), code)) from None

    async def _prepare_node(self) -> None:
        """Create the plan's batch system, if any, and let it prepare the node.

        Problems end the life only where the job spec has the section. A section that is only implied must not keep an
        image from starting that brings its own set-up: its problems are warnings.

        Raises:
            StartupError: The main process cannot be started; its detail lists all problems.
        """
        if self._plan.batch is None and self._plan.lifetime is None:
            return
        from autopilot.adapters.batch.batch_factory import create_batch_system  # seldom needed
        from autopilot.adapters.batch.batch_system import OutsideProblem, SupervisorServices

        job_env = read_batch_job_variables(self._plan)
        services = SupervisorServices(
            command_runner=self._commands,
            report=self.feed,
            start_task=self._start_task,
            run_observer=self.run_observer,
            life_id=self._last_words.life,
            state_directory=self._state,
            keep_file=self._kept_files.keep,
            main_user=get_batch_job_user(self._plan),
            env=ChainMap(job_env, self.env),
            job_env=job_env,
            get_longest_rest=self._get_longest_rest,
            get_payload_limit=lambda: self._runner.core.lifetime_plan.payloads,
        )
        batch_system = create_batch_system(self._plan, services)
        if batch_system is None:
            return
        problems = await batch_system.prepare()
        batch = self._plan.batch
        is_implied = batch is not None and batch.implied
        for problem in problems:
            if batch is not None and is_implied:
                note = f"{batch.job} is started all the same: no {batch.system} section is written"
                self.log.log("warn", "startup_problem", f"{problem} ({note})")
            else:
                self.log.log("error", "startup_problem", problem)
        if problems and not is_implied:
            if all(isinstance(problem, OutsideProblem) for problem in problems):
                raise StartupError(Outcome("preflight", "; ".join(problems), os.EX_TEMPFAIL))
            raise StartupError(Outcome("config", "; ".join(problems), os.EX_CONFIG))
        main_job = self._plan.batch.job if self._plan.batch is not None else None
        self._executor.attach_batch_system(batch_system, main_job)
        self._start_task(batch_system.monitor())

    def _get_longest_rest(self) -> float | None:
        core = self._runner.core
        return compute_longest_rest(core.lifetime_plan, core.lifetime, self._loop.time())

    # --- requests on the control socket ---

    def _log_socket_removed(self, error: Exception | None) -> None:
        path = self._life.socket_path
        if error is None:
            self.log.log("warning", "control_socket_remade", f"control socket made again: {path} had been removed")
        else:
            sentence = f"control socket removed, cannot make {path} again: {error}; it is tried again"
            self.log.log("error", "control_socket_lost", sentence)

    async def _handle_request(self, method: str, path: str, body: Mapping[str, object]) -> Response:
        from autopilot.app.control_requests import ControlApi  # most containers get no request

        return await ControlApi(self, self._journal, self._executor.finished).handle(method, path, body)

    def _log_changing_request(self, method: str, path: str, uid: int, pid: int) -> None:
        """Log the origin of a request; values of metrics come every second, and change nothing of the life."""
        level = "debug" if path in METRIC_PATHS else "info"
        sentence = f"control request: {method} {path} from uid {uid}, pid {pid}"
        self.log.log(level, "control_request", sentence, uid=uid, client_pid=pid)

    def _record_answer(self, status: int, path: str) -> None:
        telemetry = self._integrations.telemetry
        self._listeners.run_guarded("telemetry", lambda: telemetry.record_answer(status, path))
        if self.restart_requested:
            self.feed(RequestReceived("stop", "a reload, which found a configuration"))

    def set_metric(self, name: str, value: object) -> None:
        """Set a metric of the jobs.

        Raises:
            ValueError: There is no such metric, or it does not take this value.
        """
        self._integrations.telemetry.set_metric(name, value)

    def put_environment(self, changes: Mapping[str, str]) -> None:
        """Set variables of processes that start from now on; "" unsets one."""
        self._environment.apply_changes(changes)
        self._log_integration.hide_variables(changes)
        put, unset = [name for name in changes if changes[name]], [name for name in changes if not changes[name]]
        # names only: values may be secrets
        self.log.log("info", "environment_changed", "environment changed", set=put, unset=unset)

    def build_plan_answer(self) -> RunningPlan:
        """Return the plan that is followed now, as `autopilot plan --diff` reads it."""
        from autopilot.spec.plan_data import serialize_plan

        return {"plan": serialize_plan(self._plan), "state": os.fspath(self._state)}

    # --- another plan ---

    async def reload(self, *, wait: bool) -> ReloadResult:
        """Read the job spec anew and follow it; see `Reloader.reload`."""
        from autopilot.app.plan_reload import Reloader, ReloadError  # most lives have one job spec

        if self._life.config is None:
            return await self._restart_with_found_config()
        if self._reloader is None:
            self._reloader = Reloader(
                self._life.config, self._state, self._commands, self, containerpilot=self._life.containerpilot
            )
            self._listeners.add_event_listener("reload", self._reloader)
        try:
            changes = await self._reloader.reload(wait=wait)
        except ReloadError as error:
            self.feed(ConditionDetected("reload", f"cannot reload: {error}; everything continues as before"))
            raise
        if "reload" in self._runner.core.conditions:
            self.feed(ConditionResolved("reload"))
        if self._life.containerpilot:
            self.log.log("info", "config_reloaded", "control: reloaded app via control plane")
            self._log_containerpilot_start()
        return changes

    async def _restart_with_found_config(self) -> ReloadResult:
        """Replace this life without a job spec by one with the job spec that has appeared."""
        from autopilot.app.plan_reload import describe_changes, read_found_config
        from autopilot.machines.plan_changes import compare_plans

        plan, warnings = await read_found_config(self._life, self._commands)
        self.restart_requested = True  # as soon as the request has been answered
        changes = compare_plans(self._plan, plan)
        starting = {job.name: 1 for job in plan.jobs if not job.when.triggers and job.when.cron is None}
        return describe_changes(changes, plan, warnings, runs_before={}, runs_after=starting)

    def get_plan(self) -> Plan:
        """Return the plan that is followed now."""
        return self._plan

    def count_runs(self) -> Mapping[str, int]:
        """Return the number of runs of each job, with the run to come of a job that is being replaced."""
        records = self._runner.core.job_records
        return {name: record.state.run + record.being_replaced for name, record in records.items()}

    def count_begun_runs(self) -> Mapping[str, int]:
        """Return the number of runs of each job as `count_runs` does; 0 for a job that waits for its lock."""
        waiting = self._launcher.list_jobs_without_permit()
        return {name: 0 if name in waiting else runs for name, runs in self.count_runs().items()}

    def is_ending(self) -> bool:
        """Return True when everything is being stopped."""
        return self._runner.core.is_ending

    def apply_plan(self, plan: Plan) -> None:
        """Follow `plan` from now on.

        Raises:
            ReloadError: A section cannot be used; nothing has changed.
        """
        from autopilot.app.plan_reload import ReloadError

        output, log_fd = plan.logging.output, None
        try:
            self._log_integration.require_libraries(plan)
            apply_to_integrations = self._integrations.stage_plan(plan, self._runner.core.list_healthy_jobs())
            if output != self._plan.logging.output:
                log_fd = open_log_fd(output)
        except IntegrationError as error:
            raise ReloadError(str(error)) from None
        except OSError as error:
            raise ReloadError(f"cannot open the log {output}: {error.strerror}") from None
        apply_to_integrations()
        self._plan = plan
        if log_fd is not None:
            self.log.reopen(log_fd, output)
            self._keep_log()
        self.log.configure(choose_log_format(plan, self._life), level=plan.logging.level)
        self._log_integration.apply_plan(plan)
        self._journal.set_jobs([job.name for job in plan.jobs])
        self._log_timezone_warning()
        self.feed(PlanChanged(plan))

    def _log_containerpilot_start(self) -> None:
        """Write the lines that ContainerPilot's users grep for after a start and after a reload."""
        if self._life.containerpilot and self._life.config is not None:
            config, count = self._life.config, len(self._plan.jobs)
            self.log.log("info", "config_loaded", f"loaded config: {config}, {count} jobs")
            self.log.log("info", "control_serving", f"control: serving at {self._life.socket_path}")

    def _log_timezone_warning(self) -> None:
        if warning := cron_times.build_timezone_warning(self._plan.jobs):
            self.log.log("warning", "timezone_warning", warning)

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
        output = self._plan.logging.output
        if output not in STANDARD_FDS:
            try:
                self.log.reopen(open_log_fd(output), output)
            except OSError as error:
                self.log.log("error", "log_reopen_failed", f"cannot reopen the log {output}: {error.strerror}")

    def _keep_log(self) -> None:
        """Open the log again when its file is removed: lines would go to a file without a name until SIGUSR1."""
        output = self._plan.logging.output
        if output in STANDARD_FDS:
            return

        def reopen() -> bool:
            is_in_use = self._plan.logging.output == output
            if is_in_use:
                self.log.reopen(open_log_fd(output), output)
            return is_in_use

        self._kept_files.keep(output, reopen)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.start(work)

    def _handle_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:  # reported by the garbage collector about an object that is not used any more
            sentence = f"internal error: {context['message']}; everything continues; please report it"
            self.log.log("error", "loop_error", sentence)
        elif isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):  # accept() tries again
            self.log.log("error", "too_many_open_files", f"too many open files: {context['message']}")
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End the life with an internal error."""
        if not self._executor.finished.done():
            self._executor.finished.set_exception(error)

    # --- state for others ---

    def _build_environ(self) -> Mapping[str, str]:
        return self._environment.build()

    def _get_figures(self) -> LifeFigures:
        from autopilot.adapters.telemetry.life_figures import LifeFigures  # only scrapes ask for them

        return LifeFigures(
            orphans_reaped=self._processes.orphans_reaped,
            log_dropped_bytes=self.log.dropped_bytes,
            log_dropped_lines=self._log_integration.dropped_count,
            log_waiting_bytes=self._log_integration.waiting_bytes,
            job_roots=self._launcher.get_job_roots(),
            ended_cpu_seconds=self._launcher.get_ended_cpu_seconds(),
            payload_pids=self._get_payload_pids(),
        )

    def _get_payload_pids(self) -> Mapping[str, int]:
        batch_system = self._executor.batch_system
        return {} if batch_system is None else batch_system.get_payload_pids()

    def _read_payload_id(self, pid: int) -> str | None:
        batch_system = self._executor.batch_system
        return None if batch_system is None else batch_system.read_payload_id(pid)

    def build_status(self) -> Status:
        """Return the answer of `autopilot status`."""
        core, batch, batch_system = self._runner.core, self._plan.batch, self._executor.batch_system
        status = status_report.build_status(core, now=self._loop.time(), wall=time.time(), life=self._last_words.life)
        if batch is not None and batch_system is not None:  # the section is called as the batch system
            cast("dict[str, object]", status)[batch.system] = {"job": batch.job, **batch_system.get_status()}
        if self._listeners.failures:
            status["listener_failures"] = dict(self._listeners.failures)
        if (consul := self._integrations.consul.build_status()) is not None:
            status["consul"] = consul
        return status
