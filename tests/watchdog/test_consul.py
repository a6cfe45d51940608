"""The fleet's shared knowledge in a real Consul."""

from __future__ import annotations

import subprocess
import time

import pytest
from autopilot_watchdog.core.actions import ShareQuarantine
from autopilot_watchdog.core.observation import Fleet
from autopilot_watchdog.shell.consul import ConsulKV

from lab.consul import Agent, agent, agents, program
from tests.watchdog.scenes import KEY, B, config
from tests.watchdog.site import eventually

pytestmark = pytest.mark.real("consul")


def test_quarantine_and_urgency() -> None:
    """A quarantine that one host shares is every host's until one releases it; the urgency key is read with it."""
    with agent() as consul:
        one, other = (ConsulKV(config(host, consul={"address": f"http://{consul.http}"})) for host in ("h1", "h2"))
        assert one.fleet() == Fleet()
        assert one.share(ShareQuarantine(KEY, B, "3 lives failed")) == ""
        command = [program(), "kv", "put", f"-http-addr={consul.http}", "autopilot/urgency", "now"]
        subprocess.run(command, check=True, capture_output=True)
        said = other.fleet()
        assert said == Fleet({B: "h1: 3 lives failed"}, "now")
        assert other.release(B) == ""
        again = one.fleet()
        assert again is not None and not again.quarantine


def test_consul_away() -> None:
    """Without Consul nothing is learned, nothing fails, and the trouble is a sentence."""
    kv = ConsulKV(config(consul={"address": "http://127.0.0.1:1"}))
    assert kv.fleet() is None
    assert "cannot reach Consul" in kv.trouble


def test_the_dead_leave() -> None:
    """The agent of a killed container, which Consul would list for 72 h, is gone within a second."""
    with agents(1, 1) as (server, client):
        node = client.node
        client.kill()
        eventually(lambda: _status(server, node) == 4, 30, "Consul has seen it fail")
        began = time.monotonic()
        ConsulKV(config(consul={"address": f"http://{server.http}", "node": node})).leave("wn-01")
        eventually(lambda: node not in [found["Node"] for found in server.ask("/v1/catalog/nodes")], 5, "it is gone")
        assert time.monotonic() - began < 1


def _status(consul: Agent, node: str) -> int:
    return next(int(member["Status"]) for member in consul.ask("/v1/agent/members") if member["Name"] == node)
