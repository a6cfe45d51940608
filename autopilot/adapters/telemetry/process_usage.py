"""Measure what jobs and payloads use: CPU time, memory, open files, threads, processes; one look at each process.

psutil reads them: it is maintained, and knows the units of every kernel. A look is taken at a scrape alone, and the
event loop serves others after each job. A job's CPU time is that of its processes and of the ended ones that they have
waited for, plus that of earlier runs, which the kernel tells at their end: a run between two scrapes counts too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import psutil

from autopilot.adapters.telemetry.life_figures import LifeFigures
from autopilot.process.job_processes import list_children, read_mark, walk_descendants


class Usage(NamedTuple):
    """Use of the machine by a set of processes.

    Attributes:
        cpu_seconds: CPU time of the processes, and of ended ones that they have waited for.
        memory_bytes: Resident memory; pages that processes share count for each of them.
        open_files: Open file descriptors of the processes that we may look into.
        threads: Threads.
        processes: Processes.
    """

    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    open_files: int = 0
    threads: int = 0
    processes: int = 0


class UsageMeter:
    """Measures jobs and payloads; keeps their CPU times, which never go back."""

    def __init__(self) -> None:
        self.jobs: dict[str, Usage] = {}
        self.payloads = Usage()  # of all together: an id as a label would make a time series for each payload
        self._cpu_seconds: dict[str, float] = {}  # of each job, as it was told last
        self._payload_cpu_seconds: dict[int, float] = {}  # of each live payload, by its first process
        self._ended_payload_cpu_seconds = 0.0

    async def measure(self, figures: LifeFigures, jobs: Iterable[str]) -> None:
        """Measure the jobs with these names, and all payloads."""
        readings: dict[int, Usage] = {}  # a payload's processes are a job's processes too
        orphans = _find_orphans({root.leader for root in figures.job_roots.values()})
        measured: dict[str, Usage] = {}
        for name in jobs:
            pids: list[int] = []
            if (root := figures.job_roots.get(name)) is not None:
                tops = orphans.get(root.mark, []) + ([] if root.leader is None else [root.leader])
                pids = [pid for top in tops for pid in (top, *walk_descendants(top))]
                await asyncio.sleep(0)
            usage = _add_up(pids, readings)
            cpu_seconds = usage.cpu_seconds + figures.ended_cpu_seconds.get(name, 0.0)
            cpu_seconds = max(cpu_seconds, self._cpu_seconds.get(name, 0.0))
            measured[name] = usage._replace(cpu_seconds=cpu_seconds)
        self.jobs = measured
        self._cpu_seconds = {name: usage.cpu_seconds for name, usage in measured.items()}
        self._measure_payloads(figures.payload_pids, readings)

    def _measure_payloads(self, pids: Mapping[str, int], readings: dict[int, Usage]) -> None:
        usages = {pid: _add_up([pid, *walk_descendants(pid)], readings) for pid in pids.values()}
        for pid in self._payload_cpu_seconds.keys() - usages.keys():
            self._ended_payload_cpu_seconds += self._payload_cpu_seconds.pop(pid)
        for pid, usage in usages.items():
            self._payload_cpu_seconds[pid] = max(usage.cpu_seconds, self._payload_cpu_seconds.get(pid, 0.0))
        cpu_seconds = self._ended_payload_cpu_seconds + sum(self._payload_cpu_seconds.values())
        self.payloads = _sum_usages(usages.values())._replace(cpu_seconds=cpu_seconds)


def _find_orphans(leaders: set[int | None]) -> dict[int, list[int]]:
    """Return our children that are no leaders, by their job's mark."""
    orphans: dict[int, list[int]] = {}
    for pid in list_children(os.getpid()):
        if pid not in leaders and (mark := read_mark(pid)) is not None:
            orphans.setdefault(mark, []).append(pid)
    return orphans


def _add_up(pids: Iterable[int], readings: dict[int, Usage]) -> Usage:
    """Return the use by some processes; `readings` holds those that were read before."""
    for pid in pids:
        if pid not in readings:
            readings[pid] = read_usage(pid)
    return _sum_usages(readings[pid] for pid in pids)


def _sum_usages(usages: Iterable[Usage]) -> Usage:
    columns = list(zip(*usages, strict=True))
    return Usage(*(sum(column) for column in columns)) if columns else Usage()


def read_usage(pid: int) -> Usage:
    """Return the use by one process; nothing for one that has ended."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return Usage()
            times = process.cpu_times()
            return Usage(
                sum(times[:4]),  # own and waited for, user and system; the fifth is another view of the same time
                process.memory_info().rss,
                _count_open_files(process),
                process.num_threads(),
                1,
            )
    except psutil.Error:
        return Usage()


def _count_open_files(process: psutil.Process) -> int:
    """Return the number of open files; 0 where another user's process may not be looked into."""
    try:
        return process.num_fds()
    except psutil.AccessDenied:
        return 0
