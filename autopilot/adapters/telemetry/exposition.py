"""Render metrics in Prometheus's text format, with types and bucket labels as Go's client library writes them.

ContainerPilot exported its metrics by that library, so its users' queries name buckets as `le="1"`, where
prometheus-client writes `le="1.0"`. Its counters have no suffix `_total`. prometheus-client would add one to a counter,
so they are collected as metrics of an unknown type, and no other metric of ours is.
"""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, generate_latest

_UNTYPED = re.compile(rb"^(# TYPE \S+ )(?:untyped|unknown)$", re.MULTILINE)
_WHOLE_BUCKET = re.compile(rb'^(\S+_bucket\{(?:[^"\n]*"[^"\n]*",)*le="\d+)\.0"', re.MULTILINE)


def render_metrics(registry: CollectorRegistry) -> bytes:
    """Return the metrics of the registry as text."""
    text = _UNTYPED.sub(rb"\1counter", generate_latest(registry))
    return _WHOLE_BUCKET.sub(rb'\1"', text)
