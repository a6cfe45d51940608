"""What a service of ours is to Consul: its definition, and how Consul's own words for it are read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_OUTPUT_BYTES = 4096  # bytes of a check's output that Consul keeps; it cuts what is longer
MAX_META_VALUE_CHARS = 512  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDefinition:
    """One service with its TTL check. An `address` of "" means: the agent's own."""

    id: str
    name: str
    ttl: float  # s; Consul makes the check critical when it hears nothing for so long
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    enable_tag_override: bool = False
    deregister_critical_service_after: str | None = None  # Consul makes less than 1m into 1m

    @property
    def check_id(self) -> str:
        return f"service:{self.id}"


def build_registration_body(definition: ServiceDefinition, status: str) -> dict[str, Any]:
    """The body of PUT /v1/agent/service/register."""
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
    """Whether what the agent holds (GET /v1/agent/service/ID) is not what we registered. Tags that others may change
    are no difference."""
    wanted = build_registration_body(definition, "")
    tags = definition.enable_tag_override or sorted(agent_service.get("Tags") or ()) == sorted(definition.tags)
    return not tags or any(
        (agent_service.get(theirs) or empty) != wanted.get(ours, empty)
        for ours, theirs, empty in (
            ("Name", "Service", ""),
            ("Meta", "Meta", {}),
            ("Port", "Port", 0),
            ("Address", "Address", ""),
        )
    )


def trim_output(output: str) -> str:
    """The end of it: a check's verdict is its last line."""
    data = output.encode(errors="replace")
    return data[-MAX_OUTPUT_BYTES:].decode(errors="ignore")
