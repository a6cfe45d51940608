"""The metrics' port among clients that connect and say nothing."""

from __future__ import annotations

import os
import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from autopilot_watchdog.metrics_server import MAX_CONNECTIONS, _Handler
from autopilot_watchdog.watchdog_metrics import MetricsServer

from tests.watchdog.site import eventually

IDLE_CONNECTIONS = 300


@pytest.fixture(params=["127.0.0.1:0", pytest.param("[::1]:0", marks=pytest.mark.real("ipv6"))])
def server(request: pytest.FixtureRequest) -> Iterator[MetricsServer]:
    """Start a server of metrics on a free port."""
    found = MetricsServer(request.param)
    yield found
    found.close()


def get_host(server: MetricsServer) -> str:
    """Return the address on which the server listens."""
    return server._server.server_name


def scrape(server: MetricsServer) -> int:
    """Scrape the metrics and return the status."""
    host = f"[{get_host(server)}]" if ":" in get_host(server) else get_host(server)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{host}:{server.port}/metrics", timeout=60) as response:
        return int(response.status)


def test_idle_connections_are_dropped(server: MetricsServer) -> None:
    """Hundreds of silent connections cost a bounded number of descriptors and threads, and no scrape."""
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    clients = []
    try:
        for _ in range(IDLE_CONNECTIONS):
            clients.append(socket.create_connection((get_host(server), server.port), timeout=60))
            if len(clients) % 50 == 0:
                assert scrape(server) == 200
        assert scrape(server) == 200
        bound = MAX_CONNECTIONS + 5
        eventually(lambda: threading.active_count() - threads <= bound, 10, "the dropped ones' threads end")
        eventually(
            lambda: len(os.listdir("/proc/self/fd")) - descriptors - len(clients) <= bound, 10, "they are closed"
        )
        assert clients[0].recv(1) == b"", "the oldest one was dropped"
        clients[-1].sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert clients[-1].recv(15).startswith(b"HTTP/1."), "the newest one is served"
    finally:
        for client in clients:
            client.close()


def test_busy_clients_beside_idle_ones(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape that comes right after many silent connections is answered without a wait for their time limit."""
    monkeypatch.setattr(_Handler, "timeout", 120.0)  # twice the time that a scrape waits for its answer
    clients = [
        socket.create_connection((get_host(server), server.port), timeout=60) for _ in range(2 * MAX_CONNECTIONS)
    ]
    try:
        assert scrape(server) == 200
    finally:
        for client in clients:
            client.close()
