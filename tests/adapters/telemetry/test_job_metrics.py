"""Validation and the registry know the same metric names; a clash that validation missed ends nothing."""

from __future__ import annotations

import asyncio
from typing import Any, get_args, get_type_hints

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from autopilot.adapters.telemetry.job_metrics import JobMetrics
from autopilot.adapters.telemetry.life_metrics import LifeMetrics, _create_consul_gauges, _create_queue_gauge
from autopilot.adapters.telemetry.process_usage import UsageMeter
from autopilot.adapters.telemetry.telemetry_adapter import METRICS_CONDITION, TelemetryAdapter
from autopilot.adapters.telemetry.usage_metrics import UsageMetrics
from autopilot.machines import cues
from autopilot.spec.metric_names import OWN_SAMPLE_NAMES, list_sample_names
from autopilot.spec.plan import Metric
from autopilot.spec.plan import Telemetry as Plan
from tests.app.harness import find_free_port

FOO = Metric(name="foo", help="x", type="summary")
CLASHING = Metric(name="foo_count", help="x", type="gauge")
BAR = Metric(name="bar", help="x", type="gauge")


@pytest.fixture
def registry():
    return CollectorRegistry(auto_describe=True)


def list_names(registry):
    return set(registry._names_to_collectors)


def test_own_names(registry):
    """Exactly the names that our own metrics take are kept from the jobs."""
    LifeMetrics(registry, metadata={})
    _create_consul_gauges(registry)
    _create_queue_gauge(registry)
    registry.register(UsageMetrics(UsageMeter()))
    assert list_names(registry) == OWN_SAMPLE_NAMES


@pytest.mark.parametrize("kind", get_args(get_type_hints(Metric)["type"]))
def test_names_of_each_type(registry, kind):
    """A metric of the jobs takes the names that validation counts with."""
    assert JobMetrics([Metric(name="foo", help="x", type=kind)], registry).rejected == []
    assert list_names(registry) == set(list_sample_names("foo", kind))


def test_clash_is_left_out(registry):
    """A metric that clashes is left out until the other one is removed; all others stay as they are."""
    metrics = JobMetrics([FOO], registry)
    metrics.update_metrics([FOO, CLASHING, BAR])
    assert [problem.partition(":")[0] for problem in metrics.rejected] == ["foo_count"]
    for name in ("foo", "foo_count", "bar"):
        metrics.set_metric(name, 7.0)
    text = generate_latest(registry).decode()
    assert "foo_sum 7.0" in text and "bar 7.0" in text and text.count("\nfoo_count ") == 1
    metrics.update_metrics([CLASHING, BAR])
    assert metrics.rejected == [] and "bar 7.0" in generate_latest(registry).decode()


def test_clash_is_a_trouble():
    """A metric that is left out is a condition until it is accepted."""
    reported: list[cues.Cue] = []

    unused: Any = None

    async def life():
        plan: dict[str, Any] = {"port": find_free_port(), "interfaces": ("lo",)}
        telemetry = TelemetryAdapter(
            Plan(**plan, metrics=(FOO, CLASHING)),
            address="127.0.0.1",
            metadata={},
            status_source=unused,
            report=reported.append,
            start_task=lambda work: asyncio.create_task(work() if callable(work) else work),
        )
        await telemetry._begin()
        telemetry.apply_plan(Plan(**plan, metrics=(FOO,)), address="127.0.0.1")
        telemetry.close()

    asyncio.run(life())
    trouble, recovered = reported
    assert (
        isinstance(trouble, cues.ConditionDetected)
        and trouble.kind == METRICS_CONDITION
        and "foo_count" in trouble.detail
    )
    assert recovered == cues.ConditionResolved(METRICS_CONDITION)
