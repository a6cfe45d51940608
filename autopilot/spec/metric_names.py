"""List the sample names that each metric exports on the telemetry port, and find metrics that export the same one.

Jobs may name their metrics freely, also `process_...` or `containerpilot_...`: only a name that would really be
exported twice is refused.
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
    "autopilot_batch_job_left_seconds": ("",),
    "autopilot_life_phase": ("",),
    "autopilot_payloads_running": ("",),
    "autopilot_payloads_taken": ("",),
    "autopilot_payload_limit": ("",),
    "autopilot_queue_jobs": ("",),
    "autopilot_maintenance": ("",),
    "autopilot_trouble": ("",),
    "autopilot_gate_open": ("",),
    "autopilot_gate_attempts": ("",),
    "autopilot_gate_wait_seconds": ("",),
    "autopilot_orphans_reaped": ("",),
    "autopilot_log_dropped_bytes": ("",),
    "autopilot_log_forward_dropped_lines": ("",),
    "autopilot_log_forward_waiting_bytes": ("",),
    "autopilot_loop_lag_seconds": ("",),
    **{
        f"autopilot_{owner}_{figure}": _COUNTER_SUFFIXES if figure == "cpu_seconds" else ("",)
        for owner in ("job", "payload")
        for figure in ("cpu_seconds", "memory_bytes", "open_files", "threads", "processes")
    },
    "autopilot_container_oom_kills": _COUNTER_SUFFIXES,
    "autopilot_container_cpu_throttled_seconds": _COUNTER_SUFFIXES,
    "autopilot_container_memory_bytes": ("",),
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
    """Return the sample names that a job's metric exports; a counter keeps its name, without `_total`."""
    return (name, *(name + suffix for suffix in SAMPLE_SUFFIXES.get(metric_type, ())))


def find_clashes(metrics: Sequence[tuple[str, str]]) -> Iterator[tuple[int, str, int | None]]:
    """Find the metrics that export a sample name already taken.

    Args:
        metrics: Full name and type of each metric.

    Returns:
        For each such metric: its index, the shared name, and the index of the earlier metric (None: autopilot's own).
    """
    owner: dict[str, int | None] = dict.fromkeys(OWN_SAMPLE_NAMES)
    for index, metric in enumerate(metrics):
        names = list_sample_names(*metric)
        shared = next((name for name in names if name in owner), None)
        if shared is None:
            owner |= dict.fromkeys(names, index)
        else:
            yield index, shared, owner[shared]
