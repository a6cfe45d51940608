"""A real Consul has the services of a running supervisor."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.adapters.consul.conftest import build_service_spec, get_service_status
from tests.app.harness import SupervisorProcess, eventually, find_free_port, shell

pytestmark = pytest.mark.real("consul")
HOST = socket.gethostname()


def test_what_is_registered(agent, tmp_path):
    """A job's service has ContainerPilot's id, the address that its rules chose, its tags, and the life's identity as
    metadata.
    """
    spec = build_service_spec(
        agent,
        tags=["a", "b"],
        meta={"tier": "front"},
        consul={"enableTagOverride": True, "deregisterCriticalServiceAfter": "10m"},
    )
    spec["lifetime"] = {"max": "1h", "drain": {"exec": "true", "until": "true"}}
    spec["telemetry"] = {"port": find_free_port(), "interfaces": ["lo"]}
    environment = {"AUTOPILOT_SLOT": "slot3", "AUTOPILOT_HOST": "h1", "AUTOPILOT_IMAGE_DIGEST": "sha256:" + "a" * 64}
    with SupervisorProcess(tmp_path, spec, env=environment) as pilot:
        eventually(lambda: get_service_status(agent) == "passing", "passing")
        (entry,) = agent.get_service_health("web")
        found = entry["Service"]
        assert found["ID"] == f"web-{HOST}"
        assert (found["Address"], found["Port"], sorted(found["Tags"])) == ("192.0.2.7", 8080, ["a", "b"])
        assert found["EnableTagOverride"]
        meta = found["Meta"]
        assert (meta["slot"], meta["host"], meta["image-digest"]) == ("slot3", "h1", "sha256:" + "a" * 64)
        assert {"version", "life", "lifetime-end"} <= set(meta) and meta["tier"] == "front"
        eventually(lambda: get_service_status(agent, "autopilot") == "passing", "our own")
        (own,) = agent.get_service_health("autopilot")
        assert {"started", "drain", "payloads", "lifetime-end"} <= set(own["Service"]["Meta"])
        assert pilot.stop() == 0
    assert agent.request("/v1/agent/services") == {}


def test_registered_with_the_first_success(agent, tmp_path):
    """A service is registered from its first passing check, with an initial status from its job's start."""
    flag = tmp_path / "healthy"
    slow = build_service_spec(agent, health={"exec": ["test", "-e", str(flag)], "interval": "0.1s", "timeout": "10s"})
    early = {**slow["jobs"][0], "name": "early", "initial_status": "warning"}
    slow["jobs"].append(early)
    with SupervisorProcess(tmp_path, slow) as pilot:
        eventually(lambda: get_service_status(agent, "early") in ("warning", "critical"), "early, before any success")
        assert get_service_status(agent) is None
        flag.touch()
        for name in ("web", "early"):
            pilot.wait_for_event(name, "marked healthy")
            eventually(lambda name=name: get_service_status(agent, name) == "passing", "passing")


def test_check_output_and_status(agent, tmp_path):
    """Consul's check follows the job's own check: critical at once when it fails, with its last output."""
    flag = tmp_path / "bad"
    check = shell(f"if test -e {flag}; then echo disk is full; exit 1; fi; echo all is well")
    with SupervisorProcess(
        tmp_path, build_service_spec(agent, health={"exec": check, "interval": "0.1s", "timeout": "5s", "ttl": "1m"})
    ) as pilot:
        eventually(lambda: get_service_status(agent) == "passing", "passing")
        flag.touch()
        pilot.wait_for_event("web", "marked unhealthy")
        eventually(lambda: get_service_status(agent) == "critical", "critical")
        check_of = agent.request("/v1/agent/checks")[f"service:web-{HOST}"]
        assert check_of["Output"] == "disk is full"
        flag.unlink()
        eventually(lambda: get_service_status(agent) == "passing", "passing again")


def test_slow_check_keeps_its_ttl(agent, tmp_path):
    """A check that takes longer than the whole TTL, and passes, never lets the service turn critical."""
    check = {"exec": shell("sleep 2; echo checked"), "interval": "0.3s", "timeout": "5s", "ttl": "1s"}

    def list_modify_indices():
        """The check's ModifyIndex, which grows when its status changes."""
        (entry,) = agent.get_service_health("web")
        return [c["ModifyIndex"] for c in entry["Checks"] if c["Type"] == "ttl"]

    with SupervisorProcess(tmp_path, build_service_spec(agent, health={**check, "logging": {"raw": True}})) as pilot:
        eventually(lambda: get_service_status(agent) == "passing", "passing")
        before, since = list_modify_indices(), len(pilot.lines)
        pilot.wait_for(lambda line: line["message"] == "checked", since=since)
        assert (get_service_status(agent), list_modify_indices()) == ("passing", before)


def test_stopped_job_is_gone(agent, tmp_path):
    """A job is deregistered when its stop begins, not when it has ended."""
    released = tmp_path / "released"
    script = f"trap 'until test -e {released}; do sleep 0.1; done; exit 0' TERM; while :; do sleep 0.1; done"
    with SupervisorProcess(tmp_path, build_service_spec(agent, exec=shell(script), stop={"timeout": "10m"})) as pilot:
        eventually(lambda: get_service_status(agent) == "passing", "passing")
        assert pilot.run_verb("stop", "web", "--no-wait").returncode == 0
        eventually(lambda: get_service_status(agent) is None, "gone")
        released.touch()
        pilot.wait_for_event("web", "ended, exit 0")  # it was still there, and was not killed


def test_addresses_for_children(agent, tmp_path):
    """Children see the address of every advertised job as CONTAINERPILOT_{JOB}_IP."""
    spec = build_service_spec(agent)
    spec["jobs"].append({"name": "ask", "exec": shell("echo ip=$CONTAINERPILOT_WEB_IP")})
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for_event("ask", "ip=192.0.2.7")


def test_tags_changed_by_others_stay(agent, tmp_path):
    """With enableTagOverride the tags of others stay; their other changes are reverted within a second."""
    with SupervisorProcess(tmp_path, build_service_spec(agent, tags=["ours"], consul={"enableTagOverride": True})):
        eventually(lambda: get_service_status(agent) == "passing", "passing")
        (entry,) = agent.get_service_health("web")
        body = {**entry["Service"], "Name": "web", "Tags": ["theirs"], "Port": 1}
        known = ("ID", "Name", "Tags", "Port", "Address", "Meta", "EnableTagOverride")
        agent.put("/v1/agent/service/register", {key: body[key] for key in known})
        eventually(lambda: agent.get_service_health("web")[0]["Service"]["Port"] == 8080, "our port", timeout_s=60.0)
        assert agent.get_service_health("web")[0]["Service"]["Tags"] == ["theirs"]


@pytest.mark.slow  # Consul takes a minute at least, and looks every 30 s
def test_killed_supervisor_is_reaped(agent, tmp_path):
    """Consul deregisters the services of a killed supervisor after deregisterCriticalServiceAfter, others not."""
    health = {"exec": "true", "interval": "0.5s", "timeout": "10s", "ttl": "5s"}
    spec = build_service_spec(agent, health=health, consul={"deregisterCriticalServiceAfter": "1m"})
    spec["jobs"].append({**spec["jobs"][0], "name": "kept", "consul": {}})
    with SupervisorProcess(tmp_path, spec) as pilot:
        eventually(lambda: get_service_status(agent) == get_service_status(agent, "kept") == "passing", "passing")
        pilot.send_signal(signal.SIGKILL)
        pilot.wait()
    eventually(lambda: get_service_status(agent) == "critical", "critical")
    eventually(lambda: get_service_status(agent) is None, "taken out", timeout_s=110.0, interval_s=1.0)
    assert get_service_status(agent, "kept") == "critical"
