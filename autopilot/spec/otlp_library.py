"""Tell if the library for OTLP is installed, without loading it."""

from __future__ import annotations

from importlib.util import find_spec

OTLP_PROTOCOLS = ("otlp+http", "otlp+https")
OTLP_REMEDY = "opentelemetry-exporter-otlp-proto-http is not installed (install condor-autopilot with its extra otlp)"


def is_otlp_installed() -> bool:
    """Return True when OpenTelemetry's exporter for OTLP/HTTP can be imported."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # of a package above it
        return False
