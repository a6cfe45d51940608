"""List the telemetry ports registered in Consul as targets for Prometheus's http_sd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autopilot.api.messages import ScrapeTarget

from autopilot.adapters.consul.consul_client import ConsulClient
from autopilot.adapters.consul.consul_errors import ConsulRefusedError, ConsulUnreachableError
from autopilot.adapters.consul.fleet_listing import is_in_maintenance
from autopilot.adapters.service_names import TELEMETRY_SERVICE

LABEL_META_KEYS = ("container-id", "image-digest", "host", "slot", "version")
TIMEOUT_S = 5.0  # Prometheus waits for the answer


async def list_targets(client: ConsulClient) -> list[ScrapeTarget]:
    """Return the targets of all telemetry ports.

    Raises:
        ConnectionError: Consul cannot be reached, or refuses.
    """
    try:
        _, entries = await client.call(client.api.health.service(TELEMETRY_SERVICE), timeout_s=TIMEOUT_S)
    except (ConsulUnreachableError, ConsulRefusedError) as error:
        raise ConnectionError(str(error)) from None
    return [build_target(entry) for entry in entries]


def build_target(entry: Mapping[str, Any]) -> ScrapeTarget:
    """Return the target of one entry of GET /v1/health/service/NAME, with label names as Prometheus allows them."""
    node, service = entry["Node"], entry["Service"]
    address = service["Address"] or node["Address"]
    if ":" in address:
        address = f"[{address}]"
    meta = service["Meta"] or {}
    meta_labels = {key.replace("-", "_"): meta[key] for key in LABEL_META_KEYS if key in meta}
    statuses = {check["Status"] for check in entry["Checks"]}
    health = next((status for status in ("critical", "warning") if status in statuses), "passing")
    if is_in_maintenance(entry):
        health = "maintenance"
    labels = {"instance": service["ID"], "node": node["Node"], "__meta_autopilot_health": health, **meta_labels}
    return {"targets": [f"{address}:{service['Port']}"], "labels": labels}
