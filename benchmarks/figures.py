"""Define the figures of the table: title, unit, meaning, and the project's own aim."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Row of the table. `target` is the highest value, on an idle machine, that the project accepts of itself."""

    key: str
    title: str
    unit: str
    meaning: str
    target: float | None = None


FIGURES = (
    Figure(
        "start",
        "start to first job",
        "ms",
        "from just before the supervisor's exec to the first instruction of its one job",
        target=25,
    ),
    Figure(
        "cold",
        "the same, first start",
        "ms",
        "the same when nothing is left of an earlier start: no compiled plan, so the job spec is validated first",
    ),
    Figure(
        "start20",
        "start to 20th job",
        "ms",
        "from just before the supervisor's exec to the first instruction of the last of 20 jobs",
    ),
    Figure(
        "term",
        "SIGTERM to job's SIGTERM",
        "ms",
        "from sending SIGTERM to the supervisor to its one job's signal handler",
        target=2,
    ),
    Figure(
        "hasty",
        "SIGTERM right after start",
        "ms",
        "the same when SIGTERM comes as soon as the job has started: what still has to be loaded shows here",
    ),
    Figure(
        "term20",
        "SIGTERM to 20th SIGTERM",
        "ms",
        "from sending SIGTERM to the supervisor to the last of 20 jobs' signal handlers",
    ),
    Figure(
        "exit",
        "stopped job's end to exit",
        "ms",
        "from the last instruction of the job that this SIGTERM stopped to the supervisor's end, as its parent sees it",
        target=10,
    ),
    Figure(
        "own_exit",
        "job's own end to exit",
        "ms",
        "the same when the job ended by itself, and there is no other",
        target=10,
    ),
    Figure(
        "restart",
        "kill -9 to restart",
        "ms",
        "from SIGKILL to a job over a second old to the first instruction of its successor, least back-off",
    ),
    Figure(
        "private",
        "private memory, 1 job",
        "MiB",
        "what all the supervisor's processes share with nobody (USS), once its one job runs and all is quiet",
    ),
    Figure("private20", "private memory, 20 jobs", "MiB", "the same with 20 jobs"),
    Figure(
        "resident",
        "resident memory, 1 job",
        "MiB",
        "the whole resident memory (RSS) of these processes with one job, shared pages included",
    ),
    Figure(
        "wakeups",
        "wake-ups, idle minute",
        "",
        "how often the supervisor's threads woke in a minute in which nothing happened (taken once)",
    ),
    Figure("cpu", "CPU, idle minute", "ms", "how long they ran in that minute (taken once)"),
    Figure(
        "throughput",
        "log lines taken",
        "MB/s",
        "how quickly 100 MB of 100-byte lines, written by a job, came out of the supervisor to a reader that keeps up",
    ),
    Figure("lost", "of them lost", "%", "lines of that flood that never came out"),
)
