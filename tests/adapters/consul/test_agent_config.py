"""Consul's agent as a job of ours, joined to real servers."""

from __future__ import annotations

import json
import os
import signal
import stat
import statistics
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from autopilot.adapters.consul import agent_config as recipe
from autopilot.spec.plan import ConsulAgent
from lab import consul_agents
from tests.adapters.consul.conftest import get_service_status
from tests.app.harness import SupervisorProcess, eventually

real = pytest.mark.real("consul")
PLAN = ConsulAgent(job="consul-agent", join=("10.0.0.1",))
WEB = {"name": "web", "exec": ["sleep", "1000"], "port": 80, "interfaces": "lo", "health": {"exec": "true"}}


def build_settings(**changes):
    found = {
        "node": "wn-h-1",
        "listen_address": "127.0.0.1:8500",
        "bind_address": "10.0.0.9",
        "data_dir": Path("/d"),
        "meta": {},
    }
    return recipe.build_settings(PLAN, **{**found, "token": "", **changes})


def test_node_outlives_its_container():
    """The node's name comes from host and slot where the watchdog gives them, and its id from its name."""
    assert recipe.choose_node_name(PLAN, host="h", slot="1", hostname="c0ffee") == "wn-h-1"
    assert recipe.choose_node_name(PLAN, host="", slot="", hostname="c0ffee") == "wn-c0ffee"
    assert build_settings()["node_id"] == build_settings(meta={"container-id": "other"})["node_id"]
    assert build_settings()["node_id"] != build_settings(node="wn-h-2")["node_id"]


def test_metadata_without_dashes():
    """A node's metadata keys are such that Prometheus and Consul's filters take them."""
    assert build_settings(meta={"container-id": "c", "slot": ""})["node_meta"] == {"container_id": "c"}


def test_token_is_in_a_private_file(tmp_path):
    """The agent's token is in a file only we may read, and in no argument."""
    recipe.prepare_state(tmp_path, build_settings(data_dir=tmp_path / "consul/data", token="s3cret"), lambda _: None)
    file = tmp_path / "consul/agent.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["acl"]["tokens"]["agent"] == "s3cret"
    assert "s3cret" not in " ".join(recipe.build_command(PLAN, tmp_path).argv)


def build_spec(server, http):
    agent = {
        "join": [server.address],
        "exec": consul_agents.find_program(),
        "datacenter": consul_agents.DATACENTER,
        "bind": http,
    }
    return {"consul": f"{http}:8500", "consul_agent": agent, "jobs": [WEB]}


def build_address(server, last):
    return f"{server.address.rpartition('.')[0]}.{last}"


def list_members(server):
    return {member["Name"]: member["Status"] for member in server.request("/v1/agent/members")}


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ALIVE, LEFT = 1, 3  # of a serf member


@real
def test_comes_and_goes_cleanly(agent, tmp_path):
    """The agent joins and the catalog has our services; at the end they are deregistered before it leaves."""
    ready, seconds = [], []
    for number in range(3):
        node = {"AUTOPILOT_HOST": "h", "AUTOPILOT_SLOT": str(number)}
        place = tmp_path / str(number)
        place.mkdir()
        with SupervisorProcess(place, build_spec(agent, build_address(agent, 9)), env=node) as pilot:
            started = pilot.wait_for_event("consul-agent", "started")["arrived"]
            eventually(lambda: is_answering(f"{build_address(agent, 9)}:8500"), "an answer")
            ready.append(time.monotonic() - started)
            eventually(lambda: get_service_status(agent) == "passing", "in the catalog")
            assert list_members(agent)[f"wn-h-{number}"] == ALIVE
            asked = time.monotonic()
            assert pilot.stop() == 0
            seconds.append(time.monotonic() - asked)
            assert not pilot.find_events("cannot reach")
        assert list_members(agent)[f"wn-h-{number}"] == LEFT
        assert get_service_status(agent) is None
    print("ready, s:", [round(s, 3) for s in ready], "stop with the agent, s:", [round(s, 2) for s in seconds])
    assert statistics.median(seconds) < 4.0  # an agent that left by itself would take its five seconds


def is_answering(http):
    with suppress(OSError), OPENER.open(f"http://{http}/v1/status/leader", timeout=1):
        return True
    return False


@real
def test_killed_container_comes_back(agent, tmp_path):
    """A container that was killed and created again under its name is registered again at once."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    node = {"AUTOPILOT_HOST": "h", "AUTOPILOT_SLOT": "1"}
    with SupervisorProcess(tmp_path / "one", build_spec(agent, build_address(agent, 9)), env=node) as first:
        eventually(lambda: get_service_status(agent) == "passing", "registered")
        pids = {line["job"]: line["pid"] for line in first.lines if line["message"] == "started"}
        first.process.kill()
        first.process.wait()
        for pid in pids.values():
            kill_if_running(pid)
        killed = first.read_last_words()["life"]
    with SupervisorProcess(tmp_path / "two", build_spec(agent, build_address(agent, 9)), env=node):
        since = time.monotonic()
        eventually(lambda: get_life(agent) not in (None, killed), "registered again", timeout_s=60.0)
        print("killed and back, s:", round(time.monotonic() - since, 2))


def get_life(server):
    found = server.get_service_health("web")
    return found[0]["Service"]["Meta"]["life"] if found else None


def kill_if_running(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@real
def test_agent_is_restarted(agent, tmp_path):
    """An agent that is killed is a job like others: it is started again, and our services with it."""
    with SupervisorProcess(tmp_path, build_spec(agent, build_address(agent, 9))) as pilot:
        eventually(lambda: get_service_status(agent) == "passing", "registered")
        started = pilot.wait_for_event("consul-agent", "started")
        kill_if_running(started["pid"])
        pilot.wait_for_event("consul-agent", "started", since=len(pilot.lines))
        eventually(lambda: get_service_status(agent) == "passing", "registered again")
        assert pilot.stop() == 0


@real
def test_all_jobs_over(agent, tmp_path):
    """A container with completed work ends although the agent's job runs."""
    with SupervisorProcess(
        tmp_path, {**build_spec(agent, build_address(agent, 9)), "jobs": [{"name": "once", "exec": ["sleep", "0.5"]}]}
    ) as p:
        assert p.wait() == 0
        assert p.read_last_words()["reason"] == "completed"
