"""A real agent dies, restarts empty, hangs, loses its servers, refuses the token: no job notices, and it recovers."""

from __future__ import annotations

import time

import pytest

from lab import consul
from tests.adapters.consul.conftest import Relay, service, status
from tests.app.harness import VICTIM, Pilot, eventually

pytestmark = pytest.mark.real("consul")


def run(place, agent, **fields):
    spec = service(agent, **fields)
    spec["jobs"].append(VICTIM)
    return Pilot(place, spec)


def passing(agent, patience=20.0):
    eventually(lambda: status(agent) == "passing" and status(agent, "autopilot") == "passing", "passing", patience)


def test_agent_restarts_empty(agent, tmp_path):
    """An agent that comes back without memory has all services again within a second."""
    with run(tmp_path, agent):
        passing(agent)
        for _ in range(3):
            agent.kill()
            agent.start()
            agent.await_leader()
            passing(agent, patience=1.0)


def test_deregistered_by_hand(agent, tmp_path):
    """A service that somebody takes out is there again within a second."""
    with run(tmp_path, agent):
        passing(agent)
        for name in ("web", "autopilot"):
            (entry,) = agent.health(name)
            agent.put(f"/v1/agent/service/deregister/{entry['Service']['ID']}")
            passing(agent, patience=1.0)


def test_agent_is_away(agent, tmp_path):
    """While the agent is dead jobs are restarted at once, the stop takes no longer, and the log says it once."""
    with run(tmp_path, agent) as pilot:
        passing(agent)
        agent.kill()
        pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
        assert pilot.restart_delay("victim") < 0.1
        asked = time.monotonic()
        assert pilot.stop() == 0
        assert time.monotonic() - asked < 1.0
        assert len(pilot.events("cannot reach Consul")) == 1


def test_never_there(agent, tmp_path):
    """A supervisor that starts before its Consul starts its jobs, and registers them when Consul comes."""
    agent.kill()
    with run(tmp_path, agent) as pilot:
        pilot.wait_event("web", "healthy")
        pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
        agent.start()
        agent.await_leader()
        passing(agent, patience=1.0)


def test_agent_hangs(agent, tmp_path):
    """An agent that is stopped (SIGSTOP) holds up no restart and no stop; the stop's budget for it is one second."""
    with run(tmp_path, agent) as pilot:
        passing(agent)
        agent.suspend()
        assert pilot.restart_delay("victim") < 0.1
        asked = time.monotonic()
        assert pilot.stop() == 0
        assert time.monotonic() - asked < 2.0
        agent.resume()


class Slow(Relay):
    """Answers only after two seconds."""

    def answering(self, data):
        time.sleep(2.0)


def test_agent_is_slow(agent, tmp_path):
    """An agent that takes two seconds for each answer delays no restart and no stop, and is told all in the end."""
    with Slow(agent) as slow:
        spec = service(agent)
        spec["consul"] = slow.http
        spec["jobs"].append(VICTIM)
        with Pilot(tmp_path, spec) as pilot:
            pilot.wait_event("web", "healthy")
            assert pilot.restart_delay("victim") < 0.1
            passing(agent)
            asked = time.monotonic()
            assert pilot.stop() == 0
            assert time.monotonic() - asked < 2.0
            assert not pilot.events("cannot reach")
            assert pilot.events("cannot take out of Consul")


def test_agent_wakes_up(agent, tmp_path):
    """An agent that hangs is noticed by the next heartbeat, and has our state again within a second of its return."""
    with run(tmp_path, agent, health={"exec": "true", "interval": "0.5s", "ttl": "1s"}) as pilot:
        passing(agent)
        agent.suspend()
        started = [line for line in pilot.lines if line["event"] == "started" and line["job"] == "web"]
        assert len(started) == 1
        pilot.wait_for(lambda line: line.get("trouble") == "consul-lost", patience=10)
        agent.resume()
        passing(agent, patience=1.0)


def test_maintenance_survives(agent, tmp_path):
    """Maintenance is there again after the agent has forgotten everything, and ends when it is left."""
    with run(tmp_path, agent) as pilot:
        passing(agent)
        assert pilot.ask("maintenance", "on").returncode == 0
        eventually(lambda: maintained(agent), "in maintenance")
        agent.kill()
        agent.start()
        agent.await_leader()
        eventually(lambda: maintained(agent), "in maintenance again", patience=1.0)
        assert pilot.ask("maintenance", "off").returncode == 0
        passing(agent)
        assert not maintained(agent)


def leader_of(agent):
    """None while there is none."""
    try:
        return agent.ask("/v1/status/leader").partition(":")[0] or None
    except OSError:
        return None


def maintained(agent):
    found = agent.health("web")
    return any(c["CheckID"].startswith("_service_maintenance") for entry in found for c in entry["Checks"])


RULES = """
service_prefix "web" { policy = "write" }
service_prefix "autopilot" { policy = "write" }
node_prefix "" { policy = "read" }
"""


def test_token_revoked(tmp_path):
    """A revoked token costs one line of log and no job; a new one in the token's file is used without a restart."""
    with consul.agent(consul.DEFAULT_DENY) as agent:
        file = tmp_path / "token"
        file.write_text(consul.token_for(agent, RULES))
        spec = service(agent)
        spec["consul"] = {"address": agent.http, "token_file": str(file)}
        spec["jobs"].append(VICTIM)
        with Pilot(tmp_path, spec) as pilot:
            passing(agent)
            token = agent.ask("/v1/acl/token/self", token=file.read_text())["AccessorID"]
            agent.ask(f"/v1/acl/token/{token}", method="DELETE")
            pilot.wait_for(lambda line: str(line.get("trouble", "")).startswith("consul-"), patience=30)
            assert pilot.restart_delay("victim") < 0.1
            file.write_text(consul.token_for(agent, RULES, "renewed"))
            passing(agent, patience=3.0)
            assert pilot.stop() == 0
            secrets = file.read_text()
            assert not any(secrets in str(line) for line in pilot.lines)


def test_quorum_lost(tmp_path):
    """Two of three servers die: jobs go on, what changes meanwhile is registered when there is a leader again."""
    with consul.agents(3, 1) as (*servers, client):
        with run(tmp_path, client) as pilot:
            passing(client)
            for server in servers[1:]:
                server.kill()
            assert pilot.restart_delay("victim") < 0.1
            assert pilot.ask("stop", "web").returncode == 0
            assert pilot.ask("start", "web").returncode == 0
            for server in servers[1:]:
                server.start(keep=True)
            client.await_leader()
            passing(client)
            assert pilot.stop() == 0
        eventually(lambda: status(servers[0]) is None, "gone")


def test_leader_killed(tmp_path):
    """When the leader dies the others elect one, and nothing of ours is lost or turns critical."""
    with consul.agents(3, 1) as (*servers, client), run(tmp_path, client):
        passing(client)
        leader = leader_of(client)
        next(server for server in servers if server.address == leader).kill()
        eventually(lambda: leader_of(client) not in (None, leader), "a new leader")
        passing(client)
