"""A real Prometheus discovers supervisors through a real Consul, with the configurations of examples/monitoring."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab import consul, prometheus
from lab.consul import Agent
from tests.app.harness import Pilot, eventually, free_port

pytestmark = pytest.mark.real("consul", "prometheus")
EXAMPLES = Path(__file__).parents[3] / "examples/monitoring"
DIGEST = "sha256:" + "b" * 64


def spec(agent: Agent, port: int):
    health = {"exec": "true", "interval": "0.5s"}
    web = {"name": "web", "exec": ["sleep", "1000"], "health": health}
    return {"consul": agent.http, "telemetry": {"port": port, "interfaces": "lo"}, "jobs": [web]}


def config(name: str, **changes: str) -> str:
    text = (EXAMPLES / name).read_text().replace("scrape_interval: 15s", "scrape_interval: 250ms")
    for old, new in changes.items():
        text = text.replace({"consul": "localhost:8500", "url": "localhost:9090"}[old], new)
    return text.replace("refresh_interval: 15s", "refresh_interval: 1s")


def scraped(server):
    try:
        return [target for target in server.targets() if target["health"] == "up"]
    except OSError:
        return []


@pytest.mark.parametrize("build", [prometheus.WITH_CONSUL, prometheus.WITH_HTTP], ids=["consul_sd", "http_sd"])
def test_discovered_and_scraped(tmp_path, build):
    """It finds the telemetry port by itself, scrapes it, and knows container, image, host and slot by their labels."""
    port = free_port()
    surroundings = {"AUTOPILOT_SLOT": "slot4", "AUTOPILOT_HOST": "h4", "AUTOPILOT_IMAGE_DIGEST": DIGEST}
    with consul.agent() as agent, Pilot(tmp_path, spec(agent, port), env=surroundings) as pilot:
        eventually(lambda: bool(agent.health("containerpilot")), "registered")
        if build is prometheus.WITH_CONSUL:
            text = config("prometheus-consul.yml", consul=agent.http)
        else:
            text = config("prometheus-http.yml", url=f"127.0.0.1:{port}")
        with prometheus.prometheus(text, f"127.0.0.1:{free_port()}", build) as server:
            eventually(lambda: len(scraped(server)) == 1, "scraped")
            labels = scraped(server)[0]["labels"]
            assert (labels["host"], labels["slot"], labels["image_digest"]) == ("h4", "slot4", DIGEST)
            assert labels["instance"].startswith("containerpilot-")
            eventually(lambda: bool(server.value('autopilot_job_healthy{name="web"} == 1')), "healthy")
            assert pilot.stop() == 0
            eventually(lambda: not server.targets() or not scraped(server), "gone")


def test_examples_are_valid():
    """promtool accepts every configuration and rule file of examples/monitoring."""
    for name, build in (
        ("prometheus-consul.yml", prometheus.WITH_CONSUL),
        ("prometheus-http.yml", prometheus.WITH_HTTP),
    ):
        command = [prometheus.program(build, "promtool"), "check", "config", str(EXAMPLES / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
