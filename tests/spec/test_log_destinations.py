"""Receivers of the log: their addresses are read, and keys that cannot serve them are refused with a remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autopilot.spec import load_text
from autopilot.spec.load_result import SpecError
from autopilot.spec.plan import LogDestination
from autopilot.spec.plan_data import deserialize_plan, serialize_plan

JOB = {"name": "main", "exec": "true"}


def load_receivers(*receivers: dict[str, Any]) -> Any:
    return load_text(json.dumps({"jobs": [JOB], "logging": {"forward": receivers}}), "f", {}, runs_here=False)


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("tcp://h", ("tcp", "h", 601, "", "tcp://h:601")),
        ("tls://h:1/", ("tls", "h", 1, "", "tls://h:1")),
        ("udp://[::1]:9", ("udp", "::1", 9, "", "udp://[::1]:9")),
        ("otlp+http://h", ("otlp+http", "h", 4318, "/v1/logs", "otlp+http://h:4318/v1/logs")),
        ("otlp+https://h:443/a/b", ("otlp+https", "h", 443, "/a/b", "otlp+https://h:443/a/b")),
    ],
)
def test_addresses(to: str, expected: tuple[str, str, int, str, str]) -> None:
    """Ports and paths have defaults, and a compiled plan keeps everything."""
    headers = {"X-Scope": "a \u00e9\tb ", "X-Empty": ""} if to.startswith("otlp") else {}
    loaded = load_receivers({"to": to, "headers": headers})
    (found,) = loaded.plan.logging.forward
    assert isinstance(found, LogDestination)
    assert (found.protocol, found.host, found.port, found.path, found.url) == expected
    assert found.headers == tuple(headers.items())
    assert deserialize_plan(json.loads(json.dumps(serialize_plan(loaded.plan)))).logging == loaded.plan.logging


@pytest.mark.parametrize(
    ("receivers", "path", "message"),
    [
        ([{"to": "http://h"}], "logging.forward[0].to", "otlp+http://HOST:PORT"),
        ([{"to": "otlp+http://h/x?y"}], "logging.forward[0].to", "otlp+http://HOST:PORT"),
        ([{"to": "otlp+http://u:p@h"}], "logging.forward[0].to", "otlp+http://HOST:PORT"),
        ([{"to": "tcp://h:0"}], "logging.forward[0].to", "tcp://HOST:PORT"),
        ([{"to": "otlp+http://h:0/x"}], "logging.forward[0].to", "otlp+http://HOST:PORT"),
        ([{"to": "otlp+http://h", "headers": {"A": "\u4e2d"}}], "logging.forward[0].headers", "Latin-1"),
        ([{"to": "otlp+http://h", "headers": {"A": " x"}}], "logging.forward[0].headers", "Latin-1"),
        ([{"to": "otlp+http://h", "headers": {"A": "\u00a0x"}}], "logging.forward[0].headers", "Latin-1"),
        ([{"to": "otlp+http://h", "headers": {"A": "x\u007fy"}}], "logging.forward[0].headers", "Latin-1"),
        ([{"to": "tcp://h/path"}], "logging.forward[0].to", "tcp://HOST:PORT"),
        ([{"to": "tcp://h", "headers": {"A": "b"}}], "logging.forward[0].headers", "write otlp+https://"),
        ([{"to": "otlp+http://h", "facility": "local0"}], "logging.forward[0].facility", "cannot be used with OTLP"),
        ([{"to": "otlp+http://h", "ca_file": "/x"}], "logging.forward[0].ca_file", "write otlp+https://"),
        ([{"to": "udp://h", "spill": "2M"}], "logging.forward[0].spill", "write tcp:// or tls://"),
        ([{"to": "tcp://h", "spill": 9}], "logging.forward[0].spill", "less than 1 MiB"),
        (
            [{"to": "tcp://h", "spill": "2M"}, {"to": "tcp://h:601", "spill": "3M", "facility": "local1"}],
            "logging.forward[1].spill",
            "logging.forward[0] has it",
        ),
    ],
)
def test_refused_keys(receivers: list[dict[str, Any]], path: str, message: str) -> None:
    """A key that cannot serve the receiver is the one error, with its path and its remedy."""
    with pytest.raises(SpecError) as caught:
        load_receivers(*receivers)
    (error,) = caught.value.problems
    assert error.path == path and message in error.message
