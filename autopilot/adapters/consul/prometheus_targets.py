"""Telemetry ports found in Consul, as Prometheus's http_sd reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autopilot.api.messages import ScrapeTarget

LABEL_META_KEYS = ("container-id", "image-digest", "host", "slot", "version")


def build_target(entry: Mapping[str, Any]) -> ScrapeTarget:
    """One entry of GET /v1/health/service/NAME. Labels carry no dots or dashes."""
    node, service = entry["Node"], entry["Service"]
    address = service["Address"] or node["Address"]
    if ":" in address:
        address = f"[{address}]"
    meta = service["Meta"] or {}
    labels = {key.replace("-", "_"): meta[key] for key in LABEL_META_KEYS if key in meta}
    states = {check["Status"] for check in entry["Checks"]}
    health = next((state for state in ("critical", "warning") if state in states), "passing")
    if any(check["CheckID"].startswith("_service_maintenance") for check in entry["Checks"]):
        health = "maintenance"
    found = {"instance": service["ID"], "node": node["Node"], "__meta_autopilot_health": health, **labels}
    return {"targets": [f"{address}:{service['Port']}"], "labels": found}
