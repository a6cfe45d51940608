"""A real agent for each test, and its answers to a test's questions."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from lab import consul_agents
from lab.consul_agents import Agent


@pytest.fixture
def agent() -> Iterator[Agent]:
    """Start a real agent that is its own server. Its log is shown when the test fails."""
    with consul_agents.start_agent() as agent:
        yield agent
        print(agent.read_log())


def build_service_spec(agent: Agent, **fields: Any) -> dict[str, Any]:
    """A spec with one job that offers a service, and is healthy at once."""
    web = {
        "name": "web",
        "exec": ["sleep", "1000"],
        "port": 8080,
        "interfaces": ["static:192.0.2.7"],
        "health": {"exec": "true", "interval": "0.5s"},
        **fields,
    }
    return {"consul": agent.http_address, "jobs": [web]}


def get_service_status(agent: Agent, name: str = "web") -> str | None:
    """The worst status of the service's checks; None if it is not registered or the agent does not answer."""
    try:
        found = agent.get_service_health(name)
    except OSError:
        return None
    states = {check["Status"] for entry in found for check in entry["Checks"]}
    return next((state for state in ("critical", "warning", "passing") if state in states), None)


class Relay(socketserver.ThreadingTCPServer):
    """Forwards everything to a real agent and back; a subclass sees the requests and the answers."""

    daemon_threads = True

    def __init__(self, agent: Agent) -> None:
        super().__init__(("127.0.0.1", 0), _RelayHandler)
        self.agent = agent
        self.http_address = f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Relay:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def on_request(self, data: bytes) -> None:
        """Called before a request, or a part of one, is forwarded."""

    def on_response(self, data: bytes) -> None:
        """Called before an answer, or a part of one, is forwarded."""

    def handle_error(self, *_: object) -> None:
        """Ignore a client that disconnects."""


class _RelayHandler(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        relay = self.server
        with socket.create_connection((relay.agent.address, 8500)) as agent:
            threading.Thread(target=_copy, args=(self.request, agent, relay.on_request), daemon=True).start()
            _copy(agent, self.request, relay.on_response)


def _copy(source: socket.socket, target: socket.socket, on_data: Any) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            on_data(data)
            target.sendall(data)
    with suppress(OSError):  # the other way is over too
        target.shutdown(socket.SHUT_RDWR)
