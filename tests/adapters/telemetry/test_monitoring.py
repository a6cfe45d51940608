"""promtool accepts the alert rules and the dashboard of examples/monitoring, and they use only exported names."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from autopilot_watchdog.config import config_reader
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.reasons import REASON_CODES
from autopilot_watchdog.watchdog_metrics import MetricsCollector
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from autopilot.machines.lifetime import Phase
from lab import prometheus_server
from tests.adapters.consul.conftest import agent  # noqa: F401 - a fixture
from tests.adapters.telemetry.test_prometheus_discovery import EXAMPLES
from tests.adapters.telemetry.test_telemetry_adapter import WEB, build_telemetry, fetch
from tests.app.harness import SupervisorProcess, eventually

RULES = (EXAMPLES / "alerts.yml").read_text()
DASHBOARD = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
VARIABLES = [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"][1:]]
NAME = re.compile(r"\b(?:autopilot|containerpilot|process)_[a-z_]+")


def list_families(text):
    """Every name that a query may ask for."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
    for family in text_string_to_metric_families(text):
        yield from (family.name + suffix for suffix in suffixes.get(family.type, ("",)))


def run_promtool(*words, build=prometheus_server.WITH_HTTP):
    command = [prometheus_server.find_program(build, "promtool"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.real("prometheus")
@pytest.mark.parametrize("build", [prometheus_server.WITH_CONSUL, prometheus_server.WITH_HTTP], ids=["2.24", "2.42"])
def test_rules_are_valid(build):
    """Old and new Prometheus take the rules."""
    done = run_promtool("check", "rules", EXAMPLES / "alerts.yml", build=build)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real("prometheus")
def test_rules_fire():
    """Each alert fires when it should, and not before: promtool's own unit tests, which name every alert."""
    done = run_promtool("test", "rules", EXAMPLES / "alerts-test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = set(re.findall(r"alert: (\w+)", RULES))
    assert alerts and alerts == set(re.findall(r"alertname: (\w+)", (EXAMPLES / "alerts-test.yml").read_text()))


@pytest.mark.real("prometheus")
def test_dashboard_is_valid(tmp_path):
    """Every query of the dashboard is PromQL, each panel has its own id and place."""
    filled = [re.sub(r"\$(host|slot)", ".*", query) for query in QUERIES]
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(filled)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run_promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


@pytest.mark.real("consul")
def test_every_metric_exists(agent, tmp_path):  # noqa: F811 - the fixture
    """A running supervisor or the watchdog exports every name that the rules and the dashboard use."""
    spec = {"consul": agent.http_address, "telemetry": build_telemetry(), "jobs": [WEB]}
    with SupervisorProcess(tmp_path, spec):
        eventually(lambda: "autopilot_consul_reachable 1.0" in fetch(spec, "/metrics"), "metrics, and Consul answers")
        there = set(list_families(fetch(spec, "/metrics")))
    config = config_reader.parse_config((EXAMPLES.parent / "watchdog/autopilot-watchdog.json").read_text())
    registry = CollectorRegistry()
    registry.register(MetricsCollector(config, Memory(), {}, 0.0))
    there |= set(list_families(generate_latest(registry).decode()))
    asked = {name for text in (re.sub(r"`[^`]*`", "", RULES), *QUERIES, *VARIABLES) for name in NAME.findall(text)}
    assert asked and asked <= there, sorted(asked - there)


def test_every_value_exists():
    """The phases of a life and the reasons of slots that the rules name are those that are exported."""
    (phases,) = re.findall(r'phase=~"([^"]+)"', RULES)
    named = {phase for phase in Phase if re.fullmatch(phases, phase.value)}
    assert named == {Phase.TERMINATING, Phase.KILLING}
    codes = {code for group in re.findall(r'code=~"([^"]+)"', RULES) for code in group.split("|")}
    assert codes and codes <= set(REASON_CODES)


@pytest.mark.slow
def test_no_consul_no_sample(tmp_path):
    """Without a consul section there is no sample of Consul's reachability."""
    spec = {"telemetry": build_telemetry(), "jobs": [WEB]}
    with SupervisorProcess(tmp_path, spec):
        eventually(lambda: "autopilot_job_up" in fetch(spec, "/metrics"), "metrics")
        assert "autopilot_consul" not in fetch(spec, "/metrics")
