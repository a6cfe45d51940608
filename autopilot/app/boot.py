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

from autopilot.adapters.listening import SocketInUse, listen
from autopilot.app import plancache
from autopilot.app.places import NoConfig, beside_socket, default_config, socket_path, state_directory, writable_state
from autopilot.process import oom
from autopilot.process.identity import resolve
from autopilot.process.kernel import PR_SET_CHILD_SUBREAPER, prctl
from autopilot.process.spawn import CannotSpawn, Spawned, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, TextIO

    from autopilot.machines.actions import Outcome
    from autopilot.spec.plan import Plan

    Data = dict[str, Any]  # what spec.plan_to_data gives
else:
    import _signal as signal  # `signal` without its enums, which take 4 ms to load

LONGEST_SOCKET = 107  # bytes, unix(7)
NEVER = 100 * 365 * 86400.0  # s; a life without a job is not what makes an image good

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class CannotBoot(Exception):
    """The start ends before anything was started: one or more sentences, and the exit code."""

    def __init__(self, *sentences: str, code: int = os.EX_CONFIG) -> None:
        super().__init__("\n".join(sentences))
        self.code = code


class InUse(CannotBoot):
    """Another supervisor has it."""


def run(config: str | None, *, containerpilot: bool = False) -> int:
    """Run the supervisor to its end; returns its exit code. `containerpilot`: with that program's defaults."""
    signals_so_far: list[int] = []
    for number in HEARD:  # as PID 1 a signal without a handler is lost, elsewhere it would end us
        signal.signal(number, lambda number, _frame: signals_so_far.append(number))
    state = state_directory(None)
    if containerpilot:
        state = writable_state(state, socket_path(None, state, containerpilot=True))
    try:
        config, data, missing = _config_and_plan_data(config, state, containerpilot)
        socket = socket_path(data["socket"], state_directory(data["state"]), containerpilot)
        state, lock = _state_and_lock(data["state"], socket, containerpilot)
        socket_lock = _lock_socket(socket)
        if os.getpid() != 1:
            prctl()(PR_SET_CHILD_SUBREAPER, 1)
        oom_kills = oom.kills()
        listening = _listen(socket)
        prestarted = _first_jobs(data)
    except CannotBoot as cannot:
        print(f"autopilot: {cannot}", file=sys.stderr)
        return _not_begun(state, str(cannot), cannot.code)
    with lock, socket_lock:
        return _live(
            config,
            data,
            state=state,
            socket=socket,
            listening=listening,
            prestarted=prestarted,
            oom_kills=oom_kills,
            signals_so_far=signals_so_far,
            containerpilot=containerpilot,
            missing=missing,
        )


def _config_and_plan_data(config: str | None, state: str, containerpilot: bool) -> tuple[str | None, Data, str]:
    """The config's path and its plan's data; or, for PID 1 without any config, None, the data of a plan without jobs,
    and what is missing. Raises CannotBoot."""
    try:
        path = os.path.abspath(config or default_config(os.environ, containerpilot))
    except NoConfig as none:
        if os.getpid() != 1:
            raise CannotBoot(str(none)) from None
        from autopilot.spec.plan import Plan  # there is no job to hurry for
        from autopilot.spec.plandata import plan_to_data

        return None, plan_to_data(Plan(healthy_for=NEVER)), str(none)
    return path, _plan_data(path, state), ""


def _plan_data(config: str, state: str) -> Data:
    """The plan's data, from a compiled plan or by validating in a child. Raises CannotBoot with every problem."""
    text = _rendered(config)
    if text is not None:
        data = plancache.find(text, plancache.beside(config), plancache.in_state(state, config))
        if data is not None and _users_exist(data):
            return data
    return _validate(config, state)


def _rendered(config: str) -> str | None:
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


def _users_exist(data: Data) -> bool:
    try:
        for job in data["jobs"]:
            resolve(job["command"]["user"], job["command"]["group"])
    except LookupError:
        return False
    return True


def _validate(config: str, state: str) -> Data:
    from autopilot.spec import SpecError, ValidatorFailed, plan_to_data, validated_in_child  # not for a compiled plan

    try:
        loaded = validated_in_child(config, dict(os.environ))
    except SpecError as error:
        count = len(error.problems)
        counted = f"{count} problem{'s' if count > 1 else ''}, nothing was started"
        raise CannotBoot(f"cannot use {config}: {counted}", *map(str, error.problems)) from None
    except ValidatorFailed as error:
        raise CannotBoot(str(error), code=os.EX_SOFTWARE) from None
    for warning in loaded.warnings:
        print(f"autopilot: warning: {warning}", file=sys.stderr)
    data = plan_to_data(loaded.plan)
    try:
        os.makedirs(state, exist_ok=True)
        plancache.write(plancache.in_state(state, config), loaded.rendered_text, data)
    except OSError:
        pass  # the next start validates again
    return data


def _state_and_lock(planned: str | None, socket: str, containerpilot: bool) -> tuple[str, TextIO]:
    """The state directory, and its lock. Raises CannotBoot."""
    state = state_directory(planned)
    if not containerpilot or planned or os.environ.get("AUTOPILOT_STATE"):
        return state, _lock(state)
    try:
        state = writable_state(state, socket)
        return state, _lock(state)
    except InUse:  # two with a socket each were no trouble for ContainerPilot
        if state == beside_socket(socket):
            raise
        return beside_socket(socket), _lock(beside_socket(socket))


def _lock(state: str) -> TextIO:
    """One supervisor for each state directory; the lock goes with the process. Raises CannotBoot."""
    where = f"the state directory {state}"
    return _locked(os.path.join(state, "lock"), where, "set `state` in the job spec or AUTOPILOT_STATE")


def _lock_socket(path: str) -> TextIO:
    """One for each control socket, wherever it is. Raises CannotBoot."""
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        raise CannotBoot(f"the control socket {path} has too long a path: a unix socket's has {LONGEST_SOCKET} bytes")
    return _locked(path + ".lock", f"the control socket {path}", "set `control.socket` or AUTOPILOT_SOCKET")


def _locked(path: str, where: str, remedy: str) -> TextIO:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        file = open(path, "a")  # noqa: SIM115 - held for the whole life
    except OSError as error:
        raise CannotBoot(f"cannot use {where}: {error.strerror}; {remedy}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InUse(f"another supervisor uses {where}: stop it, or give this one its own", code=os.EX_USAGE) from None
    try:  # is there room for the last words?
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
    except OSError as error:
        raise CannotBoot(f"cannot write to {where}: {error.strerror}; {remedy}") from None
    return file


def _listen(path: str) -> int:
    """A descriptor. Raises CannotBoot."""
    try:
        return listen(path)
    except SocketInUse as error:
        raise InUse(str(error), code=os.EX_USAGE) from None
    except OSError as error:
        why = f"cannot use the control socket {path}: {error.strerror}"
        raise CannotBoot(f"{why}; set `control.socket` or AUTOPILOT_SOCKET") from None


def _first_jobs(data: Data) -> dict[str, Spawned]:
    """Start the jobs that wait for nothing; none where the node must be looked at before anything starts."""
    advertises = data["consul"] is not None and any(job["service"] for job in data["jobs"])
    if data["htcondor"] is not None or data["templates"] or data["locks"] or advertises:
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
            except CannotSpawn:
                pass  # it will be tried, and complained about, in its turn
    return started


def _not_begun(state: str, detail: str, code: int) -> int:
    """Last words of a life that did not begin; not over those of a supervisor that lives."""
    from pathlib import Path  # not on the way to the first job

    from autopilot.app import surroundings
    from autopilot.app.lastwords import LastWords
    from autopilot.machines.actions import Outcome

    if code == os.EX_CONFIG:
        try:
            words = LastWords(Path(state), surroundings.look(os.environ))
            words.begin()
            words.finish(Outcome("config", detail, code))
        except OSError:
            pass  # it was said on stderr
    return code


def _live(
    config: str | None,
    data: Data,
    *,
    state: str,
    socket: str,
    listening: int,
    prestarted: dict[str, Spawned],
    oom_kills: int,
    signals_so_far: list[int],
    containerpilot: bool,
    missing: str,
) -> int:
    import asyncio  # the first job runs already
    from pathlib import Path

    from autopilot.app import surroundings
    from autopilot.app.supervisor import Supervisor
    from autopilot.spec.plandata import plan_from_data

    plan: Plan = plan_from_data(data)
    if plan.consul_agent is not None:
        from autopilot.app import agent_job

        plan = agent_job.completed(plan, Path(state))
    loop = asyncio.new_event_loop()
    try:
        supervisor = Supervisor(
            plan,
            config=Path(config) if config is not None else None,
            loop=loop,
            state=Path(state),
            socket_path=Path(socket),
            listening=listening,
            where=surroundings.look(os.environ),
            env=os.environ,
            prestarted=prestarted,
            oom_kills=oom_kills,
            containerpilot=containerpilot,
            missing=missing,
        )
    except OSError as error:
        for child in prestarted.values():
            os.kill(child.pid, signal.SIGKILL)
        os.unlink(socket)
        detail = f"cannot open the log {plan.logging.output}: {error.strerror}"
        print(f"autopilot: {detail}", file=sys.stderr)
        return _not_begun(state, detail, os.EX_CONFIG)
    outcome: Outcome
    try:
        outcome = loop.run_until_complete(supervisor.live(signals_so_far))
    except BaseException as error:
        outcome = supervisor.die(error)
    supervisor.close(outcome)
    if supervisor.begins_anew:
        os.execve(sys.executable, sys.orig_argv, supervisor.env)
    return outcome.code
