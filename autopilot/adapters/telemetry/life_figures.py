"""Define the figures of a life that no event tells, as the telemetry port reads them at a scrape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from autopilot.runtime.process_table import JobRoot


class LifeFigures(NamedTuple):
    """Figures of this life at one moment.

    Attributes:
        orphans_reaped: Orphans reaped since the start.
        log_dropped_bytes: Bytes of log dropped since the start, because nobody read them.
        log_dropped_lines: Lines of log dropped since the start, because another host did not take them.
        log_waiting_bytes: Bytes of the lines of log that wait for other hosts, in memory and on the disk.
        job_roots: The places from which the processes of each running job are found.
        ended_cpu_seconds: CPU time of the runs that have ended, by job.
        payload_pids: The first process of each payload, by the payload's id.
    """

    orphans_reaped: int
    log_dropped_bytes: int
    log_dropped_lines: int
    log_waiting_bytes: int
    job_roots: Mapping[str, JobRoot]
    ended_cpu_seconds: Mapping[str, float]
    payload_pids: Mapping[str, int]
