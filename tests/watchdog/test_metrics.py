"""What Prometheus sees: promtool has nothing to say against it, and a real Prometheus scrapes it."""

from __future__ import annotations

import socket
import subprocess
import urllib.request

import pytest

from lab import prometheus
from lab.prometheus import Prometheus
from tests.app.harness import free_port
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import container, kill

pytestmark = pytest.mark.real("docker", "podman", "registry", "prometheus")

NAMES = {
    *("slots", "lost_slot_seconds_total", "done_total", "quarantined_digests", "registry_answer_timestamp_seconds"),
    *("pinned", "digest_age_seconds", "last_pass_timestamp_seconds", "last_success_timestamp_seconds", "paused"),
    "failed_lives_in_a_row",
}


def checked(text: str) -> None:
    """By promtool, as node-exporter's textfile collector would: types, help, names, no doubles."""
    promtool = prometheus.program(prometheus.WITH_HTTP, "promtool")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    found = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert found == {f"autopilot_watchdog_{name}" for name in NAMES}


def test_textfile(site: Site) -> None:
    """The textfile is sound and has every metric, from the first pass on, through pulls, ends and refills."""
    site.push()
    site.run()
    kill(site, container(site)["container"])
    eventually(lambda: not container(site)["container"], 10, "the engine has seen it")
    site.run()
    checked((site.folder / "watchdog.prom").read_text())


def test_port(site: Site) -> None:
    """A real Prometheus scrapes `watch` and knows a while later that the slot runs, and what was done."""
    port = free_port()
    site.write(metrics={"listen": f"127.0.0.1:{port}"})
    site.push()
    with site.watching():
        eventually(lambda: container(site)["container"], 30, "the slot is filled")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        address = f"http://127.0.0.1:{port}/metrics"
        checked(eventually(lambda: opener.open(address, timeout=5).read().decode(), 10, "it is served"))
        targets = f"[{{targets: ['127.0.0.1:{port}']}}]"
        config = f"scrape_configs: [{{job_name: watchdog, scrape_interval: 250ms, static_configs: {targets}}}]\n"
        with prometheus.prometheus(config, f"127.0.0.1:{free_port()}", prometheus.WITH_HTTP) as server:
            query = (
                'autopilot_watchdog_slots{code="running"} == 1 and on() autopilot_watchdog_done_total{what="starts"}'
            )
            eventually(lambda: answered(server, query), 30, "it is scraped")


def test_port_that_is_taken(site: Site) -> None:
    """When the port is somebody else's, `watch` says so and fills the slots all the same."""
    port = free_port()
    site.write(metrics={"listen": f"127.0.0.1:{port}"})
    site.push()
    with socket.create_server(("127.0.0.1", port)), site.watching():
        eventually(lambda: container(site)["container"], 30, "the slot is filled")
    assert f"cannot serve metrics on 127.0.0.1:{port}: Address already in use" in site.audit("metrics")[0]["sentence"]


def answered(server: Prometheus, query: str) -> bool:
    try:
        return bool(server.value(query))
    except OSError:
        return False
