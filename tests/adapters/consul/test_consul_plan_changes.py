"""A reload changes in Consul exactly the services that the spec changes."""

from __future__ import annotations

import pytest

from lab import consul_agents
from lab.consul_agents import Agent
from tests.adapters.consul.conftest import build_service_spec, get_service_status
from tests.app.harness import SupervisorProcess, eventually

pytestmark = pytest.mark.real("consul")


def list_modify_indices(agent: Agent, name: str) -> list[int]:
    """The service's ModifyIndex, which Consul increases at each write."""
    return [entry["Service"]["ModifyIndex"] for entry in agent.get_service_health(name)]


def test_services_come_and_go_with_the_job_spec(tmp_path, agent):
    """A reload registers a new service, changes one, deregisters one; that of an unchanged job is not written."""
    spec = build_service_spec(agent)
    (web,) = spec["jobs"]
    changed, removed = {**web, "name": "changed", "tags": ["a"]}, {**web, "name": "removed"}
    with SupervisorProcess(tmp_path, spec | {"jobs": [web, changed, removed]}) as pilot:
        for name in ("web", "changed", "removed"):
            eventually(lambda name=name: get_service_status(agent, name) == "passing", f"{name} is there")
        before, pids = list_modify_indices(agent, "web"), pilot.get_pids()
        jobs = [web, {**changed, "tags": ["b"], "port": 9090}, {**web, "name": "new"}]
        assert pilot.reload(spec | {"jobs": jobs}).returncode == 0
        eventually(lambda: get_service_status(agent, "new") == "passing", "the new one is there")
        eventually(lambda: get_service_status(agent, "removed") is None, "the removed one is gone")
        eventually(
            lambda: agent.get_service_health("changed")[0]["Service"]["Tags"] == ["b"], "the changed one is changed"
        )
        assert agent.get_service_health("changed")[0]["Service"]["Port"] == 9090
        assert get_service_status(agent, "changed") == "passing" and pilot.get_pids()["changed"] == pids["changed"]
        assert list_modify_indices(agent, "web") == before


def test_a_service_of_a_running_job(tmp_path, agent):
    """A healthy job that gets a port by a reload is registered at once, without another check."""
    spec = build_service_spec(agent)
    (web,) = spec["jobs"]
    web["health"]["interval"] = 60
    without = {key: value for key, value in web.items() if key not in ("port", "interfaces")}
    with SupervisorProcess(tmp_path, spec | {"jobs": [without]}) as pilot:
        pilot.wait_for_event("web", "marked healthy")
        assert pilot.reload(spec).returncode == 0
        eventually(lambda: get_service_status(agent) == "passing", "it is offered")
        assert len(pilot.find_events("healthy")) == 1


def test_watches_come_and_go(tmp_path, agent):
    """A watch that a reload adds starts jobs, one that stays causes no new event, a removed one causes none."""
    watcher = {"name": "told", "exec": "true", "when": {"source": "watch.web", "each": "changed"}}
    spec = build_service_spec(agent) | {"watches": [{"name": "web", "interval": 1}]}
    (web,) = spec["jobs"]
    with SupervisorProcess(tmp_path, spec | {"jobs": [web, watcher]}) as pilot:
        pilot.wait_for_event("told", "started")
        other = {"name": "also", "exec": "true", "when": {"source": "watch.other", "each": "changed"}}
        more = [*spec["watches"], {"name": "other", "interval": 1}]
        assert pilot.reload(spec | {"jobs": [web, watcher, other], "watches": more}).returncode == 0
        agent.put("/v1/agent/service/register", {"Name": "other", "Port": 1})
        pilot.wait_for_event("also", "started")
        starts = [line for line in pilot.lines if line.get("job") == "told" and line["message"] == "started"]
        assert len(starts) == 1


def test_another_consul(tmp_path, agent):
    """After a change of Consul's address all services move to the new one, and no job is restarted."""
    with consul_agents.start_agent() as other:
        with SupervisorProcess(tmp_path, build_service_spec(agent)) as pilot:
            eventually(lambda: get_service_status(agent) == "passing", "it is offered")
            before = pilot.get_pids()
            assert pilot.reload(build_service_spec(other)).returncode == 0
            eventually(lambda: get_service_status(other) == "passing", "it is offered by the other")
            eventually(lambda: get_service_status(agent) is None, "it is gone from the first")
            assert pilot.get_pids() == before and len(pilot.find_events("healthy")) == 1
            assert pilot.reload(build_service_spec(other) | {"consul": "127.0.0.1:1"}).returncode == 0
            eventually(lambda: get_service_status(other) is None, "it is gone from the other too")
        assert not other.request("/v1/agent/services")
