"""The metrics that a real Prometheus of a ContainerPilot site scrapes have their old names and labels."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lab import consul_agents, prometheus_server
from tests.adapters.telemetry.test_telemetry_adapter import parse_samples
from tests.app.harness import eventually, find_free_port, shell
from tests.containerpilot.drop_in import PROGRAM, DropIn

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`
RULES = Path(__file__).parents[2] / "examples/monitoring/containerpilot-rules.yml"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
METRICS = [
    {"namespace": "app", "subsystem": "orders", "name": "placed", "help": "Orders.", "type": "counter"},
    {"namespace": "app", "name": "visits_total", "help": "Visits.", "type": "counter"},
    {"name": "free_memory", "help": "Bytes.", "type": "gauge"},
    {"namespace": "app", "name": "latency", "help": "Seconds.", "type": "histogram", "buckets": [0.1, 1]},
    {"namespace": "app", "name": "size", "help": "Bytes.", "type": "summary"},
]
WEB = {"name": "web", "exec": ["sleep", "1000"], "port": 8000, "interfaces": "lo", "tags": ["a"]}
PLAIN = {"name": "plain", "exec": ["sleep", "1000"]}
HEALTH = {"exec": "true", "interval": 1, "timeout": "10s", "ttl": 30}


@pytest.fixture
def port():
    return find_free_port()


def build_telemetry(port, **keys):
    return {"port": port, "interfaces": ["lo"], "metrics": METRICS, **keys}


def fetch(port, path):
    with OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read().decode()


def read_samples(port):
    """Every sample by its name and labels; none while the port is not open yet."""
    try:
        text = fetch(port, "/metrics")
    except OSError:
        return {}
    return parse_samples(text)


def count_events(port, code, source):
    return read_samples(port).get(("containerpilot_events", ("code", code), ("source", source)), 0)


def count_requests(port, code, path):
    return read_samples(port).get(("containerpilot_control_http_requests", ("code", code), ("path", path)), 0)


def test_events(tmp_path, port):
    """containerpilot_events{code, source}: a global event's source is `global`, a job's is its name."""
    web = {key: value for key, value in WEB.items() if key not in ("port", "interfaces", "tags")}
    jobs = [{**web, "health": HEALTH}, {"name": "once", "exec": "true"}, {"name": "bad", "exec": "false"}]
    with DropIn(tmp_path, {"jobs": jobs, "telemetry": build_telemetry(port)}) as pilot:
        eventually(lambda: count_events(port, "StatusHealthy", "web") == 1, "healthy is counted")
        for code, source in (
            ("Startup", "global"),
            ("ExitSuccess", "once"),
            ("Stopped", "once"),
            ("ExitFailed", "bad"),
        ):
            assert count_events(port, code, source) == 1, (code, source)
        pilot.send_request("POST", "/v3/maintenance/enable")
        pilot.send_request("POST", "/v3/maintenance/disable")
        eventually(lambda: count_events(port, "ExitMaintenance", "global") == 1, "maintenance is counted")
        assert count_events(port, "EnterMaintenance", "global") == 1


def test_requests(tmp_path, port):
    """containerpilot_control_http_requests{code, path}: answers and refusals, but not what no path is."""
    with DropIn(tmp_path, {"jobs": [PLAIN], "telemetry": build_telemetry(port)}) as pilot:
        pilot.wait_for_event("plain", "started")
        for method, path, body in (
            ("GET", "/v3/ping", None),
            ("GET", "/v3/ping?really", None),
            ("POST", "/v3/environ", {"A": "b"}),
            ("POST", "/v3/environ", "nonsense"),
            ("POST", "/v3/metric", {"unknown": 1}),
            ("GET", "/v3/reload", None),
            ("POST", "/v3/random-path", None),
        ):
            pilot.send_request(method, path, body)
        eventually(lambda: count_requests(port, "405", "/v3/reload") == 1, "all are counted")
        assert count_requests(port, "200", "/v3/ping") == 2
        assert count_requests(port, "200", "/v3/environ") == count_requests(port, "422", "/v3/environ") == 1
        assert count_requests(port, "400", "/v3/metric") == 1
        assert not [key for key in read_samples(port) if ("path", "/v3/random-path") in key]


def test_metrics_of_jobs(tmp_path, port):
    """A metric's name is namespace_subsystem_name without what is left out; -putmetric adds, sets or observes."""
    with DropIn(tmp_path, {"jobs": [PLAIN], "telemetry": build_telemetry(port)}) as pilot:
        pilot.wait_for_event("plain", "started")
        put = ["app_orders_placed=2", "app_orders_placed=0.5", "free_memory=1e3", "app_latency=0.5", "app_size=3"]
        for setting in put:
            assert pilot.run_with_flags("-putmetric", setting).returncode == 0
        assert pilot.run_with_flags("-putmetric", "app_visits_total=1", "-putmetric=free_memory=42").returncode == 0
        assert pilot.send_request("POST", "/v3/metric", {"app_orders_placed": "1", "app_size": 5}) == (200, "\n")
        found = read_samples(port)
        assert found["app_orders_placed",] == 3.5
        assert found["app_visits_total",] == 1
        assert found["free_memory",] == 42
        assert (found["app_latency_bucket", ("le", "0.1")], found["app_latency_bucket", ("le", "1")]) == (0, 1)
        assert (found["app_size_count",], found["app_size_sum",]) == (2, 8)


def test_text_as_go_writes_it(tmp_path, port):
    """Types, bucket labels and default buckets are those of Go's library: a counter without `_total` is a counter, and
    `le="1"` has no fraction.
    """
    metrics = [*METRICS, {"name": "plain_buckets", "help": "s", "type": "histogram"}]
    telemetry = build_telemetry(port, metrics=metrics)
    with DropIn(tmp_path, {"jobs": [PLAIN], "telemetry": telemetry}) as pilot:
        pilot.wait_for_event("plain", "started")
        eventually(lambda: bool(read_samples(port)), "it answers")
        lines = fetch(port, "/metrics").splitlines()
        for name, kind in (
            ("containerpilot_events", "counter"),
            ("containerpilot_control_http_requests", "counter"),
            ("containerpilot_watch_instances", "gauge"),
            ("app_orders_placed", "counter"),
            ("free_memory", "gauge"),
            ("app_latency", "histogram"),
            ("app_size", "summary"),
        ):
            assert f"# TYPE {name} {kind}" in lines
        buckets = [line.split('"')[1] for line in lines if line.startswith("plain_buckets_bucket")]
        assert buckets == ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]


def test_methods_and_form(tmp_path, port):
    """/metrics answers HEAD and POST too, /status only GET, as JSON without spaces."""

    def ask(method, path):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
        try:
            with OPENER.open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    with DropIn(tmp_path, {"jobs": [PLAIN], "telemetry": build_telemetry(port)}) as pilot:
        pilot.wait_for_event("plain", "started")
        eventually(lambda: bool(read_samples(port)), "it answers")
        assert ask("HEAD", "/metrics") == (200, b"")
        assert ask("POST", "/metrics")[0] == 200
        assert ask("HEAD", "/status") == (405, b"")
        assert ask("POST", "/status")[0] == 405
        assert b'"Jobs":[{"Name":"plain","Status":"healthy"}]' in ask("GET", "/status")[1]


def test_interfaces_that_are_not_here(tmp_path, port):
    """A telemetry port whose interfaces are not here is open on the loopback address only, and a condition says so."""
    telemetry = build_telemetry(port, interfaces=["nosuch0"])
    with DropIn(tmp_path, {"jobs": [PLAIN], "telemetry": telemetry}) as pilot:
        line = pilot.wait_for(lambda line: line.get("trouble") == "address-containerpilot")
        assert "none of nosuch0 is here" in line["message"] and "127.0.0.1 only" in line["message"]
        eventually(lambda: bool(read_samples(port)), "it answers")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=60)


def test_metric_without_namespace(tmp_path, port):
    """A metric without namespace or subsystem is set by its name (ContainerPilot dropped it, #569), and still by the
    underscores that scripts had to write.
    """
    with DropIn(tmp_path, {"jobs": [PLAIN], "telemetry": build_telemetry(port)}) as pilot:
        pilot.wait_for_event("plain", "started")
        for name, value in (("free_memory", 1), ("__free_memory", 2), ("app__visits_total", 3)):
            assert pilot.run_with_flags("-putmetric", f"{name}={value}").returncode == 0
        eventually(lambda: read_samples(port).get(("free_memory",)) == 2, "it is set")
        assert read_samples(port)["app_visits_total",] == 3


def test_metrics_that_cannot_be_set(tmp_path, port):
    """An unknown metric, a value that is no number and a counter that would fall are refused with what would be right;
    what stands beside them is set.
    """
    with DropIn(tmp_path, {"jobs": [PLAIN], "telemetry": build_telemetry(port)}) as pilot:
        pilot.wait_for_event("plain", "started")
        for body, expected_text in (
            ({"app_orders": 1}, "there are: app_orders_placed, app_visits_total, free_memory"),
            ({"free_memory": "much"}, "cannot be 'much'; write a number"),
            ({"app_orders_placed": -1}, "not below 0 for a counter"),
            ({"nothing": 1, "free_memory": 7, "app_size": None}, "app_size: cannot be None"),
        ):
            status, text = pilot.send_request("POST", "/v3/metric", body)
            assert status == 400 and expected_text in json.loads(text)["error"]
        eventually(lambda: read_samples(port).get(("free_memory",)) == 7, "the good one is set")
        refused = pilot.run_with_flags("-putmetric", "nothing=1")
        assert refused.returncode == 1 and "there is no metric 'nothing'" in refused.stderr
    plain = tmp_path / "plain"
    plain.mkdir()
    with DropIn(plain, {"jobs": [PLAIN]}) as pilot:
        pilot.wait_for_event("plain", "started")
        assert pilot.send_request("POST", "/v3/metric", {"x": 1}) == (
            400,
            '{"error": "there is no telemetry section"}\n',
        )


def test_metric_put_at_once(tmp_path, port):
    """Values that a job puts before the library of the metrics is loaded are kept until then."""
    early = f"{PROGRAM} -config {tmp_path}/autopilot.json5 -putmetric free_memory=5 && echo put || echo refused"
    job = {"name": "early", "exec": shell(f"{early}; exec sleep 1000")}
    with DropIn(tmp_path, {"jobs": [job], "telemetry": build_telemetry(port)}) as pilot:
        eventually(lambda: bool(pilot.list_job_output("early")), "it has put")
        assert pilot.list_job_output("early") == ["put"]
        eventually(lambda: read_samples(port).get(("free_memory",)) == 5, "it is there")


@pytest.mark.real("consul")
def test_status_and_watches(tmp_path, port):
    """/status has Version, Jobs, Services and Watches with ContainerPilot's keys; containerpilot_watch_instances has
    each watched service.
    """
    with consul_agents.start_agent() as agent:
        spec = {
            "consul": agent.http_address,
            "jobs": [{**WEB, "health": HEALTH}, PLAIN, {"name": "once", "exec": "true"}],
            "watches": [{"name": "web", "interval": 1}, {"name": "none", "interval": 1}],
            "telemetry": build_telemetry(port),
        }
        with DropIn(tmp_path, spec):
            key = "containerpilot_watch_instances"
            eventually(lambda: read_samples(port).get((key, ("service", "web"))) == 1, "the watch sees it")
            assert read_samples(port)[key, ("service", "none")] == 0
            status = json.loads(fetch(port, "/status"))
            assert set(status) == {"Version", "Jobs", "Services", "Watches"}
            assert status["Jobs"] == [{"Name": "plain", "Status": "healthy"}, {"Name": "once", "Status": "completed"}]
            assert status["Services"] == [
                {"Name": "web", "Address": "127.0.0.1", "Port": 8000, "Status": "healthy"},
                {"Name": "containerpilot", "Address": "127.0.0.1", "Port": port, "Status": "healthy"},
            ]
            assert set(status["Watches"]) == {"web", "none"}


@pytest.mark.real("prometheus")
@pytest.mark.parametrize("build", [prometheus_server.WITH_CONSUL, prometheus_server.WITH_HTTP], ids=["2.24", "2.42"])
def test_a_real_prometheus(tmp_path, port, build):
    """A dashboard's old queries work on a real Prometheus without a rule; the rules of examples/monitoring add the
    names that end in _total, lead a renamed counter back to its old name, and count heartbeats.
    """
    config = (
        "global: {scrape_interval: 250ms, evaluation_interval: 250ms}\n"
        f"rule_files: [{RULES}]\n"
        f"scrape_configs: [{{job_name: cp, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    job = {"name": "web", "exec": ["sleep", "1000"], "health": {"exec": "true", "interval": "0.2s", "timeout": "10s"}}
    with DropIn(tmp_path, {"jobs": [job], "telemetry": build_telemetry(port)}) as pilot:
        pilot.wait_for_event("web", "marked healthy")
        put = {"app_orders_placed": 2, "app_visits_total": 7, "free_memory": 42, "app_size": 3}
        assert pilot.send_request("POST", "/v3/metric", put)[0] == 200
        with prometheus_server.start_prometheus(config, f"127.0.0.1:{find_free_port()}", build) as server:

            def run_query(query):
                try:
                    return [float(found["value"][1]) for found in server.run_query(query)]
                except OSError:
                    return []

            for query, expected in (
                ('containerpilot_events{code="StatusHealthy", source="web"}', 1),
                ('sum(containerpilot_control_http_requests{code="200", path="/v3/metric"})', 1),
                ("app_orders_placed", 2),
                ("app_visits_total", 7),
                ("free_memory", 42),
                ("app_size_sum", 3),
                ('containerpilot_events_total{code="StatusHealthy", source="web"}', 1),
                ('containerpilot_control_http_requests_total{path="/v3/metric"}', 1),
                ("app_orders_placed_total", 2),
                ("app_visits", 7),
            ):
                eventually(lambda q=query, e=expected: run_query(q) == [e], f"{query} is {expected}")
            heartbeats = 'containerpilot_heartbeats{code="StatusHealthy", source="web"}'
            eventually(lambda: sum(run_query(heartbeats)) >= 3, "heartbeats are counted")
            pilot.send_request("POST", "/v3/metric", {"app_orders_placed": 5})
            eventually(lambda: sum(run_query("increase(app_orders_placed[1m])")) > 0, "it counts as a counter does")


@pytest.mark.real("prometheus")
@pytest.mark.parametrize("build", [prometheus_server.WITH_CONSUL, prometheus_server.WITH_HTTP], ids=["2.24", "2.42"])
def test_rules_are_valid(build):
    """promtool accepts the rules."""
    command = [prometheus_server.find_program(build, "promtool"), "check", "rules", str(RULES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
