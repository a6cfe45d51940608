"""List all containers that Consul knows: by their supervisors' services, or by the entries of those without a port."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autopilot.adapters.consul.consul_errors import ConsulRefusedError
from autopilot.adapters.consul.fleet_entry import KEY_PREFIX
from autopilot.adapters.consul.service_definition import MAX_META_VALUE_CHARS
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
    tells_permissions = not client.is_leaderless
    if not entries and tells_permissions and not await client.may_read_service(SUPERVISOR_SERVICE, (), datacenter):
        remedy = f'allow it service "{SUPERVISOR_SERVICE}" and node_prefix "" (read)'
        raise ConsulRefusedError(f"the token may not read the service {SUPERVISOR_SERVICE}; {remedy}")
    items = await client.read_with_stale_fallback(f"/v1/kv/{KEY_PREFIX}", recurse="", **params)
    if not items and tells_permissions and not await client.may_read_key(KEY_PREFIX):
        remedy = f'allow it key_prefix "{KEY_PREFIX}" (read)'
        raise ConsulRefusedError(f"the token may not read the keys below {KEY_PREFIX}; {remedy}")
    by_life = {container["life"]: container for container in map(parse_entry, items or ()) if container is not None}
    containers = [*map(parse_container, entries), *by_life.values()]
    return sorted(containers, key=lambda c: (c["host"], c["slot"], c["started"]))


def parse_entry(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of a container from its key below `KEY_PREFIX`; None for a key that holds something else."""
    try:
        record = json.loads(base64.b64decode(item["Value"] or ""))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not item.get("Session"):
        return None
    meta = {key: value[:MAX_META_VALUE_CHARS] for key, value in record.items() if isinstance(value, str)}
    status = meta.get("status", "")
    return {
        **_parse_meta(meta, meta.get("hostname", "")),
        "status": status if status in ("alive", "maintenance") else "alive",
    }


def parse_container(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a container from one entry of GET /v1/health/service/autopilot.

    Times are ISO 8601 texts, "" where unknown.
    """
    return {**_parse_meta(entry["Service"]["Meta"] or {}, entry["Node"]["Node"]), "status": _determine_status(entry)}


def _parse_meta(meta: Mapping[str, str], node: str) -> dict[str, Any]:
    payloads = meta.get("payloads", "")
    return {
        "container_id": meta.get("container-id", ""),
        "host": meta.get("host") or node,
        "slot": meta.get("slot", ""),
        "node": node,
        "image_digest": meta.get("image-digest", ""),
        "channel": meta.get("channel", ""),
        "image_reason": meta.get("image-reason", ""),
        "version": meta.get("version", ""),
        "life": meta.get("life", ""),
        "batch_system": meta.get("batch-system", ""),
        "started": meta.get("started", ""),
        "lifetime_end": meta.get("lifetime-end", ""),
        "drain": meta.get("drain", ""),
        "drain_deadline": meta.get("drain-deadline", ""),
        "payloads": int(payloads) if payloads.isascii() and payloads.isdigit() and len(payloads) < 10 else None,
    }


BLANK_CONTAINER: Mapping[str, Any] = {**_parse_meta({}, ""), "status": ""}


def is_in_maintenance(entry: Mapping[str, Any]) -> bool:
    """Return True if the service of an entry of GET /v1/health/service/NAME is in maintenance."""
    return any(check["CheckID"].startswith("_service_maintenance") for check in entry["Checks"])


def _determine_status(entry: Mapping[str, Any]) -> str:
    """Return "maintenance", "lost" (neither the node nor the supervisor sends heartbeats) or "alive"."""
    if is_in_maintenance(entry):
        return "maintenance"
    return "lost" if any(check["Status"] == "critical" for check in entry["Checks"]) else "alive"
