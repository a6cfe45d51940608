"""A real Prometheus discovers supervisors through a real Consul, with the configurations of examples/monitoring."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab import consul_agents, prometheus_server
from lab.consul_agents import Agent
from tests.app.harness import SupervisorProcess, eventually, find_free_port

pytestmark = pytest.mark.real("consul", "prometheus")
EXAMPLES = Path(__file__).parents[3] / "examples/monitoring"
DIGEST = "sha256:" + "b" * 64


def build_spec(agent: Agent, port: int):
    health = {"exec": "true", "interval": "0.5s", "timeout": "10s"}
    web = {"name": "web", "exec": ["sleep", "1000"], "health": health}
    return {"consul": agent.http_address, "telemetry": {"port": port, "interfaces": "lo"}, "jobs": [web]}


def build_config(name: str, **changes: str) -> str:
    text = (EXAMPLES / name).read_text().replace("scrape_interval: 15s", "scrape_interval: 250ms")
    for old, new in changes.items():
        text = text.replace({"consul": "localhost:8500", "url": "localhost:9090"}[old], new)
    return text.replace("refresh_interval: 15s", "refresh_interval: 1s")


def list_scraped_targets(server):
    try:
        return [target for target in server.list_targets() if target["health"] == "up"]
    except OSError:
        return []


@pytest.mark.parametrize(
    "build", [prometheus_server.WITH_CONSUL, prometheus_server.WITH_HTTP], ids=["consul_sd", "http_sd"]
)
def test_discovered_and_scraped(tmp_path, build):
    """Prometheus finds the telemetry port by itself and scrapes it; labels name container, image, host and slot."""
    port = find_free_port()
    environment = {"AUTOPILOT_SLOT": "slot4", "AUTOPILOT_HOST": "h4", "AUTOPILOT_IMAGE_DIGEST": DIGEST}
    with (
        consul_agents.start_agent() as agent,
        SupervisorProcess(tmp_path, build_spec(agent, port), env=environment) as pilot,
    ):
        eventually(lambda: bool(agent.get_service_health("containerpilot")), "registered")
        if build is prometheus_server.WITH_CONSUL:
            text = build_config("prometheus-consul.yml", consul=agent.http_address)
        else:
            text = build_config("prometheus-http.yml", url=f"127.0.0.1:{port}")
        with prometheus_server.start_prometheus(text, f"127.0.0.1:{find_free_port()}", build) as server:
            eventually(lambda: len(list_scraped_targets(server)) == 1, "scraped")
            labels = list_scraped_targets(server)[0]["labels"]
            assert (labels["host"], labels["slot"], labels["image_digest"]) == ("h4", "slot4", DIGEST)
            assert labels["instance"].startswith("containerpilot-")
            eventually(lambda: bool(server.run_query('autopilot_job_healthy{name="web"} == 1')), "healthy")
            assert pilot.stop() == 0
            eventually(lambda: not server.list_targets() or not list_scraped_targets(server), "gone")


def test_examples_are_valid():
    """promtool accepts every configuration and rule file of examples/monitoring."""
    for name, build in (
        ("prometheus-consul.yml", prometheus_server.WITH_CONSUL),
        ("prometheus-http.yml", prometheus_server.WITH_HTTP),
    ):
        command = [prometheus_server.find_program(build, "promtool"), "check", "config", str(EXAMPLES / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
