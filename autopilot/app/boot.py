"""From exec to a running supervisor, the first job first.

Importing asyncio, pydantic and the rest takes longer than a container should wait for its first process. So a start
goes: take the signals, read the config, find its compiled plan, lock the state, start the first job that waits for
nothing, and only then load what runs it. Without a compiled plan the config is validated in a child, which is where
pydantic stays.
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
    choose_state_directory,
    choose_writable_state,
    find_default_config,
    get_state_beside_socket,
)
from autopilot.process import oom
from autopilot.process.kernel_calls import PR_SET_CHILD_SUBREAPER, load_prctl
from autopilot.process.spawn import SpawnedProcess, SpawnError, spawn
from autopilot.process.user_identity import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, TextIO

    from autopilot.machines.actions import Outcome
    from autopilot.spec.plan import Plan

    PlanData = dict[str, Any]  # what spec.plan_to_data gives
else:
    import _signal as signal  # `signal` without its enums, which take 4 ms to load

MAX_SOCKET_PATH_BYTES = 107  # bytes, unix(7)
UNREACHABLE_HEALTHY_FOR_S = 100 * 365 * 86400.0  # s; a life without a job is not what makes an image good

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class BootError(Exception):
    """The start ends before anything was started: one or more sentences, and the exit code."""

    def __init__(self, *sentences: str, exit_code: int = os.EX_CONFIG) -> None:
        super().__init__("\n".join(sentences))
        self.exit_code = exit_code


class InUseError(BootError):
    """Another supervisor has it."""


def run(config: str | None, *, containerpilot: bool = False) -> int:
    """Run the supervisor to its end; returns its exit code. `containerpilot`: with that program's defaults."""
    signals_so_far: list[int] = []
    for number in HANDLED_SIGNALS:  # as PID 1 a signal without a handler is lost, elsewhere it would end us
        signal.signal(number, lambda number, _frame: signals_so_far.append(number))
    state = choose_state_directory(None)
    if containerpilot:
        state = choose_writable_state(state, choose_socket_path(None, state, containerpilot=True))
    try:
        config, data, missing = _find_config_and_plan_data(config, state, containerpilot)
        socket = choose_socket_path(data["socket"], choose_state_directory(data["state"]), containerpilot)
        state, lock = _choose_and_lock_state(data["state"], socket, containerpilot)
        socket_lock = _lock_socket(socket)
        if os.getpid() != 1:
            load_prctl()(PR_SET_CHILD_SUBREAPER, 1)
        oom_kills = oom.count_oom_kills()
        listening = _open_control_socket(socket)
        prestarted = _start_first_jobs(data)
    except BootError as cannot:
        print(f"autopilot: {cannot}", file=sys.stderr)
        return _write_last_words(state, str(cannot), cannot.exit_code)
    with lock, socket_lock:
        return _run_supervisor(
            config,
            data,
            state=state,
            socket=socket,
            control_fd=listening,
            prestarted=prestarted,
            oom_kills=oom_kills,
            early_signals=signals_so_far,
            containerpilot=containerpilot,
            missing_config=missing,
        )


def _find_config_and_plan_data(
    config: str | None, state: str, containerpilot: bool
) -> tuple[str | None, PlanData, str]:
    """The config's path and its plan's data; or, for PID 1 without any config, None, the data of a plan without jobs,
    and what is missing. Raises CannotBoot."""
    try:
        path = os.path.abspath(config or find_default_config(os.environ, containerpilot))
    except NoConfigError as none:
        if os.getpid() != 1:
            raise BootError(str(none)) from None
        from autopilot.spec.plan import Plan  # there is no job to hurry for
        from autopilot.spec.plan_data import serialize_plan

        return None, serialize_plan(Plan(healthy_for=UNREACHABLE_HEALTHY_FOR_S)), str(none)
    return path, _load_plan_data(path, state), ""


def _load_plan_data(config: str, state: str) -> PlanData:
    """The plan's data, from a compiled plan or by validating in a child. Raises CannotBoot with every problem."""
    text = _render_config(config)
    if text is not None:
        data = plan_cache.find(text, plan_cache.get_path_beside(config), plan_cache.get_path_in_state(state, config))
        if data is not None and _can_resolve_users(data):
            return data
    return _validate_in_child(config, state)


def _render_config(config: str) -> str | None:
    """The config's text with its templates filled in; None when the loader must say what is wrong with it."""
    try:
        with open(config, encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError):
        return None
    if "{{" not in text:
        return text
    from autopilot.spec import SpecError, render  # the engine is only for templates

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


def _validate_in_child(config: str, state: str) -> PlanData:
    from autopilot.spec import SpecError, ValidatorError, serialize_plan, validate_in_child  # not for a compiled plan

    try:
        loaded = validate_in_child(config, dict(os.environ))
    except SpecError as error:
        count = len(error.problems)
        counted = f"{count} problem{'s' if count > 1 else ''}, nothing was started"
        raise BootError(f"cannot use {config}: {counted}", *map(str, error.problems)) from None
    except ValidatorError as error:
        raise BootError(str(error), exit_code=os.EX_SOFTWARE) from None
    for warning in loaded.warnings:
        print(f"autopilot: warning: {warning}", file=sys.stderr)
    data = serialize_plan(loaded.plan)
    try:
        os.makedirs(state, exist_ok=True)
        plan_cache.write(plan_cache.get_path_in_state(state, config), loaded.rendered_text, data)
    except OSError:
        pass  # the next start validates again
    return data


def _choose_and_lock_state(planned: str | None, socket: str, containerpilot: bool) -> tuple[str, TextIO]:
    """The state directory, and its lock. Raises CannotBoot."""
    state = choose_state_directory(planned)
    if not containerpilot or planned or os.environ.get("AUTOPILOT_STATE"):
        return state, _lock_state(state)
    try:
        state = choose_writable_state(state, socket)
        return state, _lock_state(state)
    except InUseError:  # two with a socket each were no trouble for ContainerPilot
        if state == get_state_beside_socket(socket):
            raise
        return get_state_beside_socket(socket), _lock_state(get_state_beside_socket(socket))


def _lock_state(state: str) -> TextIO:
    """One supervisor for each state directory; the lock goes with the process. Raises CannotBoot."""
    where = f"the state directory {state}"
    return _open_lock_file(os.path.join(state, "lock"), where, "set `state` in the job spec or AUTOPILOT_STATE")


def _lock_socket(path: str) -> TextIO:
    """One for each control socket, wherever it is. Raises CannotBoot."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise BootError(
            f"the control socket {path} has too long a path: a unix socket's has {MAX_SOCKET_PATH_BYTES} bytes"
        )
    return _open_lock_file(path + ".lock", f"the control socket {path}", "set `control.socket` or AUTOPILOT_SOCKET")


def _open_lock_file(path: str, resource_name: str, remedy: str) -> TextIO:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        file = open(path, "a")  # noqa: SIM115 - held for the whole life
    except OSError as error:
        raise BootError(f"cannot use {resource_name}: {error.strerror}; {remedy}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InUseError(
            f"another supervisor uses {resource_name}: stop it, or give this one its own", exit_code=os.EX_USAGE
        ) from None
    try:  # is there room for the last words?
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
    except OSError as error:
        raise BootError(f"cannot write to {resource_name}: {error.strerror}; {remedy}") from None
    return file


def _open_control_socket(path: str) -> int:
    """A descriptor. Raises CannotBoot."""
    try:
        return listen(path)
    except SocketInUseError as error:
        raise InUseError(str(error), exit_code=os.EX_USAGE) from None
    except OSError as error:
        why = f"cannot use the control socket {path}: {error.strerror}"
        raise BootError(f"{why}; set `control.socket` or AUTOPILOT_SOCKET") from None


def _start_first_jobs(data: PlanData) -> dict[str, SpawnedProcess]:
    """Start the jobs that wait for nothing; none where the node must be looked at before anything starts."""
    advertises = data["consul"] is not None and any(job["service"] for job in data["jobs"])
    if data["batch"] is not None or data["templates"] or data["locks"] or advertises:
        return {}  # what the node is, its rendered files, its turn, its addresses come first
    agent = data["consul_agent"] and data["consul_agent"]["job"]  # its command is not complete yet
    started = {}
    for job in data["jobs"]:
        waits = job["when"]["triggers"] or job["when"]["every"] is not None or job["when"]["cron"] is not None
        if job["name"] != agent and job["command"]["argv"] and not waits:
            command: Any = type("Command", (), job["command"])  # the plan's classes are not loaded yet
            environ = {**os.environ, "CONTAINERPILOT_PID": str(os.getpid())}
            try:  # noqa: SIM105 - contextlib would have to be loaded first
                started[job["name"]] = spawn(command, environ)
            except SpawnError:
                pass  # it will be tried, and complained about, in its turn
    return started


def _write_last_words(state: str, detail: str, exit_code: int) -> int:
    """Last words of a life that did not begin; not over those of a supervisor that lives."""
    from pathlib import Path  # not on the way to the first job

    from autopilot.app import container_info
    from autopilot.app.last_words import LastWords
    from autopilot.machines.actions import Outcome

    if exit_code == os.EX_CONFIG:
        try:
            words = LastWords(Path(state), container_info.detect_container_info(os.environ))
            words.begin()
            words.finish(Outcome("config", detail, exit_code))
        except OSError:
            pass  # it was said on stderr
    return exit_code


def _run_supervisor(
    config: str | None,
    data: PlanData,
    *,
    state: str,
    socket: str,
    control_fd: int,
    prestarted: dict[str, SpawnedProcess],
    oom_kills: int,
    early_signals: list[int],
    containerpilot: bool,
    missing_config: str,
) -> int:
    import asyncio  # the first job runs already
    from pathlib import Path

    from autopilot.app import container_info
    from autopilot.app.supervisor import Supervisor
    from autopilot.spec.plan_data import deserialize_plan

    plan: Plan = deserialize_plan(data)
    if plan.consul_agent is not None:
        from autopilot.app import agent_job

        plan = agent_job.complete_plan(plan, Path(state))
    loop = asyncio.new_event_loop()
    try:
        supervisor = Supervisor(
            plan,
            config=Path(config) if config is not None else None,
            loop=loop,
            state=Path(state),
            socket_path=Path(socket),
            control_fd=control_fd,
            container_info=container_info.detect_container_info(os.environ),
            env=os.environ,
            prestarted=prestarted,
            oom_kills=oom_kills,
            containerpilot=containerpilot,
            missing_config=missing_config,
        )
    except OSError as error:
        for child in prestarted.values():
            os.kill(child.pid, signal.SIGKILL)
        os.unlink(socket)
        detail = f"cannot open the log {plan.logging.output}: {error.strerror}"
        print(f"autopilot: {detail}", file=sys.stderr)
        return _write_last_words(state, detail, os.EX_CONFIG)
    outcome: Outcome
    try:
        outcome = loop.run_until_complete(supervisor.run(early_signals))
    except BaseException as error:
        outcome = supervisor.handle_internal_error(error)
    supervisor.close(outcome)
    if supervisor.restart_requested:
        os.execve(sys.executable, sys.orig_argv, supervisor.env)
    return outcome.code
