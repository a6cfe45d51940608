"""Take the empty values of ContainerPilot's keys as absent, because templates make them of variables that are not set.

One rule for the whole spec: where ContainerPilot takes "", [], [""] or null as if the key were not written, so do we,
with a warning at its place. An empty command is refused there as well, so `exec` is not among the keys. Keys of
autopilot alone are not either: an empty value in them is a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autopilot.spec.findings import Finding
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.keys import find_nested_model
from autopilot.spec.model_base import StrictModel

_TLS_KEYS = {"cafile", "capath", "clientcert", "clientkey", "servername", "verify"}

# ContainerPilot's keys that may be empty, by model.
_KEYS = {
    "Spec": {"stop_timeout", "logging", "control", "telemetry", "watches"},
    "Consul": {"address", "scheme", "token", "tls"},
    "Tls": _TLS_KEYS,
    "Job": {
        *("name", "when", "timeout", "stop_timeout", "port", "initial_status", "tags", "interfaces", "consul"),
        *("logging", "user", "group"),
    },
    "When": {"source", "once", "each", "interval", "timeout"},
    "Health": {"timeout", "logging"},
    "Raw": {"raw"},
    "Output": {"raw"},
    "ServiceConsul": {"enable_tag_override", "deregister_critical_service_after"},
    "Logging": {"level", "format", "output"},
    "Control": {"socket"},
    "Watch": {"tag", "dc"},
    "Telemetry": {"port", "interfaces", "tags", "metrics"},
    "Metric": {"namespace", "subsystem", "help", "buckets"},
}
_NULL_KEYS = {"Job": {"health", "restarts"}, "Spec": {"consul"}}  # absent when null, but not when otherwise empty
_ZERO_KEYS = {  # absent when they are Go's zero value
    "Spec": {"stop_timeout"},
    "Job": {"port"},
    "When": {"timeout"},
    "Health": {"timeout"},
    "Telemetry": {"port"},
}
_ZEROS = (0, "0", "0s")

_MESSAGE = "is empty and taken as absent, as in ContainerPilot; leave the key out, or set the variable in its template"
_CONSUL_MESSAGE = "is empty: Consul is asked at $CONSUL_HTTP_ADDR, or else at 127.0.0.1:8500"


def remove_empty_values(tree: Any, model: type[StrictModel]) -> Iterator[Finding]:
    """Remove the empty values of ContainerPilot's keys from a normalized tree, and yield a warning for each.

    Args:
        tree: The tree with snake_case keys only; changed in place.
        model: The model of the tree.
    """
    if isinstance(tree, dict):
        yield from _remove_from_object(tree, model, ())


def _remove_from_object(tree: dict[str, Any], model: type[StrictModel], path: KeyPath) -> Iterator[Finding]:
    for name in list(tree):
        yield from _remove_inside(tree, model, name, path)
        value = tree[name]
        if model.__name__ == "Spec" and name == "consul" and value is not None and (_is_empty(value) or value == {}):
            tree[name] = {}
            yield Finding((*path, name), _CONSUL_MESSAGE, warning=True, customary=True)
        elif _is_absent(value, model.__name__, name):
            del tree[name]
            yield Finding((*path, name), _MESSAGE, warning=True, customary=True)


def _remove_inside(tree: dict[str, Any], model: type[StrictModel], name: str, path: KeyPath) -> Iterator[Finding]:
    inner, many = find_nested_model(model, name)
    if inner is None:
        return
    value = tree[name]
    if isinstance(value, dict):
        yield from _remove_from_object(value, inner, (*path, name))
    for index, item in enumerate(value) if many and isinstance(value, list) else ():
        if isinstance(item, dict):
            yield from _remove_from_object(item, inner, (*path, name, index))


def _is_absent(value: Any, model: str, name: str) -> bool:
    if value is None and name in _NULL_KEYS.get(model, ()):
        return True
    if name not in _KEYS.get(model, ()):
        return False
    return (
        value is None
        or _is_empty(value)
        or (name == "when" and value == {})
        or (name in _ZERO_KEYS.get(model, ()) and not isinstance(value, bool | list | dict) and value in _ZEROS)
    )


def _is_empty(value: Any) -> bool:
    return value == "" or (isinstance(value, list) and all(item == "" for item in value))
