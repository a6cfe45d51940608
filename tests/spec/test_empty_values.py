"""Test that the empty values of ContainerPilot's keys are taken as absent, with a warning at each."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from autopilot.spec import SpecError, empty_values, load_text
from autopilot.spec.keys import KEY_SYNONYMS, find_nested_model
from autopilot.spec.spec_model import Spec

EMPTY = ["", [], [""], None]
JOB = {"name": "web", "exec": "true"}
SERVICE = {"name": "web", "exec": "true", "port": 80, "health": {"exec": "true", "interval": 5, "ttl": 9}}
TELEMETRY = {"metrics": [{"name": "m", "help": "h", "type": "gauge"}]}
SPEC_KEYS = ["stopTimeout", "logging", "control", "telemetry", "watches"]
JOB_KEYS = [
    "when",
    "timeout",
    "stopTimeout",
    "initial_status",
    "tags",
    "interfaces",
    "consul",
    "logging",
    "user",
    "uid",
    "gid",
]
WATCH = {"name": "db", "interval": 5}


def build_case(path: str, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a spec with the value at the path, and the same spec without the key."""
    spec = {"jobs": [SERVICE], "telemetry": TELEMETRY, "consul": {"address": "h:1"}, "watches": [WATCH]}
    with_key = json.loads(json.dumps(spec))
    without = json.loads(json.dumps(with_key))
    *parents, last = path.split("/")
    for tree in (with_key, without):
        parent: Any = tree
        for step in parents:
            parent = parent[int(step)] if step.isdigit() else parent.setdefault(step, {})
        parent.pop(last, None)
        if tree is with_key:
            parent[last] = value
    return with_key, without


PATHS = [
    *SPEC_KEYS,
    *(f"jobs/0/{key}" for key in JOB_KEYS),
    *("jobs/0/health/timeout", "jobs/0/health/logging", "jobs/0/health/logging/raw", "jobs/0/logging/raw"),
    *("watches/0/tag", "watches/0/dc"),
    *(f"jobs/0/consul/{key}" for key in ("enableTagOverride", "deregisterCriticalServiceAfter")),
    *(f"consul/{key}" for key in ("scheme", "token", "tls")),
    *(f"consul/tls/{key}" for key in ("cafile", "capath", "clientcert", "clientkey", "servername", "verify")),
    *(f"logging/{key}" for key in ("level", "format", "output")),
    "control/socket",
    *(f"telemetry/{key}" for key in ("port", "interfaces", "tags", "metrics")),
    *(f"telemetry/metrics/0/{key}" for key in ("namespace", "subsystem", "help", "buckets")),
]


@pytest.mark.parametrize("value", EMPTY, ids=json.dumps)
@pytest.mark.parametrize("path", PATHS)
def test_an_empty_value_is_absent(path: str, value: Any) -> None:
    """The plan is the one without the key, and one warning names the key."""
    with_key, without = build_case(path, value)
    loaded = load_text(json.dumps(with_key), "f", {})
    assert loaded.plan == load_text(json.dumps(without), "f", {}).plan
    (warning,) = loaded.warnings
    assert "is empty and taken as absent" in warning.message
    assert re.sub(r"\[(web|m|db)\]", "/0", warning.path).replace(".", "/") == path


def find_model_and_key(path: str) -> tuple[str, str]:
    """Return the model and the key at the end of a path."""
    model: Any = Spec
    *parents, last = [re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", step) for step in path.split("/")]
    for step in parents:
        model = model if step.isdigit() else find_nested_model(model, step)[0]
    return model.__name__, KEY_SYNONYMS.get(model.__name__, {}).get(last, last)


def test_every_key_of_the_rule_is_tried() -> None:
    """Each key that may be empty is among the paths of this test, or has a test of its own below."""
    tried = {find_model_and_key(path) for path in PATHS}
    own_tests = {("Consul", "address"), ("Job", "name"), ("Job", "port")}
    own_tests |= {("When", key) for key in ("source", "once", "each", "interval", "timeout")}
    rule = {(model, key) for model, keys in empty_values._KEYS.items() for key in keys}
    assert tried | own_tests == rule


@pytest.mark.parametrize("name", EMPTY, ids=json.dumps)
def test_an_empty_name_is_the_programs(name: Any) -> None:
    """A job with an empty name is called as its program."""
    plan = load_text(json.dumps({"jobs": [{"name": name, "exec": "/bin/true -x"}]}), "f", {}).plan
    assert plan == load_text(json.dumps({"jobs": [{"exec": "/bin/true -x"}]}), "f", {}).plan


@pytest.mark.parametrize(
    "when", [{}, {"source": ""}, {"once": "", "each": "", "interval": "", "timeout": [""]}, [], ""]
)
def test_an_empty_when_is_absent(when: Any) -> None:
    """A `when` with nothing in it starts the job at startup."""
    plan = load_text(json.dumps({"jobs": [{**JOB, "when": when}]}), "f", {}).plan
    assert plan == load_text(json.dumps({"jobs": [JOB]}), "f", {}).plan


@pytest.mark.parametrize("port", [0, "0", "", []])
def test_port_zero_is_absent(port: Any) -> None:
    """Port 0 offers no service, and is the default port of the telemetry."""
    spec = {"jobs": [{**SERVICE, "port": port}], "telemetry": {"port": port}}
    plan = load_text(json.dumps(spec), "f", {}).plan
    assert plan.jobs[0].service is None
    assert plan.telemetry is not None and plan.telemetry.port == 9090


@pytest.mark.parametrize("zero", [0, "0", "0s"])
@pytest.mark.parametrize("path", ["stopTimeout", "jobs/0/health/timeout", "jobs/0/when/timeout"])
def test_a_time_limit_of_zero_is_absent(path: str, zero: Any) -> None:
    """A time limit of 0 is no limit of its own: Go cannot tell it from a key that is not written."""
    with_key, without = build_case(path, zero)
    if "when" in path:
        for tree in (with_key, without):
            tree["jobs"][0]["when"] |= {"source": "other", "once": "exitSuccess"}
            tree["jobs"].append({"name": "other", "exec": "true"})
    loaded = load_text(json.dumps(with_key), "f", {})
    assert loaded.plan == load_text(json.dumps(without), "f", {}).plan
    assert "is empty and taken as absent" in loaded.warnings[0].message


@pytest.mark.parametrize("consul", ["", [], {}, {"address": ""}, {"address": None}])
def test_an_empty_consul_is_the_one_of_the_environment(consul: Any) -> None:
    """Consul without an address is used, at the address of the environment."""
    loaded = load_text(json.dumps({"jobs": [JOB], "consul": consul}), "f", {})
    assert loaded.plan.consul is not None and loaded.plan.consul.address == ""
    assert loaded.warnings


@pytest.mark.parametrize("value", ["", [], [""]], ids=json.dumps)
@pytest.mark.parametrize("key", ["exec", "cwd", "env_file", "cron"])
def test_other_keys_are_not_empty(key: str, value: Any) -> None:
    """An empty command, and an empty value of a key that ContainerPilot does not have, is a mistake."""
    job = {**JOB, "when": {key: value}} if key == "cron" else {**JOB, key: value}
    with pytest.raises(SpecError):
        load_text(json.dumps({"jobs": [job]}), "f", {})
