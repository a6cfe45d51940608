"""`autopilot fleet` and `autopilot history --fleet` show all containers that Consul knows, now and in the past."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from autopilot.timestamps import format_timestamp
from lab import consul_agents
from tests.adapters.consul.conftest import build_service_spec, get_service_status
from tests.app.harness import SupervisorProcess, eventually, find_free_port

HERE = {"AUTOPILOT_HOST": "h7", "AUTOPILOT_SLOT": "slot2", "AUTOPILOT_IMAGE_DIGEST": "sha256:" + "c" * 64}
# the longest reason: characters of four bytes
CHANNEL = {"AUTOPILOT_CHANNEL": "canary", "AUTOPILOT_IMAGE_REASON": "\N{MUSICAL SYMBOL G CLEF}" * 400}


def run_verb(agent, *words):
    command = [sys.executable, "-m", "autopilot", *words, "--consul", agent.http_address]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=60, check=False)


def query_as_json(agent, *words):
    """Return the verb's JSON answer."""
    done = run_verb(agent, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.real("consul")
@pytest.mark.parametrize("has_port", [True, False], ids=["with telemetry", "without"])
def test_fleet(agent, tmp_path, has_port):
    """Every container is listed with host, slot, image, channel, age, lifetime and payloads, and leaves at its end; a
    drain is seen as it begins. Without a telemetry port the supervisor is no service: its port would be 0.
    """
    spec = build_service_spec(agent)
    if has_port:
        spec["telemetry"] = {"port": find_free_port(), "interfaces": ["lo"]}
    spec["lifetime"] = {"max": "1h", "drain": {"exec": "true", "until": "false"}}
    with SupervisorProcess(tmp_path, spec, env=HERE | CHANNEL) as pilot:
        eventually(lambda: get_service_status(agent) == "passing" and bool(query_as_json(agent, "fleet")), "listed")
        (found,) = query_as_json(agent, "fleet")
        services = {service["Service"]: service["Port"] for service in agent.request("/v1/agent/services").values()}
        assert services.keys() == {"web", *(("autopilot", "containerpilot") if has_port else ())}
        assert all(services.values())
        assert (found["host"], found["slot"], found["image_digest"]) == ("h7", "slot2", HERE["AUTOPILOT_IMAGE_DIGEST"])
        assert (found["channel"], found["image_reason"][0]) == ("canary", CHANNEL["AUTOPILOT_IMAGE_REASON"][0])
        assert (found["drain"], found["payloads"], found["status"]) == ("no", 0, "alive")
        assert found["started"] < found["lifetime_end"]
        assert pilot.run_verb("drain", "--no-wait").returncode == 0
        eventually(lambda: query_as_json(agent, "fleet")[0]["drain"] == "drain", "draining")
        text = subprocess.run(
            [sys.executable, "-m", "autopilot", "fleet", "--consul", agent.http_address],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "slot2" in text and "cccccccccccc" in text
        assert text.split()[3:6] == ["IMAGE", "CHANNEL", "VERSION"] and " canary " in text
        assert pilot.run_verb("maintenance", "on").returncode == 0
        eventually(lambda: query_as_json(agent, "fleet")[0]["status"] == "maintenance", "in maintenance")
        for _ in range(2):
            pilot.send_signal()
        pilot.wait()
    eventually(lambda: query_as_json(agent, "fleet") == [], "gone")


@pytest.mark.real("consul")
def test_history_outlives_the_container(agent, tmp_path):
    """The history names the host of a life after it left Consul, and after it was killed."""
    for name, end in (("ended", signal.SIGTERM), ("killed", signal.SIGKILL)):
        (tmp_path / name).mkdir()
        with SupervisorProcess(
            tmp_path / name, build_service_spec(agent), env={**HERE, "AUTOPILOT_SLOT": name}
        ) as pilot:
            eventually(lambda name=name: name in list_slots(agent) & list_fleet_slots(agent), "recorded")
            pilot.send_signal(end)
            pilot.wait()
    ended, killed = sorted(query_as_json(agent, "history", "--fleet"), key=lambda life: life["slot"])
    assert (ended["host"], ended["slot"], ended["reason"]) == ("h7", "ended", "signal")
    assert ended["started"] <= ended["ended"]
    assert (killed["slot"], killed["ended"], killed["reason"]) == ("killed", "", "running")  # until its TTL is over
    now = format_timestamp(time.time())
    assert query_as_json(agent, "history", "--fleet", "--host", "elsewhere") == []
    assert query_as_json(agent, "history", "--fleet", "--at", now, "--host", "h7")[-1]["slot"] == "killed"
    assert query_as_json(agent, "history", "--fleet", "--at", "2001-01-01T00:00:00Z") == []


@pytest.mark.real("consul")
def test_what_may_not_be_seen_is_no_empty_fleet(monkeypatch):
    """A token without permission gets an error with the rule to allow, not an empty table."""
    with consul_agents.start_agent(consul_agents.DEFAULT_DENY_CONFIG) as agent:
        for token in ("", consul_agents.create_token(agent, 'service "x" { policy = "read" }')):
            monkeypatch.setenv("CONSUL_HTTP_TOKEN", token)
            for words, expected in (
                (["fleet"], "may not read the service"),
                (["history", "--fleet"], "may not read the keys"),
            ):
                done = run_verb(agent, *words)
                assert done.returncode == 1 and expected in done.stderr, done
        rules = 'service "autopilot" { policy = "read" } node_prefix "" { policy = "read" }'
        monkeypatch.setenv("CONSUL_HTTP_TOKEN", consul_agents.create_token(agent, rules, "services"))
        done = run_verb(agent, "fleet")
        assert done.returncode == 1 and "may not read the keys below autopilot/fleet/" in done.stderr, done


@pytest.mark.real("consul")
def test_fleet_without_a_leader(tmp_path):
    """With two of three servers dead both verbs show the last known state."""
    with (
        consul_agents.start_agents(3, 1) as (*servers, client),
        SupervisorProcess(tmp_path, build_service_spec(client), env=HERE),
    ):
        eventually(lambda: bool(list_slots(client) & list_fleet_slots(client)), "listed and recorded")
        for server in servers[1:]:
            server.kill()
        assert [found["slot"] for found in query_as_json(client, "fleet")] == ["slot2"]
        assert list_slots(client) == {"slot2"}


def test_words_that_are_no_time():
    """A time that cannot be read is a usage error, not an empty answer."""
    done = subprocess.run(
        [sys.executable, "-m", "autopilot", "history", "--at", "yesterday"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 64 and "is no time" in done.stderr


def list_slots(agent):
    return {life["slot"] for life in query_as_json(agent, "history", "--fleet")}


def list_fleet_slots(agent):
    return {container["slot"] for container in query_as_json(agent, "fleet")}


def test_no_consul_is_said():
    """Without Consul the verb names the address that it tried, and exits with 69."""
    words = [sys.executable, "-m", "autopilot", "fleet", "--consul", "127.0.0.1:1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 69 and "cannot reach Consul at 127.0.0.1:1" in done.stderr
