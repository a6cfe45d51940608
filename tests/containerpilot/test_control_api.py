"""ContainerPilot's API on the control socket: what each request does, and the status it is answered with."""

from __future__ import annotations

import json
import os
import socket
import subprocess

import pytest

from tests.app.harness import TIMEOUT_S, SupervisorProcess, eventually, find_free_port, shell
from tests.containerpilot.drop_in import PROGRAM, DropIn

pytestmark = [
    pytest.mark.slow,  # seconds each: for `make test`, not for `make check`
    pytest.mark.xdist_group("control-api"),  # one supervisor for many of them
]

# says a variable at each start, and is started again by each kill
TELLER = {
    "name": "teller",
    "exec": shell('echo "WORD=${WORD-unset}."; exec sleep 1000'),
    "restarts": "unlimited",
    "backoff": {"initial": "1ms", "max": "1ms"},
}
SLEEPER = {"name": "sleeper", "exec": ["sleep", "1000"]}


def wait_for_line(pilot, text, since=0):
    return pilot.wait_for(lambda line: line.get("job") == "teller" and line["message"] == text, since=since)


def restart_teller(pilot):
    """Kill the teller, and return the number of the log line from which its next life writes."""
    since = len(pilot.lines)
    os.kill(pilot.find_events("started")[-1]["pid"], 9)
    return since


@pytest.mark.parametrize("path", ["/v3/environ", "/v3/env"])
def test_environment_of_later_processes(tmp_path, path):
    """A variable that is put is in the environment of each later process; "" and null unset it."""
    with DropIn(tmp_path, {"jobs": [TELLER]}, env={"WORD": "given"}) as pilot:
        wait_for_line(pilot, "WORD=given.")
        assert pilot.send_request("POST", path, {"WORD": "put", "OTHER": "a=b c"}) == (200, "\n")
        wait_for_line(pilot, "WORD=put.", since=restart_teller(pilot))
        assert pilot.send_request("POST", path, {"WORD": "", "NEVER_SET": ""}) == (200, "\n")
        wait_for_line(pilot, "WORD=unset.", since=restart_teller(pilot))
        assert pilot.send_request("POST", path, {"WORD": "again"})[0] == 200
        assert pilot.send_request("POST", path, {"WORD": None})[0] == 200
        wait_for_line(pilot, "WORD=unset.", since=restart_teller(pilot))


def test_environment_by_flags(tmp_path):
    """-putenv, given several times, sets and unsets; a value may hold `=`, and a name alone is wrong use."""
    with DropIn(tmp_path, {"jobs": [TELLER]}) as pilot:
        wait_for_line(pilot, "WORD=unset.")
        assert pilot.run_with_flags("-putenv", "WORD=a=b", "-putenv=OTHER=x").returncode == 0
        wait_for_line(pilot, "WORD=a=b.", since=restart_teller(pilot))
        refused = pilot.run_with_flags("--putenv", "WORD")
        assert (refused.returncode, "write NAME=VALUE" in refused.stderr) == (64, True)
        assert pilot.run_with_flags("--putenv", "WORD=").returncode == 0
        wait_for_line(pilot, "WORD=unset.", since=restart_teller(pilot))


def test_environment_by_the_verb(tmp_path):
    """`autopilot env` does the same to a supervisor of ours."""
    with SupervisorProcess(tmp_path, {"jobs": [TELLER], "logging": {"format": "json"}}) as pilot:
        wait_for_line(pilot, "WORD=unset.")
        assert pilot.run_verb("env", "WORD=put", "X=").returncode == 0
        wait_for_line(pilot, "WORD=put.", since=restart_teller(pilot))
        assert pilot.run_verb("env", "WORD").returncode == 64
        refused = pilot.run_verb("env", "=x")
        assert (refused.returncode, refused.stderr) == (
            1,
            "Error: cannot set '': it is not a name of an environment variable\n",
        )


def test_environment_of_checks(tmp_path):
    """A health check that runs later sees it: what was unhealthy becomes healthy by a variable alone."""
    health = {"exec": shell('test "$READY" = yes'), "interval": "50ms", "timeout": "10s"}
    with DropIn(tmp_path, {"jobs": [{**SLEEPER, "health": health}]}) as pilot:
        pilot.wait_for_event("sleeper", "health check failed")
        assert pilot.send_request("POST", "/v3/environ", {"READY": "yes"})[0] == 200
        pilot.wait_for_event("sleeper", "marked healthy")


def test_environment_is_never_logged(tmp_path):
    """The log says which variables changed, not to what: they may be secrets."""
    with DropIn(tmp_path, {"jobs": [SLEEPER], "logging": {"format": "auto", "level": "DEBUG"}}) as pilot:
        pilot.wait_for_event("sleeper", "started")
        pilot.send_request("POST", "/v3/environ", {"TOKEN": "s3cret", "OLD": ""})
        line = pilot.wait_for(lambda line: line["message"] == "environment changed")
        assert (line["set"], line["unset"]) == (["TOKEN"], ["OLD"])
        pilot.stop()
    assert "s3cret" not in "".join(map(str, pilot.lines)) + pilot.stderr_text


def test_environment_that_containerpilot_gives(tmp_path):
    """A child finds the supervisor's pid, and each running job's under its shouted name; a put cannot forge ours."""
    late = {
        "name": "late",
        "exec": shell('echo "$CONTAINERPILOT_PID $CONTAINERPILOT_MY_JOB_PID ${CONTAINERPILOT_GONE_PID-none}"'),
        "when": {"source": "gone", "once": "exitSuccess"},
    }
    gone = {"name": "gone", "exec": shell("until [ -e go ]; do sleep 0.01; done"), "cwd": str(tmp_path)}
    jobs = [{**SLEEPER, "name": "my-job"}, gone, late]
    with DropIn(tmp_path, {"jobs": jobs}) as pilot:
        pid = pilot.wait_for_event("my-job", "started")["pid"]
        assert pilot.send_request("POST", "/v3/environ", {"CONTAINERPILOT_PID": "1"})[0] == 200
        (tmp_path / "go").touch()
        eventually(lambda: bool(pilot.list_job_output("late")), "the late job speaks")
        assert pilot.list_job_output("late") == [f"{pilot.process.pid} {pid} none"]


def test_environment_has_the_addresses_of_services(tmp_path):
    """A child finds the address of each advertised job and of the telemetry, CONTAINERPILOT_CONTAINERPILOT_IP."""
    teller = {
        "name": "address-teller",
        "exec": shell('echo "$CONTAINERPILOT_MY_WEB_IP $CONTAINERPILOT_CONTAINERPILOT_IP"; exec sleep 1000'),
        "when": {"source": "my-web", "once": "healthy"},
    }
    health = {"exec": "true", "interval": 1, "ttl": 5}
    web = {**SLEEPER, "name": "my-web", "port": 80, "interfaces": ["static:192.0.2.7"], "health": health}
    telemetry = {"port": find_free_port(), "interfaces": ["lo"]}
    with DropIn(tmp_path, {"consul": "127.0.0.1:1", "jobs": [web, teller], "telemetry": telemetry}) as pilot:
        eventually(lambda: bool(pilot.list_job_output("address-teller")), "it speaks")
        assert pilot.list_job_output("address-teller") == ["192.0.2.7 127.0.0.1"]
        assert pilot.stop() == 0
    first = {"name": "first", "exec": shell("echo $CONTAINERPILOT_CONTAINERPILOT_IP")}
    with DropIn(tmp_path, {"consul": "127.0.0.1:1", "jobs": [first], "telemetry": telemetry}) as pilot:
        pilot.wait()
    assert pilot.list_job_output("first") == ["127.0.0.1"]


def test_environment_is_what_we_were_started_with(tmp_path):
    """Jobs find neither more nor less than the engine gave: Python's own LC_CTYPE, which it sets in the C locale, is
    not theirs, and one that was given is.
    """
    config = tmp_path / "c"
    spec = {"control": {"socket": str(tmp_path / "s")}, "jobs": [{"name": "a", "exec": "env"}], "state": str(tmp_path)}
    config.write_text(json.dumps(spec))
    for given in ({}, {"LC_CTYPE": "C.UTF-8"}):
        done = subprocess.run([PROGRAM, "-config", str(config)], env=given, capture_output=True, text=True, check=True)
        assert ("LC_CTYPE=C.UTF-8" in done.stdout) is bool(given), done.stdout
        assert "CONTAINERPILOT_PID=" in done.stdout


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v3/environ", "nonsense", 422),
        ("POST", "/v3/environ", '["A"]', 422),
        ("POST", "/v3/environ", '{"A": 1}', 422),
        ("POST", "/v3/environ", '{"A": {"b": "c"}}', 422),
        ("POST", "/v3/environ", '{"A=B": "x"}', 400),
        ("POST", "/v3/environ", '{"": "x"}', 400),
        ("POST", "/v3/environ", '{"A\\ud800": "x"}', 400),  # no program could be started with it
        ("POST", "/v3/environ", '{"A": "x\\udfff"}', 422),
        ("POST", "/v3/environ", '{"A": "x\\u0000"}', 422),
        ("POST", "/v3/environ", '{"A": "\\u0000"}', 422),
        ("POST", "/v3/environ", "{}", 200),
        ("POST", "/v3/environ", None, 200),
        ("POST", "/v3/metric", "nonsense", 422),
        ("POST", "/v3/metric", '{"unknown": 1}', 400),
        ("POST", "/v3/maintenance/enable", None, 200),
        ("POST", "/v3/maintenance/disable", None, 200),
        ("POST", "/v3/maintenance/perhaps", None, 404),
        ("POST", "/v3/nothing", None, 404),
        ("GET", "/v3/ping", None, 200),
        ("HEAD", "/v3/ping", None, 200),
        ("GET", "/v3/environ", None, 405),
        ("GET", "/v3/reload", None, 405),
        ("PUT", "/v3/maintenance/enable", None, 405),
        ("POST", "/v1/env", "nonsense", 400),
    ],
)
def test_statuses(running, method, path, body, status):
    """Every request has ContainerPilot's status, or a better one; a refusal gives its cause in one sentence."""
    found, text = running.send_request(method, path, body)
    assert found == status, text
    if status >= 400:
        assert json.loads(text)["error"]
    elif path.startswith("/v3/") and method != "HEAD":
        assert text == "\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    place = tmp_path_factory.mktemp("running")
    telemetry = {"port": find_free_port(), "interfaces": "lo"}
    with DropIn(place, {"jobs": [SLEEPER], "telemetry": telemetry}) as pilot:
        pilot.wait_for_event("sleeper", "started")
        yield pilot


def test_nothing_changes_by_half(running):
    """Of an environment with one bad name nothing is set."""
    before = len(running.lines)
    assert running.send_request("POST", "/v3/environ", {"GOOD": "x", "BAD=": "y"})[0] == 400
    assert not [line for line in running.lines[before:] if line["message"] == "environment changed"]


def test_clients_as_scripts_write_them(running):
    """A request by netcat, without a length and with its sending side closed at once, is answered."""
    for request in (
        b"POST /v3/maintenance/disable HTTP/1.1\r\nHost: control\r\n\r\n",
        b"GET /v3/ping HTTP/1.0\r\n\r\n",
    ):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_S)
            client.connect(str(running.socket_path))
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(4096).split(b"\r\n")[0] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v3/maintenance/disable", b"garbage", 200),
        ("/v3/maintenance/disable", b"[1]", 200),
        ("/v3/ping", b"{", 200),
        ("/v3/environ", b"null", 200),
        ("/v3/metric", b"null", 200),
        ("/v3/environ", b"garbage", 422),
        ("/v3/metric", b"[1]", 422),
    ],
)
def test_where_bodies_are_read(running, path, body, status):
    """A body is read where ContainerPilot reads one, and null is an empty object, as Go reads it."""
    head = f"POST {path} HTTP/1.1\r\nHost: control\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(str(running.socket_path))
        client.sendall(head.encode() + body)
        line = client.recv(4096).split(b"\r\n")[0]
    assert line == {200: b"HTTP/1.1 200 OK", 422: b"HTTP/1.1 422 Unprocessable Entity"}[status]


def test_client_that_asks_before_a_long_body(running):
    """A client that waits to be told to go on, as curl does before a long body, is told at once."""
    body = json.dumps({"LONG": "x" * 20000}).encode()
    head = f"POST /v3/environ HTTP/1.1\r\nHost: c\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(str(running.socket_path))
        client.sendall(head.encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_maintenance_stops_and_starts_the_checks(tmp_path):
    """Maintenance rests the checks and is idempotent; leaving it brings them back."""
    counter = tmp_path / "checks"
    health = {"exec": shell(f"echo >> {counter}"), "interval": "20ms", "timeout": "10s"}
    with DropIn(tmp_path, {"jobs": [{**SLEEPER, "health": health}]}) as pilot:
        pilot.wait_for_event("sleeper", "marked healthy")
        for _ in range(2):
            assert pilot.send_request("POST", "/v3/maintenance/enable") == (200, "\n")
        assert json.loads(pilot.send_request("GET", "/v1/status")[1])["jobs"][0]["health"] != "healthy"
        pilot.wait_for(lambda line: line["message"].startswith("maintenance entered: services"))
        assert len(pilot.find_events("maintenance entered: services")) == 1
        for _ in range(2):
            assert pilot.send_request("POST", "/v3/maintenance/disable") == (200, "\n")
        since = counter.read_text().count("\n")
        eventually(lambda: counter.read_text().count("\n") > since, "checked again")
        pilot.wait_for(lambda line: line["message"].startswith("maintenance exited"))
        assert len(pilot.find_events("maintenance exited")) == 1


def test_reload(tmp_path):
    """A reload takes the config anew and says what it did; what has not changed keeps its pid, and the maintenance and
    the put environment outlive it.
    """
    with DropIn(tmp_path, {"jobs": [SLEEPER, TELLER]}) as pilot:
        wait_for_line(pilot, "WORD=unset.")
        before = pilot.wait_for_event("sleeper", "started")["pid"]
        template = {"name": "new", "exec": shell('echo "{{ .WORD }} $WORD"; exec sleep 1000')}
        pilot.write_spec({**pilot.spec, "jobs": [SLEEPER, template]})
        assert pilot.send_request("POST", "/v3/environ", {"WORD": "put"})[0] == 200
        status, text = pilot.send_request("POST", "/v3/reload")
        assert status == 200
        done = json.loads(text)
        assert (done["started"], done["removed"], done["unchanged"]) == (["new"], ["teller"], ["sleeper"])
        eventually(lambda: pilot.list_job_output("new") == ["put put"], "the template and the job saw what was put")
        shown = {job["name"]: job for job in json.loads(pilot.send_request("GET", "/v1/status")[1])["jobs"]}
        assert shown["sleeper"]["pid"] == before
        assert pilot.run_with_flags("-reload").stdout == "2 jobs unchanged\n"


def test_reload_of_a_bad_config(tmp_path):
    """A config that cannot be used is answered with every problem and its place, and changes nothing: the same jobs
    run on (ContainerPilot answered 200 and ended the container with 0).
    """
    with DropIn(tmp_path, {"jobs": [SLEEPER]}) as pilot:
        pid = pilot.wait_for_event("sleeper", "started")["pid"]
        pilot.write_spec(f'{{\n control: {{socket: "{pilot.socket_path}"}},\n jobs: [{{exec: ["x"], intervall: 1}}]}}')
        status, text = pilot.send_request("POST", "/v3/reload")
        assert status == 422 and f"{pilot.config}:3:" in json.loads(text)["error"]
        refused = pilot.run_with_flags("-reload")
        assert refused.returncode == 78 and f"{pilot.config}:3:" in refused.stderr
        assert json.loads(pilot.send_request("GET", "/v1/status")[1])["jobs"][0]["pid"] == pid


def test_reload_by_netcat(tmp_path):
    """A client that closes its sending side has its reload done and is told, however long it takes."""
    with DropIn(tmp_path, {"jobs": [SLEEPER]}) as pilot:
        pilot.wait_for_event("sleeper", "started")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_S)
            client.connect(str(pilot.socket_path))
            client.sendall(b"POST /v3/reload HTTP/1.1\r\nHost: control\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(4096).split(b"\r\n")[0] == b"HTTP/1.1 200 OK"


def test_exits_when_all_jobs_are_complete(tmp_path):
    """The supervisor exits with 0 as soon as every job is over, without sleeping through its stopTimeout."""
    jobs = [
        {"name": "one", "exec": "true"},
        {"name": "two", "exec": "true", "when": {"source": "one", "once": "stopped"}},
    ]
    with DropIn(tmp_path, {"jobs": jobs, "stopTimeout": 30}) as pilot:
        assert pilot.wait() == 0
        assert [line["job"] for line in pilot.find_events("ended")] == ["one", "two"]
