"""Every alert fires and is resolved, and every panel of the dashboard shows data, through real faults.

A real Prometheus evaluates the project's own rule file, with shorter times, and a real Alertmanager posts what it is
told. The watchdog's figures come through a real node-exporter. One story has all faults, so that each part starts once.
"""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lab.alertmanager_server import start_alertmanager
from lab.consul_agents import start_agent
from lab.node_exporter import start_node_exporter
from lab.ports import find_free_port
from lab.prometheus_server import WITH_HTTP, Prometheus, start_prometheus
from tests.adapters.telemetry.test_monitoring import DASHBOARD, RULES
from tests.app.harness import SupervisorProcess, eventually, shell
from tests.watchdog.site import Site

LIMIT_S = 240.0  # for each of the parts, all of them beside other tests on a busy machine
NO_ENGINE = "/nonexistent/docker.sock"
SHORTER = (  # each time of the rules, and the time that the test gives
    (r"for: \d+m", "for: 1s"),
    (r"\[10m\]", "[20s]"),
    (r"> 600\b", "> 10"),
    (r"> 3600\b", "> 10"),
)
CGROUP_FIGURES = (
    "autopilot_container_memory_bytes",
    "autopilot_container_cpu_throttled_seconds_total",
    "autopilot_container_oom_kills_total",
)
MANY_LIVES = {"DigestSuspect"}  # alerts that need the ends of many lives: promtool alone tests these
ALERTS = frozenset(re.findall(r"alert: (\w+)", RULES)) - MANY_LIVES


class Notices:
    """Web hook of Alertmanager: the alerts that have fired, and those that were resolved after they had."""

    def __init__(self) -> None:
        self.fired: set[str] = set()
        self.resolved: set[str] = set()
        self.wordless: set[str] = set()  # without a sentence for the reader

    def take(self, notice: dict[str, Any]) -> None:
        """Record one notification."""
        for alert in notice["alerts"]:
            name = alert["labels"]["alertname"]
            if alert["status"] == "firing":
                self.fired.add(name)
                if not (alert["annotations"].get("summary") and alert["annotations"].get("description")):
                    self.wordless.add(name)
            elif name in self.fired:
                self.resolved.add(name)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve the hook, and provide its URL."""
        notices = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notices.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def wait_for_fired(self, *names: str) -> None:
        """Wait until these alerts have fired."""
        eventually(lambda: set(names) <= self.fired, f"{names} fire: {self.fired}", timeout_s=LIMIT_S, interval_s=0.1)

    def wait_for_resolved(self, *names: str) -> None:
        """Wait until these alerts are resolved."""
        eventually(
            lambda: set(names) <= self.resolved,
            f"{names} are resolved: {self.resolved}",
            timeout_s=LIMIT_S,
            interval_s=0.1,
        )


def shorten_rules() -> str:
    text = RULES
    for pattern, replacement in SHORTER:
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    return text


def build_config(rules: Path, alertmanager: str, node_exporter: str, ports: dict[str, int]) -> str:
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"host": "h1", "slot": name}} for name, port in ports.items()
    ]
    scrapes = [
        {"job_name": "autopilot", "static_configs": targets},
        {"job_name": "node", "static_configs": [{"targets": [node_exporter]}]},
    ]
    config = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": scrapes,
    }
    return json.dumps(config)  # which is YAML too


def build_faulty_spec(port: int, consul: str, receiver_port: int, well: Path) -> dict[str, Any]:
    """Return a job spec with a crash loop, jobs that are sick or held back, a slow check, and too much output."""
    sleep = ["sleep", "1000"]
    return {
        "telemetry": {"port": port, "interfaces": "lo"},
        "consul": consul,
        "logging": {"forward": [{"to": f"tcp://127.0.0.1:{receiver_port}", "buffer": "64KiB"}]},
        "checks": [{"name": "ready", "path": str(well), "before": ["held"], "retry": "0.5s", "on_failure": "wait"}],
        "jobs": [
            {"name": "held", "exec": sleep},
            {"name": "loop", "exec": "false", "restarts": "unlimited", "backoff": {"initial": "0.3s", "max": "0.3s"}},
            {"name": "sick", "exec": sleep, "health": {"exec": ["test", "-e", str(well)], "interval": "0.5s"}},
            {"name": "slow", "exec": sleep, "health": {"exec": ["sleep", "2"], "interval": "0.5s", "timeout": "30s"}},
            {"name": "noisy", "exec": shell("while :; do printf '%065000d\\n' 0; sleep 0.1; done")},
        ],
    }


def build_ending_spec(port: int) -> dict[str, Any]:
    """Return a job spec whose drain reaches its deadline, because the job does not end when it is asked to."""
    return {
        "telemetry": {"port": port, "interfaces": "lo"},
        "jobs": [{"name": "main", "exec": shell("trap '' TERM; sleep 1000"), "essential": True}],
        "lifetime": {
            "max": "2s",
            "drain": {"exec": "true", "until": "false", "poll": "1s"},
            "deadline": "1s",
            "grace": "1h",  # the test kills it when the alert has fired
        },
    }


def has_data(server: Prometheus, query: str) -> bool:
    try:
        return bool(server.run_query(re.sub(r"\$(host|slot)", ".*", query)))
    except OSError:
        return False


def list_queries(server: Prometheus) -> list[tuple[str, str]]:
    """Return title and query of every target of every panel; without figures of the cgroup that this host lacks."""
    queries = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    lacking = set(CGROUP_FIGURES) - set(server.request("label/__name__/values"))
    return [(title, query) for title, query in queries if not any(name in query for name in lacking)]


def break_host(site: Site, notices: Notices, digest: str) -> None:
    """Make passes without an engine, and quarantine a digest; then make no passes."""
    site.write_config(engines={"docker": NO_ENGINE}, metrics={"textfile": str(site.folder / "metrics/watchdog.prom")})
    site.run_verb("run", timeout=LIMIT_S)
    done = site.run_verb("quarantine", digest, "--force", "--reason", "test")
    assert done.returncode == 0, done.stdout + done.stderr
    site.run_verb("run", timeout=LIMIT_S)
    notices.wait_for_resolved("WatchdogMissing")
    notices.wait_for_fired("WatchdogNotWell", "SlotsLost", "DigestQuarantined", "WatchdogSilent")


def mend_host(site: Site, notices: Notices, digest: str) -> None:
    """Give the watchdog its engine back, and make passes until all is well."""
    site.write_config(engines={"docker": site.service.socket})
    done = site.run_verb("release", digest)
    assert done.returncode == 0, done.stdout + done.stderr

    def is_well() -> bool:
        site.run_verb("run", timeout=LIMIT_S)
        return {"WatchdogNotWell", "SlotsLost", "DigestQuarantined", "WatchdogSilent"} <= notices.resolved

    eventually(is_well, "the host is well again", timeout_s=LIMIT_S, interval_s=0.1)


def accept_lines(port: int) -> Callable[[], None]:
    """Take connections on the port, and read them; return the function that ends it."""
    server = socket.create_server(("127.0.0.1", port))
    connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=read, args=(connection,), daemon=True).start()

    def read(connection: socket.socket) -> None:
        try:
            while connection.recv(1 << 16):
                pass
        except OSError:
            return

    def close() -> None:
        for opened in (server, *connections):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    threading.Thread(target=accept, daemon=True).start()
    return close


@pytest.mark.real("docker", "registry", "consul", "prometheus", "alerting")
def test_alerts_and_dashboard(tmp_path: Path, docker_site: Site) -> None:
    """Each alert fires at its fault and is resolved by its remedy, and every query of the dashboard returns data."""
    site, notices = docker_site, Notices()
    digest = site.push_image()
    (site.folder / "metrics").mkdir()
    rules, well = tmp_path / "alerts.yml", tmp_path / "well"
    rules.write_text(shorten_rules())
    ports = {"a": find_free_port(), "b": find_free_port()}
    server_address, manager_address, node_address = (f"127.0.0.1:{find_free_port()}" for _ in range(3))
    receiver_port = find_free_port()
    config = build_config(rules, manager_address, node_address, ports)
    with (
        notices.serve() as hook,
        start_node_exporter(site.folder / "metrics", node_address),
        start_alertmanager(hook, manager_address),
        start_prometheus(config, server_address, WITH_HTTP, ["--rules.alert.resend-delay=1s"]) as server,
        start_agent() as agent,
    ):
        notices.wait_for_fired("AutopilotDeadButListed", "AutopilotNoContainers", "WatchdogMissing")
        break_host(site, notices, digest)
        mend_host(site, notices, digest)
        notices.wait_for_fired("ContainersInvisible")
        faulty = build_faulty_spec(ports["a"], agent.http_address, receiver_port, well)
        environment = {"AUTOPILOT_IMAGE_DIGEST": digest}
        folders = [tmp_path / name for name in ("a", "b")]
        for folder in folders:
            folder.mkdir()
        with (
            SupervisorProcess(folders[0], faulty, read=False, env=environment) as pilot,
            SupervisorProcess(folders[1], build_ending_spec(ports["b"])) as ending_pilot,
        ):
            eventually(
                lambda: has_data(server, "autopilot_consul_reachable == 1"),
                "Consul answers",
                timeout_s=LIMIT_S,
                interval_s=0.1,
            )
            eventually(
                lambda: has_data(server, "autopilot_consul_services > 0"),
                "a service",
                timeout_s=LIMIT_S,
                interval_s=0.1,
            )
            agent.kill()
            notices.wait_for_resolved("AutopilotDeadButListed", "AutopilotNoContainers", "ContainersInvisible")
            notices.wait_for_fired(
                *("AutopilotCrashLoop", "AutopilotJobUnhealthy", "AutopilotDrainForced", "AutopilotTrouble"),
                "AutopilotGateClosed",
                *("AutopilotLogDropped", "AutopilotLogNotForwarded", "AutopilotConsulUnreachable"),
            )
            for title, query in list_queries(server):
                eventually(
                    lambda query=query: has_data(server, query), f"{title}: {query}", timeout_s=LIMIT_S, interval_s=0.1
                )
            ending_pilot.process.kill()
            well.touch()
            agent.start()
            close_receiver = accept_lines(receiver_port)
            for job in ("loop", "noisy", "slow"):  # a slow check is a line of log at each interval
                done = pilot.run_verb("stop", job)
                assert done.returncode == 0, done.stdout + done.stderr
            notices.wait_for_resolved(*ALERTS)
        close_receiver()
    assert notices.fired == ALERTS and not notices.wordless
