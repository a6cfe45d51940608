"""List all containers that Consul knows, from the metadata of their supervisors' services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autopilot.adapters.consul.consul_errors import ConsulRefusedError
from autopilot.adapters.service_names import SUPERVISOR_SERVICE

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient


async def list_containers(client: ConsulClient, datacenter: str | None = None) -> list[dict[str, Any]]:
    """Return all containers by host and slot; without a leader the last state that a server has.

    Raises:
        ConsulUnreachableError: Consul cannot be reached.
        ConsulRefusedError: The token may not read the service, or Consul refuses for another reason.
    """
    params = {"dc": datacenter} if datacenter else {}
    entries = await client.read_with_stale_fallback(f"/v1/health/service/{SUPERVISOR_SERVICE}", **params)
    if not entries and not await client.may_read_service(SUPERVISOR_SERVICE, (), datacenter):
        remedy = f'allow it service "{SUPERVISOR_SERVICE}" and node_prefix "" (read)'
        raise ConsulRefusedError(f"the token may not read the service {SUPERVISOR_SERVICE}; {remedy}")
    return sorted(map(parse_container, entries), key=lambda c: (c["host"], c["slot"], c["started"]))


def parse_container(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a container from one entry of GET /v1/health/service/autopilot.

    Times are ISO 8601 texts, "" where unknown.
    """
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
        "payloads": int(payloads) if payloads.isascii() and payloads.isdigit() else None,
        "status": _determine_status(entry),
    }


def is_in_maintenance(entry: Mapping[str, Any]) -> bool:
    """Return True if the service of an entry of GET /v1/health/service/NAME is in maintenance."""
    return any(check["CheckID"].startswith("_service_maintenance") for check in entry["Checks"])


def _determine_status(entry: Mapping[str, Any]) -> str:
    """Return "maintenance", "lost" (neither the node nor the supervisor sends heartbeats) or "alive"."""
    if is_in_maintenance(entry):
        return "maintenance"
    return "lost" if any(check["Status"] == "critical" for check in entry["Checks"]) else "alive"
