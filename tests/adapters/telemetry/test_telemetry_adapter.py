"""The telemetry port of a real supervisor, without any Consul."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from autopilot.adapters.http_server import CLIENT_TIMEOUT_S, MAX_CLIENTS
from autopilot.adapters.interfaces import choose_address, list_host_addresses
from tests.app.harness import VICTIM, SupervisorProcess, eventually, find_free_port, shell

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
HEALTH = {"exec": "true", "interval": "0.1s", "timeout": "30s", "ttl": "60s"}  # healthy on a busy machine too
WEB = {"name": "web", "exec": ["sleep", "1000"], "health": HEALTH}


def build_telemetry(**fields):
    return {"port": find_free_port(), "interfaces": "lo", **fields}


def fetch(spec, path):
    try:
        with OPENER.open(f"http://127.0.0.1:{spec['telemetry']['port']}{path}", timeout=60) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError:
        raise
    except OSError:
        return ""  # not there yet


def can_connect(address, port):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        return client.connect_ex((address, port)) == 0


def read_samples(spec):
    """Return all samples by name and labels."""
    return parse_samples(fetch(spec, "/metrics"))


def parse_samples(text):
    """Return all samples of a text by name and labels; this parser would add `_total` to the names of counters."""
    untyped = re.sub(r"(?m)^(# TYPE \S+) counter$", r"\1 untyped", text)
    families = text_string_to_metric_families(untyped)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


@pytest.fixture
def spec():
    return {"telemetry": build_telemetry(), "jobs": [WEB, VICTIM]}


def get_sample(spec, metric, /, **labels):
    return read_samples(spec).get((metric, *sorted(labels.items())))


@pytest.mark.slow
def test_metrics_of_a_life(tmp_path, spec):
    """The metrics count jobs, checks, restarts by reason and exits, and show the life's phase."""
    environment = {"AUTOPILOT_SLOT": "slot1", "AUTOPILOT_IMAGE_DIGEST": "sha256:1"}
    with SupervisorProcess(tmp_path, spec, env=environment) as pilot:
        eventually(lambda: get_sample(spec, "autopilot_job_healthy", name="web") == 1, "healthy")
        pilot.measure_restart_delay("victim", times=2)
        found = read_samples(spec)
        assert found["autopilot_job_up", ("name", "web")] == 1
        assert found["autopilot_job_restarts_total", ("name", "victim"), ("reason", "ended")] == 2
        assert found["autopilot_job_exits_total", ("name", "victim"), ("status", "137")] == 2
        assert found["autopilot_checks_total", ("name", "web"), ("result", "passed")] >= 1
        assert found["autopilot_check_duration_seconds_count", ("name", "web")] >= 1
        assert any(key[0] == "autopilot_info" and ("slot", "slot1") in key for key in found)
        assert found["autopilot_payloads_running",] == 0
        assert found["process_resident_memory_bytes",] > 0


@pytest.mark.slow
def test_before_and_after_loading(tmp_path, spec):
    """Events from before the metrics' library is loaded, such as the startup event, are counted."""
    with SupervisorProcess(tmp_path, spec):
        eventually(lambda: get_sample(spec, "autopilot_job_healthy", name="web") == 1, "healthy")
        assert get_sample(spec, "containerpilot_events", code="Startup", source="global") == 1
        assert get_sample(spec, "containerpilot_events", code="StatusHealthy", source="web") == 1


@pytest.mark.slow
def test_no_label_called_job(tmp_path, spec):
    """No metric has a label `job`, which Prometheus keeps for itself."""
    with SupervisorProcess(tmp_path, spec):
        eventually(lambda: bool(read_samples(spec)), "metrics")
        assert not [key for key in read_samples(spec) if any(label[0] == "job" for label in key[1:])]


@pytest.mark.slow
def test_metrics_of_jobs(tmp_path, spec):
    """Declared metrics are set through the socket, under exactly their names; others and bad values are refused."""
    declared = [
        {"namespace": "n", "subsystem": "s", "name": "count", "help": "h", "type": "counter"},
        {"name": "level", "help": "h", "type": "gauge"},
        {"name": "sizes", "help": "h", "type": "histogram", "buckets": [1, 10]},
        {"name": "waits", "help": "h", "type": "summary"},
    ]
    spec["telemetry"]["metrics"] = declared
    with SupervisorProcess(tmp_path, spec) as pilot:
        eventually(lambda: bool(read_samples(spec)), "metrics")
        for _ in range(2):
            assert pilot.run_verb("metric", "n_s_count=2", "level=7.5", "sizes=5", "waits=3").returncode == 0
        found = read_samples(spec)
        assert (found["n_s_count",], found["level",]) == (4, 7.5)
        assert found["sizes_bucket", ("le", "10")] == 2
        assert (found["waits_sum",], found["waits_count",]) == (6, 2)
        for bad, expected in (
            ("nope=1", "there is no metric"),
            ("level=x", "cannot be 'x'"),
            ("n_s_count=-1", "cannot"),
        ):
            refused = pilot.run_verb("metric", bad)
            assert refused.returncode != 0 and expected in refused.stderr
        assert get_sample(spec, "containerpilot_control_http_requests", code="200", path="/v1/metrics") == 2


def list_jobs(spec):
    """The jobs of ContainerPilot's /status, none while the port is not open yet."""
    return json.loads(fetch(spec, "/status") or '{"Jobs": []}')["Jobs"]


@pytest.mark.slow
def test_status_pages(tmp_path, spec):
    """/status is ContainerPilot's, /v1/status ours; any other path is answered with 404."""
    with SupervisorProcess(tmp_path, spec):
        eventually(lambda: {"Name": "web", "Status": "healthy"} in list_jobs(spec), "healthy")
        shown = json.loads(fetch(spec, "/status"))
        assert set(shown) == {"Version", "Jobs", "Services", "Watches"}
        assert {"Name": "web", "Status": "healthy"} in shown["Jobs"]
        assert json.loads(fetch(spec, "/v1/status"))["lifetime"]["phase"]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(spec, "/nothing")


@pytest.mark.slow
def test_port_is_taken(tmp_path, spec):
    """A port in use is a condition and stops no job; it is opened as soon as it is free."""
    with socket.create_server(("127.0.0.1", spec["telemetry"]["port"])):
        pilot = SupervisorProcess(tmp_path, spec)
        pilot.wait_for(lambda line: line.get("trouble") == "telemetry-port")
        pilot.wait_for_event("web", "marked healthy")
    with pilot:
        eventually(lambda: bool(read_samples(spec)), "metrics")
        assert pilot.stop() == 0


@pytest.mark.slow
def test_silent_client(tmp_path, spec):
    """A silent client delays neither others nor the stop."""
    with SupervisorProcess(tmp_path, spec) as pilot:
        eventually(lambda: bool(read_samples(spec)), "metrics")
        with socket.create_connection(("127.0.0.1", spec["telemetry"]["port"])):
            assert read_samples(spec)
            assert pilot.stop() == 0


@pytest.mark.slow
def test_idle_clients_stop_no_scrape(tmp_path, spec):
    """Beyond the limit the client that has been silent for the longest time is disconnected: a scrape is answered."""
    there = ("127.0.0.1", spec["telemetry"]["port"])
    with SupervisorProcess(tmp_path, spec) as pilot, ExitStack() as stack:
        eventually(lambda: bool(read_samples(spec)), "metrics")
        idle = [
            stack.enter_context(socket.create_connection(there, timeout=CLIENT_TIMEOUT_S))
            for _ in range(MAX_CLIENTS + 44)
        ]
        assert fetch(spec, "/metrics")
        assert has_ended(idle[0]) and has_ended(idle[44])
        assert pilot.stop() == 0


def has_ended(client):
    """Wait until the server ends an idle connection; the limit is shorter than an idle client is tolerated."""
    client.settimeout(CLIENT_TIMEOUT_S / 2)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.slow
def test_foreign_names_are_refused(tmp_path, spec):
    """A request to a name that a public site can have is refused, and one to an address or a listed name is not."""
    spec["telemetry"]["hosts"] = ["metrics.example.org"]
    url = f"http://127.0.0.1:{spec['telemetry']['port']}/status"
    with SupervisorProcess(tmp_path, spec) as pilot:
        eventually(lambda: bool(read_samples(spec)), "metrics")
        for host, status in (("evil.example.com", 421), ("evil.example.com:9090", 421), ("metrics.example.org", 200)):
            try:
                answer = urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=60)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                assert answer.status == status, host
        assert pilot.stop() == 0


@pytest.mark.slow
def test_first_job_does_not_wait(tmp_path, spec):
    """The first job starts before the metrics' library is loaded."""
    spec["jobs"] = [{"name": "first", "exec": shell("echo up; exec sleep 1000")}]
    with SupervisorProcess(tmp_path, spec) as pilot:
        up = pilot.wait_for_event("first", "up")["arrived"]
        eventually(lambda: bool(read_samples(spec)), "metrics")
        assert pilot.lines[0]["arrived"] <= up


@pytest.mark.real("network-address")
@pytest.mark.parametrize(
    ("interfaces", "listens", "closed"),
    [
        ({}, ["127.0.0.1", "::1", "HOST"], []),
        ({"interfaces": "static:127.0.0.2"}, ["127.0.0.2"], ["127.0.0.1", "::1", "HOST"]),
        ({"interfaces": "static:HOST"}, ["HOST"], ["127.0.0.1", "::1"]),
    ],
)
def test_addresses_of_the_port(tmp_path, interfaces, listens, closed):
    """Without `interfaces` the port listens on the loopback addresses too, with them nowhere else."""
    host_addresses = list_host_addresses()
    host = choose_address(("eth0:inet", "inet"), host_addresses)
    assert host is not None
    present = {"127.0.0.1", "127.0.0.2", host} | {str(address.ip) for address in host_addresses}
    port = find_free_port()
    telemetry = {"port": port, **{key: rule.replace("HOST", host) for key, rule in interfaces.items()}}
    with SupervisorProcess(tmp_path, {"telemetry": telemetry, "jobs": [WEB]}):
        for address in {address.replace("HOST", host) for address in listens} & present:
            eventually(partial(can_connect, address, port), f"listens on {address}")
        assert not [address for address in closed if can_connect(address.replace("HOST", host), port)]


@pytest.mark.real("network-address")
def test_loopback_port_in_use(tmp_path):
    """Another program on the loopback address does not keep the port closed elsewhere, and is named."""
    host = choose_address(("eth0:inet", "inet"), list_host_addresses())
    assert host is not None
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with SupervisorProcess(tmp_path, {"telemetry": {"port": port}, "jobs": [WEB]}) as pilot:
            pilot.wait_for(lambda line: f"cannot listen on 127.0.0.1:{port}" in line["message"])
            eventually(lambda: can_connect(host, port), "listens on its own address")
            other.close()
            pilot.wait_for(lambda line: line.get("event") == "condition_cleared")
            assert can_connect("127.0.0.1", port)


@pytest.mark.slow
def test_addresses_in_the_documents(tmp_path):
    """Each address of the telemetry port in the documents and examples answers, as they are written."""
    texts = [path.read_text() for path in (*Path("docs").glob("*.md"), *Path("examples/monitoring").glob("*.yml"))]
    found = {match for text in texts for match in re.findall(r"http://(localhost|127\.0\.0\.1):9090(/[\w/]*)", text)}
    assert ("localhost", "/status") in found
    port = find_free_port()
    with SupervisorProcess(tmp_path, {"telemetry": {"port": port}, "jobs": [WEB]}):
        eventually(lambda: can_connect("127.0.0.1", port), "the port is open")
        for host, path in found:
            try:
                with OPENER.open(f"http://{host}:{port}{path}", timeout=60) as answer:
                    assert answer.status == 200
            except urllib.error.HTTPError as error:
                assert (path, error.code) == ("/v1/targets", 404)  # it needs a Consul
