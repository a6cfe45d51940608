"""The thirteen integration cases of ContainerPilot 3, in our own words: the drop-in and a real Consul, without Docker.

| its case | shown by |
|---|---|
| test_config_reload | test_reload_by_command |
| test_coprocess | test_coprocess_and_its_restarts |
| test_discovery_consul | test_discovery: strict here, where its own assertion is empty |
| test_envvars | test_environment_of_the_first_job |
| test_logging | test_wrapped_and_raw_lines |
| test_no_command | tests/containerpilot/test_no_config.py::test_pid_1_waits |
| test_reap_zombies | test_orphans_of_checks_are_reaped |
| test_reopen | tests/containerpilot/test_logging.py::test_rotation |
| test_sighup | test_signals_leave_the_service_alone |
| test_sigterm | test_sigterm_runs_the_stop_jobs |
| test_tasks | test_periodic_tasks |
| test_telemetry | test_telemetry_is_a_service |
| test_version_flag | tests/containerpilot/test_command_line.py::test_version |
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.consul.conftest import get_service_status
from tests.app.harness import eventually, find_free_port, shell
from tests.containerpilot.drop_in import DEFAULT_SOCKET, PROGRAM, DropIn, PidNamespace

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TEXT = {"level": "DEBUG", "format": "text"}
HEALTH = {"exec": "true", "interval": 1, "ttl": 30}
APP: dict[str, Any] = {"name": "app", "exec": "sleep 1000", "port": 8000, "interfaces": "lo", "health": HEALTH}

# Writes one line for each instance that Consul lists, of any service but Consul's own: as an upstream is rendered.
RENDER = """
import json, sys, urllib.request
agent, path = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ask = lambda query: json.load(opener.open(f"http://{agent}{query}", timeout=30))
lines = [
    f"{name} {entry['Service']['Address']}:{entry['Service']['Port']}"
    for name in sorted(ask("/v1/catalog/services")) if name != "consul"
    for entry in ask(f"/v1/health/service/{name}?passing")
]
open(path, "w").write("".join(line + chr(10) for line in lines))
"""


def count_lines(pilot: DropIn, text: str) -> int:
    """Return the number of lines of its output that contain a text."""
    return sum(text in line["message"] for line in pilot.lines)


def is_in_consul(agent: Any, name: str) -> bool:
    return name in {service["Service"] for service in agent.request("/v1/agent/services").values()}


@pytest.mark.real("namespaces")
def test_reload_by_command(tmp_path: Path) -> None:
    """One `-reload` writes its sentence once and that of the socket again; after a row of reloads it still answers."""
    config = tmp_path / "c.json5"
    config.write_text(json.dumps({"logging": TEXT, "jobs": [{"name": "app", "exec": "sleep 1000"}]}))
    env = {"CONTAINERPILOT": str(config)}
    prepare = "mount -t tmpfs tmpfs /var/lib"
    with PidNamespace(tmp_path, [PROGRAM], prepare=prepare, env=env) as container:

        def count(text: str) -> int:
            return container.read_output().count(text)

        reloaded, serving = "control: reloaded app via control plane", f"control: serving at {DEFAULT_SOCKET}"
        eventually(lambda: count(serving) == 1, "it serves")
        assert container.run(PROGRAM, "-reload", env=env).returncode == 0
        eventually(lambda: (count(reloaded), count(serving)) == (1, 2), "the reload is said once")
        for _ in range(4):
            assert container.run(PROGRAM, "-reload", env=env).returncode == 0
        eventually(lambda: (count(reloaded), count(serving)) == (5, 6), "each reload is said")
        assert container.run("pgrep", "-xc", "sleep").stdout == "1\n"
        container.send_signal(signal.SIGTERM)
        assert container.wait() == 0


@pytest.mark.real("consul")
def test_coprocess_and_its_restarts(agent: Any, tmp_path: Path) -> None:
    """A job with one restart comes back from the first kill and not from the second; a reload with another argument
    runs it anew, with its restart, and the main job's service stays in Consul.
    """
    helper = {"name": "helper", "exec": [*shell("echo with $0; exec sleep 1000"), "first"], "restarts": 1}
    spec: dict[str, Any] = {"consul": agent.http_address, "jobs": [APP, helper]}
    with DropIn(tmp_path, spec) as pilot:

        def get_pid(name: str) -> int | None:
            jobs = json.loads(pilot.send_request("GET", "/v1/status")[1])["jobs"]
            return next(job["pid"] for job in jobs if job["name"] == name)

        def kill_helper() -> None:
            pid = get_pid("helper")
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

        eventually(lambda: get_service_status(agent, "app") == "passing", "the app is registered")
        for times in (1, 2):
            eventually(lambda n=times: pilot.list_job_output("helper") == ["with first"] * n, "it runs")
            kill_helper()
        eventually(lambda: len(pilot.find_events("ended, killed by SIGKILL")) == 2, "it has been killed twice")
        main_pid = get_pid("app")
        assert get_pid("helper") is None
        helper = {**helper, "exec": [*shell("echo with $0; exec sleep 1000"), "second"]}
        pilot.write_spec({**pilot.spec, "jobs": [APP, helper]})
        assert pilot.run_with_flags("-reload").returncode == 0
        for times in (1, 2):
            eventually(lambda n=times: pilot.list_job_output("helper")[2:] == ["with second"] * n, "anew")
            if times == 1:
                kill_helper()
        assert get_pid("app") == main_pid
        assert get_service_status(agent, "app") == "passing"
        assert pilot.stop() == 0


@pytest.mark.real("consul")
def test_discovery(agent: Any, tmp_path: Path) -> None:
    """A front that renders its upstreams from Consul at each change of the app has the app's address while the app
    runs, loses it when the app ends, and no service of a drop-in ever has port 0.
    """
    for name in ("app", "front"):
        (tmp_path / name).mkdir()
    upstreams, front_port = tmp_path / "front/upstreams", find_free_port()
    render = [sys.executable, "-c", RENDER, agent.http_address, str(upstreams)]
    serve = [sys.executable, "-m", "http.server", str(front_port), "-b", "127.0.0.1", "-d", str(upstreams.parent)]
    front = {
        **{"name": "front", "exec": serve, "port": front_port, "interfaces": "lo", "health": HEALTH},
        "when": {"source": "prepare", "once": "exitSuccess"},
    }
    changed = {"name": "on-change", "exec": render, "when": {"source": "watch.app", "each": "changed"}}
    front_spec = {
        "consul": agent.http_address,
        "jobs": [front, {"name": "prepare", "exec": render}, changed],
        "watches": [{"name": "app", "interval": 1}],
    }

    def read_upstreams() -> list[str]:
        (entry,) = agent.get_service_health("front")
        address = f"{entry['Service']['Address']}:{entry['Service']['Port']}"
        try:
            with OPENER.open(f"http://{address}/upstreams", timeout=30) as answer:
                return [line for line in answer.read().decode().splitlines() if not line.startswith("front ")]
        except (OSError, http.client.HTTPException):  # its file was written anew meanwhile
            return ["no answer"]

    with DropIn(tmp_path / "front", front_spec) as front_pilot:
        eventually(lambda: get_service_status(agent, "front") == "passing", "the front is registered")
        with DropIn(tmp_path / "app", {"consul": agent.http_address, "jobs": [APP]}) as app_pilot:
            eventually(lambda: read_upstreams() == ["app 127.0.0.1:8000"], "the front knows the app")
            assert app_pilot.stop() == 0
        eventually(lambda: read_upstreams() == [], "the front has lost it")
        ports = {service["Service"]: service["Port"] for service in agent.request("/v1/agent/services").values()}
        assert ports == {"front": front_port}
        assert front_pilot.stop() == 0


@pytest.mark.real("consul")
def test_environment_of_the_first_job(agent: Any, tmp_path: Path) -> None:
    """A job that starts at once finds the address of its own service, and the pid of a job that runs already."""
    jobs = [
        {"name": "testpid", "exec": "sleep 1000"},
        {**APP, "name": "testenvvar", "exec": "env"},
        {"name": "after", "exec": "env", "when": {"source": "testenvvar", "once": "exitSuccess"}},
    ]
    with DropIn(tmp_path, {"consul": agent.http_address, "jobs": jobs}) as pilot:
        pid = pilot.wait_for_event("testpid", "started")["pid"]
        pilot.wait_for_event("after", "ended")
        assert "CONTAINERPILOT_TESTENVVAR_IP=127.0.0.1" in pilot.list_job_output("testenvvar")
        for name in ("testenvvar", "after"):
            assert f"CONTAINERPILOT_PID={pilot.process.pid}" in pilot.list_job_output(name)
        assert f"CONTAINERPILOT_TESTPID_PID={pid}" in pilot.list_job_output("after")
        assert pilot.stop() == 0


def test_wrapped_and_raw_lines(tmp_path: Path) -> None:
    """In one log of format `text` the lines of jobs and checks are wrapped, except those that ask to be raw."""
    check = {"interval": 1, "ttl": 30}
    jobs = [
        {"name": "job1", "exec": "echo job1 exec"},
        {"name": "job2", "exec": "echo job2 exec", "logging": {"raw": True}},
        {
            **{"name": "job3", "exec": "sleep 1000", "port": 8000, "interfaces": "lo"},
            "health": {**check, "exec": "echo job3 health", "logging": {"raw": True}},
        },
        {
            **{"name": "job4", "exec": "sleep 1000", "port": 9000, "interfaces": "lo"},
            "health": {**check, "exec": "echo job4 health"},
        },
    ]
    with DropIn(tmp_path, {"logging": TEXT, "jobs": jobs}) as pilot:
        for raw in ("job2 exec", "job3 health"):
            pilot.wait_for(lambda line, raw=raw: line["message"] == raw)
        for text in ('msg="job1 exec" job=job1 pid=', 'msg="job4 health" check=check.job4 pid='):
            pilot.wait_for(lambda line, text=text: text in line["message"])
        assert count_lines(pilot, 'msg="loaded config: ') == 1
        assert not count_lines(pilot, 'msg="job2 exec') + count_lines(pilot, 'msg="job3 health')
        assert pilot.stop() == 0


@pytest.mark.real("namespaces")
def test_orphans_of_checks_are_reaped(tmp_path: Path) -> None:
    """As PID 1 it reaps what checks and jobs leave behind: after many checks no zombie remains."""
    config, count = tmp_path / "c.json5", tmp_path / "count"
    orphan = shell(f"(sleep 0.05 & exec sleep 0.01) & echo >> {count}; exec sleep 0.02")
    health = {"exec": orphan, "interval": "100ms", "timeout": "30s", "ttl": 60}
    jobs = [
        {"name": "app", "exec": "sleep 1000", "port": 8000, "interfaces": "lo", "health": health},
        {"name": "slow", "exec": shell("(sleep 0.3 &) ; exec sleep 1000")},
    ]
    config.write_text(json.dumps({"jobs": jobs}))
    prepare = "mount -t tmpfs tmpfs /var/lib"
    with PidNamespace(tmp_path, [PROGRAM, "-config", str(config)], prepare=prepare) as container:
        eventually(lambda: count.exists() and len(count.read_text()) >= 10, "many checks have run")
        zombies = container.run("ps", "-eo", "stat=,ppid=,comm=").stdout.splitlines()
        assert sum(line.startswith("Z") for line in zombies) <= 3  # of the check that runs now

        def list_zombies() -> list[str]:
            states = container.run("ps", "-eo", "stat=").stdout.split()
            return [state for state in states if state.startswith("Z")]

        eventually(lambda: not list_zombies(), "none remains")
        container.send_signal(signal.SIGTERM)
        assert container.wait() == 0


@pytest.mark.real("consul")
def test_signals_leave_the_service_alone(agent: Any, tmp_path: Path) -> None:
    """SIGHUP and SIGUSR2 run the jobs that wait for them, and the app's service passes all the while."""
    jobs = [
        APP,
        *(
            {"name": f"on-{name.lower()}", "exec": ["echo", f"ran on {name}"], "when": {"source": name}}
            for name in ("SIGHUP", "SIGUSR2")
        ),
    ]
    with DropIn(tmp_path, {"consul": agent.http_address, "logging": TEXT, "jobs": jobs}) as pilot:
        eventually(lambda: get_service_status(agent, "app") == "passing", "the app is registered")
        for number in (signal.SIGHUP, signal.SIGUSR2):
            pilot.send_signal(number)
            eventually(lambda n=number: count_lines(pilot, f'msg="ran on {n.name}"') == 1, "its job has run")
        assert get_service_status(agent, "app") == "passing"
        assert pilot.stop() == 0
        assert [count_lines(pilot, f'msg="ran on {name}"') for name in ("SIGHUP", "SIGUSR2")] == [1, 1]


@pytest.mark.real("consul")
def test_sigterm_runs_the_stop_jobs(agent: Any, tmp_path: Path) -> None:
    """At SIGTERM the jobs before and after the stop run, in this order, and the app leaves Consul."""
    jobs = [
        APP,
        *(
            {"name": name, "exec": ["echo", f"ran at {event}"], "when": {"source": "app", "once": event}}
            for name, event in (("preStop", "stopping"), ("postStop", "stopped"))
        ),
    ]
    with DropIn(tmp_path, {"consul": agent.http_address, "logging": TEXT, "jobs": jobs}) as pilot:
        eventually(lambda: get_service_status(agent, "app") == "passing", "the app is registered")
        assert pilot.stop() == 0
    assert not is_in_consul(agent, "app")
    said = [line["message"].split('msg="ran at ')[1].split('"')[0] for line in pilot.lines if "ran at" in str(line)]
    assert said == ["stopping", "stopped"]


def test_periodic_tasks(tmp_path: Path) -> None:
    """Five restarts of a periodic task are six runs, each killed at its timeout or none at all; without a number it
    runs on, once in each interval.
    """

    def build_task(name: str, seconds: str, interval: str = "500ms", **fields: object) -> dict[str, object]:
        script = f"date +%s >> {tmp_path}/{name}; sleep {seconds}"
        return {"name": name, "exec": shell(script), "when": {"interval": interval}, **fields}

    def count_runs(name: str) -> int:
        return len((tmp_path / name).read_text().splitlines()) if (tmp_path / name).exists() else 0

    jobs = [
        build_task("task1", "0.2", restarts="5", timeout="60s"),
        build_task("task2", "0", restarts=5),
        build_task("task3", "1000", restarts="5", timeout="100ms"),
        build_task("task4", "0", "1000ms"),
    ]
    began = time.monotonic()
    with DropIn(tmp_path, {"logging": TEXT, "jobs": jobs}) as pilot:
        eventually(lambda: count_lines(pilot, "task3 timeout after 100ms") == 6, "task3 has timed out six times")
        eventually(lambda: min(map(count_runs, ("task1", "task2"))) == 6, "the others have run six times")
        eventually(lambda: count_runs("task4") >= 3, "the last one runs on")
        assert count_runs("task4") <= time.monotonic() - began + 1
        assert pilot.stop() == 0
    assert [count_runs(f"task{n}") for n in (1, 2, 3)] == [6, 6, 6]
    assert [count_lines(pilot, f"task{n} timeout") for n in (1, 2, 3, 4)] == [0, 0, 6, 0]


@pytest.mark.real("consul")
def test_telemetry_is_a_service(agent: Any, tmp_path: Path) -> None:
    """A sensor's value, events, requests and watches are on the metrics page, both services are healthy on the status
    page and in Consul, and both leave Consul at the end.
    """
    port = find_free_port()
    put = [PROGRAM, "-config", str(tmp_path / "autopilot.json5"), "-putmetric", "containerpilot_app_level=42"]
    metric = {"namespace": "containerpilot", "subsystem": "app", "name": "level", "help": "A level.", "type": "gauge"}
    spec = {
        "consul": agent.http_address,
        "jobs": [APP, {"name": "sensor", "exec": put, "when": {"interval": "1s"}}],
        "watches": [{"name": "otherapp", "interval": 1}],
        "telemetry": {"port": port, "interfaces": ["lo"], "metrics": [metric]},
    }

    def fetch(path: str) -> str:
        try:
            with OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    with DropIn(tmp_path, spec) as pilot:
        eventually(lambda: "containerpilot_app_level 42" in fetch("/metrics"), "the sensor's value is there")
        names = ("containerpilot_events{", "containerpilot_control_http_requests{", "containerpilot_watch_instances{")
        eventually(lambda: all(name in fetch("/metrics") for name in names), "the others too")
        for name in ("app", "containerpilot"):
            eventually(lambda n=name: get_service_status(agent, n) == "passing", "both are in Consul")
        services = json.loads(fetch("/status"))["Services"]
        assert [(service["Name"], service["Status"]) for service in services] == [
            ("app", "healthy"),
            ("containerpilot", "healthy"),
        ]
        assert pilot.stop() == 0
    assert agent.request("/v1/agent/services") == {}
