"""Test which Host headers name this container."""

from __future__ import annotations

import os

import pytest

from autopilot.adapters.telemetry.host_names import is_own_host


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1",
        "10.0.0.7:9090",
        "[::1]:9090",
        "[fd00::1]",
        "localhost:9090",
        "node-7",
        "autopilot.service.consul:9090",
        "host.docker.internal",
        "WN-1.LOCAL.",
        os.uname().nodename,
        "Metrics.Example.org:9090",
    ],
)
def test_own_names(host: str) -> None:
    """Addresses, local names and listed names are ours."""
    assert is_own_host(host, ["metrics.example.org"])


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:9090", "127.0.0.1.evil.com", "localhost.evil.com", "1.2.3.4.5", "[evil.com]"]
)
def test_foreign_names(host: str) -> None:
    """A name that a public site can have is not ours."""
    assert not is_own_host(host, [])
