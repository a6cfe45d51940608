"""How each figure is taken: one life, one or more figures."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.life import Life
from benchmarks.program import LINE, Program
from benchmarks.supervisors import Supervisor, Task

MANY = 20
FLOOD = 100_000_000  # bytes
OLD_ENOUGH = 1.1  # s; what ends within its first second counts as a crash for some

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Bench:
    program: Program
    folder: Path  # of all lives

    @contextmanager
    def life(self, supervisor: Supervisor, kind: str, task: Task) -> Iterator[Life]:
        folder = self._folder(supervisor, kind)
        command = supervisor.command(folder, task)
        with Life(self.program, command, folder, env=supervisor.env(folder), pid_1=supervisor.pid_1) as life:
            try:
                yield life
            except Exception as error:
                error.add_note(life.said())
                raise

    def jobs(self, supervisor: Supervisor, kind: str, count: int = 1, verb: str = "wait", *rest: object) -> Task:
        argv = self.program(verb, self._folder(supervisor, kind) / "marks", *rest)
        return Task([argv] * count, restart=kind == "restart", logs=kind == "flood")

    def forget(self, supervisor: Supervisor, kind: str) -> None:
        """Remove what its earlier starts have left."""
        if supervisor.state is not None:
            shutil.rmtree(self._folder(supervisor, kind) / supervisor.state, ignore_errors=True)

    def _folder(self, supervisor: Supervisor, kind: str) -> Path:
        folder = self.folder / kind / supervisor.name.replace(", ", "-").replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def started(self, life: Life, count: int = 1) -> float:
        """ms from the supervisor's exec to the start of the `count`th job."""
        first = max(mark.when for mark in life.marks.wait("start", count))
        return (first - life.begun) / 1e6 - self.program.own_start


def one(bench: Bench, supervisor: Supervisor) -> Figures:
    """A job, a rest, SIGTERM."""
    with bench.life(supervisor, "one", bench.jobs(supervisor, "one")) as life:
        start = bench.started(life)
        life.settle()
        memory = processes.memory(life.supervisors())
        told = life.send(signal.SIGTERM)
        gone = life.ended()
        heard, ended = life.marks.wait("term")[0].when, life.marks.wait("end")[0].when
    return {
        "start": start,
        "private": memory.private,
        "resident": memory.resident,
        "term": (heard - told) / 1e6,
        "exit": (gone - ended) / 1e6,
    }


def many(bench: Bench, supervisor: Supervisor) -> Figures:
    with bench.life(supervisor, "many", bench.jobs(supervisor, "many", MANY)) as life:
        start = bench.started(life, MANY)
        life.settle()
        memory = processes.memory(life.supervisors())
        told = life.send(signal.SIGTERM)
        life.ended()
        heard = max(mark.when for mark in life.marks.wait("term", MANY))
    return {"start20": start, "private20": memory.private, "term20": (heard - told) / 1e6}


def cold(bench: Bench, supervisor: Supervisor) -> Figures:
    bench.forget(supervisor, "cold")
    with bench.life(supervisor, "cold", bench.jobs(supervisor, "cold")) as life:
        return {"cold": bench.started(life)}


def hasty(bench: Bench, supervisor: Supervisor) -> Figures:
    with bench.life(supervisor, "hasty", bench.jobs(supervisor, "hasty")) as life:
        life.marks.wait("start")
        told = life.send(signal.SIGTERM)
        return {"hasty": (life.marks.wait("term", timeout=2)[0].when - told) / 1e6}


def own_end(bench: Bench, supervisor: Supervisor) -> Figures:
    with bench.life(supervisor, "own-end", bench.jobs(supervisor, "own-end")) as life:
        life.marks.wait("start")
        life.settle()
        os.kill(life.jobs()[0], signal.SIGUSR1)
        gone = life.ended()
        return {"own_exit": (gone - life.marks.wait("end")[0].when) / 1e6}


def restart(bench: Bench, supervisor: Supervisor) -> Figures:
    with bench.life(supervisor, "restart", bench.jobs(supervisor, "restart")) as life:
        life.marks.wait("start")
        time.sleep(OLD_ENOUGH)
        life.settle()
        victim = life.jobs()[0]
        before = time.monotonic_ns()
        os.kill(victim, signal.SIGKILL)
        again = life.marks.wait("start", 2)[1].when
        return {"restart": (again - before) / 1e6 - bench.program.own_start}


def flood(bench: Bench, supervisor: Supervisor) -> Figures:
    with bench.life(supervisor, "flood", bench.jobs(supervisor, "flood", 1, "flood", FLOOD)) as life:
        life.marks.wait("start")
        life.settle()
        os.kill(life.jobs()[0], signal.SIGUSR1)
        begun = life.marks.wait("flood")[0].when
        life.marks.wait("end", timeout=120)
        if not supervisor.ends_with_jobs:
            life.settle()
            life.send(signal.SIGTERM)
        life.ended()
        counted = life.marks.wait("counted")[0]
    arrived = counted.number * LINE
    return {"throughput": arrived / ((counted.when - begun) / 1e3), "lost": 100 * (1 - arrived / FLOOD)}


def idle(bench: Bench, supervisors: list[Supervisor], seconds: float) -> dict[str, Figures]:
    """All at once, each with its job, left alone: a quiet supervisor does not disturb the others."""
    with ExitStack() as all_of_them:
        lives = {}
        for supervisor in supervisors:
            life = all_of_them.enter_context(bench.life(supervisor, "idle", bench.jobs(supervisor, "idle")))
            life.marks.wait("start")
            lives[supervisor.name] = life
        for life in lives.values():
            life.settle()
        before = {name: _activity(life) for name, life in lives.items()}
        time.sleep(seconds)
        after = {name: _activity(life) for name, life in lives.items()}
    a_minute = 60 / seconds
    return {
        name: {
            "wakeups": (after[name][0] - before[name][0]) * a_minute,
            "cpu": (after[name][1] - before[name][1]) * 1e3 * a_minute,
        }
        for name in lives
    }


def _activity(life: Life) -> tuple[int, float]:
    pids = life.supervisors()
    return processes.wakeups(pids), processes.cpu_time(pids)


# kind of life -> how to take it, the figures it gives; the dear ones are taken fewer times
LIVES: Mapping[str, tuple[Callable[[Bench, Supervisor], Figures], tuple[str, ...], int]] = {
    "one": (one, ("start", "private", "resident", "term", "exit"), 1000),
    "cold": (cold, ("cold",), 1000),
    "hasty": (hasty, ("hasty",), 1000),
    "own end": (own_end, ("own_exit",), 1000),
    "restart": (restart, ("restart",), 1000),
    "many": (many, ("start20", "private20", "term20"), 5),
    "flood": (flood, ("throughput", "lost"), 5),
}
