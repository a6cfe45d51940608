"""The fleet's shared knowledge in a real Consul."""

from __future__ import annotations

import subprocess

import pytest
from autopilot_watchdog.core.observation import FleetState
from autopilot_watchdog.core.slot_actions import ShareQuarantine
from autopilot_watchdog.shell.fleet_store import FleetStore

from lab.consul_agents import Agent, find_program, start_agent, start_agents
from tests.watchdog.scenes import KEY, B, build_config
from tests.watchdog.site import eventually

pytestmark = pytest.mark.real("consul")


def test_quarantine_and_urgency() -> None:
    """A quarantine that one host shares is every host's until one releases it; the urgency key is read with it."""
    with start_agent() as consul:
        one, other = (
            FleetStore(build_config(host, consul={"address": f"http://{consul.http_address}"})) for host in ("h1", "h2")
        )
        assert one.read_fleet_state() == FleetState()
        assert one.share_quarantine(ShareQuarantine(KEY, B, "3 lives failed")) == ""
        command = [
            find_program(),
            "kv",
            "put",
            f"-http-addr={consul.http_address}",
            "autopilot-watchdog/urgency",
            "now",
        ]
        subprocess.run(command, check=True, capture_output=True)
        state = other.read_fleet_state()
        assert state == FleetState({B: "h1: 3 lives failed"}, "now")
        assert other.release_quarantine(B) == ""
        state = one.read_fleet_state()
        assert state is not None and not state.quarantine


def test_consul_away() -> None:
    """Without Consul nothing is learned, nothing fails, and the trouble is a sentence."""
    store = FleetStore(build_config(consul={"address": "http://127.0.0.1:1"}))
    assert store.read_fleet_state() is None
    assert "cannot reach Consul" in store.last_error


def test_the_dead_leave() -> None:
    """The agent of a killed container, which Consul would list for 72 h, is gone in seconds."""
    with start_agents(1, 1) as (server, client):
        node = client.node_name
        client.kill()
        eventually(lambda: _get_member_status(server, node) == 4, 30, "Consul has seen it fail")
        FleetStore(build_config(consul={"address": f"http://{server.http_address}", "node": node})).force_leave("wn-01")
        eventually(
            lambda: node not in [found["Node"] for found in server.request("/v1/catalog/nodes")], 5, "it is gone"
        )


def _get_member_status(consul: Agent, node: str) -> int:
    return next(int(member["Status"]) for member in consul.request("/v1/agent/members") if member["Name"] == node)
