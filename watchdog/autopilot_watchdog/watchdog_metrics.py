"""Export the memory as Prometheus metrics: node-exporter's textfile after each pass, or a port of `watch`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, make_wsgi_app, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.image_troubles import count_failed_preparations
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.reasons import REASON_CODES, Reason
from autopilot_watchdog.core.slot_channel import find_channel
from autopilot_watchdog.core.suspicions import count_suspects
from autopilot_watchdog.metrics_server import start_server

METRIC_PREFIX = "autopilot_watchdog_"


class MetricsCollector(Collector):
    """Collector of the metrics of one memory."""

    def __init__(self, config: Config, memory: Memory, reasons: Mapping[str, Reason], now: float) -> None:
        self._config = config
        self._memory = memory
        self._reasons = reasons
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        memory = self._memory
        slots = GaugeMetricFamily(f"{METRIC_PREFIX}slots", "Slots by why they are as they are.", labels=["code"])
        for code in REASON_CODES:
            slots.add_metric([code], sum(reason.code == code for reason in self._reasons.values()))
        yield slots
        lost = CounterMetricFamily(
            f"{METRIC_PREFIX}lost_slot_seconds", "Slot-seconds without a container.", labels=["cause"]
        )
        for cause, seconds in sorted(memory.lost.items()):
            lost.add_metric([cause], seconds)
        yield lost
        counts = CounterMetricFamily(f"{METRIC_PREFIX}done", "What the watchdog did and saw.", labels=["what"])
        for what, count in sorted(memory.counts.items()):
            counts.add_metric([what], count)
        yield counts
        yield from self._collect_image_metrics()
        yield self._collect_channels()
        yield _build_gauge("last_pass_timestamp_seconds", "When the last pass ended (dead man's switch).", self._now)
        yield _build_gauge(
            "last_success_timestamp_seconds", "The last pass in which all was well.", memory.last_success
        )
        if memory.config_refused:
            doc = "Since then the configuration's file cannot be used and a former one is."
            yield _build_gauge("config_refused_timestamp_seconds", doc, memory.config_refused)
        yield _build_gauge("paused", "1: the operator paused the watchdog.", float(memory.paused))
        yield _build_gauge("unremovable_containers", "Dead containers that the engine keeps.", len(self._memory.stuck))
        yield _build_gauge("failed_lives_in_a_row", "On this host, whatever the slot.", memory.streak)

    def _collect_image_metrics(self) -> Iterator[Metric]:
        quarantined = GaugeMetricFamily(
            f"{METRIC_PREFIX}quarantined_digests", "Digests that are not started.", labels=["image"]
        )
        suspect = GaugeMetricFamily(
            f"{METRIC_PREFIX}suspect_digests",
            "Digests with lives or payloads that do worse than those of the good one before.",
            labels=["image"],
        )
        answered = GaugeMetricFamily(
            f"{METRIC_PREFIX}registry_answer_timestamp_seconds", "The registry's last.", labels=["image"]
        )
        failed = GaugeMetricFamily(
            f"{METRIC_PREFIX}failed_preparations_in_a_row",
            "Failed pulls, signature checks and pre-flights of the digest that is wanted next.",
            labels=["image"],
        )
        pinned = GaugeMetricFamily(f"{METRIC_PREFIX}pinned", "1: the operator pinned a digest.", labels=["image"])
        age = GaugeMetricFamily(
            f"{METRIC_PREFIX}digest_age_seconds", "Since the digest was first seen.", labels=["image", "digest", "part"]
        )
        for key in dict.fromkeys(group.image_key for group in self._config.list_channels(with_followed=True)):
            image = self._memory.get_image(key)
            quarantined.add_metric([key], len(image.quarantine))
            suspect.add_metric([key], count_suspects(image))
            answered.add_metric([key], image.answered_at)
            failed.add_metric([key], count_failed_preparations(image))
            pinned.add_metric([key], float(bool(image.pin)))
            for part, digest in (("newest", image.newest), ("last_good", image.last_good)):
                if digest in image.records:
                    age.add_metric([key, digest, part], self._now - image.records[digest].first_seen)
        yield from (quarantined, suspect, answered, failed, pinned, age)

    def _collect_channels(self) -> Metric:
        """Return the numbers of slots with a living container by channel and digest."""
        slots = GaugeMetricFamily(
            f"{METRIC_PREFIX}channel_slots",
            "Slots with a container, by its channel (stable, canary) and digest.",
            labels=["channel", "image", "digest"],
        )
        counts: Counter[tuple[str, str, str]] = Counter()
        for name, (group, _) in self._config.map_slots_to_groups().items():
            slot = self._memory.get_slot(name)
            if slot.container and not slot.ended:
                channel = find_channel(self._memory, group, slot.digest)
                counts[channel.name, channel.image, slot.digest] += 1
        for labels, count in sorted(counts.items()):
            slots.add_metric(list(labels), count)
        return slots


def _build_gauge(name: str, doc: str, value: float) -> Metric:
    return GaugeMetricFamily(METRIC_PREFIX + name, doc, value)


def write_textfile(config: Config, memory: Memory, reasons: Mapping[str, Reason], now: float) -> None:
    """Write the metrics to the configured textfile.

    Raises:
        OSError: The file cannot be written.
    """
    registry = CollectorRegistry()
    registry.register(MetricsCollector(config, memory, reasons, now))
    path = Path(config.metrics.textfile)
    write_to_textfile(str(path), registry)
    path.chmod(0o644)  # node-exporter runs as another user


class MetricsServer(Collector):
    """Server of the last pass's metrics over HTTP."""

    def __init__(self, listen: str) -> None:
        """Listen on HOST:PORT; raise OSError if the address cannot be used."""
        host, _, port = listen.rpartition(":")
        self._collector: MetricsCollector | None = None
        registry = CollectorRegistry()
        registry.register(self)
        self._server = start_server(host.strip("[]"), int(port), make_wsgi_app(registry))

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last pass; none before the first."""
        return self._collector.collect() if self._collector else iter(())

    @property
    def port(self) -> int:
        """TCP port of the server."""
        return self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def update(self, config: Config, memory: Memory, reasons: Mapping[str, Reason], now: float) -> None:
        """Serve the metrics of this pass from now on."""
        self._collector = MetricsCollector(config, memory, reasons, now)
