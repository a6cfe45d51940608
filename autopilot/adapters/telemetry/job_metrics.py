"""Metrics of the jobs: declared in the job spec, set through the control socket."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Gauge, Histogram, Summary
from prometheus_client.core import UnknownMetricFamily

from autopilot.spec.plan import Metric


class UnknownMetric(Exception):
    """No metric has this name, or it cannot take this value."""


class JobMetrics:
    def __init__(self, planned: Sequence[Metric], registry: CollectorRegistry) -> None:
        self._take: dict[str, Callable[[float], None]] = {m.name: _instrument(m, registry) for m in planned}

    def record(self, name: str, value: object) -> None:
        """Raises UnknownMetric."""
        if name not in self._take:
            known = ", ".join(self._take) or "none is declared in telemetry.metrics"
            raise UnknownMetric(f"there is no metric {name!r}; there are: {known}")
        try:
            number = float(str(value))
            if math.isnan(number):
                raise ValueError
            self._take[name](number)
        except ValueError:
            raise UnknownMetric(f"{name}: cannot be {value!r}; write a number, not below 0 for a counter") from None


def _instrument(metric: Metric, registry: CollectorRegistry) -> Callable[[float], None]:
    match metric.type:
        case "gauge":
            return Gauge(metric.name, metric.help, registry=registry).set
        case "histogram":
            buckets = metric.buckets or Histogram.DEFAULT_BUCKETS
            return Histogram(metric.name, metric.help, buckets=buckets, registry=registry).observe
        case "summary":  # count and sum; this library computes no quantiles
            return Summary(metric.name, metric.help, registry=registry).observe
        case "counter":
            counter = _Counter(metric)
            registry.register(counter)
            return counter.add


class _Counter:
    """A counter under exactly the name its owner gave it, as ContainerPilot exports it."""

    def __init__(self, metric: Metric) -> None:
        self._metric, self._value = metric, 0.0

    def add(self, value: float) -> None:
        if value < 0:
            raise ValueError
        self._value += value

    def collect(self) -> Iterator[UnknownMetricFamily]:
        yield UnknownMetricFamily(self._metric.name, self._metric.help, value=self._value)
