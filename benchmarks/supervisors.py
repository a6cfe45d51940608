"""Describe the measured supervisors, autopilot and its peers, all with the same task in their own configuration.

Each writes its files below a folder and returns its command line. If a tool offers a choice, it gets the fastest usual
setting, and a comment beside it says so.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import peer_installation
from lab.lab_errors import LabError


@dataclass(frozen=True)
class Task:
    """Command lines to supervise. `restart` starts each again after its end; `logs` measures the output."""

    jobs: Sequence[Sequence[str]]
    restart: bool = False
    logs: bool = False

    def name_jobs(self) -> Iterable[tuple[str, Sequence[str]]]:
        """Yield each command line with a name for its job."""
        return ((f"job{number}", argv) for number, argv in enumerate(self.jobs))


@dataclass(frozen=True)
class Supervisor:
    """Supervisor that can be measured.

    Attributes:
        build_command: writes the files for a task below a folder and returns the command line.
        missing_figures: key of a figure it does not have -> the reason.
        build_environment: returns further variables for a life in that folder.
        pid_1: run it as PID 1 of its own namespace.
        ends_with_jobs: it ends when its jobs have ended.
        state_folder: name of the folder in which it keeps state between starts.
    """

    name: str
    version: str
    build_command: Callable[[Path, Task], list[str]]
    missing_figures: Mapping[str, str] = field(default_factory=dict)
    build_environment: Callable[[Path], Mapping[str, str]] = lambda _: {}
    pid_1: bool = False
    ends_with_jobs: bool = True
    state_folder: str | None = None


SINGLE_PROGRAM = dict.fromkeys(("start20", "term20", "private20"), "runs one program")
NO_RESTART = {"restart": "does not restart"}
NO_LOGS = dict.fromkeys(("throughput", "lost"), "leaves output alone")
NO_STATE = {"cold": "every start is alike"}
NO_OWN_EXIT = {"own_exit": "stays when its jobs have ended"}


def find_supervisors(report_missing: Callable[[str], None]) -> list[Supervisor]:
    """Return all supervisors that this machine can have; `report_missing` is called with each other and the reason."""
    descriptions: Mapping[str, Callable[[], list[Supervisor]]] = {
        "autopilot": _describe_autopilot,
        "tini": _describe_tini,
        "dumb-init": _describe_dumb_init,
        "s6": _describe_s6,
        "supervisord": _describe_supervisord,
        "circus": _describe_circus,
        "no supervisor": _describe_baseline,
    }
    supervisors = []
    for name, describe in descriptions.items():
        try:
            supervisors += describe()
        except LabError as error:
            report_missing(f"{name}: not measured, {error}")
    if not _is_root():
        report_missing("autopilot as PID 1: not measured, making a PID namespace needs root")
    return supervisors


def _describe_autopilot() -> list[Supervisor]:
    binaries = peer_installation.install_autopilot()

    def build_command(folder: Path, task: Task) -> list[str]:
        restart_policy = {"restarts": "unlimited", "backoff": {"initial": 0}} if task.restart else {"restarts": "never"}
        jobs = [{"name": name, "exec": list(argv), **restart_policy} for name, argv in task.name_jobs()]
        (folder / "autopilot.json").write_text(json.dumps({"logging": {"format": "json"}, "jobs": jobs}))
        return [str(binaries / "autopilot"), "run", str(folder / "autopilot.json")]

    version = peer_installation.get_package_version(binaries, "condor-autopilot")
    supervisor = Supervisor(
        "autopilot",
        version,
        build_command,
        build_environment=lambda folder: {"AUTOPILOT_STATE": str(folder / "state")},
        state_folder="state",
    )
    return [supervisor, *([replace(supervisor, name="autopilot, PID 1", pid_1=True)] if _is_root() else [])]


def _is_root() -> bool:
    return os.geteuid() == 0


def _describe_baseline() -> list[Supervisor]:
    """Return the floor: the time of fork, exec, a signal and the measurement itself."""
    memory = dict.fromkeys(("private", "resident", "wakeups", "cpu"), "there is none")
    missing = {**SINGLE_PROGRAM, **NO_RESTART, **NO_LOGS, **NO_STATE, **memory}
    return [Supervisor("no supervisor", "", lambda _, task: list(task.jobs[0]), missing)]


def _describe_tini() -> list[Supervisor]:
    program = peer_installation.ensure_debian_program("tini", "tini")
    version = peer_installation.get_debian_version("tini")
    missing = {**SINGLE_PROGRAM, **NO_RESTART, **NO_LOGS, **NO_STATE}
    return [Supervisor("tini", version, lambda _, task: [program, "-s", "--", *task.jobs[0]], missing)]


def _describe_dumb_init() -> list[Supervisor]:
    program = peer_installation.ensure_debian_program("dumb-init", "dumb-init")
    version = peer_installation.get_debian_version("dumb-init")
    missing = {**SINGLE_PROGRAM, **NO_RESTART, **NO_LOGS, **NO_STATE}
    return [Supervisor("dumb-init", version, lambda _, task: [program, *task.jobs[0]], missing)]


def _describe_s6() -> list[Supervisor]:
    """Return s6. Output goes to s6-svscan's own, as in most containers; if logs are measured, through s6-log.

    It always restarts ended services; the pause of a second before that cannot be shortened.
    """
    program = peer_installation.ensure_debian_program("s6-svscan", "s6")

    def build_command(folder: Path, task: Task) -> list[str]:
        scan = folder / "scan"
        shutil.rmtree(scan, ignore_errors=True)
        for name, argv in task.name_jobs():
            _write_script(scan / name / "run", argv)
            if task.logs:
                _write_script(
                    scan / name / "log/run", [peer_installation.ensure_debian_program("s6-log", "s6"), "t", "1"]
                )
        return [program, str(scan)]

    missing = {**NO_STATE, **NO_OWN_EXIT}
    return [Supervisor("s6", peer_installation.get_debian_version("s6"), build_command, missing, ends_with_jobs=False)]


def _write_script(path: Path, argv: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec {shlex.join(argv)}\n")
    path.chmod(0o755)


def _describe_supervisord() -> list[Supervisor]:
    """Return supervisord. `startsecs=0`: a restart does not require a second of uptime first."""
    program = peer_installation.ensure_debian_program("supervisord", "supervisor")

    def build_command(folder: Path, task: Task) -> list[str]:
        lines = ["[supervisord]", "nodaemon=true", "logfile=/dev/null", "logfile_maxbytes=0", f"pidfile={folder}/pid"]
        lines += ["user=root"] if _is_root() else []
        for name, argv in task.name_jobs():
            lines += [f"[program:{name}]", f"command={shlex.join(argv)}"]
            lines += [f"autorestart={str(task.restart).lower()}", "startsecs=0", "startretries=1000000"]
            for stream in ("stdout", "stderr"):
                lines += [f"{stream}_logfile=/dev/{stream}", f"{stream}_logfile_maxbytes=0"]
        (folder / "supervisord.conf").write_text("\n".join(lines) + "\n")
        return [program, "-c", str(folder / "supervisord.conf")]

    missing = {**NO_STATE, **NO_OWN_EXIT}
    return [
        Supervisor(
            "supervisord",
            peer_installation.get_debian_version("supervisor"),
            build_command,
            missing,
            ends_with_jobs=False,
        )
    ]


def _describe_circus() -> list[Supervisor]:
    """Return circus. `check_delay`: interval of its search for ended jobs; the default of 5 s would hide all else."""
    binaries = peer_installation.install_from_pypi("circus")

    def build_command(folder: Path, task: Task) -> list[str]:
        lines = ["[circus]", "check_delay = 0.1", f"endpoint = ipc://{folder}/endpoint"]
        lines += [f"pubsub_endpoint = ipc://{folder}/pubsub", "statsd = False"]
        for name, argv in task.name_jobs():
            lines += [f"[watcher:{name}]", f"cmd = {shlex.join(argv)}", f"respawn = {task.restart}", "copy_env = True"]
            lines += ["stdout_stream.class = StdoutStream", "stderr_stream.class = StdoutStream"]
        (folder / "circus.ini").write_text("\n".join(lines) + "\n")
        return [str(binaries / "circusd"), str(folder / "circus.ini")]

    missing = {**NO_STATE, **NO_OWN_EXIT}
    return [
        Supervisor(
            "circus",
            peer_installation.get_package_version(binaries, "circus"),
            build_command,
            missing,
            ends_with_jobs=False,
        )
    ]
