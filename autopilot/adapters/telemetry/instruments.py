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

from autopilot.machines import actions, facts
from autopilot.machines.actions import Action
from autopilot.machines.facts import Fact

DURATIONS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)  # s
HEALTH = {"healthy": 1, "unhealthy": 0, "starting": 0}

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


class Instruments:
    def __init__(self, registry: CollectorRegistry, *, about: Mapping[str, str]) -> None:
        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"autopilot_{name}", help, labels, registry=registry)

        def gauge(name: str, help: str, *labels: str) -> Gauge:
            return Gauge(f"autopilot_{name}", help, labels, registry=registry)

        Info("autopilot", "This life: version, container, image, host, slot.", registry=registry).info(dict(about))
        ProcessCollector(registry=registry)
        self._up = gauge("job_up", "1 while the job has a process.", "name")
        self._healthy = gauge("job_healthy", "1 while the job's check says so; no sample without a check.", "name")
        self._restarts = counter("job_restarts", "Starts after the first, by reason.", "name", "reason")
        self._exits = counter("job_exits", "Ends of the job's process, by the shell's status.", "name", "status")
        self._checks = counter("checks", "Health checks that finished, by result.", "name", "result")
        self._skipped = counter("checks_skipped", "Checks not run because the one before still ran.", "name")
        self._missed = counter("runs_skipped", "Runs of a periodic job that were skipped.", "name")
        self._durations = Histogram(
            "autopilot_check_duration_seconds", "From a check's start to its verdict.", ["name"],
            buckets=DURATIONS, registry=registry,
        )  # fmt: skip
        self._lifetime = gauge("lifetime_left_seconds", "Until this life drains; +Inf while it is not counted.")
        self._phase = gauge("life_phase", "1 for the phase this life is in.", "phase")
        self._payloads = gauge("payloads_running", "Payloads the batch system runs here.")
        self._maintenance = gauge("maintenance", "1 while services take no traffic.")
        self._trouble = gauge("trouble", "1 for each condition that needs somebody's eye.", "kind")
        self._orphans = gauge("orphans_reaped", "Orphans reaped since the start.")
        self._dropped = gauge("log_dropped_bytes", "Bytes of log dropped because nobody read them.")
        self._lag = gauge("loop_lag_seconds", "How late the event loop was when this was scraped.")
        self._registry = registry
        self._consul: tuple[Gauge, Gauge] | None = None  # what is not there must not look unreachable
        self._containerpilot = ContainerPilot()
        registry.register(self._containerpilot)
        self._checking: dict[str, float] = {}
        self._why: dict[str, str] = {}

    def hear(self, effect: Action | Fact, now: float) -> None:
        """`now` in the loop's seconds."""
        if isinstance(effect, Fact) and effect.event in EVENT_CODES:
            self._containerpilot.events[EVENT_CODES[effect.event], effect.source or "global"] += 1
        match effect:
            case actions.RunCheck(job):
                self._checking[job] = now
            case facts.CheckPassed(job) | facts.CheckFailed(job):
                self._checks.labels(job, "passed" if isinstance(effect, facts.CheckPassed) else "failed").inc()
                if (began := self._checking.pop(job, None)) is not None:
                    self._durations.labels(job).observe(now - began)
            case facts.ChecksSkipped(job, count):
                self._skipped.labels(job).inc(count)
            case facts.RunsSkipped(job, count):
                self._missed.labels(job).inc(count)
            case facts.JobStarted(job, run) if run > 1:
                self._restarts.labels(job, self._why.pop(job, "asked")).inc()
            case facts.RestartScheduled(job):
                self._why[job] = "ended"
            case facts.Unhealthy(job):
                self._why[job] = "unhealthy"
            case facts.JobExited(job, _, status):
                self._exits.labels(job, str(status)).inc()

    def answered(self, status: int, path: str) -> None:
        """A request on the control socket was answered."""
        self._containerpilot.requests[str(status), path.partition("?")[0]] += 1

    def look(self, seen: Mapping[str, Any], *, wall: float, orphans: int, dropped: int, lag: float) -> None:
        """Before a scrape: what `autopilot status` shows, at `wall` seconds since the epoch, and the shell's counts."""
        for gauge in (self._up, self._healthy, self._phase, self._trouble):
            gauge.clear()
        for job in seen["jobs"]:
            self._up.labels(job["name"]).set(job["pid"] is not None)
            if job["health"] in HEALTH:
                self._healthy.labels(job["name"]).set(HEALTH[job["health"]])
        life = seen["lifetime"]
        self._lifetime.set(life["ends"] - wall if life["ends"] is not None else float("inf"))
        self._phase.labels(life["phase"]).set(1)
        self._payloads.set(len(seen["payloads"]))
        self._maintenance.set(seen["maintenance"])
        for kind in seen["troubles"]:
            self._trouble.labels(kind).set(1)
        self._orphans.set(orphans)
        self._dropped.set(dropped)
        self._lag.set(lag)
        consul = seen.get("consul")
        if consul is not None:
            self._consul = self._consul or _of_consul(self._registry)
            for measured, value in zip(self._consul, (bool(consul["reachable"]), len(consul["services"])), strict=True):
                measured.set(value)
            self._containerpilot.watches = {watch["name"]: watch["instances"] for watch in consul["watches"]}


def _of_consul(registry: CollectorRegistry) -> tuple[Gauge, Gauge]:
    return (
        Gauge("autopilot_consul_reachable", "1 while Consul answers; there with a consul section.", registry=registry),
        Gauge("autopilot_consul_services", "Services of ours that are registered.", registry=registry),
    )


class ContainerPilot:
    """Its own metrics, whose counters have no `_total`: prometheus-client would add it."""

    def __init__(self) -> None:
        self.events: Counts[tuple[str, str]] = Counts()
        self.requests: Counts[tuple[str, str]] = Counts()
        self.watches: Mapping[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        yield _family("containerpilot_events", "Events, by code and source.", ("code", "source"), self.events.items())
        yield _family(
            "containerpilot_control_http_requests", "Requests on the control socket.", ("code", "path"),
            self.requests.items(),
        )  # fmt: skip
        watches = [((name,), count) for name, count in self.watches.items()]
        yield _family("containerpilot_watch_instances", "Instances of a watched service.", ("service",), watches)


def _family(
    name: str, help: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], int]]
) -> UnknownMetricFamily:
    family = UnknownMetricFamily(name, help, labels=labels)
    for values, count in samples:
        family.add_metric(values, count)
    return family
