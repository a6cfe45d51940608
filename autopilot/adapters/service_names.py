"""Define the names under which the supervisor itself is registered and shown."""

from __future__ import annotations

SUPERVISOR_SERVICE = "autopilot"
TELEMETRY_SERVICE = (
    "containerpilot"  # ContainerPilot's name of its telemetry port, which its users' Prometheus discovers
)
