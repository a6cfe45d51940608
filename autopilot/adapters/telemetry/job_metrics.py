"""Hold the metrics of the jobs, which the job spec declares and the control socket sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Gauge, Histogram, Summary
from prometheus_client.core import UnknownMetricFamily
from prometheus_client.registry import Collector

from autopilot.spec.plan import Metric

DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # those of Go's client library

Recorder = Callable[[float], None]


class JobMetrics:
    """The declared metrics that a registry accepts, with their values."""

    def __init__(self, planned: Sequence[Metric], registry: CollectorRegistry) -> None:
        self._registry = registry
        self._registered: dict[Metric, tuple[Collector, Recorder]] = {}
        self._recorders: dict[str, Recorder] = {}
        self.rejected: list[str] = []  # one sentence for each metric that the registry does not accept
        self.update_metrics(planned)

    def update_metrics(self, planned: Sequence[Metric]) -> None:
        """Hold these metrics from now on; an unchanged metric keeps its value.

        A metric that the registry does not accept is left out and named in `rejected`. Validation finds such metrics;
        one that it misses must neither end this life nor stop a reload halfway.
        """
        for metric in self._registered.keys() - set(planned):
            collector, _ = self._registered.pop(metric)
            self._registry.unregister(collector)
        self.rejected = []
        for metric in planned:
            if metric not in self._registered:
                try:
                    created = _create_collector(metric)
                    self._registry.register(created[0])
                except ValueError as error:
                    self.rejected.append(f"{metric.name}: {error}")
                else:
                    self._registered[metric] = created
        self._recorders = {metric.name: record for metric, (_, record) in self._registered.items()}

    def set_metric(self, name: str, number: float) -> None:
        """Set a metric, or add to it, as its type says; a rejected metric takes no value.

        Args:
            name: The declared name, as `parse_metric_value` returns it.
            number: The number, checked by `parse_metric_value`.
        """
        if name in self._recorders:
            self._recorders[name](number)


def _create_collector(metric: Metric) -> tuple[Collector, Recorder]:
    match metric.type:
        case "gauge":
            gauge = Gauge(metric.name, metric.help, registry=None)
            return gauge, gauge.set
        case "histogram":
            histogram = Histogram(metric.name, metric.help, buckets=metric.buckets or DEFAULT_BUCKETS, registry=None)
            return histogram, histogram.observe
        case "summary":  # count and sum; this library computes no quantiles
            summary = Summary(metric.name, metric.help, registry=None)
            return summary, summary.observe
        case "counter":
            counter = _ExactNameCounter(metric)
            return counter, counter.add


class _ExactNameCounter(Collector):
    """A counter without the suffix `_total`, under exactly the declared name, as ContainerPilot exports it."""

    def __init__(self, metric: Metric) -> None:
        self._metric, self._value = metric, 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        self._value += value

    def collect(self) -> Iterator[UnknownMetricFamily]:
        """Yield the sample (called by the registry)."""
        yield UnknownMetricFamily(self._metric.name, self._metric.help, value=self._value)
