"""The metrics: promtool accepts them, and a real Prometheus scrapes them."""

from __future__ import annotations

import socket
import subprocess
import urllib.request

import pytest

from lab import prometheus_server
from lab.prometheus_server import Prometheus
from tests.app.harness import find_free_port
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot, is_slot_empty, kill_container

pytestmark = pytest.mark.real("docker", "podman", "registry", "prometheus")

NAMES = {
    *(
        "slots",
        "lost_slot_seconds_total",
        "done_total",
        "quarantined_digests",
        "suspect_digests",
        "registry_answer_timestamp_seconds",
    ),
    *("pinned", "digest_age_seconds", "last_pass_timestamp_seconds", "last_success_timestamp_seconds", "paused"),
    *("failed_lives_in_a_row", "failed_preparations_in_a_row", "unremovable_containers", "channel_slots"),
}


def check_with_promtool(text: str) -> None:
    """Check types, help, names and duplicates with promtool, as node-exporter's textfile collector does."""
    promtool = prometheus_server.find_program(prometheus_server.WITH_HTTP, "promtool")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    found = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert found == {f"autopilot_watchdog_{name}" for name in NAMES}


def test_textfile(site: Site) -> None:
    """The textfile is sound and has every metric, from the first pass on, through pulls, ends and refills."""
    site.push_image()
    site.run_once()
    kill_container(site, get_slot(site)["container"])
    eventually(lambda: is_slot_empty(site), 10, "the engine has seen it")
    site.run_once()
    check_with_promtool((site.folder / "watchdog.prom").read_text())


def test_port(site: Site) -> None:
    """A real Prometheus scrapes `watch` and knows a while later that the slot runs, and what was done."""
    port = find_free_port()
    site.write_config(metrics={"listen": f"127.0.0.1:{port}"})
    site.push_image()
    with site.run_watch():
        eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        address = f"http://127.0.0.1:{port}/metrics"

        def read_metrics() -> str:
            """Return the metrics once the watchdog has told of the slot's container; "" before."""
            text = str(opener.open(address, timeout=60).read().decode())
            return text if "autopilot_watchdog_channel_slots{" in text else ""

        check_with_promtool(eventually(read_metrics, 30, "the slot's channel is served"))
        targets = f"[{{targets: ['127.0.0.1:{port}']}}]"
        config = f"scrape_configs: [{{job_name: watchdog, scrape_interval: 250ms, static_configs: {targets}}}]\n"
        with prometheus_server.start_prometheus(
            config, f"127.0.0.1:{find_free_port()}", prometheus_server.WITH_HTTP
        ) as server:
            query = (
                'autopilot_watchdog_slots{code="running"} == 1 and on() autopilot_watchdog_done_total{what="starts"}'
            )
            eventually(lambda: has_result(server, query), 30, "it is scraped")


def test_port_that_is_taken(site: Site) -> None:
    """With its port taken, `watch` reports that and fills the slots all the same."""
    port = find_free_port()
    site.write_config(metrics={"listen": f"127.0.0.1:{port}"})
    site.push_image()
    with socket.create_server(("127.0.0.1", port)), site.run_watch():
        eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")
    (failure,) = site.read_audit("metrics-failed")
    assert f"cannot serve metrics on 127.0.0.1:{port}: Address already in use" in failure["sentence"]


def has_result(server: Prometheus, query: str) -> bool:
    """Return True if the query has a result."""
    try:
        return bool(server.run_query(query))
    except OSError:
        return False
