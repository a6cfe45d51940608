"""ContainerPilot's smaller defects, on configs as its users write them: what happens here instead.

Shown elsewhere, on the same config or a stricter one:

| defect | test |
|---|---|
| children with their own session survive | tests/app/test_misbehaviour.py::test_whole_family_is_gone |
| `unhealthy` does nothing but stop the heartbeats | tests/adapters/consul/test_registrar.py::test_check_output_and_status |
| a metric without namespace is dropped, unknown ones return success | tests/adapters/telemetry/test_telemetry_adapter.py::test_metrics_of_jobs |
| `{{ .VAR }}` cuts a value at its second `=` | tests/spec/test_gotemplate.py::test_a_value_keeps_its_second_equals_sign |
| duplicate job names are accepted, a mistyped source waits for ever | tests/spec/test_validation.py |
| `consul` is mandatory | every test here without one |
| /status knows no pid, exit code nor restart count | tests/app/test_supervisor.py::test_status_and_socket |
| a second instance steals the control socket | tests/app/test_abuse.py::test_shared_socket_is_left_alone |
| killing the worker ends PID 1 or orphans the jobs | tests/app/test_supervisor.py::test_words_while_alive: there is one process, and its jobs end with it |
| blocking queries | tests/adapters/consul/test_watches.py::test_change_to_job_start |
"""  # noqa: E501 - a table

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from autopilot.process import kernel_calls
from autopilot.runtime.process_table import ProcessTable
from autopilot.spec.plan import Command
from tests.adapters.consul.conftest import get_service_status
from tests.app.harness import VICTIM, SupervisorProcess, eventually, find_free_port, shell
from tests.containerpilot.drop_in import DropIn

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`


@pytest.fixture
def subreaper():
    """This process gets its children's orphans, as a supervisor does; not those of the tests that follow."""
    kernel_calls.load_prctl()(kernel_calls.PR_SET_CHILD_SUBREAPER, 1)
    yield
    kernel_calls.load_prctl()(kernel_calls.PR_SET_CHILD_SUBREAPER, 0)


async def test_reaped_leader_is_never_signalled(monkeypatch, subreaper):
    """Once the leader is reaped its number is never signalled again, nor its group's: it may be another's."""
    signalled = []

    def spy(name):
        send = getattr(os, name)

        def sent(pid, number):
            signalled.append(pid)
            send(pid, number)

        monkeypatch.setattr(os, name, sent)

    spy("kill")
    spy("killpg")
    loop = asyncio.get_running_loop()
    processes = ProcessTable(loop)
    loop.add_signal_handler(signal.SIGCHLD, processes.reap)
    exited, emptied = asyncio.Event(), asyncio.Event()
    process = processes.start(
        Command(argv=("sh", "-c", "sleep 1000 & exit 0")),
        os.environ,
        on_lines=lambda stream, lines: None,
        on_exit=lambda status, problem, left: exited.set(),
        on_empty=emptied.set,
    )
    await asyncio.wait_for(exited.wait(), 10)
    process.signal(signal.SIGTERM, group=True)
    await asyncio.wait_for(emptied.wait(), 10)
    process.kill()
    assert signalled and process.pid not in signalled
    loop.remove_signal_handler(signal.SIGCHLD)


def test_healthy_is_a_change(tmp_path):
    """`healthy` comes when a job becomes healthy, not at each pass of its check."""
    flag, count = tmp_path / "bad", tmp_path / "count"
    check = shell(f"echo >> {count}; test ! -e {flag}")
    spec = {
        "jobs": [
            {
                "name": "app",
                "exec": "sleep 1000",
                "health": {"exec": check, "interval": "50ms", "ttl": 20, "timeout": "10s"},
            },
            {"name": "on-healthy", "exec": "true", "when": {"source": "app", "each": "healthy"}},
            {"name": "on-unhealthy", "exec": "true", "when": {"source": "app", "each": "unhealthy"}},
        ]
    }

    def passes(more):
        before = len(count.read_text()) if count.exists() else 0
        eventually(lambda: count.exists() and len(count.read_text()) >= before + more, "checks")

    with SupervisorProcess(tmp_path, spec) as pilot:
        passes(10)
        flag.touch()
        pilot.wait_for_event("on-unhealthy", "started")
        passes(10)
        flag.unlink()
        pilot.wait_for(lambda line: line.get("job") == "on-healthy" and line.get("run") == 2)
        passes(10)
        assert pilot.stop() == 0
        starts = [line["job"] for line in pilot.find_events("started") if line["job"].startswith("on-")]
        assert starts == ["on-healthy", "on-unhealthy", "on-healthy"]


@pytest.mark.real("consul")
def test_first_check_is_early(agent, tmp_path):
    """With an interval of 60 s a service is registered soon after it is well, not after a minute."""
    ready = tmp_path / "ready"
    health = {"exec": ["test", "-e", str(ready)], "interval": "60", "ttl": "120"}
    app = {"name": "app", "exec": shell(f"sleep 0.3; touch {ready}; exec sleep 1000"), "port": 8000}
    with SupervisorProcess(
        tmp_path, {"consul": agent.http_address, "jobs": [{**app, "interfaces": "lo", "health": health}]}
    ) as pilot:
        pilot.wait_for_event("app", "started")
        eventually(lambda: get_service_status(agent, "app") == "passing", "registered", timeout_s=30)


def put_instance(agent, id, **fields):
    check = {"CheckID": id, "TTL": "1h", "Status": "passing"}
    agent.put("/v1/agent/service/register", {"ID": id, "Name": "db", "Port": 5432, "Check": check, **fields})


def build_watch_spec(agent, *watches):
    changed = {"name": "on-change", "exec": "echo changed", "when": {"source": "watch.db", "each": "changed"}}
    return {"consul": agent.http_address, "watches": list(watches), "jobs": [VICTIM, changed]}


@pytest.mark.real("consul")
def test_tag_and_swap_are_changes(agent, tmp_path):
    """A tag that changes, and one instance in the place of another within one interval, are `changed`."""
    with SupervisorProcess(tmp_path, build_watch_spec(agent, {"name": "db", "interval": 1})) as pilot:
        put_instance(agent, "db-1", Tags=["replica"])
        eventually(lambda: len(pilot.list_job_output("on-change")) == 1, "the first instance")
        put_instance(agent, "db-1", Tags=["primary"])
        eventually(lambda: len(pilot.list_job_output("on-change")) == 2, "another tag")
        put_instance(agent, "db-2", Tags=["primary"])
        agent.put("/v1/agent/service/deregister/db-1")
        eventually(lambda: len(pilot.list_job_output("on-change")) >= 3, "another instance")


@pytest.mark.slow
@pytest.mark.real("consul")
def test_watches_share_nothing(agent, tmp_path):
    """Two watches on one service with other tags never disturb each other: no false `changed` in 8 s."""
    watches = [{"name": "db", "interval": 1, "tag": tag} for tag in ("primary", "replica")]
    put_instance(agent, "db-1", Tags=["primary"])
    put_instance(agent, "db-2", Tags=["replica"])
    with SupervisorProcess(tmp_path, build_watch_spec(agent, *watches)) as pilot:
        eventually(lambda: len(pilot.find_events("watch changed")) == 2, "both are seen")
        began = time.monotonic()
        pilot.wait_for_event("on-change", "ended")
        eventually(lambda: time.monotonic() - began > 8, "8 s, as long as ContainerPilot took for 12")
        assert len(pilot.find_events("watch changed")) == 2


def test_signals_are_counted(tmp_path):
    """Each SIGHUP that the kernel delivers is one event. Of those sent while one is pending the kernel itself keeps a
    single one, so a burst is at least one event, and the job runs after the last of them.
    """
    port = find_free_port()
    spec = {
        "telemetry": {"port": port, "interfaces": "lo"},
        "jobs": [
            {"name": "app", "exec": "sleep 1000"},
            {"name": "on-hup", "exec": "true", "when": {"source": "SIGHUP"}},
        ],
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for_event("app", "started")
        for _ in range(20):
            pilot.send_signal(signal.SIGHUP)
            eventually(lambda: not is_signal_pending(pilot.process.pid, signal.SIGHUP), "delivered")
        eventually(lambda: count_events(port, "SIGHUP") == 20, "twenty events")
        since = len(pilot.lines)
        for _ in range(20):
            pilot.send_signal(signal.SIGHUP)
        pilot.wait_for_event("on-hup", "started", since=since)
        assert 20 < count_events(port, "SIGHUP") <= 40
        assert pilot.stop() == 0


def is_signal_pending(pid, number):
    """Return True if a signal to the process waits to be delivered."""
    fields = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return (int(fields["ShdPnd"], 16) | int(fields["SigPnd"], 16)) >> (number - 1) & 1


def count_events(port, source):
    """ContainerPilot's counter of events with this source."""
    from tests.adapters.telemetry.test_telemetry_adapter import read_samples

    found = read_samples({"telemetry": {"port": port}})
    return sum(
        n for (name, *labels), n in found.items() if name == "containerpilot_events" and ("source", source) in labels
    )


def test_interval_job_may_take_its_time(tmp_path):
    """A job that takes longer than its interval is not killed at it; its runs do not overlap, others are skipped."""
    job = {"name": "backup", "exec": shell("sleep 0.7; echo done"), "when": {"interval": "300ms"}, "restarts": 1}
    with SupervisorProcess(tmp_path, {"jobs": [job]}) as pilot:
        assert pilot.wait() == 0
        assert pilot.list_job_output("backup") == ["done", "done"]
        assert pilot.find_events("skipped: the previous run had not ended")  # two, or more on a busy machine


@pytest.mark.real("root")
def test_set_user_id(tmp_path):
    """A job with a `user` may gain privileges as `containerpilot` unless its spec forbids it; by default it may not."""
    read = ["grep", "NoNewPrivs", "/proc/self/status"]
    jobs = [{"name": "a", "user": "54321", "exec": read}, {"name": "b", "no_new_privs": True, "exec": read}]
    for kind, expected in ((DropIn, "0"), (SupervisorProcess, "1")):
        place = tmp_path / expected
        place.mkdir()
        with kind(place, {"jobs": jobs}) as pilot:
            assert pilot.wait() == 0
            assert pilot.list_job_output("a") == [f"NoNewPrivs:\t{expected}"]
            assert pilot.list_job_output("b") == ["NoNewPrivs:\t1"]


@pytest.mark.parametrize("form", ["json", "text", "default"])
def test_arguments_are_not_logged(tmp_path, form):
    """At level DEBUG the log holds no argument of a job or a check, in any format: passwords stand there."""
    login = ["sh", "-c", "sleep 0.2", "--password=s3cret"]
    spec = {
        "logging": {"level": "DEBUG", "format": form},
        "jobs": [
            {"name": "app", "exec": login, "health": {"exec": login, "interval": "50ms", "timeout": "10s", "ttl": 5}},
            {"name": "broken", "exec": ["/no/such/program", "--password=s3cret"], "restarts": 1},
        ],
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait()
        assert pilot.lines and "s3cret" not in str(pilot.lines) + pilot.stderr_text
