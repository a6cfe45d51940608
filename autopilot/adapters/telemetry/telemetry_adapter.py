"""Serve the telemetry port: count every effect of this life, answer the requests below.

The event loop serves it: a scrape of 50 metrics takes 1 ms. prometheus-client, which takes 0.1 s to import, is loaded
while the jobs run; effects and values that come before are counted then.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.errors import REINSTALL_REMEDY, AutopilotError
from autopilot.machines import cues
from autopilot.machines.actions import Action
from autopilot.machines.events import Event
from autopilot.retry_delay import RetryDelay
from autopilot.runtime.observer_loop import Work
from autopilot.runtime.script_loading import import_modules
from autopilot.spec.plan import Telemetry as Plan

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from autopilot.adapters.http_server import ClientHandler, Page, RequestHead, Response, Stream
    from autopilot.adapters.telemetry.containerpilot_status import Service
    from autopilot.adapters.telemetry.job_metrics import JobMetrics
    from autopilot.adapters.telemetry.life_figures import LifeFigures
    from autopilot.adapters.telemetry.life_metrics import LifeMetrics
    from autopilot.adapters.telemetry.process_usage import UsageMeter
    from autopilot.adapters.telemetry.status_page import StatusStream
    from autopilot.api.messages import ScrapeTarget, Status

RETRY_DELAY = RetryDelay(first_s=0.5, max_s=30.0)  # while the port is in use
PORT_CONDITION, METRICS_CONDITION = "telemetry-port", "telemetry-metrics"
LOOPBACK_CONDITIONS = {"127.0.0.1": "telemetry-loopback", "::1": "telemetry-loopback-inet6"}  # by address
LIBRARIES = {"prometheus_client": "prometheus-client", "psutil": "psutil"}  # the package of each module
PATHS = "/, /metrics, /status, /v1/status, /v1/stream, /v1/targets"


class TelemetrySetupError(AutopilotError):
    """The telemetry port cannot be used; the message has the remedy."""


class StatusSource(Protocol):
    """The parts of the supervisor that answers are made of."""

    def get_status(self) -> Status:
        """Return the status that `autopilot status` shows."""
        ...

    def get_figures(self) -> LifeFigures:
        """Return the figures of this life that no event tells."""
        ...

    def list_services(self) -> Sequence[Service]:
        """Return the services of this container, for ContainerPilot's /status."""
        ...

    async def list_targets(self) -> Sequence[ScrapeTarget]:
        """Return all telemetry ports registered in Consul, as Prometheus's http_sd expects them."""
        ...


class TelemetryAdapter:
    """The metrics of this life and the port that serves them; made inside a running event loop."""

    def __init__(
        self,
        plan: Plan,
        *,
        address: str,
        metadata: Mapping[str, str],
        status_source: StatusSource,
        report: Callable[[cues.Cue], None],
        start_task: Callable[[Work], asyncio.Task[None]],
    ) -> None:
        """Prepare; `begin` opens the port.

        Args:
            plan: The `telemetry` section.
            address: The address to listen on, "" for all.
            metadata: The identity of this life, for the metric `autopilot_info` and the page.
            status_source: Read for each answer.
            report: Takes the cues.
            start_task: Starts a task whose failure the caller handles.

        Raises:
            TelemetrySetupError: prometheus-client or psutil is not installed.
        """
        if missing := [package for module, package in LIBRARIES.items() if find_spec(module) is None]:
            sentence = f"telemetry: cannot be used: not installed: {', '.join(missing)} ({REINSTALL_REMEDY})"
            raise TelemetrySetupError(sentence)
        self._plan, self._address, self._metadata, self._status_source = plan, address, metadata, status_source
        self._conditions, self._start_task = ConditionReporter(report), start_task
        self._loop = asyncio.get_running_loop()
        self._registry: CollectorRegistry | None = None
        self._life_metrics: LifeMetrics | None = None
        self._job_metrics: JobMetrics | None = None
        self._usage_meter: UsageMeter | None = None
        self._pending_updates: list[Callable[[LifeMetrics, JobMetrics], None]] = []  # from before they are made
        self._status_stream: StatusStream | None = None
        self._server_tasks: list[asyncio.Task[None]] = []
        self._client_handler: ClientHandler | None = None  # one for all ports of this life, since it limits clients
        self._closed = False

    def begin(self) -> None:
        """Load prometheus-client, then open the port."""
        self._start_task(self._begin)

    async def _begin(self) -> None:
        await import_modules(*LIBRARIES)
        from prometheus_client import CollectorRegistry, disable_created_metrics

        from autopilot.adapters.http_server import build_client_handler
        from autopilot.adapters.telemetry.job_metrics import JobMetrics
        from autopilot.adapters.telemetry.life_metrics import LifeMetrics
        from autopilot.adapters.telemetry.process_usage import UsageMeter
        from autopilot.adapters.telemetry.usage_metrics import UsageMetrics

        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double a scrape, and Prometheus makes no use of them
        self._registry = CollectorRegistry(auto_describe=True)  # so that it knows every name, and finds every clash
        self._client_handler = build_client_handler(self.handle, inspect=self._inspect)
        self._life_metrics = LifeMetrics(self._registry, metadata=self._metadata)
        self._job_metrics = JobMetrics(self._plan.metrics, self._registry)
        self._usage_meter = UsageMeter()
        self._registry.register(UsageMetrics(self._usage_meter))
        self._report_rejected_metrics(self._job_metrics.rejected)
        for update in self._pending_updates:
            update(self._life_metrics, self._job_metrics)
        self._pending_updates.clear()
        if not self._closed:
            self._start_servers()

    def apply_plan(self, plan: Plan, *, address: str) -> None:
        """Serve another plan from now on; an unchanged metric keeps its value, an unchanged port stays open."""
        is_moved = (plan.port, plan.loopback, address) != (self._plan.port, self._plan.loopback, self._address)
        self._plan, self._address = plan, address
        if self._job_metrics is not None:
            self._job_metrics.update_metrics(plan.metrics)
            self._report_rejected_metrics(self._job_metrics.rejected)
        if is_moved and self._server_tasks:
            self._stop_servers()
            self._start_servers()

    def _report_rejected_metrics(self, rejected: Sequence[str]) -> None:
        if rejected:
            problem = f"telemetry: cannot export all metrics, these are left out: {'; '.join(rejected)}"
            self._conditions.raise_condition(METRICS_CONDITION, f"{problem}; give them other names")
        else:
            self._conditions.clear_condition(METRICS_CONDITION)

    def close(self) -> None:
        """Close the port for good."""
        self._closed = True
        self._stop_servers()

    # --- counting ---

    def on_effect(self, effect: Action | Event) -> None:
        """Count an effect, and send the status to the pages that are open."""
        now = self._loop.time()
        self._update(lambda life_metrics, _: life_metrics.on_effect(effect, now))
        if self._status_stream is not None:
            self._status_stream.notify_listeners()

    def record_answer(self, status: int, path: str) -> None:
        """Count an answered request on the control socket."""
        self._update(lambda life_metrics, _: life_metrics.record_answer(status, path))

    def set_metric(self, name: str, value: object) -> None:
        """Set a metric of the jobs.

        Raises:
            ValueError: No such metric is declared, or the metric cannot take the value.
        """
        from autopilot.adapters.telemetry.metric_values import parse_metric_value

        declared_name, number = parse_metric_value(self._plan.metrics, name, value)
        self._update(lambda _, job_metrics: job_metrics.set_metric(declared_name, number))

    def _update(self, update: Callable[[LifeMetrics, JobMetrics], None]) -> None:
        if self._life_metrics is None or self._job_metrics is None:
            self._pending_updates.append(update)
        else:
            update(self._life_metrics, self._job_metrics)

    # --- answers ---

    async def handle(self, method: str, path: str, _body: Mapping[str, object]) -> Response:
        """Answer a request.

        Raises:
            RequestError: There is no such path, or it takes another method.
        """
        from autopilot.adapters.http_server import RequestError
        from autopilot.adapters.telemetry import containerpilot_status

        match method, path.partition("?")[0]:
            case "GET", "/":
                return 200, self._build_page()
            case "GET", "/v1/stream":
                return 200, self._open_stream()
            case _, "/metrics":  # ContainerPilot answers every method
                return 200, await self._render_metrics()
            case "GET", "/status":
                return 200, containerpilot_status.format_status(
                    self._status_source.get_status(), self._status_source.list_services()
                )
            case _, "/status":
                raise RequestError(405, "/status takes a GET")
            case "GET", "/v1/status":
                return 200, self._get_shown_status()
            case "GET", "/v1/targets":
                return 200, list(await self._status_source.list_targets())
        raise RequestError(404, f"nothing answers to {method} {path}; there are {PATHS}")

    def _inspect(self, head: RequestHead) -> None:
        """Refuse a request to a foreign name: a page of that site has made a browser call this port (DNS rebinding)."""
        from autopilot.adapters.http_server import RequestError
        from autopilot.adapters.telemetry.host_names import is_own_host

        if not is_own_host(head.host, self._plan.hosts):
            remedy = "use an address, or list the name in telemetry.hosts"
            raise RequestError(421, f"this port is not called {head.host[:100]!r}: {remedy}")

    def _get_shown_status(self) -> Status:
        """Return the status; without the output of checks, which may hold secrets, unless the plan shows it."""
        status = self._status_source.get_status()
        if not self._plan.check_output:
            for job in status["jobs"]:
                job["why"].pop("last_check", None)
            for gate in status["gates"]:
                gate["answer"] = ""
        return status

    def _build_page(self) -> Page:
        from autopilot.adapters.telemetry import status_page  # loaded at the first request

        return status_page.load_page()

    def _open_stream(self) -> Stream:
        from autopilot.adapters.telemetry.status_page import StatusStream

        self._status_stream = self._status_stream or StatusStream(
            lambda: {**self._get_shown_status(), "about": dict(self._metadata), "now": time.time()}
        )
        return self._status_stream.open_stream()

    async def _render_metrics(self) -> Page:
        from prometheus_client import CONTENT_TYPE_LATEST

        from autopilot.adapters.http_server import Page
        from autopilot.adapters.telemetry.exposition import render_metrics

        assert self._life_metrics is not None and self._registry is not None, "the port opens after they are made"
        assert self._usage_meter is not None, "the port opens after they are made"
        yielded_at = self._loop.time()
        await asyncio.sleep(0)
        loop_lag_s = self._loop.time() - yielded_at
        figures, status = self._status_source.get_figures(), self._status_source.get_status()
        await self._usage_meter.measure(figures, [job["name"] for job in status["jobs"]])
        self._life_metrics.update_from_status(
            status,
            epoch_s=time.time(),
            orphans_reaped=figures.orphans_reaped,
            log_dropped_bytes=figures.log_dropped_bytes,
            log_dropped_lines=figures.log_dropped_lines,
            log_waiting_bytes=figures.log_waiting_bytes,
            loop_lag_s=loop_lag_s,
        )
        return Page(CONTENT_TYPE_LATEST, render_metrics(self._registry))

    # --- the port ---

    def _start_servers(self) -> None:
        self._server_tasks = [self._start_task(partial(self._serve, self._address, PORT_CONDITION))]
        if self._plan.loopback and self._address and not ipaddress.ip_address(self._address).is_loopback:
            self._server_tasks += [
                self._start_task(partial(self._serve, *loopback)) for loopback in LOOPBACK_CONDITIONS.items()
            ]

    def _stop_servers(self) -> None:
        for task in self._server_tasks:
            task.cancel()
        self._server_tasks = []
        for condition in (PORT_CONDITION, *LOOPBACK_CONDITIONS.values()):
            self._conditions.clear_condition(condition)

    async def _serve(self, address: str, condition: str) -> None:
        """Open the port at an address, again and again while it is in use, and serve it until cancelled.

        Args:
            address: The address; "" for all.
            condition: The kind of condition that is raised while the port cannot be opened.
        """
        failures = 0
        assert self._client_handler is not None, "the port opens after it is made"
        while True:
            try:
                server = await asyncio.start_server(self._client_handler, address or None, self._plan.port)
                break
            except OSError as error:
                if condition != PORT_CONDITION and error.errno != errno.EADDRINUSE:
                    return  # this host has no such loopback address
                failures += 1
                problem = f"telemetry: cannot listen on {address}:{self._plan.port}: {error.strerror or error}"
                remedy = "it is tried again; free the port or change telemetry.port"
                alternative = "" if condition == PORT_CONDITION else ", or write telemetry.interfaces"
                self._conditions.raise_condition(condition, f"{problem}; {remedy}{alternative}")
            await asyncio.sleep(RETRY_DELAY.compute(failures, random.random()))
        self._conditions.clear_condition(condition)
        async with server:
            await server.serve_forever()
