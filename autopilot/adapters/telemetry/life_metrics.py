"""Count the effects of this life as metrics, and complete them at each scrape from the current status.

Names follow Prometheus's conventions: base units, `_total` for counters, and no label `job`, which Prometheus sets
itself. ContainerPilot's metrics are exported too, under its own names, for existing dashboards.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric, UnknownMetricFamily

from autopilot.machines import actions, events
from autopilot.machines.actions import Action
from autopilot.machines.events import Event

DURATION_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)
HEALTH_VALUES = {"healthy": 1, "unhealthy": 0, "starting": 0}

# ContainerPilot's codes of its events, by the name that a `when` uses.
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
    """The metrics of this life in a registry."""

    def __init__(self, registry: CollectorRegistry, *, metadata: Mapping[str, str]) -> None:
        def make_counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"autopilot_{name}", help, labels, registry=registry)

        def make_gauge(name: str, help: str, *labels: str) -> Gauge:
            return Gauge(f"autopilot_{name}", help, labels, registry=registry)

        labels = {key: value for key, value in metadata.items() if key != "image_reason"}  # a sentence is no label
        Info("autopilot", "This life: version, container, image, host, slot.", registry=registry).info(labels)
        ProcessCollector(registry=registry)
        self._job_up = make_gauge("job_up", "1 while the job has a process.", "name")
        self._job_healthy = make_gauge(
            "job_healthy", "1 while the job's check passes; no sample without a check.", "name"
        )
        self._restarts = make_counter("job_restarts", "Starts after the first, by reason.", "name", "reason")
        self._exits = make_counter("job_exits", "Ends of the job's process, by the shell's status.", "name", "status")
        self._checks = make_counter("checks", "Health checks that finished, by result.", "name", "result")
        self._checks_skipped = make_counter(
            "checks_skipped", "Checks not run because the previous one was still running.", "name"
        )
        self._runs_skipped = make_counter("runs_skipped", "Runs of a periodic job that were skipped.", "name")
        self._check_durations = Histogram(
            "autopilot_check_duration_seconds", "Time from a check's start to its result.", ["name"],
            buckets=DURATION_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._lifetime_remaining = make_gauge(
            "lifetime_left_seconds", "Time until this life drains; +Inf while its lifetime is not counted."
        )
        self._outer_job_remaining = make_gauge(
            "batch_job_left_seconds", "Time until the batch job around this life ends; +Inf when none bounds it."
        )
        self._phase = make_gauge("life_phase", "1 for the phase this life is in.", "phase")
        self._payloads = make_gauge("payloads_running", "Payloads the batch system runs here.")
        self._payloads_taken = make_gauge("payloads_taken", "Payloads that have begun in this life.")
        self._payload_limit = make_gauge(
            "payload_limit", "Payloads after which this life takes no other; +Inf without a limit."
        )
        self._maintenance = make_gauge("maintenance", "1 while the services are in maintenance.")
        self._active_conditions = make_gauge(
            "trouble", "1 for each condition that needs an operator's attention.", "kind"
        )
        self._gate_open = make_gauge("gate_open", "1 once the check before jobs has passed, 0 before.", "name")
        self._gate_attempts = make_gauge("gate_attempts", "Attempts of the check before jobs.", "name")
        self._gate_wait = make_gauge("gate_wait_seconds", "Time that jobs have waited for the check.", "name")
        self._orphans = make_gauge("orphans_reaped", "Orphans reaped since the start.")
        self._log_dropped_bytes = make_gauge(
            "log_dropped_bytes", "Bytes of log dropped because the reader of the log was too slow."
        )
        self._log_dropped_lines = make_gauge(
            "log_forward_dropped_lines", "Lines of log dropped because their receiver on another host was away or slow."
        )
        self._log_waiting_bytes = make_gauge(
            "log_forward_waiting_bytes", "Bytes of log that wait for their receiver on another host."
        )
        self._loop_lag = make_gauge("loop_lag_seconds", "Delay of the event loop at this scrape.")
        self._registry = registry
        self._consul_gauges: tuple[Gauge, Gauge] | None = None  # without a consul section there is no sample
        self._queue_gauge: Gauge | None = None  # without an access point there is no sample
        self._containerpilot = ContainerPilotMetrics()
        registry.register(self._containerpilot)
        self._check_started_at: dict[str, float] = {}
        self._restart_reasons: dict[str, str] = {}

    def on_effect(self, effect: Action | Event, now: float) -> None:
        """Count an effect; `now` is the event loop's time in seconds."""
        if isinstance(effect, Event) and effect.trigger_name in EVENT_CODES:
            self._containerpilot.events[EVENT_CODES[effect.trigger_name], effect.source or "global"] += 1
        match effect:
            case actions.RunCheck(job):
                self._check_started_at[job] = now
            case events.CheckPassed(job) | events.CheckFailed(job):
                self._checks.labels(job, "passed" if isinstance(effect, events.CheckPassed) else "failed").inc()
                if (started_at := self._check_started_at.pop(job, None)) is not None:
                    self._check_durations.labels(job).observe(now - started_at)
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
        """Count an answered request on the control socket."""
        self._containerpilot.requests[str(status), path.partition("?")[0]] += 1

    def update_from_status(
        self,
        status: Mapping[str, Any],
        *,
        epoch_s: float,
        orphans_reaped: int,
        log_dropped_bytes: int,
        log_dropped_lines: int,
        log_waiting_bytes: int,
        loop_lag_s: float,
    ) -> None:
        """Set the gauges before a scrape.

        Args:
            status: The status that `autopilot status` shows.
            epoch_s: The current time in seconds since the epoch.
            orphans_reaped: Orphans reaped since the start.
            log_dropped_bytes: Bytes of log dropped since the start.
            log_dropped_lines: Lines that receivers on other hosts did not take since the start.
            log_waiting_bytes: Bytes of the lines that wait for receivers on other hosts.
            loop_lag_s: The delay of the event loop in seconds.
        """
        gate_gauges = (self._gate_open, self._gate_attempts, self._gate_wait)
        for gauge in (self._job_up, self._job_healthy, self._phase, self._active_conditions, *gate_gauges):
            gauge.clear()
        for gate in status["gates"]:
            for gauge, value in zip(
                gate_gauges, (gate["state"] == "open", gate["attempts"], gate["waited"]), strict=True
            ):
                gauge.labels(gate["name"]).set(value)
        for job in status["jobs"]:
            self._job_up.labels(job["name"]).set(job["pid"] is not None)
            if job["health"] in HEALTH_VALUES:
                self._job_healthy.labels(job["name"]).set(HEALTH_VALUES[job["health"]])
        life = status["lifetime"]
        self._lifetime_remaining.set(life["ends"] - epoch_s if life["ends"] is not None else float("inf"))
        outer_end = life["batch_job"] and life["batch_job"]["ends"]
        self._outer_job_remaining.set(outer_end - epoch_s if outer_end is not None else float("inf"))
        self._phase.labels(life["phase"]).set(1)
        self._payloads.set(len(status["payloads"]))
        self._payloads_taken.set(life["payloads_taken"])
        self._payload_limit.set(float("inf") if life["payload_limit"] is None else life["payload_limit"])
        self._maintenance.set(status["maintenance"])
        for kind in status["troubles"]:
            self._active_conditions.labels(kind).set(1)
        self._orphans.set(orphans_reaped)
        self._log_dropped_bytes.set(log_dropped_bytes)
        self._log_dropped_lines.set(log_dropped_lines)
        self._log_waiting_bytes.set(log_waiting_bytes)
        self._loop_lag.set(loop_lag_s)
        if "access_point" in status:
            self._queue_gauge = self._queue_gauge or _create_queue_gauge(self._registry)
            self._queue_gauge.clear()
            for state, count in (status["access_point"]["queue"] or {}).items():
                self._queue_gauge.labels(state).set(count)
        consul = status.get("consul")
        if consul is not None:
            self._consul_gauges = self._consul_gauges or _create_consul_gauges(self._registry)
            for gauge, value in zip(
                self._consul_gauges, (bool(consul["reachable"]), len(consul["services"])), strict=True
            ):
                gauge.set(value)
            self._containerpilot.watches = {watch["name"]: watch["instances"] for watch in consul["watches"]}


def _create_queue_gauge(registry: CollectorRegistry) -> Gauge:
    help = "Jobs in the queue of the access point, by state; no sample while condor_schedd does not answer."
    return Gauge("autopilot_queue_jobs", help, ["state"], registry=registry)


def _create_consul_gauges(registry: CollectorRegistry) -> tuple[Gauge, Gauge]:
    return (
        Gauge(
            "autopilot_consul_reachable",
            "1 while Consul answers; no sample without a consul section.",
            registry=registry,
        ),
        Gauge("autopilot_consul_services", "Services of this container that are registered.", registry=registry),
    )


class ContainerPilotMetrics:
    """ContainerPilot's own metrics, whose counters have no suffix `_total`, which prometheus-client would add."""

    def __init__(self) -> None:
        self.events: Counts[tuple[str, str]] = Counts()
        self.requests: Counts[tuple[str, str]] = Counts()
        self.watches: Mapping[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics (called by the registry)."""
        yield _build_metric_family(
            "containerpilot_events", "Events, by code and source.", ("code", "source"), self.events.items()
        )
        yield _build_metric_family(
            "containerpilot_control_http_requests", "Requests on the control socket.", ("code", "path"),
            self.requests.items(),
        )  # fmt: skip
        watches = [((name,), count) for name, count in self.watches.items()]
        family = GaugeMetricFamily(
            "containerpilot_watch_instances", "Instances of a watched service.", labels=["service"]
        )
        for values, count in watches:
            family.add_metric(values, count)
        yield family


def _build_metric_family(
    name: str, help: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], int]]
) -> UnknownMetricFamily:
    family = UnknownMetricFamily(name, help, labels=labels)
    for values, count in samples:
        family.add_metric(values, count)
    return family
