"""What a metric of the jobs may be set to: decided before prometheus-client is loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from autopilot.spec.plan import Metric


def parse_metric_value(declared_metrics: Sequence[Metric], name: str, value: object) -> tuple[str, float]:
    """The name as it is declared, and the number. Raises ValueError with what is wrong."""
    known = {metric.name: metric for metric in declared_metrics}
    # a metric without namespace or subsystem could be set in ContainerPilot by `__name` alone: scripts still say so
    metric = known.get(name) or known.get(re.sub("__+", "_", name.lstrip("_")))
    if metric is None:
        declared = ", ".join(known) or "none is declared in telemetry.metrics"
        raise ValueError(f"there is no metric {name!r}; there are: {declared}")
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if math.isnan(number) or (metric.type == "counter" and number < 0):
        raise ValueError(f"{metric.name}: cannot be {value!r}; write a number, not below 0 for a counter")
    return metric.name, number
