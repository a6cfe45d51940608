"""What is measured: autopilot and its peers, each told the same thing in its own language.

Each writes its files below a folder and answers with the command line that starts it. Where a tool has a choice, it
gets what is quickest without being unusual, and the choice is said beside it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import installed
from lab.errors import LabError


@dataclass(frozen=True)
class Task:
    """What to supervise: command lines, and whether each is started again when it ends."""

    jobs: Sequence[Sequence[str]]
    restart: bool = False
    logs: bool = False  # the output is the point of this life

    def named(self) -> Iterable[tuple[str, Sequence[str]]]:
        return ((f"job{number}", argv) for number, argv in enumerate(self.jobs))


@dataclass(frozen=True)
class Supervisor:
    """`cannot`: for each figure that it has not, the reason."""

    name: str
    version: str
    command: Callable[[Path, Task], list[str]]
    cannot: Mapping[str, str] = field(default_factory=dict)
    env: Callable[[Path], Mapping[str, str]] = lambda _: {}
    pid_1: bool = False
    ends_with_jobs: bool = True
    state: str | None = None  # below its folder: what it keeps from one start to the next


ONE = dict.fromkeys(("start20", "term20", "private20"), "runs one program")
ONCE = {"restart": "does not restart"}
NO_LOGS = dict.fromkeys(("throughput", "lost"), "leaves output alone")
NOTHING_KEPT = {"cold": "every start is alike"}
STAYS = {"own_exit": "stays when its jobs have ended"}


def found(say: Callable[[str], None]) -> list[Supervisor]:
    """All that can be had here; `say` hears of each one that cannot, and why."""
    makers: Mapping[str, Callable[[], list[Supervisor]]] = {
        "autopilot": _autopilot,
        "tini": _tini,
        "dumb-init": _dumb_init,
        "s6": _s6,
        "supervisord": _supervisord,
        "circus": _circus,
        "no supervisor": _none,
    }
    supervisors = []
    for name, make in makers.items():
        try:
            supervisors += make()
        except LabError as error:
            say(f"{name}: not measured, {error}")
    if not _root():
        say("autopilot as PID 1: not measured, making a PID namespace needs root")
    return supervisors


def _autopilot() -> list[Supervisor]:
    binaries = installed.autopilot()

    def command(folder: Path, task: Task) -> list[str]:
        again = {"restarts": "unlimited", "backoff": {"initial": 0}} if task.restart else {"restarts": "never"}
        jobs = [{"name": name, "exec": list(argv), **again} for name, argv in task.named()]
        (folder / "autopilot.json").write_text(json.dumps({"logging": {"format": "json"}, "jobs": jobs}))
        return [str(binaries / "autopilot"), "run", str(folder / "autopilot.json")]

    version = installed.version(binaries, "condor-autopilot")
    plain = Supervisor(
        "autopilot", version, command, env=lambda folder: {"AUTOPILOT_STATE": str(folder / "state")}, state="state"
    )
    return [plain, *([replace(plain, name="autopilot, PID 1", pid_1=True)] if _root() else [])]


def _root() -> bool:
    return os.geteuid() == 0


def _none() -> list[Supervisor]:
    """The floor: what fork, exec, a signal and our own stopwatch take."""
    memory = dict.fromkeys(("private", "resident", "wakeups", "cpu"), "there is none")
    cannot = {**ONE, **ONCE, **NO_LOGS, **NOTHING_KEPT, **memory}
    return [Supervisor("no supervisor", "", lambda _, task: list(task.jobs[0]), cannot)]


def _tini() -> list[Supervisor]:
    program = installed.debian("tini", "tini")
    version = installed.debian_version("tini")
    cannot = {**ONE, **ONCE, **NO_LOGS, **NOTHING_KEPT}
    return [Supervisor("tini", version, lambda _, task: [program, "-s", "--", *task.jobs[0]], cannot)]


def _dumb_init() -> list[Supervisor]:
    program = installed.debian("dumb-init", "dumb-init")
    version = installed.debian_version("dumb-init")
    cannot = {**ONE, **ONCE, **NO_LOGS, **NOTHING_KEPT}
    return [Supervisor("dumb-init", version, lambda _, task: [program, *task.jobs[0]], cannot)]


def _s6() -> list[Supervisor]:
    """Output goes to s6-svscan's own, as in most containers; through s6-log, with a time, where it is the point.

    It always restarts what ends; the second of rest before that cannot be had shorter.
    """
    program = installed.debian("s6-svscan", "s6")

    def command(folder: Path, task: Task) -> list[str]:
        scan = folder / "scan"
        shutil.rmtree(scan, ignore_errors=True)
        for name, argv in task.named():
            _script(scan / name / "run", argv)
            if task.logs:
                _script(scan / name / "log/run", [installed.debian("s6-log", "s6"), "t", "1"])
        return [program, str(scan)]

    cannot = {**NOTHING_KEPT, **STAYS}
    return [Supervisor("s6", installed.debian_version("s6"), command, cannot, ends_with_jobs=False)]


def _script(path: Path, argv: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec {shlex.join(argv)}\n")
    path.chmod(0o755)


def _supervisord() -> list[Supervisor]:
    """`startsecs=0`: a restart needs no second of good behaviour first."""
    program = installed.debian("supervisord", "supervisor")

    def command(folder: Path, task: Task) -> list[str]:
        lines = ["[supervisord]", "nodaemon=true", "logfile=/dev/null", "logfile_maxbytes=0", f"pidfile={folder}/pid"]
        lines += ["user=root"] if _root() else []
        for name, argv in task.named():
            lines += [f"[program:{name}]", f"command={shlex.join(argv)}"]
            lines += [f"autorestart={str(task.restart).lower()}", "startsecs=0", "startretries=1000000"]
            for stream in ("stdout", "stderr"):
                lines += [f"{stream}_logfile=/dev/{stream}", f"{stream}_logfile_maxbytes=0"]
        (folder / "supervisord.conf").write_text("\n".join(lines) + "\n")
        return [program, "-c", str(folder / "supervisord.conf")]

    cannot = {**NOTHING_KEPT, **STAYS}
    return [Supervisor("supervisord", installed.debian_version("supervisor"), command, cannot, ends_with_jobs=False)]


def _circus() -> list[Supervisor]:
    """`check_delay`: how often it looks for jobs that have ended; 5 s when not set, which would be all we see."""
    binaries = installed.pypi("circus")

    def command(folder: Path, task: Task) -> list[str]:
        lines = ["[circus]", "check_delay = 0.1", f"endpoint = ipc://{folder}/endpoint"]
        lines += [f"pubsub_endpoint = ipc://{folder}/pubsub", "statsd = False"]
        for name, argv in task.named():
            lines += [f"[watcher:{name}]", f"cmd = {shlex.join(argv)}", f"respawn = {task.restart}", "copy_env = True"]
            lines += ["stdout_stream.class = StdoutStream", "stderr_stream.class = StdoutStream"]
        (folder / "circus.ini").write_text("\n".join(lines) + "\n")
        return [str(binaries / "circusd"), str(folder / "circus.ini")]

    cannot = {**NOTHING_KEPT, **STAYS}
    return [Supervisor("circus", installed.version(binaries, "circus"), command, cannot, ends_with_jobs=False)]
