"""The telemetry port: told every effect of this life; answers the paths below.

Served from the event loop: a scrape of 50 metrics takes it 1 ms. prometheus-client, which takes 0.1 s to load, is
loaded beside the running jobs; what happened before is told to it then.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from autopilot.machines import cues
from autopilot.machines.actions import Action
from autopilot.machines.events import Event
from autopilot.runtime.script_loading import import_modules
from autopilot.spec.plan import Telemetry as Plan

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from autopilot.adapters.http_server import ClientHandler, Page, Response, Stream
    from autopilot.adapters.telemetry.containerpilot_status import Service
    from autopilot.adapters.telemetry.job_metrics import JobMetrics
    from autopilot.adapters.telemetry.life_metrics import LifeMetrics
    from autopilot.adapters.telemetry.status_page import StatusStream
    from autopilot.api.messages import ScrapeTarget, Status

FIRST_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 0.5, 30.0  # s, when the port is taken
PORT_CONDITION, METRICS_CONDITION = "telemetry-port", "telemetry-metrics"
PATHS = "/, /metrics, /status, /v1/status, /v1/stream, /v1/targets"


class TelemetrySetupError(Exception):
    pass


class StatusSource(Protocol):
    """What is looked at when somebody asks."""

    def get_status(self) -> Status: ...

    def get_counts(self) -> tuple[int, int]:
        """Orphans reaped, bytes of log dropped."""
        ...

    def list_services(self) -> Sequence[Service]: ...

    async def list_targets(self) -> Sequence[ScrapeTarget]:
        """What http_sd of Prometheus wants to know."""
        ...


class TelemetryAdapter:
    def __init__(
        self,
        plan: Plan,
        *,
        address: str,
        metadata: Mapping[str, str],
        status_source: StatusSource,
        report: Callable[[cues.Cue], None],
        start_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """Made with a running loop. `address` "": listen on all. Raises CannotUseTelemetry."""
        if find_spec("prometheus_client") is None:
            remedy = "pip install condor-autopilot[telemetry]"
            raise TelemetrySetupError(f"telemetry: cannot be used: not installed: prometheus-client ({remedy})")
        self._plan, self._address, self._metadata, self._status_source = plan, address, metadata, status_source
        self._report, self._start_task = report, start_task
        self._loop = asyncio.get_running_loop()
        self._pending_effects: list[tuple[Action | Event, float]] = []
        self._pending_values: list[tuple[str, float]] = []
        self._pending_requests: list[tuple[int, str]] = []
        self._registry: CollectorRegistry | None = None
        self._life_metrics: LifeMetrics | None = None
        self._job_metrics: JobMetrics | None = None
        self._status_stream: StatusStream | None = None
        self._server_task: asyncio.Task[None] | None = None
        self._metrics_condition_raised = False
        self._client_handler: ClientHandler | None = None  # its limit holds for all ports that there have been
        self._port_condition_raised = False  # the port is taken, and that has been said
        self._closed = False

    def begin(self) -> None:
        self._start_task(self._begin())

    async def _begin(self) -> None:
        await import_modules("prometheus_client")
        from prometheus_client import CollectorRegistry

        from autopilot.adapters.http_server import build_client_handler
        from autopilot.adapters.telemetry.job_metrics import JobMetrics
        from autopilot.adapters.telemetry.life_metrics import LifeMetrics

        self._registry = CollectorRegistry(auto_describe=True)  # so that it knows of every name, and of every clash
        self._client_handler = build_client_handler(self.handle)
        self._life_metrics = LifeMetrics(self._registry, metadata=self._metadata)
        self._job_metrics = JobMetrics(self._plan.metrics, self._registry)
        self._report_rejected_metrics()
        for effect, at in self._pending_effects:
            self._life_metrics.on_effect(effect, at)
        self._pending_effects.clear()
        for name, number in self._pending_values:
            self._job_metrics.set_metric(name, number)
        self._pending_values.clear()
        for status, path in self._pending_requests:
            self._life_metrics.record_answer(status, path)
        self._pending_requests.clear()
        if not self._closed:
            self._server_task = self._start_task(self._serve())

    def apply_plan(self, plan: Plan, *, address: str) -> None:
        """Another port from now on, or other metrics; those that are the same keep their values."""
        moved = (plan.port, address) != (self._plan.port, self._address)
        self._plan, self._address = plan, address
        if self._job_metrics is not None:
            self._job_metrics.update_metrics(plan.metrics)
            self._report_rejected_metrics()
        if moved and self._server_task is not None:
            self._server_task.cancel()
            self._server_task = self._start_task(self._serve())

    def _report_rejected_metrics(self) -> None:
        assert self._job_metrics is not None, "it is said of metrics that were made"
        if self._job_metrics.rejected:
            said = f"telemetry: metrics are left out: {'; '.join(self._job_metrics.rejected)}; give them other names"
            self._report(cues.ConditionDetected(METRICS_CONDITION, said))
        elif self._metrics_condition_raised:
            self._report(cues.ConditionResolved(METRICS_CONDITION))
        self._metrics_condition_raised = bool(self._job_metrics.rejected)

    def close(self) -> None:
        self._closed = True
        if self._server_task is not None:
            self._server_task.cancel()
        self._clear_port_condition()

    # --- told ---

    def on_effect(self, effect: Action | Event) -> None:
        if self._life_metrics is None:
            self._pending_effects.append((effect, self._loop.time()))
        else:
            self._life_metrics.on_effect(effect, self._loop.time())
        if self._status_stream is not None:
            self._status_stream.notify_listeners()

    def record_answer(self, status: int, path: str) -> None:
        """A request on the control socket was answered."""
        if self._life_metrics is None:
            self._pending_requests.append((status, path))
        else:
            self._life_metrics.record_answer(status, path)

    def set_metric(self, name: str, value: object) -> None:
        """Set a metric of the jobs. Raises ValueError with what is wrong."""
        from autopilot.adapters.telemetry.metric_values import parse_metric_value

        name, number = parse_metric_value(self._plan.metrics, name, value)
        if self._job_metrics is None:
            self._pending_values.append((name, number))
        else:
            self._job_metrics.set_metric(name, number)

    # --- asked ---

    async def handle(self, method: str, path: str, _body: Mapping[str, object]) -> Response:
        from autopilot.adapters.http_server import RequestError
        from autopilot.adapters.telemetry import containerpilot_status

        match method, path.partition("?")[0]:
            case "GET", "/":
                return 200, self._build_page()
            case "GET", "/v1/stream":
                return 200, self._open_stream()
            case "GET", "/metrics":
                return 200, await self._render_metrics()
            case "GET", "/status":
                return 200, containerpilot_status.build_status(
                    self._status_source.get_status(), self._status_source.list_services()
                )
            case _, "/status":
                raise RequestError(405, "/status takes a GET")
            case "GET", "/v1/status":
                return 200, self._status_source.get_status()
            case "GET", "/v1/targets":
                return 200, list(await self._status_source.list_targets())
        raise RequestError(404, f"nothing answers to {method} {path}; there are {PATHS}")

    def _build_page(self) -> Page:
        from autopilot.adapters.telemetry import status_page  # for those who look at it

        return status_page.load_page()

    def _open_stream(self) -> Stream:
        from autopilot.adapters.telemetry.status_page import StatusStream

        self._status_stream = self._status_stream or StatusStream(
            lambda: {**self._status_source.get_status(), "about": dict(self._metadata), "now": time.time()}
        )
        return self._status_stream.open_stream()

    async def _render_metrics(self) -> Page:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        from autopilot.adapters.http_server import Page

        assert self._life_metrics is not None and self._registry is not None, "served after they are made"
        asked = self._loop.time()
        await asyncio.sleep(0)
        lag = self._loop.time() - asked
        orphans, dropped = self._status_source.get_counts()
        self._life_metrics.update_from_status(
            self._status_source.get_status(),
            epoch_s=time.time(),
            orphans_reaped=orphans,
            log_dropped_bytes=dropped,
            loop_lag_s=lag,
        )
        return Page(CONTENT_TYPE_LATEST, generate_latest(self._registry))

    # --- the port ---

    async def _serve(self) -> None:
        """For as long as we live; a port that is taken now may be free later."""
        attempt = 0
        assert self._client_handler is not None, "served when it is loaded"
        while True:
            try:
                server = await asyncio.start_server(self._client_handler, self._address or None, self._plan.port)
                break
            except OSError as error:
                self._port_condition_raised = True
                where = f"{self._address}:{self._plan.port}"
                said = f"telemetry: cannot listen on {where}: {error.strerror or error}; it is tried again"
                self._report(cues.ConditionDetected(PORT_CONDITION, f"{said}; free the port or change telemetry.port"))
            await asyncio.sleep(min(FIRST_RETRY_DELAY_S * 2**attempt, MAX_RETRY_DELAY_S) * (0.5 + random.random()))
            attempt = min(attempt + 1, 10)
        self._clear_port_condition()
        async with server:
            await server.serve_forever()

    def _clear_port_condition(self) -> None:
        if self._port_condition_raised:
            self._port_condition_raised = False
            self._report(cues.ConditionResolved(PORT_CONDITION))
