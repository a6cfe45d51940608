"""A real agent dies, restarts empty, hangs, loses its servers, refuses the token: no job notices, and it recovers."""

from __future__ import annotations

import time

import pytest

from lab import consul_agents
from tests.adapters.consul.conftest import Relay, build_service_spec, get_service_status
from tests.app.harness import PROMPT_S, TIMEOUT_S, VICTIM, SupervisorProcess, eventually, find_free_port

pytestmark = pytest.mark.real("consul")

SOON = 5.0  # s


def start_supervisor(place, agent, **fields):
    return SupervisorProcess(place, build_spec(agent, **fields))


def build_spec(agent, **fields):
    """A service, a job to kill, and a telemetry port, so that the supervisor is a service too."""
    spec = build_service_spec(agent, **fields)
    return {
        **spec,
        "jobs": [*spec["jobs"], VICTIM],
        "telemetry": {"port": find_free_port(), "interfaces": ["lo"]},
    }


def wait_until_passing(agent, timeout_s=TIMEOUT_S):
    eventually(
        lambda: get_service_status(agent) == "passing" and get_service_status(agent, "autopilot") == "passing",
        "passing",
        timeout_s,
    )


def test_agent_restarts_empty(agent, tmp_path):
    """An agent that comes back without memory has all services again in seconds."""
    with start_supervisor(tmp_path, agent):
        wait_until_passing(agent)
        for _ in range(3):
            agent.kill()
            agent.start()
            agent.await_leader()
            wait_until_passing(agent, timeout_s=SOON)


def test_deregistered_by_hand(agent, tmp_path):
    """A service that is deregistered by hand is registered again within seconds."""
    with start_supervisor(tmp_path, agent):
        wait_until_passing(agent)
        for name in ("web", "autopilot"):
            (entry,) = agent.get_service_health(name)
            agent.put(f"/v1/agent/service/deregister/{entry['Service']['ID']}")
            wait_until_passing(agent, timeout_s=SOON)


def test_agent_is_away(agent, tmp_path):
    """While the agent is dead jobs restart at once, the stop takes no longer, and the log has one line about it."""
    with start_supervisor(tmp_path, agent) as pilot:
        wait_until_passing(agent)
        agent.kill()
        pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
        assert pilot.measure_restart_delay("victim") < PROMPT_S
        asked = time.monotonic()
        assert pilot.stop() == 0
        assert time.monotonic() - asked < PROMPT_S * 2
        assert len(pilot.find_events("cannot reach Consul")) == 1


def test_never_there(agent, tmp_path):
    """A supervisor that starts before its Consul starts its jobs, and registers them when Consul comes."""
    agent.kill()
    with start_supervisor(tmp_path, agent) as pilot:
        pilot.wait_for_event("web", "marked healthy")
        pilot.wait_for(lambda line: line.get("trouble") == "consul-lost")
        agent.start()
        agent.await_leader()
        wait_until_passing(agent, timeout_s=SOON)


def test_agent_hangs(agent, tmp_path):
    """An agent that is stopped (SIGSTOP) holds up no restart and no stop; the stop's budget for it is one second."""
    with start_supervisor(tmp_path, agent) as pilot:
        wait_until_passing(agent)
        agent.suspend()
        assert pilot.measure_restart_delay("victim") < PROMPT_S
        asked = time.monotonic()
        assert pilot.stop() == 0
        assert time.monotonic() - asked < 1.0 + PROMPT_S * 2
        agent.resume()


class SlowRelay(Relay):
    """A relay that delays each answer by two seconds."""

    def on_response(self, data):
        time.sleep(2.0)


def test_agent_is_slow(agent, tmp_path):
    """An agent that takes two seconds for each answer delays no restart and no stop, and gets every change."""
    with SlowRelay(agent) as slow:
        spec = build_spec(agent)
        spec["consul"] = slow.http_address
        with SupervisorProcess(tmp_path, spec) as pilot:
            pilot.wait_for_event("web", "marked healthy")
            assert pilot.measure_restart_delay("victim") < PROMPT_S
            wait_until_passing(agent)
            asked = time.monotonic()
            assert pilot.stop() == 0
            assert time.monotonic() - asked < 1.0 + PROMPT_S * 2
            assert not pilot.find_events("cannot reach")
            assert pilot.find_events("cannot deregister from Consul")


def test_agent_wakes_up(agent, tmp_path):
    """An agent that hangs is noticed by the next heartbeat, and has our state again in seconds of its return."""
    with start_supervisor(tmp_path, agent, health={"exec": "true", "interval": "0.5s", "ttl": "1s"}) as pilot:
        wait_until_passing(agent)
        agent.suspend()
        started = [line for line in pilot.lines if line["message"] == "started" and line["job"] == "web"]
        assert len(started) == 1
        pilot.wait_for(lambda line: line.get("trouble") == "consul-lost", timeout_s=60)
        agent.resume()
        wait_until_passing(agent, timeout_s=SOON)


def test_maintenance_survives(agent, tmp_path):
    """Maintenance is set again after the agent lost its state, and is cleared when it ends."""
    with start_supervisor(tmp_path, agent) as pilot:
        wait_until_passing(agent)
        assert pilot.run_verb("maintenance", "on").returncode == 0
        eventually(lambda: is_in_maintenance(agent), "in maintenance")
        agent.kill()
        agent.start()
        agent.await_leader()
        eventually(lambda: is_in_maintenance(agent), "in maintenance again", timeout_s=SOON)
        assert pilot.run_verb("maintenance", "off").returncode == 0
        wait_until_passing(agent)
        assert not is_in_maintenance(agent)


def get_leader(agent):
    """The leader's address, None while there is none."""
    try:
        return agent.request("/v1/status/leader").partition(":")[0] or None
    except OSError:
        return None


def is_in_maintenance(agent):
    found = agent.get_service_health("web")
    return any(c["CheckID"].startswith("_service_maintenance") for entry in found for c in entry["Checks"])


RULES = """
service_prefix "web" { policy = "write" }
service_prefix "autopilot" { policy = "write" }
service "containerpilot" { policy = "write" }
node_prefix "" { policy = "read" }
"""


def test_token_revoked(tmp_path):
    """A revoked token costs one line of log and no job; a new one in the token's file is used without a restart."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as agent:
        file = tmp_path / "token"
        file.write_text(consul_agents.create_token(agent, RULES))
        spec = build_spec(agent)
        spec["consul"] = {"address": agent.http_address, "token_file": str(file)}
        with SupervisorProcess(tmp_path, spec) as pilot:
            wait_until_passing(agent)
            token = agent.request("/v1/acl/token/self", token=file.read_text())["AccessorID"]
            agent.request(f"/v1/acl/token/{token}", method="DELETE")
            pilot.wait_for(lambda line: str(line.get("trouble", "")).startswith("consul-"), timeout_s=60)
            assert pilot.measure_restart_delay("victim") < PROMPT_S
            file.write_text(consul_agents.create_token(agent, RULES, "renewed"))
            wait_until_passing(agent, timeout_s=SOON)
            assert pilot.stop() == 0
            secrets = file.read_text()
            assert not any(secrets in str(line) for line in pilot.lines)


def test_quorum_lost(tmp_path):
    """After two of three servers died jobs keep running, and changes are registered as soon as there is a leader
    again.
    """
    with consul_agents.start_agents(3, 1) as (*servers, client):
        with start_supervisor(tmp_path, client) as pilot:
            wait_until_passing(client)
            for server in servers[1:]:
                server.kill()
            assert pilot.measure_restart_delay("victim") < PROMPT_S
            assert pilot.run_verb("stop", "web").returncode == 0
            assert pilot.run_verb("start", "web").returncode == 0
            for server in servers[1:]:
                server.start(keep_data=True)
            client.await_leader()
            wait_until_passing(client)
            assert pilot.stop() == 0
        eventually(lambda: get_service_status(servers[0]) is None, "gone")


def test_leader_killed(tmp_path):
    """After the leader's death and a new election none of our services is missing or critical."""
    with consul_agents.start_agents(3, 1) as (*servers, client), start_supervisor(tmp_path, client):
        wait_until_passing(client)
        leader = get_leader(client)
        next(server for server in servers if server.address == leader).kill()
        eventually(lambda: get_leader(client) not in (None, leader), "a new leader")
        wait_until_passing(client)
