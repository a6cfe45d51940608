"""Names that each metric takes on the telemetry port: of two that take the same, none could tell which is meant.

A job's metrics are named freely, also `process_...` or `containerpilot_...`: refused is only what is really there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

SAMPLE_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count", "_created"), "summary": ("_sum", "_count", "_created")}

_COUNTER_SUFFIXES = ("", "_total", "_created")
_OWN_METRICS = {
    "autopilot": ("", "_info"),
    "autopilot_job_up": ("",),
    "autopilot_job_healthy": ("",),
    "autopilot_job_restarts": _COUNTER_SUFFIXES,
    "autopilot_job_exits": _COUNTER_SUFFIXES,
    "autopilot_checks": _COUNTER_SUFFIXES,
    "autopilot_checks_skipped": _COUNTER_SUFFIXES,
    "autopilot_runs_skipped": _COUNTER_SUFFIXES,
    "autopilot_check_duration_seconds": ("", *SAMPLE_SUFFIXES["histogram"]),
    "autopilot_lifetime_left_seconds": ("",),
    "autopilot_life_phase": ("",),
    "autopilot_payloads_running": ("",),
    "autopilot_maintenance": ("",),
    "autopilot_trouble": ("",),
    "autopilot_orphans_reaped": ("",),
    "autopilot_log_dropped_bytes": ("",),
    "autopilot_loop_lag_seconds": ("",),
    "autopilot_consul_reachable": ("",),
    "autopilot_consul_services": ("",),
    "containerpilot_events": ("",),
    "containerpilot_control_http_requests": ("",),
    "containerpilot_watch_instances": ("",),
    "process_cpu_seconds": _COUNTER_SUFFIXES,
    "process_virtual_memory_bytes": ("",),
    "process_resident_memory_bytes": ("",),
    "process_start_time_seconds": ("",),
    "process_open_fds": ("",),
    "process_max_fds": ("",),
}
OWN_SAMPLE_NAMES = frozenset(name + suffix for name, suffixes in _OWN_METRICS.items() for suffix in suffixes)


def list_sample_names(name: str, metric_type: str) -> tuple[str, ...]:
    """By a metric of the jobs. A counter has the name its owner gave it, nothing added."""
    return (name, *(name + suffix for suffix in SAMPLE_SUFFIXES.get(metric_type, ())))


def find_clashes(metrics: Sequence[tuple[str, str]]) -> Iterator[tuple[int, str, int | None]]:
    """Of metrics as (whole name, type): the index of each that cannot be beside those before it, the first name it
    shares, and the index of the metric it shares it with; None: with our own."""
    owner: dict[str, int | None] = dict.fromkeys(OWN_SAMPLE_NAMES)
    for index, metric in enumerate(metrics):
        names = list_sample_names(*metric)
        shared = next((name for name in names if name in owner), None)
        if shared is None:
            owner |= dict.fromkeys(names, index)
        else:
            yield index, shared, owner[shared]
