"""Define a service for Consul, and compare a definition with the agent's entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_OUTPUT_BYTES = 4096  # Consul truncates a longer check output
MAX_META_VALUE_CHARS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDefinition:
    """Definition of a service with its TTL check. An `address` of "" means the agent's own."""

    id: str
    name: str
    ttl: float  # s; without a heartbeat for so long the check becomes critical
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    enable_tag_override: bool = False
    deregister_critical_service_after: str | None = None  # Consul takes less than 1m as 1m

    @property
    def check_id(self) -> str:
        """The id of the TTL check."""
        return f"service:{self.id}"


def build_registration_body(definition: ServiceDefinition, status: str) -> dict[str, Any]:
    """Return the body of PUT /v1/agent/service/register."""
    d = definition
    check = {"CheckID": d.check_id, "Name": f"autopilot: {d.name}", "TTL": f"{d.ttl:g}s", "Status": status}
    if d.deregister_critical_service_after:
        check["DeregisterCriticalServiceAfter"] = d.deregister_critical_service_after
    body: dict[str, Any] = {
        "ID": d.id,
        "Name": d.name,
        "Tags": list(d.tags),
        "Meta": {key: value[:MAX_META_VALUE_CHARS] for key, value in d.meta.items() if value},
        "EnableTagOverride": d.enable_tag_override,
        "Check": check,
    }
    if d.port:
        body["Port"] = d.port
    if d.address:
        body["Address"] = d.address
    return body


def is_redefined(definition: ServiceDefinition, agent_service: Mapping[str, Any]) -> bool:
    """Return True if the agent's entry (GET /v1/agent/service/ID) differs from our definition.

    Tags do not count if others may change them.
    """
    body = build_registration_body(definition, "")
    same_tags = definition.enable_tag_override or sorted(agent_service.get("Tags") or ()) == sorted(definition.tags)
    return not same_tags or any(
        (agent_service.get(entry_key) or default) != body.get(body_key, default)
        for body_key, entry_key, default in (
            ("Name", "Service", ""),
            ("Meta", "Meta", {}),
            ("Port", "Port", 0),
            ("Address", "Address", ""),
        )
    )


def trim_output(output: str) -> str:
    """Return the last MAX_OUTPUT_BYTES of a check's output: its verdict is the last line."""
    data = output.encode(errors="replace")
    return data[-MAX_OUTPUT_BYTES:].decode(errors="ignore")
