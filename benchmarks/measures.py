"""Measure the figures: each kind of life yields one or more of them."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import process_figures
from benchmarks.supervised_program import LINE_BYTES, Program
from benchmarks.supervisors import Supervisor, Task
from benchmarks.timed_life import TimedLife

MANY_JOBS = 20
FLOOD_BYTES = 100_000_000
MIN_JOB_AGE_S = 1.1  # some supervisors count an end within the first second as a crash

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Bench:
    """Program to supervise, and the folder of all lives."""

    program: Program
    folder: Path

    @contextmanager
    def start_life(self, supervisor: Supervisor, kind: str, task: Task) -> Iterator[TimedLife]:
        """Run one life of a supervisor with this task; an error carries the end of the supervisor's stderr."""
        folder = self._create_folder(supervisor, kind)
        command = supervisor.build_command(folder, task)
        with TimedLife(
            self.program, command, folder, env=supervisor.build_environment(folder), pid_1=supervisor.pid_1
        ) as life:
            try:
                yield life
            except Exception as error:
                error.add_note(life.read_stderr())
                raise

    def build_task(self, supervisor: Supervisor, kind: str, count: int = 1, verb: str = "wait", *rest: object) -> Task:
        """Return a task of `count` jobs that run this verb of the supervised program."""
        argv = self.program.build_command(verb, self._create_folder(supervisor, kind) / "marks", *rest)
        return Task([argv] * count, restart=kind == "restart", logs=kind == "flood")

    def delete_state(self, supervisor: Supervisor, kind: str) -> None:
        """Delete the state that earlier starts of the supervisor have stored."""
        if supervisor.state_folder is not None:
            shutil.rmtree(self._create_folder(supervisor, kind) / supervisor.state_folder, ignore_errors=True)

    def _create_folder(self, supervisor: Supervisor, kind: str) -> Path:
        folder = self.folder / kind / supervisor.name.replace(", ", "-").replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def measure_start(self, life: TimedLife, count: int = 1) -> float:
        """Return the milliseconds from the supervisor's exec to the start of the `count`th job."""
        last_start = max(mark.at_ns for mark in life.marks.wait("start", count))
        return (last_start - life.exec_at_ns) / 1e6 - self.program.own_start_ms


def measure_one_job(bench: Bench, supervisor: Supervisor) -> Figures:
    """Measure start, memory and stop of a supervisor with one job."""
    with bench.start_life(supervisor, "one", bench.build_task(supervisor, "one")) as life:
        start = bench.measure_start(life)
        life.wait_until_quiet()
        memory = process_figures.measure_memory(life.list_supervisor_processes())
        sent_at = life.send_signal(signal.SIGTERM)
        exited_at = life.wait_for_exit()
        received_at, ended_at = life.marks.wait("term")[0].at_ns, life.marks.wait("end")[0].at_ns
    return {
        "start": start,
        "private": memory.private_mib,
        "resident": memory.resident_mib,
        "term": (received_at - sent_at) / 1e6,
        "exit": (exited_at - ended_at) / 1e6,
    }


def measure_many_jobs(bench: Bench, supervisor: Supervisor) -> Figures:
    """Measure start, memory and stop of a supervisor with MANY_JOBS jobs."""
    with bench.start_life(supervisor, "many", bench.build_task(supervisor, "many", MANY_JOBS)) as life:
        start = bench.measure_start(life, MANY_JOBS)
        life.wait_until_quiet()
        memory = process_figures.measure_memory(life.list_supervisor_processes())
        sent_at = life.send_signal(signal.SIGTERM)
        life.wait_for_exit()
        received_at = max(mark.at_ns for mark in life.marks.wait("term", MANY_JOBS))
    return {"start20": start, "private20": memory.private_mib, "term20": (received_at - sent_at) / 1e6}


def measure_cold_start(bench: Bench, supervisor: Supervisor) -> Figures:
    """Measure the start without any state of an earlier one."""
    bench.delete_state(supervisor, "cold")
    with bench.start_life(supervisor, "cold", bench.build_task(supervisor, "cold")) as life:
        return {"cold": bench.measure_start(life)}


def measure_early_stop(bench: Bench, supervisor: Supervisor) -> Figures:
    """Measure a SIGTERM that comes as soon as the job has started."""
    with bench.start_life(supervisor, "hasty", bench.build_task(supervisor, "hasty")) as life:
        life.marks.wait("start")
        sent_at = life.send_signal(signal.SIGTERM)
        return {"hasty": (life.marks.wait("term", timeout=2)[0].at_ns - sent_at) / 1e6}


def measure_own_end(bench: Bench, supervisor: Supervisor) -> Figures:
    """Measure the time from the only job's own end to the supervisor's end."""
    with bench.start_life(supervisor, "own-end", bench.build_task(supervisor, "own-end")) as life:
        life.marks.wait("start")
        life.wait_until_quiet()
        os.kill(life.list_jobs()[0], signal.SIGUSR1)
        exited_at = life.wait_for_exit()
        return {"own_exit": (exited_at - life.marks.wait("end")[0].at_ns) / 1e6}


def measure_restart(bench: Bench, supervisor: Supervisor) -> Figures:
    """Measure the time from the kill of a job to the start of its successor."""
    with bench.start_life(supervisor, "restart", bench.build_task(supervisor, "restart")) as life:
        life.marks.wait("start")
        time.sleep(MIN_JOB_AGE_S)
        life.wait_until_quiet()
        victim = life.list_jobs()[0]
        killed_at = time.monotonic_ns()
        os.kill(victim, signal.SIGKILL)
        restarted_at = life.marks.wait("start", 2)[1].at_ns
        return {"restart": (restarted_at - killed_at) / 1e6 - bench.program.own_start_ms}


def measure_flood(bench: Bench, supervisor: Supervisor) -> Figures:
    """Measure the throughput and the losses of a job that writes FLOOD_BYTES."""
    with bench.start_life(supervisor, "flood", bench.build_task(supervisor, "flood", 1, "flood", FLOOD_BYTES)) as life:
        life.marks.wait("start")
        life.wait_until_quiet()
        os.kill(life.list_jobs()[0], signal.SIGUSR1)
        began_at = life.marks.wait("flood")[0].at_ns
        life.marks.wait("end", timeout=120)
        if not supervisor.ends_with_jobs:
            life.wait_until_quiet()
            life.send_signal(signal.SIGTERM)
        life.wait_for_exit()
        counted = life.marks.wait("counted")[0]
    arrived_bytes = counted.number * LINE_BYTES
    return {
        "throughput": arrived_bytes / ((counted.at_ns - began_at) / 1e3),
        "lost": 100 * (1 - arrived_bytes / FLOOD_BYTES),
    }


def measure_idle(bench: Bench, supervisors: list[Supervisor], seconds: float) -> dict[str, Figures]:
    """Measure all supervisors at once for so many idle seconds: a quiet one does not disturb the others."""
    with ExitStack() as stack:
        lives = {}
        for supervisor in supervisors:
            life = stack.enter_context(bench.start_life(supervisor, "idle", bench.build_task(supervisor, "idle")))
            life.marks.wait("start")
            lives[supervisor.name] = life
        for life in lives.values():
            life.wait_until_quiet()
        before = {name: _measure_activity(life) for name, life in lives.items()}
        time.sleep(seconds)
        after = {name: _measure_activity(life) for name, life in lives.items()}
    per_minute = 60 / seconds
    return {
        name: {
            "wakeups": (after[name][0] - before[name][0]) * per_minute,
            "cpu": (after[name][1] - before[name][1]) * 1e3 * per_minute,
        }
        for name in lives
    }


def _measure_activity(life: TimedLife) -> tuple[int, float]:
    pids = life.list_supervisor_processes()
    return process_figures.count_wakeups(pids), process_figures.sum_cpu_time(pids)


# kind of life -> its measurement, its figures, and the most runs: expensive kinds get fewer
LIFE_KINDS: Mapping[str, tuple[Callable[[Bench, Supervisor], Figures], tuple[str, ...], int]] = {
    "one": (measure_one_job, ("start", "private", "resident", "term", "exit"), 1000),
    "cold": (measure_cold_start, ("cold",), 1000),
    "hasty": (measure_early_stop, ("hasty",), 1000),
    "own end": (measure_own_end, ("own_exit",), 1000),
    "restart": (measure_restart, ("restart",), 1000),
    "many": (measure_many_jobs, ("start20", "private20", "term20"), 5),
    "flood": (measure_flood, ("throughput", "lost"), 5),
}
