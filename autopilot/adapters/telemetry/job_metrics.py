"""Metrics of the jobs: declared in the job spec, set through the control socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Gauge, Histogram, Summary
from prometheus_client.core import UnknownMetricFamily
from prometheus_client.registry import Collector

from autopilot.spec.plan import Metric

Take = Callable[[float], None]


class JobMetrics:
    def __init__(self, planned: Sequence[Metric], registry: CollectorRegistry) -> None:
        self._registry = registry
        self._made: dict[Metric, tuple[Collector, Take]] = {}
        self._take: dict[str, Take] = {}
        self.left_out: list[str] = []  # one sentence for each that cannot be
        self.adopt(planned)

    def adopt(self, planned: Sequence[Metric]) -> None:
        """These metrics from now on. One that is the same as before keeps its value. One that cannot be is left out:
        validation refuses such, and what it may have missed must not end a life, nor a reload halfway."""
        for metric in self._made.keys() - set(planned):
            collector, _ = self._made.pop(metric)
            self._registry.unregister(collector)
        self.left_out = []
        for metric in planned:
            if metric not in self._made:
                try:
                    made = _instrument(metric)
                    self._registry.register(made[0])
                except ValueError as error:
                    self.left_out.append(f"{metric.name}: {error}")
                else:
                    self._made[metric] = made
        self._take = {metric.name: take for metric, (_, take) in self._made.items()}

    def record(self, name: str, number: float) -> None:
        """As `values.checked` gives them. One that was left out takes none."""
        if name in self._take:
            self._take[name](number)


def _instrument(metric: Metric) -> tuple[Collector, Take]:
    match metric.type:
        case "gauge":
            gauge = Gauge(metric.name, metric.help, registry=None)
            return gauge, gauge.set
        case "histogram":
            histogram = Histogram(
                metric.name, metric.help, buckets=metric.buckets or Histogram.DEFAULT_BUCKETS, registry=None
            )
            return histogram, histogram.observe
        case "summary":  # count and sum; this library computes no quantiles
            summary = Summary(metric.name, metric.help, registry=None)
            return summary, summary.observe
        case "counter":
            counter = _Counter(metric)
            return counter, counter.add


class _Counter(Collector):
    """A counter under exactly the name its owner gave it, as ContainerPilot exports it."""

    def __init__(self, metric: Metric) -> None:
        self._metric, self._value = metric, 0.0

    def add(self, value: float) -> None:
        self._value += value

    def collect(self) -> Iterator[UnknownMetricFamily]:
        yield UnknownMetricFamily(self._metric.name, self._metric.help, value=self._value)
