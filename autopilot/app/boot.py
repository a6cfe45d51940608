"""Start the first jobs, then load the supervisor that runs them.

Importing asyncio, pydantic and the rest takes longer than a container should wait for its first process. So a start
catches the signals, reads the config, finds the compiled plan beside it, locks the state directory, starts the jobs
that wait for nothing, and only then loads the supervisor. Without a compiled plan the config is validated in a child
process, the only one that loads pydantic.
"""

from __future__ import annotations

import fcntl
import os
import sys

from autopilot.adapters.control.control_socket import SocketInUseError, listen
from autopilot.app import plan_cache
from autopilot.app.paths import (
    NoConfigError,
    choose_socket_path,
    choose_writable_state,
    find_default_config,
    get_state_beside_socket,
)
from autopilot.errors import AutopilotError
from autopilot.process import cgroup_counters
from autopilot.process.kernel_calls import PR_SET_CHILD_SUBREAPER, load_prctl
from autopilot.process.spawn import SECRET_VARIABLES, SpawnedProcess, SpawnError, spawn
from autopilot.process.user_identity import resolve
from autopilot.safe_files import open_own_file
from autopilot.socket_addresses import MAX_NAME_BYTES, is_name_too_long
from autopilot.state_directory import choose_state_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, TextIO

    from autopilot.app.life_context import BootHandover, LifeContext
    from autopilot.machines.actions import Outcome
    from autopilot.spec.plan import Plan

    PlanData = dict[str, Any]  # as spec.serialize_plan returns it
else:
    import _signal as signal  # `signal` without its enums, which take 4 ms to load

UNREACHABLE_HEALTHY_FOR_S = 100 * 365 * 86400.0  # a life without a job never proves an image good

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class BootError(AutopilotError):
    """The start failed before any job was started: one or more sentences, and the exit code."""

    def __init__(self, *sentences: str, exit_code: int = os.EX_CONFIG) -> None:
        super().__init__("\n".join(sentences))
        self.exit_code = exit_code


class InUseError(BootError):
    """Another supervisor uses the state directory or the control socket."""


def run(config: str | None, *, containerpilot: bool = False) -> int:
    """Run the supervisor until it ends.

    Args:
        config: The job spec; None for the default one.
        containerpilot: Use the defaults of that program.

    Returns:
        The exit code.
    """
    early_signals: list[int] = []
    for number in HANDLED_SIGNALS:  # as PID 1 a signal without a handler is lost, elsewhere it would end us
        signal.signal(number, lambda number, _frame: early_signals.append(number))
    state = choose_state_directory(None)
    if containerpilot:
        state = choose_writable_state(state, choose_socket_path(None, state, containerpilot=True))
    try:
        config, data, missing_config = _find_config_and_plan_data(config, containerpilot)
        socket = choose_socket_path(data["socket"], choose_state_directory(data["state"]), containerpilot)
        state, lock = _choose_and_lock_state(data["state"], socket, containerpilot)
        socket_lock = _lock_socket(socket)
        if os.getpid() != 1:
            load_prctl()(PR_SET_CHILD_SUBREAPER, 1)
        oom_kills = cgroup_counters.count_oom_kills()
        control_fd = _open_control_socket(socket)
        prestarted = _start_first_jobs(data, containerpilot)
    except BootError as error:
        print(f"autopilot: {error}", file=sys.stderr)
        return _write_last_words(state, str(error), error.exit_code)
    with lock, socket_lock:
        # from here on imports cost no time: the first jobs run already
        from pathlib import Path

        from autopilot.app.container_info import detect_container_info
        from autopilot.app.life_context import BootHandover, LifeContext

        life = LifeContext(
            config=Path(config) if config is not None else None,
            state_directory=Path(state),
            socket_path=Path(socket),
            container_info=detect_container_info(os.environ),
            env=dict(os.environ),
            containerpilot=containerpilot,
            missing_config=missing_config,
        )
        locks = {file.name: file.fileno() for file in (lock, socket_lock)}
        return _run_supervisor(data, life, BootHandover(control_fd, prestarted, oom_kills, early_signals, locks))


def _find_config_and_plan_data(config: str | None, containerpilot: bool) -> tuple[str | None, PlanData, str]:
    """Find the config and load its plan.

    Args:
        config: The config that was named; None for the default one.
        containerpilot: Use the defaults of that program.

    Returns:
        The config's path, its plan's data and "". For PID 1 without any config: None, the data of a plan without
        jobs, and the reason.

    Raises:
        BootError: There is no config, or it has problems.
    """
    try:
        path = os.path.abspath(config or find_default_config(os.environ, containerpilot))
    except NoConfigError as error:
        if os.getpid() != 1:
            raise BootError(str(error)) from None
        from autopilot.spec.plan import Plan  # without a job there is no hurry
        from autopilot.spec.plan_data import serialize_plan

        return None, serialize_plan(Plan(healthy_for=UNREACHABLE_HEALTHY_FOR_S)), str(error)
    return path, _load_plan_data(path, containerpilot), ""


def _load_plan_data(config: str, containerpilot: bool) -> PlanData:
    """Return the plan's data, from a compiled plan or a child that validates; raise BootError with all problems."""
    text = _render_config(config)
    if text is not None:
        data = plan_cache.find(text, plan_cache.get_path_beside(config))
        if data is not None and _can_resolve_users(data):
            return data
    return _validate_in_child(config, containerpilot)


def _render_config(config: str) -> str | None:
    """Return the config's text with its templates filled in; None when it has a problem for the loader to report."""
    try:
        with open(config, encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError):
        return None
    if "{{" not in text:
        return text
    from autopilot.spec import SpecError, render  # the template engine is loaded only when used

    try:
        return render(config)
    except SpecError:
        return None


def _can_resolve_users(data: PlanData) -> bool:
    try:
        for job in data["jobs"]:
            resolve(job["command"]["user"], job["command"]["group"])
    except LookupError:
        return False
    return True


def _validate_in_child(config: str, containerpilot: bool) -> PlanData:
    from autopilot.spec import SpecError, ValidatorError, serialize_plan, validate_in_child

    try:
        loaded = validate_in_child(config, dict(os.environ))
    except SpecError as error:
        count = len(error.problems)
        counted = f"{count} problem{'s' if count > 1 else ''}, nothing was started"
        raise BootError(f"cannot use {config}: {counted}", *map(str, error.problems)) from None
    except ValidatorError as error:
        raise BootError(str(error), exit_code=os.EX_SOFTWARE) from None
    for warning in loaded.warnings:
        if not (containerpilot and warning.customary):
            _warn(str(warning))
    return serialize_plan(loaded.plan)


def _choose_and_lock_state(planned: str | None, socket: str, containerpilot: bool) -> tuple[str, TextIO]:
    """Return the state directory and its lock; raise BootError when there is none to be had."""
    state = choose_state_directory(planned)
    if not containerpilot or planned or os.environ.get("AUTOPILOT_STATE"):
        return state, _lock_state(state)
    try:
        state = choose_writable_state(state, socket)
        return state, _lock_state(state)
    except InUseError:  # ContainerPilot allows two of them that have a socket each
        if state == get_state_beside_socket(socket):
            raise
        return get_state_beside_socket(socket), _lock_state(get_state_beside_socket(socket))


def _lock_state(state: str) -> TextIO:
    """Lock the state directory for the life of this process and return the lock; raise BootError if it is taken."""
    resource_name = f"the state directory {state}"
    return _open_lock_file(os.path.join(state, "lock"), resource_name, "set `state` in the job spec or AUTOPILOT_STATE")


def _lock_socket(path: str) -> TextIO:
    """Lock the control socket for the life of this process and return the lock; raise BootError if it is taken."""
    if is_name_too_long(path):
        raise BootError(f"the control socket's path {path} is too long: its last part may have {MAX_NAME_BYTES} bytes")
    return _open_lock_file(path + ".lock", f"the control socket {path}", "set `control.socket` or AUTOPILOT_SOCKET")


def _open_lock_file(path: str, resource_name: str, remedy: str) -> TextIO:
    try:
        file = open(path, "r+", opener=lambda name, _: open_own_file(name, _warn))  # noqa: SIM115 - for the whole life
    except OSError as error:
        raise BootError(f"cannot use {resource_name}: {error.strerror}; {remedy}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InUseError(
            f"another supervisor uses {resource_name}: stop it, or give this one its own", exit_code=os.EX_USAGE
        ) from None
    try:  # a full disk has no room for the last words either
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
    except OSError as error:
        raise BootError(f"cannot write to {resource_name}: {error.strerror}; {remedy}") from None
    return file


def _open_control_socket(path: str) -> int:
    """Return the descriptor of the listening control socket; raise BootError when it cannot be opened."""
    try:
        return listen(path, _warn)
    except SocketInUseError as error:
        raise InUseError(str(error), exit_code=os.EX_USAGE) from None
    except OSError as error:
        problem = f"cannot use the control socket {path}: {error.strerror}"
        raise BootError(f"{problem}; set `control.socket` or AUTOPILOT_SOCKET") from None


def _start_first_jobs(data: PlanData, containerpilot: bool) -> dict[str, SpawnedProcess]:
    """Start the jobs that wait for nothing, unless the node must be prepared before any job."""
    has_address = data["telemetry"] is not None or any(job["service"] for job in data["jobs"])
    advertises = data["consul"] is not None and has_address
    if data["batch"] is not None or data["templates"] or data["locks"] or data["checks"] or advertises:
        return {}  # pre-flight checks, gates, rendered files, permits or addresses come first
    if data["lifetime"] is not None and data["lifetime"]["within"] is not None:
        return {}  # the end of the batch job around us comes first
    agent = data["consul_agent"] and data["consul_agent"]["job"]  # its command is not complete yet
    withheld = () if containerpilot else SECRET_VARIABLES
    started = {}
    for job in data["jobs"]:
        waits = job["when"]["triggers"] or job["when"]["every"] is not None or job["when"]["cron"] is not None
        waits = waits or job["log_files"]  # which must be looked at before it writes
        if job["name"] != agent and job["command"]["argv"] and not waits:
            command: Any = type("Command", (), job["command"])  # the plan's classes are not loaded yet
            environ = {**os.environ, "CONTAINERPILOT_PID": str(os.getpid())}
            try:  # noqa: SIM105 - contextlib would have to be loaded first
                started[job["name"]] = spawn(
                    command,
                    environ,
                    withheld_variables=withheld,
                    no_new_privs=not containerpilot,
                    with_cgroup=True,
                )
            except SpawnError:
                pass  # the supervisor starts it again and reports the problem
    return started


def _write_last_words(state: str, detail: str, exit_code: int) -> int:
    """Write last words for a bad config, unless another supervisor lives; return `exit_code`."""
    from pathlib import Path  # not on the way to the first job

    from autopilot.app.container_info import detect_container_info
    from autopilot.app.last_words import LastWords
    from autopilot.app.life_context import create_life_id
    from autopilot.machines.actions import Outcome

    if exit_code == os.EX_CONFIG:
        try:
            last_words = LastWords(Path(state), detect_container_info(os.environ), create_life_id(), _warn)
            last_words.begin()
            last_words.finish(Outcome("config", detail, exit_code))
        except OSError:
            pass  # stderr has the problem
    return exit_code


def _warn(sentence: str) -> None:
    print(f"autopilot: warning: {sentence}", file=sys.stderr)


def _run_supervisor(data: PlanData, life: LifeContext, handover: BootHandover) -> int:
    import asyncio

    from autopilot.app.supervisor import Supervisor
    from autopilot.spec.plan_data import deserialize_plan

    plan: Plan = deserialize_plan(data)
    if plan.consul_agent is not None:
        from autopilot.app import agent_job

        plan = agent_job.complete_plan(plan, life.state_directory)
    loop = asyncio.new_event_loop()
    try:
        supervisor = Supervisor(plan, life, handover, loop)
    except OSError as error:
        for child in handover.prestarted.values():
            os.kill(child.pid, signal.SIGKILL)
        life.socket_path.unlink()
        detail = f"cannot open the log {plan.logging.output}: {error.strerror}"
        print(f"autopilot: {detail}", file=sys.stderr)
        return _write_last_words(os.fspath(life.state_directory), detail, os.EX_CONFIG)
    outcome: Outcome
    try:
        outcome = loop.run_until_complete(supervisor.run())
    except BaseException as error:
        outcome = supervisor.handle_internal_error(error)
    supervisor.close(outcome)
    if supervisor.restart_requested:
        os.execve(sys.executable, sys.orig_argv, life.env)
    return outcome.code
