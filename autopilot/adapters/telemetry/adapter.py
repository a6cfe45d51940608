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
from autopilot.machines.facts import Fact
from autopilot.runtime.loading import loaded
from autopilot.spec.plan import Telemetry as Plan

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from autopilot.adapters.telemetry.containerpilot import Service
    from autopilot.adapters.telemetry.instruments import Instruments
    from autopilot.adapters.telemetry.job_metrics import JobMetrics
    from autopilot.adapters.telemetry.live import Live
    from autopilot.adapters.wire import Answer, Client, Page, Stream

FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # s, when the port is taken
TROUBLE, CLASH = "telemetry-port", "telemetry-metrics"
PATHS = "/, /metrics, /status, /v1/status, /v1/stream, /v1/targets"


class CannotUseTelemetry(Exception):
    pass


class Views(Protocol):
    """What is looked at when somebody asks."""

    def status(self) -> Mapping[str, Any]: ...

    def counts(self) -> tuple[int, int]:
        """Orphans reaped, bytes of log dropped."""
        ...

    def services(self) -> Sequence[Service]: ...

    async def targets(self) -> Sequence[Mapping[str, object]]:
        """What http_sd of Prometheus wants to know."""
        ...


class Telemetry:
    def __init__(
        self,
        plan: Plan,
        *,
        address: str,
        about: Mapping[str, str],
        views: Views,
        report: Callable[[cues.Cue], None],
        background: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """Made with a running loop. `address` "": listen on all. Raises CannotUseTelemetry."""
        if find_spec("prometheus_client") is None:
            remedy = "pip install condor-autopilot[telemetry]"
            raise CannotUseTelemetry(f"telemetry: cannot be used: not installed: prometheus-client ({remedy})")
        self._plan, self._address, self._about, self._views = plan, address, about, views
        self._report, self._background = report, background
        self._loop = asyncio.get_running_loop()
        self._early: list[tuple[Action | Fact, float]] = []
        self._early_values: list[tuple[str, float]] = []
        self._early_answers: list[tuple[int, str]] = []
        self._registry: CollectorRegistry | None = None
        self._instruments: Instruments | None = None
        self._metrics: JobMetrics | None = None
        self._live: Live | None = None
        self._serving: asyncio.Task[None] | None = None
        self._clash = False
        self._client: Client | None = None  # its limit holds for all ports that there have been
        self._troubled = False  # the port is taken, and that has been said
        self._closed = False

    def begin(self) -> None:
        self._background(self._begin())

    async def _begin(self) -> None:
        await loaded("prometheus_client")
        from prometheus_client import CollectorRegistry

        from autopilot.adapters.telemetry.instruments import Instruments
        from autopilot.adapters.telemetry.job_metrics import JobMetrics
        from autopilot.adapters.wire import client_server

        self._registry = CollectorRegistry(auto_describe=True)  # so that it knows of every name, and of every clash
        self._client = client_server(self.handle)
        self._instruments = Instruments(self._registry, about=self._about)
        self._metrics = JobMetrics(self._plan.metrics, self._registry)
        self._say_left_out()
        for effect, at in self._early:
            self._instruments.hear(effect, at)
        self._early.clear()
        for name, number in self._early_values:
            self._metrics.record(name, number)
        self._early_values.clear()
        for status, path in self._early_answers:
            self._instruments.answered(status, path)
        self._early_answers.clear()
        if not self._closed:
            self._serving = self._background(self._serve())

    def adopt(self, plan: Plan, *, address: str) -> None:
        """Another port from now on, or other metrics; those that are the same keep their values."""
        moved = (plan.port, address) != (self._plan.port, self._address)
        self._plan, self._address = plan, address
        if self._metrics is not None:
            self._metrics.adopt(plan.metrics)
            self._say_left_out()
        if moved and self._serving is not None:
            self._serving.cancel()
            self._serving = self._background(self._serve())

    def _say_left_out(self) -> None:
        assert self._metrics is not None, "it is said of metrics that were made"
        if self._metrics.left_out:
            said = f"telemetry: metrics are left out: {'; '.join(self._metrics.left_out)}; give them other names"
            self._report(cues.NodeTrouble(CLASH, said))
        elif self._clash:
            self._report(cues.NodeRecovered(CLASH))
        self._clash = bool(self._metrics.left_out)

    def close(self) -> None:
        self._closed = True
        if self._serving is not None:
            self._serving.cancel()
        self._mend()

    # --- told ---

    def hear(self, effect: Action | Fact) -> None:
        if self._instruments is None:
            self._early.append((effect, self._loop.time()))
        else:
            self._instruments.hear(effect, self._loop.time())
        if self._live is not None:
            self._live.stir()

    def answered(self, status: int, path: str) -> None:
        """A request on the control socket was answered."""
        if self._instruments is None:
            self._early_answers.append((status, path))
        else:
            self._instruments.answered(status, path)

    def record(self, name: str, value: object) -> None:
        """Set a metric of the jobs. Raises ValueError with what is wrong."""
        from autopilot.adapters.telemetry.values import checked

        name, number = checked(self._plan.metrics, name, value)
        if self._metrics is None:
            self._early_values.append((name, number))
        else:
            self._metrics.record(name, number)

    # --- asked ---

    async def handle(self, method: str, path: str, _body: Mapping[str, object]) -> Answer:
        from autopilot.adapters.telemetry import containerpilot
        from autopilot.adapters.wire import Refused

        match method, path.partition("?")[0]:
            case "GET", "/":
                return 200, self._page()
            case "GET", "/v1/stream":
                return 200, self._stream()
            case "GET", "/metrics":
                return 200, await self._exposition()
            case "GET", "/status":
                return 200, containerpilot.status(self._views.status(), self._views.services())
            case _, "/status":
                raise Refused(405, "/status takes a GET")
            case "GET", "/v1/status":
                return 200, self._views.status()
            case "GET", "/v1/targets":
                return 200, list(await self._views.targets())
        raise Refused(404, f"nothing answers to {method} {path}; there are {PATHS}")

    def _page(self) -> Page:
        from autopilot.adapters.telemetry import live  # for those who look at it

        return live.page()

    def _stream(self) -> Stream:
        from autopilot.adapters.telemetry.live import Live

        self._live = self._live or Live(lambda: {**self._views.status(), "about": self._about})
        return self._live.stream()

    async def _exposition(self) -> Page:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        from autopilot.adapters.wire import Page

        assert self._instruments is not None and self._registry is not None, "served after they are made"
        asked = self._loop.time()
        await asyncio.sleep(0)
        lag = self._loop.time() - asked
        orphans, dropped = self._views.counts()
        self._instruments.look(self._views.status(), wall=time.time(), orphans=orphans, dropped=dropped, lag=lag)
        return Page(CONTENT_TYPE_LATEST, generate_latest(self._registry))

    # --- the port ---

    async def _serve(self) -> None:
        """For as long as we live; a port that is taken now may be free later."""
        attempt = 0
        assert self._client is not None, "served when it is loaded"
        while True:
            try:
                server = await asyncio.start_server(self._client, self._address or None, self._plan.port)
                break
            except OSError as error:
                self._troubled = True
                where = f"{self._address}:{self._plan.port}"
                said = f"telemetry: cannot listen on {where}: {error.strerror or error}; it is tried again"
                self._report(cues.NodeTrouble(TROUBLE, f"{said}; free the port or change telemetry.port"))
            await asyncio.sleep(min(FIRST_RETRY * 2**attempt, LAST_RETRY) * (0.5 + random.random()))
            attempt = min(attempt + 1, 10)
        self._mend()
        async with server:
            await server.serve_forever()

    def _mend(self) -> None:
        if self._troubled:
            self._troubled = False
            self._report(cues.NodeRecovered(TROUBLE))
