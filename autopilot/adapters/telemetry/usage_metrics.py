"""Export the use of the machine by jobs, payloads and this container as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from autopilot.adapters.telemetry.process_usage import Usage, UsageMeter
from autopilot.process import cgroup_counters

# field of Usage -> end of the metric's name, its help, whether it only grows
FIELDS = {
    "cpu_seconds": ("cpu_seconds", "CPU time of {}, ended processes included.", True),
    "memory_bytes": ("memory_bytes", "Resident memory of {}; shared pages count for each process.", False),
    "open_files": ("open_files", "Open file descriptors of {}, as far as they may be looked into.", False),
    "threads": ("threads", "Threads of {}.", False),
    "processes": ("processes", "Processes of {}.", False),
}
assert set(FIELDS) == set(Usage._fields)


class UsageMetrics(Collector):
    """The figures of the last measurement, as metrics."""

    def __init__(self, meter: UsageMeter) -> None:
        self._meter = meter

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics (called by the registry)."""
        for field, (end, help, grows) in FIELDS.items():
            family_type = CounterMetricFamily if grows else GaugeMetricFamily
            jobs = family_type(f"autopilot_job_{end}", help.format("the job's processes"), labels=["name"])
            for name, usage in self._meter.jobs.items():
                jobs.add_metric([name], getattr(usage, field))
            yield jobs
            payloads = family_type(f"autopilot_payload_{end}", help.format("all payloads"))
            payloads.add_metric([], getattr(self._meter.payloads, field))
            yield payloads
        yield from _collect_container_metrics()


def _collect_container_metrics() -> Iterator[Metric]:
    """Yield the kernel's figures of this container; without a sample where they cannot be read."""
    kills = CounterMetricFamily(
        "autopilot_container_oom_kills", "Processes of this container that the kernel killed for want of memory."
    )
    throttled = CounterMetricFamily(
        "autopilot_container_cpu_throttled_seconds", "Time for which the CPU quota held this container back."
    )
    memory = GaugeMetricFamily("autopilot_container_memory_bytes", "Memory of this container, caches included.")
    values: list[tuple[CounterMetricFamily | GaugeMetricFamily, float | None]] = [
        (kills, cgroup_counters.read_counter(cgroup_counters.OOM_KILLS)),
        (throttled, cgroup_counters.read_throttled_seconds()),
        (memory, cgroup_counters.read_counter(cgroup_counters.MEMORY_BYTES)),
    ]
    for family, value in values:
        if value is not None:
            family.add_metric([], value)
        yield family
