"""Convert a plan to plain JSON data and back, exactly.

A compiled plan (`autopilot check --compile`) has this form, so that a start needs no pydantic. PLAN_VERSION is part of
the data: a plan written by another version is refused rather than misread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from autopilot.errors import AutopilotError
from autopilot.spec import plan as p
from autopilot.spec.extensions import load_batch_system, load_check_kind

PLAN_VERSION = 5

# Which class a nested object becomes; everything else is a plain value, a tuple of them or a mapping of strings.
_NESTED_TYPES: dict[type, dict[str, type]] = {
    p.Plan: {
        "jobs": p.Job,
        "checks": p.Gate,
        "lifetime": p.Lifetime,
        "batch": p.Batch,
        "logging": p.Logging,
        "consul": p.Consul,
        "consul_agent": p.ConsulAgent,
        "watches": p.Watch,
        "locks": p.Lock,
        "templates": p.Template,
        "telemetry": p.Telemetry,
    },
    p.Job: {
        "command": p.Command,
        "when": p.When,
        "backoff": p.Backoff,
        "stop": p.Stop,
        "health": p.Health,
        "service": p.Service,
        "log_files": p.LogFile,
    },
    p.Logging: {"forward": p.LogDestination, "redact": p.Redaction},
    p.Health: {"probe": p.Probe},
    p.Gate: {"probe": p.Probe},
    p.When: {"triggers": p.Trigger},
    p.Lifetime: {"drain": p.Drain, "after": p.Trigger, "within": p.OuterJob},
    p.OuterJob: {"command": p.Command},
    p.Drain: {"begin": p.Command, "until": p.Command},
    p.Consul: {"tls": p.Tls},
    p.Template: {"exec": p.Command},
    p.Telemetry: {"metrics": p.Metric},
}


class PlanDataError(AutopilotError, ValueError):
    """Data that is no plan of this version."""


def serialize_plan(plan: p.Plan) -> dict[str, Any]:
    """Return the plan as a JSON-able dict with every field."""
    return {"plan_version": PLAN_VERSION, **_serialize_value(plan)}


def deserialize_plan(data: dict[str, Any]) -> p.Plan:
    """Return the plan that `serialize_plan` wrote; raise PlanDataError for any other data."""
    if not isinstance(data, dict) or data.get("plan_version") != PLAN_VERSION:
        raise PlanDataError(
            "cannot use this plan: it was written by another version of autopilot; compile the job spec again"
        )
    try:
        plan: p.Plan = _build_object(p.Plan, {k: v for k, v in data.items() if k != "plan_version"})
    except (TypeError, KeyError, AttributeError) as error:
        raise PlanDataError(f"cannot use this plan: it is damaged ({error}); compile the job spec again") from error
    return plan


def _serialize_value(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        tag = {"kind": value.kind} if isinstance(value, p.Probe) else {}
        return tag | {f.name: _serialize_value(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [_serialize_value(item) for item in value]
    if isinstance(value, str | int | float | None):
        return value
    return dict(value)


def _build_object(cls: type, data: dict[str, Any]) -> Any:
    nested: Mapping[str, type] = _NESTED_TYPES.get(cls) or getattr(cls, "nested_types", {})
    return cls(**{name: _build_value(nested.get(name), value) for name, value in data.items()})


def _build_value(cls: type | None, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_build_value(cls, item) for item in value)
    if cls is None or value is None:
        return value
    if not isinstance(value, dict):
        raise TypeError(f"{cls.__name__} cannot be {value!r}")
    if cls is p.Probe:
        probe_type = load_check_kind(value["kind"]).PROBE_TYPE
        return _build_object(probe_type, {k: v for k, v in value.items() if k != "kind"})
    if cls is p.Batch:
        settings_type = load_batch_system(value["system"]).SETTINGS_TYPE
        return p.Batch(**{**value, "settings": _build_value(settings_type, value["settings"])})
    return _build_object(cls, value)
