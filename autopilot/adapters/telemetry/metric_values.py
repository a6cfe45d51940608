"""Check a value for a metric of the jobs, without prometheus-client, which may not be loaded yet."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from autopilot.spec.plan import Metric

MAX_NUMBER_CHARS = 40
MAX_NUMBER = 1e300  # so that no sum of values becomes infinite
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def parse_metric_value(declared_metrics: Sequence[Metric], name: str, value: object) -> tuple[str, float]:
    """Return the declared name of a metric, and the number.

    Raises:
        ValueError: No such metric is declared, or the value is not a number that the metric can take.
    """
    known = {metric.name: metric for metric in declared_metrics}
    # ContainerPilot took `__name` for a metric without namespace and subsystem, and scripts still use that
    metric = known.get(name) or known.get(re.sub("__+", "_", name.lstrip("_")))
    if metric is None:
        declared = ", ".join(known) or "none is declared in telemetry.metrics"
        raise ValueError(f"there is no metric {name!r}; there are: {declared}")
    text = str(value).strip()
    number = float(text) if len(text) <= MAX_NUMBER_CHARS and _NUMBER.fullmatch(text) else math.nan
    if not abs(number) <= MAX_NUMBER or (metric.type == "counter" and number < 0):
        shown = repr(value) if len(text) <= MAX_NUMBER_CHARS else f"{text[:37]}..."
        raise ValueError(
            f"{metric.name}: cannot be {shown}; write a number of at most {MAX_NUMBER:g}, not below 0 for a counter"
        )
    return metric.name, number
