"""The metrics of this life: told every effect, and filled in at each scrape with what only a look can say.

Names are the trade's: base units, `_total` for counters, and no label called `job`, which is Prometheus's own. Beside
ours stand ContainerPilot's, under the very names it uses, for the dashboards that ask for them.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import Metric, UnknownMetricFamily

from autopilot.machines import actions, events
from autopilot.machines.actions import Action
from autopilot.machines.events import Event

DURATION_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)  # s
HEALTH_VALUES = {"healthy": 1, "unhealthy": 0, "starting": 0}

# ContainerPilot's names of its events, by the name a `when` uses.
EVENT_CODES = {
    "exitSuccess": "ExitSuccess",
    "exitFailed": "ExitFailed",
    "stopping": "Stopping",
    "stopped": "Stopped",
    "healthy": "StatusHealthy",
    "unhealthy": "StatusUnhealthy",
    "changed": "StatusChanged",
    "enterMaintenance": "EnterMaintenance",
    "exitMaintenance": "ExitMaintenance",
    "startup": "Startup",
    "shutdown": "Shutdown",
    "signal": "Signal",
}


class LifeMetrics:
    def __init__(self, registry: CollectorRegistry, *, metadata: Mapping[str, str]) -> None:
        def make_counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"autopilot_{name}", help, labels, registry=registry)

        def make_gauge(name: str, help: str, *labels: str) -> Gauge:
            return Gauge(f"autopilot_{name}", help, labels, registry=registry)

        Info("autopilot", "This life: version, container, image, host, slot.", registry=registry).info(dict(metadata))
        ProcessCollector(registry=registry)
        self._job_up = make_gauge("job_up", "1 while the job has a process.", "name")
        self._job_healthy = make_gauge(
            "job_healthy", "1 while the job's check says so; no sample without a check.", "name"
        )
        self._restarts = make_counter("job_restarts", "Starts after the first, by reason.", "name", "reason")
        self._exits = make_counter("job_exits", "Ends of the job's process, by the shell's status.", "name", "status")
        self._checks = make_counter("checks", "Health checks that finished, by result.", "name", "result")
        self._checks_skipped = make_counter(
            "checks_skipped", "Checks not run because the one before still ran.", "name"
        )
        self._runs_skipped = make_counter("runs_skipped", "Runs of a periodic job that were skipped.", "name")
        self._check_durations = Histogram(
            "autopilot_check_duration_seconds", "From a check's start to its verdict.", ["name"],
            buckets=DURATION_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._lifetime_remaining = make_gauge(
            "lifetime_left_seconds", "Until this life drains; +Inf while it is not counted."
        )
        self._phase = make_gauge("life_phase", "1 for the phase this life is in.", "phase")
        self._payloads = make_gauge("payloads_running", "Payloads the batch system runs here.")
        self._maintenance = make_gauge("maintenance", "1 while services take no traffic.")
        self._active_conditions = make_gauge("trouble", "1 for each condition that needs somebody's eye.", "kind")
        self._orphans = make_gauge("orphans_reaped", "Orphans reaped since the start.")
        self._log_dropped_bytes = make_gauge("log_dropped_bytes", "Bytes of log dropped because nobody read them.")
        self._loop_lag = make_gauge("loop_lag_seconds", "How late the event loop was when this was scraped.")
        self._registry = registry
        self._consul_gauges: tuple[Gauge, Gauge] | None = None  # what is not there must not look unreachable
        self._containerpilot = ContainerPilotMetrics()
        registry.register(self._containerpilot)
        self._check_started_at: dict[str, float] = {}
        self._restart_reasons: dict[str, str] = {}

    def on_effect(self, effect: Action | Event, now: float) -> None:
        """`now` in the loop's seconds."""
        if isinstance(effect, Event) and effect.trigger_name in EVENT_CODES:
            self._containerpilot.events[EVENT_CODES[effect.trigger_name], effect.source or "global"] += 1
        match effect:
            case actions.RunCheck(job):
                self._check_started_at[job] = now
            case events.CheckPassed(job) | events.CheckFailed(job):
                self._checks.labels(job, "passed" if isinstance(effect, events.CheckPassed) else "failed").inc()
                if (began := self._check_started_at.pop(job, None)) is not None:
                    self._check_durations.labels(job).observe(now - began)
            case events.ChecksSkipped(job, count):
                self._checks_skipped.labels(job).inc(count)
            case events.RunsSkipped(job, count):
                self._runs_skipped.labels(job).inc(count)
            case events.JobStarted(job, run) if run > 1:
                self._restarts.labels(job, self._restart_reasons.pop(job, "asked")).inc()
            case events.RestartScheduled(job):
                self._restart_reasons[job] = "ended"
            case events.Unhealthy(job):
                self._restart_reasons[job] = "unhealthy"
            case events.JobExited(job, _, status):
                self._exits.labels(job, str(status)).inc()

    def record_answer(self, status: int, path: str) -> None:
        """A request on the control socket was answered."""
        self._containerpilot.requests[str(status), path.partition("?")[0]] += 1

    def update_from_status(
        self,
        status: Mapping[str, Any],
        *,
        epoch_s: float,
        orphans_reaped: int,
        log_dropped_bytes: int,
        loop_lag_s: float,
    ) -> None:
        """Before a scrape: what `autopilot status` shows, at `wall` seconds since the epoch, and the shell's counts."""
        for gauge in (self._job_up, self._job_healthy, self._phase, self._active_conditions):
            gauge.clear()
        for job in status["jobs"]:
            self._job_up.labels(job["name"]).set(job["pid"] is not None)
            if job["health"] in HEALTH_VALUES:
                self._job_healthy.labels(job["name"]).set(HEALTH_VALUES[job["health"]])
        life = status["lifetime"]
        self._lifetime_remaining.set(life["ends"] - epoch_s if life["ends"] is not None else float("inf"))
        self._phase.labels(life["phase"]).set(1)
        self._payloads.set(len(status["payloads"]))
        self._maintenance.set(status["maintenance"])
        for kind in status["troubles"]:
            self._active_conditions.labels(kind).set(1)
        self._orphans.set(orphans_reaped)
        self._log_dropped_bytes.set(log_dropped_bytes)
        self._loop_lag.set(loop_lag_s)
        consul = status.get("consul")
        if consul is not None:
            self._consul_gauges = self._consul_gauges or _create_consul_gauges(self._registry)
            for measured, value in zip(
                self._consul_gauges, (bool(consul["reachable"]), len(consul["services"])), strict=True
            ):
                measured.set(value)
            self._containerpilot.watches = {watch["name"]: watch["instances"] for watch in consul["watches"]}


def _create_consul_gauges(registry: CollectorRegistry) -> tuple[Gauge, Gauge]:
    return (
        Gauge("autopilot_consul_reachable", "1 while Consul answers; there with a consul section.", registry=registry),
        Gauge("autopilot_consul_services", "Services of ours that are registered.", registry=registry),
    )


class ContainerPilotMetrics:
    """Its own metrics, whose counters have no `_total`: prometheus-client would add it."""

    def __init__(self) -> None:
        self.events: Counts[tuple[str, str]] = Counts()
        self.requests: Counts[tuple[str, str]] = Counts()
        self.watches: Mapping[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        yield _build_metric_family(
            "containerpilot_events", "Events, by code and source.", ("code", "source"), self.events.items()
        )
        yield _build_metric_family(
            "containerpilot_control_http_requests", "Requests on the control socket.", ("code", "path"),
            self.requests.items(),
        )  # fmt: skip
        watches = [((name,), count) for name, count in self.watches.items()]
        yield _build_metric_family(
            "containerpilot_watch_instances", "Instances of a watched service.", ("service",), watches
        )


def _build_metric_family(
    name: str, help: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], int]]
) -> UnknownMetricFamily:
    family = UnknownMetricFamily(name, help, labels=labels)
    for values, count in samples:
        family.add_metric(values, count)
    return family
