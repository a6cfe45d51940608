"""ContainerPilot's severe defects, each seen running, on configs as its users write them: what happens here instead.

Shown elsewhere, on the same config or a stricter one:

| defect | test |
|---|---|
| 3 overload runs away | tests/app/test_misbehaviour.py::test_two_hundred_jobs_every_50_ms |
| 4 a hung Consul blocks everything | tests/adapters/consul/test_agent_presence.py::test_agent_hangs, _is_slow |
| 5 never registers again | tests/adapters/consul/test_agent_presence.py::test_agent_restarts_empty |
| 6 maintenance is one-way | test_behaviour.py::test_maintenance |
| 7 a bad config ends the container | tests/app/test_plan_reload.py::test_a_bad_job_spec_changes_nothing |
| 8 a reload kills every job | also tests/app/test_plan_reload.py::test_only_what_changed_is_restarted, ... |
| 9 reloads race | also tests/app/test_plan_reload.py::test_reloads_at_once_take_their_turns |
| 10 exit code always 0 | also tests/app/test_supervisor.py::test_missing_executable, test_wrong_config_starts_nothing |
| 14 a line over 64 KiB kills the job | tests/app/test_misbehaviour.py::test_one_megabyte_line |
| 15 an unterminated last line is lost | tests/app/test_misbehaviour.py::test_unterminated_last_line |
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.adapters.consul.conftest import get_service_status
from tests.app.harness import SupervisorProcess, eventually, shell

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

RESTARTED = {"name": "worker", "exec": "sleep 1000", "restarts": "unlimited"}
BACK = 3.0  # s from a kill to the next start: the first back-off is half a second


def find_processes(marker: str) -> list[int]:
    """The pids of live processes with this word among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if marker.encode() in words:
            found.append(int(path.parent.name))
    return found


def measure_stop(pilot: SupervisorProcess) -> float:
    began = time.monotonic()
    assert pilot.stop() == 0
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.real("consul")
def test_stuck_handler_freezes_nothing(agent, tmp_path):
    """1: with a hung Consul and more than a thousand events behind it a killed job comes back, and SIGTERM is heard."""
    listeners = [
        {"name": f"on-{n}", "exec": "true", "when": {"source": "chatter", "each": "exitSuccess"}} for n in range(8)
    ]
    spec = {
        "consul": agent.http_address,
        "jobs": [
            {**RESTARTED, "port": 8000, "interfaces": "lo", "health": {"exec": "true", "interval": 1, "ttl": 5}},
            {"name": "chatter", "exec": "true", "when": {"interval": "20ms"}},
            *listeners,
        ],
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for_event("worker", "marked healthy")
        agent.suspend()
        since = len(pilot.lines)
        eventually(lambda: len(pilot.lines) - since > 1500, "more events than ContainerPilot's queue holds")
        assert pilot.measure_restart_delay("worker", times=1) < BACK
        assert pilot.run_verb("ping").returncode == 0
        assert measure_stop(pilot) < 25


@pytest.mark.slow
def test_slow_check_is_never_run_twice(tmp_path):
    """2: a check that takes 3 s with an interval of 1 s is one process at a time; what it misses is skipped and
    counted, and neither a restart nor the stop waits for it.
    """
    marker = f"check-of-{tmp_path.name}"
    health = {"exec": ["sh", "-c", "sleep 3; :", marker], "interval": 1, "ttl": 10, "timeout": "8s"}
    with SupervisorProcess(
        tmp_path, {"jobs": [{"name": "slow", "exec": "sleep 1000", "health": health}, RESTARTED]}
    ) as pilot:
        pilot.wait_for_event("worker", "started")
        most = 0

        def has_skipped() -> bool:
            nonlocal most
            most = max(most, len(find_processes(marker)))
            return bool(pilot.find_events("slower than its interval"))

        eventually(has_skipped, "the skipped checks are counted")
        assert most == 1
        output = pilot.find_events("slower than its interval")[0]["message"]
        assert int(output.split()[-3]) >= 2, output
        assert pilot.measure_restart_delay("worker", times=1) < BACK
        assert measure_stop(pilot) < 25


@pytest.mark.slow
@pytest.mark.real("consul")
def test_reload_leaves_services_in_consul(agent, tmp_path):
    """8: over a reload an unchanged service keeps its pid and is in Consul at every moment, although its next check is
    a minute away; a changed one is there again as soon as it is well.
    """
    health = {"exec": "true", "interval": 60, "ttl": 120}
    jobs = [
        {"name": name, "exec": "sleep 1000", "port": 8000 + n, "interfaces": "lo", "health": health}
        for n, name in enumerate(("same", "other"))
    ]
    with SupervisorProcess(tmp_path, {"consul": agent.http_address, "jobs": jobs}) as pilot:
        for name in ("same", "other"):
            eventually(lambda name=name: get_service_status(agent, name) == "passing", "registered")
        before, over = pilot.get_pids(), threading.Event()
        missed: list[str | None] = []

        def watch_status() -> None:
            while not over.is_set():
                missed.extend(state for state in [get_service_status(agent, "same")] if state != "passing")

        looking = threading.Thread(target=watch_status)
        looking.start()
        jobs[1]["exec"] = "sleep 2000"
        assert pilot.reload({"consul": agent.http_address, "jobs": jobs}).returncode == 0
        eventually(lambda: get_service_status(agent, "other") == "passing", "registered again", timeout_s=50)
        over.set()
        looking.join()
        after = pilot.get_pids()
        assert not missed
        assert (after["same"] == before["same"], after["other"] == before["other"]) == (True, False)
        assert pilot.stop() == 0


@pytest.mark.slow
def test_reloads_do_not_race(tmp_path):
    """9: of 20 jobs, half of which change each time, there is one process each after 18 reloads back to back."""

    def build_jobs(turn: int) -> list[dict[str, object]]:
        return [
            {"name": f"job-{n}", "exec": ["sleep", str(1000 + turn * (n % 2))], "restarts": "unlimited"}
            for n in range(20)
        ]

    with SupervisorProcess(tmp_path, {"jobs": build_jobs(0)}) as pilot:
        pilot.wait_for_event("job-19", "started")
        first = pilot.get_pids()
        for turn in range(1, 19):
            assert pilot.reload({"jobs": build_jobs(turn)}).returncode == 0
        last = pilot.get_pids()
        assert [name for name in first if first[name] == last[name]] == [f"job-{n}" for n in range(0, 20, 2)]
        children = Path(f"/proc/{pilot.process.pid}/task/{pilot.process.pid}/children").read_text().split()
        assert set(map(int, children)) == set(last.values()) and len(children) == len(last)
        assert measure_stop(pilot) < 25


@pytest.mark.parametrize(("job", "code"), [("exit 42", 42), ("exit 0", 0), ("kill -9 $$", 137)])
def test_exit_code_is_the_jobs(tmp_path, job, code):
    """10: when its jobs are complete the container's exit code is that of the job that failed."""
    spec = {"jobs": [{"name": "main", "exec": shell(job)}, {"name": "setup", "exec": "true"}]}
    with SupervisorProcess(tmp_path, spec) as pilot:
        assert pilot.wait() == code


def test_killed_supervisor_is_no_success(tmp_path):
    """10: a supervisor that is killed does not leave with 0: there is no parent that would say so for it."""
    with SupervisorProcess(tmp_path, {"jobs": [RESTARTED]}) as pilot:
        pilot.wait_for_event("worker", "started")
        pilot.send_signal(signal.SIGKILL)
        assert pilot.wait() == -signal.SIGKILL


def test_stop_sleeps_for_no_timer(tmp_path):
    """11: with every job gone at once the stop does not sleep through stopTimeout."""
    jobs = [{"name": name, "exec": "sleep 1000", "restarts": "unlimited"} for name in ("a", "b")]
    with SupervisorProcess(tmp_path, {"stopTimeout": 30, "jobs": jobs}) as pilot:
        for name in ("a", "b"):
            pilot.wait_for_event(name, "started")
        assert measure_stop(pilot) < 25


def test_stop_timeout_of_a_job_fires(tmp_path):
    """12: a job with a stopTimeout is stopped when that is over, although its `stopping` job still runs."""
    app = {"name": "app", "exec": shell("trap 'echo asked; exit 0' TERM; while :; do sleep 0.02; done")}
    spec = {
        "stopTimeout": 4,
        "jobs": [
            {**app, "stopTimeout": "1s"},
            {"name": "pre-stop", "exec": "sleep 1000", "when": {"source": "app", "once": "stopping"}},
        ],
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for_event("app", "started")
        began = time.monotonic()
        pilot.send_signal()
        asked = pilot.wait_for_event("app", "asked")["arrived"]
        pilot.wait()  # the container's own budget ends what is left
        (killed,) = (line for line in pilot.find_events("ended") if line.get("job") == "pre-stop")
        assert asked - began > 0.9 and asked < killed["arrived"]


def test_every_stopping_job_is_waited_for(tmp_path):
    """13: of several `stopping` jobs of one source all have their time before it is stopped."""
    app = {"name": "app", "exec": shell("trap 'echo asked; exit 0' TERM; while :; do sleep 0.02; done")}
    before = [
        {"name": name, "exec": shell(f"sleep {takes}; echo ready"), "when": {"source": "app", "once": "stopping"}}
        for name, takes in (("first", 0.8), ("second", 0.3), ("third", 0))
    ]
    with SupervisorProcess(tmp_path, {"jobs": [{**app, "stopTimeout": "10s"}, *before]}) as pilot:
        pilot.wait_for_event("app", "started")
        assert pilot.stop() == 0
        output = [line["job"] for line in pilot.lines if line["message"] in ("ready", "asked")]
        assert output == ["third", "second", "first", "app"]


def test_exit_is_seen_while_stdout_is_held(tmp_path):
    """16: a job whose descendant holds its output is restarted at once, not when the descendant ends."""
    job = {"name": "app", "exec": shell("sleep 12 & exit 1"), "restarts": 1}
    with SupervisorProcess(tmp_path, {"jobs": [job]}) as pilot:
        first = pilot.wait_for_event("app", "started")
        again = pilot.wait_for(lambda line: line["message"] == "started" and line["run"] == 2)
        assert again["arrived"] - first["arrived"] < BACK
        assert pilot.wait() == 1


@pytest.mark.slow
def test_failing_job_backs_off(tmp_path):
    """17: jobs that fail at once, or whose program is missing, start a few times in 5 s, with little log."""
    bad = ["false", "/no/such/program", "sh -c exit"]
    jobs = [{"name": f"bad-{n}", "exec": command, "restarts": "unlimited"} for n, command in enumerate(bad)]
    with SupervisorProcess(tmp_path, {"jobs": [*jobs, RESTARTED]}) as pilot:
        pilot.wait_for_event("worker", "started")
        before, began = read_cpu_time(pilot.process.pid), time.monotonic()
        pilot.wait_for(lambda line: time.monotonic() - began > 5, timeout_s=15)
        used, log = read_cpu_time(pilot.process.pid) - before, sum(len(str(line)) for line in pilot.lines)
        runs = [line for line in pilot.find_events("") if line["message"].startswith(("ended", "cannot start"))]
        print(f"in 5 s: {len(runs)} runs of {len(bad)} jobs, {used * 1000:.0f} ms of CPU, {log} bytes of log")
        assert len(runs) <= 8 * len(bad) and log < 20_000
        assert pilot.stop() == 0


def read_cpu_time(pid: int) -> float:
    """Seconds of CPU that the process itself has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
