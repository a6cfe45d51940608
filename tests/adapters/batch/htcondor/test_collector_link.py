"""The startd's connection to its collector."""

from __future__ import annotations

import os
import socket

import pytest

from autopilot.adapters.batch.htcondor.collector_link import is_connected, parse_collectors


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("cm", [("cm", 9618)]),
        ("cm.pool:9620", [("cm.pool", 9620)]),
        ("cm1, cm2:9619?sock=collector", [("cm1", 9618), ("cm2", 9619)]),
        ("<10.0.0.1:9618?addrs=10.0.0.1-9618&alias=cm>", [("10.0.0.1", 9618)]),
        ("[2001:db8::1]:9618", [("2001:db8::1", 9618)]),
        ("", []),
        ("::::", []),
    ],
)
def test_collector_host_in_all_its_forms(setting: str, found: list[tuple[str, int]]) -> None:
    """Lists, ports, options, sinful strings, IPv6."""
    assert parse_collectors(setting) == found


def test_an_open_connection_is_seen_and_its_end_too() -> None:
    """Of this process, to that port; a process we cannot see is neither."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_connected(os.getpid(), frozenset({port})) is False
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            assert is_connected(os.getpid(), frozenset({port})) is True
            assert is_connected(1 << 22, frozenset({port})) is None
        assert is_connected(os.getpid(), frozenset({port})) is False
