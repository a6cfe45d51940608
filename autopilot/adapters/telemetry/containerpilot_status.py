"""Build ContainerPilot's answer to GET /status from the status that `autopilot status` shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from autopilot.adapters.http_server import Page

if TYPE_CHECKING:
    from autopilot.api.messages import JobStatus, Status, TelemetryHealth, TelemetryStatus


class Service(NamedTuple):
    """A service of this container, registered in Consul or not."""

    name: str
    address: str
    port: int


def format_status(autopilot_status: Status, services: Sequence[Service]) -> Page:
    """Return the answer as a page: JSON without spaces, as in ContainerPilot, for clients that search its text."""
    text = json.dumps(build_status(autopilot_status, services), separators=(",", ":"), ensure_ascii=False)
    return Page("application/json", text.encode() + b"\n")


def build_status(autopilot_status: Status, services: Sequence[Service]) -> TelemetryStatus:
    """Return the answer; a job that offers a service is listed among the services only."""
    status_by_job = {
        job["name"]: _convert_job_status(job, autopilot_status["maintenance"]) for job in autopilot_status["jobs"]
    }
    offered = {service.name for service in services}
    return {
        "Version": autopilot_status["version"],
        "Jobs": [{"Name": name, "Status": status} for name, status in status_by_job.items() if name not in offered],
        "Services": [
            {
                "Name": name,
                "Address": address,
                "Port": port,
                "Status": status_by_job.get(name, "healthy"),  # the telemetry is no job
            }
            for name, address, port in services
        ],
        "Watches": [watch["name"] for watch in autopilot_status.get("consul", {}).get("watches", ())],
    }


def _convert_job_status(job: JobStatus, maintenance: bool) -> TelemetryHealth:
    """Return ContainerPilot's word for a job's state; a job without a check is healthy while it runs."""
    if job["state"] == "done":
        return "completed"
    if maintenance and job["health"] is not None:
        return "maintenance"
    if job["health"] in ("healthy", "unhealthy"):
        return job["health"]
    if job["health"] is None and job["pid"] is not None:
        return "healthy"
    return "unknown"
