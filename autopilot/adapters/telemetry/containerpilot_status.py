"""GET /status as ContainerPilot answers it, from what `autopilot status` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from autopilot.api.messages import JobStatus, Status, TelemetryHealth, TelemetryStatus

TELEMETRY_SERVICE = "containerpilot"  # as it registers its own port


class Service(NamedTuple):
    """What this container offers, whether Consul knows it or not."""

    name: str
    address: str
    port: int


def build_status(autopilot_status: Status, services: Sequence[Service]) -> TelemetryStatus:
    """A job that offers a service is among the services alone."""
    of = {job["name"]: _convert_job_status(job, autopilot_status["maintenance"]) for job in autopilot_status["jobs"]}
    offered = {service.name for service in services}
    return {
        "Version": autopilot_status["version"],
        "Jobs": [{"Name": name, "Status": status} for name, status in of.items() if name not in offered],
        "Services": [
            {
                "Name": name,
                "Address": address,
                "Port": port,
                "Status": "healthy" if name == TELEMETRY_SERVICE else of[name],
            }
            for name, address, port in services
        ],
        "Watches": [watch["name"] for watch in autopilot_status.get("consul", {}).get("watches", ())],
    }


def _convert_job_status(job: JobStatus, maintenance: bool) -> TelemetryHealth:
    """A job without a check is healthy while it runs."""
    if job["state"] == "done":
        return "completed"
    if maintenance and job["health"] is not None:
        return "maintenance"
    if job["health"] in ("healthy", "unhealthy"):
        return job["health"]
    if job["health"] is None and job["pid"] is not None:
        return "healthy"
    return "unknown"
