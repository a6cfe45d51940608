"""ContainerPilot's behaviour that is worth keeping, on real processes and a real Consul.

Shown elsewhere: interface forms (tests/adapters/test_interfaces.py, tests/adapters/consul/test_registrar.py), numeric
strings and Go's durations (tests/spec/test_quantities.py, test_examples.py here), Consul's variables for a token and
for TLS (tests/adapters/consul/test_connection_settings.py, test_security.py), a job's stopTimeout (test_defects.py).
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.adapters.consul.conftest import get_service_status
from tests.app.harness import SupervisorProcess, eventually, shell
from tests.containerpilot.drop_in import DropIn

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

APP = {"name": "app", "exec": shell("trap 'echo gone; exit 0' TERM; echo up; while :; do sleep 0.02; done")}


def list_job_output(pilot):
    """Return the lines that the jobs wrote, in order, as (job, line)."""
    return [(line["job"], line["message"]) for line in pilot.lines if line.get("stream") == "stdout"]


def build_trigger(source, key, event, **fields):
    return {"when": {"source": source, key: event, **fields}}


def test_no_startup_event_is_lost(tmp_path):
    """Every job hears every event of the others, also of one that is over at once and stands after it in the file."""
    jobs = [{"name": f"late-{n}", "exec": "true", **build_trigger("quick", "once", "exitSuccess")} for n in range(20)]
    jobs += [
        {"name": "at-start", "exec": "true", **build_trigger("global", "once", "startup")},
        {"name": "quick", "exec": "true"},
    ]
    with SupervisorProcess(tmp_path, {"jobs": jobs}) as pilot:
        assert pilot.wait() == 0
        assert sorted(line["job"] for line in pilot.find_events("started")) == sorted(job["name"] for job in jobs)


def test_all_hear_in_one_order(tmp_path):
    """Several jobs that wait for the same two events are started in the order of the events, in every one of them."""
    ways = [
        {"name": f"{event}-{n}", "exec": "true", **build_trigger("app", "once", event)}
        for n in range(5)
        for event in ("exitSuccess", "stopping", "stopped")
    ]
    with SupervisorProcess(tmp_path, {"jobs": [*ways, {"name": "app", "exec": "true"}]}) as pilot:
        assert pilot.wait() == 0
        order = [line["job"].split("-")[0] for line in pilot.find_events("started") if line["job"] != "app"]
        assert order == ["exitSuccess"] * 5 + ["stopping"] * 5 + ["stopped"] * 5


def test_once_and_each(tmp_path):
    """`once` runs a job at the first such event alone, `each` at every one."""
    jobs = [
        {"name": "task", "exec": "true", "restarts": 3, "when": {"interval": "500ms"}},
        {"name": "first", "exec": "true", **build_trigger("task", "once", "exitSuccess")},
        {"name": "every", "exec": "true", **build_trigger("task", "each", "exitSuccess")},
    ]
    with SupervisorProcess(tmp_path, {"jobs": jobs}) as pilot:
        pilot.wait()
        counts = [len([line for line in pilot.find_events("started") if line["job"] == job["name"]]) for job in jobs]
        assert counts == [4, 1, 4]


def test_when_gives_up(tmp_path):
    """A job whose event does not come within its `timeout` does not run any more."""
    late = {"name": "late", "exec": "true", **build_trigger("app", "once", "stopped", timeout="300ms")}
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "app", "exec": "sleep 1000"}, late]}) as pilot:
        pilot.wait_for_event("late", "awaited event did not happen within")
        assert pilot.run_verb("stop", "app").returncode == 0
        pilot.wait_for_event("app", "ended")
        pilot.stop()
        assert not [line for line in pilot.find_events("started") if line["job"] == "late"]


def test_job_timeout_kills_the_group(tmp_path):
    """A job that runs longer than its `timeout` is killed with all that it started."""
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sh -c 'echo $$ > {pids}; exec sleep 1000' & wait"
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "app", "exec": shell(script), "timeout": "500ms"}]}) as pilot:
        assert pilot.wait() == 137
        assert not os.path.exists(f"/proc/{pids.read_text().strip()}")


@pytest.mark.parametrize("restarts", ["2", 2])
def test_restarts_of_an_interval_are_further_runs(tmp_path, restarts):
    """With an interval `restarts` says how many more runs there are; then the job, and the container, is over."""
    job = {"name": "task", "exec": "echo run", "restarts": restarts, "when": {"interval": "100ms"}}
    with SupervisorProcess(tmp_path, {"jobs": [job]}) as pilot:
        assert pilot.wait() == 0
        assert pilot.list_job_output("task") == ["run"] * 3


def test_restarts_of_a_job(tmp_path):
    """Without one it says how often the job starts again."""
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "task", "exec": "echo run", "restarts": 1}]}) as pilot:
        assert pilot.wait() == 0
        assert pilot.list_job_output("task") == ["run"] * 2


def test_before_and_after_the_stop(tmp_path):
    """A `stopping` job runs while its source is still there, a `stopped` one when it is gone, within stopTimeout."""
    before = {"name": "pre", "exec": shell("sleep 0.3; echo pre"), **build_trigger("app", "once", "stopping")}
    behind = {"name": "post", "exec": "echo post", **build_trigger("app", "once", "stopped")}
    jobs = [{**APP, "stopTimeout": "50s"}, before, behind]
    with SupervisorProcess(tmp_path, {"stopTimeout": 60, "jobs": jobs}) as pilot:
        pilot.wait_for_event("app", "up")
        began = time.monotonic()
        assert pilot.stop() == 0
        assert list_job_output(pilot) == [("app", "up"), ("pre", "pre"), ("app", "gone"), ("post", "post")]
        assert time.monotonic() - began < 45  # less than each of the two limits


def test_stop_timeout_ends_what_is_left(tmp_path):
    """Processes that still run at the end of stopTimeout are killed, those of a post-stop job too."""
    behind = {"name": "post", "exec": "sleep 1000", **build_trigger("app", "once", "stopped")}
    with SupervisorProcess(tmp_path, {"stopTimeout": "1", "jobs": [APP, behind]}) as pilot:
        pilot.wait_for_event("app", "up")
        began = time.monotonic()
        pilot.stop()
        assert 0.9 < time.monotonic() - began < 60


def test_signals_start_jobs(tmp_path):
    """SIGHUP and SIGUSR2 run the jobs that wait for them, each time, and such jobs keep no container alive."""
    jobs = [{"name": name, "exec": f"echo {name}", "when": {"source": name.upper()}} for name in ("sighup", "sigusr2")]
    enough = tmp_path / "enough"
    app = {"name": "app", "exec": shell(f"echo up; until [ -e {enough} ]; do sleep 0.02; done")}
    with SupervisorProcess(tmp_path, {"jobs": [app, *jobs]}) as pilot:
        pilot.wait_for_event("app", "up")
        for number in (signal.SIGHUP, signal.SIGUSR2):
            for times in (1, 2):
                pilot.send_signal(number)
                eventually(lambda n=number, t=times: len(pilot.list_job_output(n.name.lower())) == t, "it runs")
        enough.touch()
        assert pilot.wait() == 0


def set_maintenance(pilot, state):
    if isinstance(pilot, DropIn):
        return pilot.run_with_flags("-maintenance", {"on": "enable", "off": "disable"}[state])
    return pilot.run_verb("maintenance", state)


def list_services(agent):
    return {service["Service"] for service in agent.request("/v1/agent/services").values()}


def list_passing(agent):
    return [name for name in ("app", "public") if get_service_status(agent, name) == "passing"]


def test_health_without_a_check(tmp_path):
    """A health section with an interval and a TTL alone counts the job as healthy while it runs."""
    jobs = [
        {"name": "app", "exec": "sleep 1000", "port": 80, "health": {"interval": 1, "ttl": 5}},
        {"name": "after", "exec": "true", **build_trigger("app", "once", "healthy")},
    ]
    with DropIn(tmp_path, {"jobs": jobs}) as pilot:
        pilot.wait_for_event("after", "started")
        assert pilot.stop() == 0


@pytest.mark.real("consul")
@pytest.mark.parametrize(("program", "left"), [(SupervisorProcess, {"app", "public"}), (DropIn, set())])
def test_maintenance(agent, tmp_path, program, left):
    """Maintenance takes every service out of use and runs the jobs that wait for it, once however often it is asked
    for; leaving it brings them back. As ContainerPilot it takes them out of Consul, else they stay known there.
    """
    health = {"exec": "true", "interval": 1, "ttl": 5}
    jobs = [
        {"name": "app", "exec": "sleep 1000", "port": 80, "interfaces": "lo", "health": health},
        {"name": "public", "port": 80, "interfaces": ["static:192.0.2.1"], "health": health},
        {"name": "enter", "exec": "true", **build_trigger("global", "each", "enterMaintenance")},
        {"name": "exit", "exec": "true", **build_trigger("global", "each", "exitMaintenance")},
    ]
    with program(tmp_path, {"consul": agent.http_address, "jobs": jobs}) as pilot:
        eventually(lambda: list_passing(agent) == ["app", "public"], "registered")
        for times in (1, 2):
            for _ in range(3):
                assert set_maintenance(pilot, "on").returncode == 0
            eventually(lambda: not list_passing(agent), "out of use")
            eventually(lambda: list_services(agent) == left, "those that stay known are known")
            for _ in range(3):
                assert set_maintenance(pilot, "off").returncode == 0
            eventually(lambda: list_passing(agent) == ["app", "public"], "back")
            pilot.wait_for(lambda line, n=times: (line.get("job"), line.get("run")) == ("exit", n))
        assert pilot.stop() == 0
        started = [line["job"] for line in pilot.find_events("started") if line["job"] in ("enter", "exit")]
        assert started == ["enter", "exit"] * 2
    assert agent.request("/v1/agent/services") == {}


@pytest.mark.real("consul")
def test_service_without_a_process(agent, tmp_path):
    """A job without exec is a service of its own that is checked and advertised: it starts at its event, is critical
    when its check fails, waits for nobody at the stop, and keeps no container alive.
    """
    bad = tmp_path / "bad"
    health = {"exec": ["test", "!", "-e", str(bad)], "interval": "0.2", "ttl": 5}
    jobs = [
        {"name": "app", "exec": "sleep 1000"},
        {"name": "setup", "exec": "true"},
        {
            "name": "public",
            "port": 80,
            "health": health,
            "interfaces": "lo",
            **build_trigger("setup", "once", "exitSuccess"),
        },
    ]
    with SupervisorProcess(tmp_path, {"consul": agent.http_address, "stopTimeout": 60, "jobs": jobs}) as pilot:
        pilot.wait_for_event("public", "started")
        eventually(lambda: get_service_status(agent, "public") == "passing", "registered")
        bad.touch()
        eventually(lambda: get_service_status(agent, "public") == "critical", "critical")
        assert pilot.run_verb("restart", "public").returncode == 0
        pilot.wait_for(lambda line: line.get("job") == "public" and line.get("run") == 2)
        assert pilot.run_verb("stop", "app").returncode == 0
        assert pilot.run_verb("start", "app").returncode == 0
        began = time.monotonic()
        assert pilot.stop() == 0
        assert time.monotonic() - began < 45
    assert agent.request("/v1/agent/services") == {}


def test_service_without_a_process_keeps_nothing_alive(tmp_path):
    """The container ends when no job has a process any more."""
    public = {"name": "public", "port": 80, "health": {"exec": "true", "interval": 1, "ttl": 5}}
    with SupervisorProcess(tmp_path, {"jobs": [public, {"name": "app", "exec": shell("exit 3")}]}) as pilot:
        assert pilot.wait() == 3


def test_relative_socket(tmp_path):
    """A control socket may be named relative to where the supervisor is started."""
    socket = os.path.relpath(tmp_path / "cp.sock")
    with SupervisorProcess(tmp_path, {"control": {"socket": socket}, "jobs": [APP]}) as pilot:
        pilot.wait_for_event("app", "up")
        assert pilot.run_verb("ping", "--socket", str(tmp_path / "cp.sock")).returncode == 0
        assert pilot.stop() == 0
