"""Every container that Consul knows, read from the metadata of the supervisors' own services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autopilot.adapters.consul.desired_services import SUPERVISOR_SERVICE

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient


async def list_containers(client: ConsulClient, datacenter: str | None = None) -> list[dict[str, Any]]:
    """Sorted by host and slot; without a leader those that were known last. Raises Unreachable, Refused."""
    from autopilot.adapters.consul.consul_client import ConsulRefusedError

    found = await client.read_with_stale_fallback(
        f"/v1/health/service/{SUPERVISOR_SERVICE}", **({"dc": datacenter} if datacenter else {})
    )
    if not found and not await client.may_read_service(SUPERVISOR_SERVICE, (), datacenter):
        raise ConsulRefusedError(
            f'the token may not read the service {SUPERVISOR_SERVICE}; allow it service "{SUPERVISOR_SERVICE}" and node_prefix "" (read)'
        )
    return sorted(map(parse_container, found), key=lambda c: (c["host"], c["slot"], c["started"]))


def parse_container(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of GET /v1/health/service/autopilot. Times as they are written there, "" where unknown."""
    meta = entry["Service"]["Meta"] or {}
    payloads = meta.get("payloads", "")
    return {
        "container_id": meta.get("container-id", ""),
        "host": meta.get("host") or entry["Node"]["Node"],
        "slot": meta.get("slot", ""),
        "node": entry["Node"]["Node"],
        "image_digest": meta.get("image-digest", ""),
        "version": meta.get("version", ""),
        "life": meta.get("life", ""),
        "started": meta.get("started", ""),
        "lifetime_end": meta.get("lifetime-end", ""),
        "drain": meta.get("drain", ""),
        "drain_deadline": meta.get("drain-deadline", ""),
        "payloads": int(payloads) if payloads.isdigit() else None,
        "status": _determine_status(entry),
    }


def _determine_status(entry: Mapping[str, Any]) -> str:
    """Maintenance, lost (Consul hears nothing of the node or of us) or alive."""
    if any(check["CheckID"].startswith("_service_maintenance") for check in entry["Checks"]):
        return "maintenance"
    return "lost" if any(check["Status"] == "critical" for check in entry["Checks"]) else "alive"
