"""GET /status as ContainerPilot answers it, from what `autopilot status` shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def status(seen: Mapping[str, Any]) -> dict[str, object]:
    consul = seen.get("consul", {})
    return {
        "Version": seen["version"],
        "Jobs": [{"Name": job["name"], "Status": _job(job, seen["maintenance"])} for job in seen["jobs"]],
        "Services": [
            {"Name": s["name"], "Address": s["address"], "Port": s["port"], "Status": s["status"]}
            for s in consul.get("services", ())
        ],
        "Watches": [watch["name"] for watch in consul.get("watches", ())],
    }


def _job(job: Mapping[str, Any], maintenance: bool) -> str:
    """A job without a check is healthy while it runs."""
    if maintenance and job["health"] is not None:
        return "maintenance"
    if job["health"] in ("healthy", "unhealthy"):
        return str(job["health"])
    if job["health"] is None and job["pid"] is not None:
        return "healthy"
    return "unknown"
