"""Metrics of the jobs: declared in the job spec, set through the control socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Gauge, Histogram, Summary
from prometheus_client.core import UnknownMetricFamily
from prometheus_client.registry import Collector

from autopilot.spec.plan import Metric

Recorder = Callable[[float], None]


class JobMetrics:
    def __init__(self, planned: Sequence[Metric], registry: CollectorRegistry) -> None:
        self._registry = registry
        self._registered: dict[Metric, tuple[Collector, Recorder]] = {}
        self._recorders: dict[str, Recorder] = {}
        self.rejected: list[str] = []  # one sentence for each that cannot be
        self.update_metrics(planned)

    def update_metrics(self, planned: Sequence[Metric]) -> None:
        """These metrics from now on. One that is the same as before keeps its value. One that cannot be is left out:
        validation refuses such, and what it may have missed must not end a life, nor a reload halfway."""
        for metric in self._registered.keys() - set(planned):
            collector, _ = self._registered.pop(metric)
            self._registry.unregister(collector)
        self.rejected = []
        for metric in planned:
            if metric not in self._registered:
                try:
                    made = _create_collector(metric)
                    self._registry.register(made[0])
                except ValueError as error:
                    self.rejected.append(f"{metric.name}: {error}")
                else:
                    self._registered[metric] = made
        self._recorders = {metric.name: take for metric, (_, take) in self._registered.items()}

    def set_metric(self, name: str, number: float) -> None:
        """As `values.checked` gives them. One that was left out takes none."""
        if name in self._recorders:
            self._recorders[name](number)


def _create_collector(metric: Metric) -> tuple[Collector, Recorder]:
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
            counter = _ExactNameCounter(metric)
            return counter, counter.add


class _ExactNameCounter(Collector):
    """A counter under exactly the name its owner gave it, as ContainerPilot exports it."""

    def __init__(self, metric: Metric) -> None:
        self._metric, self._value = metric, 0.0

    def add(self, value: float) -> None:
        self._value += value

    def collect(self) -> Iterator[UnknownMetricFamily]:
        yield UnknownMetricFamily(self._metric.name, self._metric.help, value=self._value)
