"""Test the answers of a running supervisor (why, logs, events), and signals to its jobs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot.adapters.logs.journal import MAX_FOLLOWERS
from tests.app.harness import TIMEOUT_S, VICTIM, SupervisorProcess, eventually, shell

pytestmark = [
    pytest.mark.slow,  # seconds each: for `make test`, not for `make check`
    pytest.mark.xdist_group("asking"),  # one supervisor for all of them
]

SPEC: dict[str, Any] = {
    "jobs": [
        {
            "name": "db",
            "exec": ["sleep", "1000"],
            "health": {"exec": shell("echo cannot connect to 5432; exit 1"), "interval": 1, "failures": 1000},
        },
        {"name": "app", "exec": ["sleep", "1000"], "when": {"source": "db", "once": "healthy"}},
        {
            "name": "crashes",
            "exec": shell("exit 7"),
            "restarts": "unlimited",
            "backoff": {"initial": "10m", "max": "10m"},
        },
        {"name": "once", "exec": shell("echo out; echo err >&2; exit 3")},
        {"name": "missing", "exec": ["no-such-program"]},
        {"name": "succeeded", "exec": ["true"]},
        {"name": "late", "exec": ["true"], "when": {"source": "db", "once": "healthy", "timeout": "100ms"}},
        {"name": "hopeless", "exec": ["true"], "when": {"source": "late", "once": "exitSuccess"}},
        {"name": "nightly", "exec": ["true"], "when": {"interval": "1h"}},
        {"name": "heeds", "exec": shell('trap "echo usr1" USR1; echo ready; while :; do sleep 0.1; done')},
        {"name": "stopped", "exec": ["sleep", "1000"]},
        {"name": "new-year", "exec": ["true"], "when": {"cron": "0 0 1 1 *"}},
        {"name": "checked", "health": {"exec": "true", "interval": "1h"}},
        {"name": "manual", "exec": ["sleep", "1000"], "when": {"once": "asked"}},
    ]
}


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisorProcess]:
    with SupervisorProcess(tmp_path_factory.mktemp("asking"), SPEC) as pilot:
        pilot.wait_for_event("once", "ended")
        pilot.wait_for_event("crashes", "restarts in")
        pilot.wait_for_event("hopeless", "will not run")
        pilot.wait_for_event("nightly", "ended")
        pilot.wait_for(lambda line: line["message"] == "ready")
        pilot.run_verb("stop", "stopped")
        eventually(lambda: "cannot connect" in pilot.run_verb("why", "db").stdout, "the check has failed")
        yield pilot


@pytest.mark.parametrize(
    ("job", "parts"),
    [
        ("db", ["runs (pid ", "not healthy yet", "'cannot connect to 5432'"]),
        ("app", ["app waits for db healthy; db runs", "cannot connect to 5432"]),
        ("crashes", ["is in back-off after its last run ended, exit 7", "starts again in", "restart 1"]),
        ("once", ["is over: its last run ended, exit 3", "no restart left"]),
        ("late", ["late never ran: it waited 0.1 s for db healthy"]),
        ("hopeless", ["hopeless never ran: it waited for late exitSuccess"]),
        ("nightly", ["has run once and waits for its next time"]),
        ("heeds", ["heeds runs (pid "]),
        ("stopped", ["was stopped", "when somebody starts it"]),
        ("new-year", ["waits for its next time, ", "d"]),
        ("checked", ["runs (without a process of its own, "]),
        ("manual", ["manual waits for an operator to start it"]),
    ],
)
def test_why(pilot: SupervisorProcess, job: str, parts: list[str]) -> None:
    """A single line gives the causes, down to the last check of the job that is waited for."""
    explanation = pilot.run_verb("why", job).stdout
    assert explanation.count("\n") == 1
    assert [part for part in parts if part not in explanation] == []


@pytest.mark.parametrize(
    ("job", "state", "end", "shown"),
    [
        ("once", "done", "failed", "failed (3)"),
        ("missing", "done", "failed", "failed (127)"),
        ("succeeded", "done", "succeeded", "done"),
        ("stopped", "done", "stopped", "stopped"),
        ("late", "done", "never ran", "never ran"),
        ("hopeless", "done", "never ran", "never ran"),
        ("crashes", "backoff", None, "backoff"),
        ("db", "running", None, "running"),
    ],
)
def test_status_tells_ends_apart(pilot: SupervisorProcess, job: str, state: str, end: str | None, shown: str) -> None:
    """The status of a job that is over says how it ended: by itself, with a failure, by request, or not even begun."""
    status = _get_job_status(pilot, job)
    assert (status["state"], status["end"]) == (state, end)
    (row,) = (line for line in pilot.run_verb("status").stdout.splitlines() if line.split()[0] == job)
    assert row.removeprefix(job).lstrip().startswith(f"{shown}  ")


def test_why_of_nobody(pilot: SupervisorProcess) -> None:
    """An unknown job is an error that names those there are."""
    asked = pilot.run_verb("why", "nobody")
    assert asked.returncode == 1 and "there are: db, app" in asked.stderr


def test_why_as_json(pilot: SupervisorProcess) -> None:
    """The same for a script."""
    assert json.loads(pilot.run_verb("why", "once", "-o", "json").stdout)["state"] == "done"


def test_logs_of_a_job(pilot: SupervisorProcess) -> None:
    """The job's own lines, as it wrote them, of both streams."""
    assert pilot.run_verb("logs", "once").stdout.splitlines() in (["out", "err"], ["err", "out"])
    records = [json.loads(line) for line in pilot.run_verb("logs", "once", "-o", "json").stdout.splitlines()]
    assert {(record["stream"], record["line"]) for record in records} == {("stdout", "out"), ("stderr", "err")}
    assert pilot.run_verb("logs", "once", "-n", "1").stdout.count("\n") == 1


def test_logs_of_all_jobs_name_them(pilot: SupervisorProcess) -> None:
    """Without a name each line says whose it is."""
    assert any(line.endswith("once | out") for line in pilot.run_verb("logs", "-n", "1000").stdout.splitlines())


def test_doubtful_zone_is_said(tmp_path: Path) -> None:
    """A start and a reload warn that cron is taken as UTC when $TZ is no time zone, also with a compiled plan."""
    nightly = {"name": "nightly", "exec": ["true"], "when": {"cron": "@daily"}}
    for _ in "validated", "compiled":
        with SupervisorProcess(tmp_path, {"jobs": [VICTIM, nightly]}, env={"TZ": "Mars/North"}) as pilot:
            pilot.wait_for(lambda line: line["message"].startswith("cron is taken as UTC (nightly): TZ=Mars/North"))
            assert pilot.reload({"jobs": [VICTIM]}).returncode == 0
            assert pilot.reload({"jobs": [VICTIM, nightly]}).returncode == 0
            assert len(pilot.find_events("cron is taken as UTC")) == 2
            assert pilot.stop() == 0


def test_signal_reaches_the_job(pilot: SupervisorProcess) -> None:
    """`signal` goes to the job's process, which goes on."""
    since, pid = len(pilot.lines), _get_job_status(pilot, "heeds")["pid"]
    assert pilot.run_verb("signal", "heeds", "usr1").returncode == 0
    pilot.wait_for(lambda line: line["message"] == "usr1", since=since)
    assert _get_job_status(pilot, "heeds")["pid"] == pid


@pytest.mark.parametrize("name", [str(int(signal.SIGUSR1)), "SIGUSR1", "Usr1"])
def test_signal_is_a_number_or_a_name(pilot: SupervisorProcess, name: str) -> None:
    """A signal is named as kill(1) takes it: by its number, and by its name with and without SIG."""
    since = len(pilot.lines)
    assert pilot.run_verb("signal", "heeds", name).returncode == 0
    pilot.wait_for(lambda line: line["message"] == "usr1", since=since)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("once", "HUP"), "does not run"),
        (("heeds", "FOO"), "such as SIGHUP"),
        (("heeds", "0"), "such as SIGHUP"),
        (("heeds", "99"), "such as SIGHUP"),
    ],
)
def test_signal_that_cannot_be(pilot: SupervisorProcess, arguments: tuple[str, str], expected: str) -> None:
    """A job that does not run and a signal that does not exist are errors."""
    asked = pilot.run_verb("signal", *arguments)
    assert asked.returncode == 1 and expected in asked.stderr


def test_events(pilot: SupervisorProcess) -> None:
    """Events are objects, one each, with the name that a `when` clause uses."""
    events = [json.loads(line) for line in pilot.run_verb("events", "-n", "1000", "-o", "json").stdout.splitlines()]
    assert {"JobFailed", "RestartScheduled", "CheckFailed"} <= {event["event"] for event in events}
    assert next(event for event in events if event["event"] == "JobFailed")["trigger"] == "exitFailed"
    assert "once: ended, exit 3" in pilot.run_verb("events", "-n", "1000").stdout


def _get_job_status(pilot: SupervisorProcess, job: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(pilot.run_verb("status", job, "-o", "json").stdout)
    return shown


def test_plan_diff(pilot: SupervisorProcess, tmp_path: Path) -> None:
    """Which jobs a reload would start, restart, change or remove, and each value that differs, without doing it."""
    same = pilot.run_verb("plan", "--diff", str(pilot.place / "autopilot.json5"))
    assert (same.stdout, same.returncode) == ("no difference\n", 0)
    jobs = {job["name"]: dict(job) for job in SPEC["jobs"]}
    del jobs["nightly"]
    jobs["heeds"]["exec"] = ["sleep", "5"]
    jobs["crashes"]["restarts"] = 3
    jobs["db"]["env"] = {"DB_PASSWORD": "secret"}
    jobs["fresh"] = {"name": "fresh", "exec": "true"}
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"jobs": [jobs["fresh"], *jobs.values()][:-1], "logging": {"level": "DEBUG"}}))
    text = pilot.run_verb("plan", "--diff", str(other)).stdout
    for line in (
        "fresh: would be added",
        "heeds: would be restarted, if it runs",
        "crashes: would be updated without a restart",
        "nightly: would be stopped and removed",
        "jobs[crashes].restarts: nothing -> 3",
        'jobs[db].command.env.DB_PASSWORD: nothing -> "***"',
        'logging.level: "INFO" -> "DEBUG"',
    ):
        assert line in text.splitlines()
    assert "secret" not in text
    found = json.loads(pilot.run_verb("plan", "--diff", str(other), "-o", "json").stdout)
    assert found["jobs"] == {
        "added": ["fresh"],
        "restarted": ["db", "heeds"],
        "updated": ["crashes"],
        "removed": ["nightly"],
    }


class FollowingVerb:
    """A verb that follows, and the lines it has printed."""

    def __init__(self, pilot: SupervisorProcess, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "autopilot", *words],
            env={**os.environ, "AUTOPILOT_STATE": str(pilot.state)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines += map(str.rstrip, self.process.stdout)

    def __enter__(self) -> FollowingVerb:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_following_shows_the_life_to_its_end(tmp_path: Path) -> None:
    """`logs -f` and `events -f` show what comes, a job's last words too, and end with the life, without an error."""
    last = 'trap "seq 1000; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": shell(last)}]}) as pilot:
        pilot.wait_for(lambda line: line["message"] == "ready")
        with (
            FollowingVerb(pilot, "logs", "-f", "a") as logs,
            FollowingVerb(pilot, "events", "-f", "-o", "json") as events,
        ):
            eventually(lambda: logs.lines == ["ready"] and len(events.lines) > 0, "both follow")
            assert pilot.stop() == 0
            assert logs.process.wait(TIMEOUT_S) == events.process.wait(TIMEOUT_S) == 0
        assert logs.lines[-1] == "1000"
        assert json.loads(events.lines[-1])["event"] == "JobStopped"


def test_deaf_followers_hold_up_nobody(tmp_path: Path) -> None:
    """Followers that never read cost a bounded memory and no time: a job that writes on and on is not held up, another
    is restarted at once, and one follower too many is refused.
    """
    flood = shell("yes 0123456789012345678901234567890123456789 | head -c 60000000; echo all written; sleep 1000")
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM, {"name": "flood", "exec": flood}]}, read=False) as pilot:
        path = str(pilot.state / "autopilot.sock")
        eventually(lambda: Path(path).exists(), "the socket")
        deaf = []
        for _ in range(MAX_FOLLOWERS):
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            client.sendall(b"GET /v1/logs?n=0&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
            deaf.append(client)
        refused = pilot.run_verb("logs", "-f")
        assert refused.returncode == 1 and "follow or wait already" in refused.stderr
        eventually(lambda: "all written" in pilot.run_verb("logs", "flood", "-n", "1").stdout, "written to the end", 60)
        assert pilot.measure_memory() < 80 << 20
        for client in deaf:
            client.close()
        eventually(lambda: pilot.run_verb("restart", "victim").returncode == 0, "room again, and a restart")


def test_completion_in_bash(pilot: SupervisorProcess, tmp_path: Path) -> None:
    """With the printed script bash completes verbs, options and the names of the running jobs."""
    program = tmp_path / "autopilot"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m autopilot "$@"\n')
    program.chmod(0o755)
    script = """
        source <(autopilot completion bash)
        complete_ () {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _autopilot_completion "$1"; echo "${COMPREPLY[@]}"
        }
        complete_ autopilot wh; complete_ autopilot why cra; complete_ autopilot stop --no
    """
    completed = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "AUTOPILOT_STATE": str(pilot.state), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.stdout.split() == ["why", "crashes", "--no-wait"], completed.stderr


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_completion_of_other_shells(pilot: SupervisorProcess, name: str) -> None:
    """There is a script for each of the three shells, which asks us."""
    assert f"_AUTOPILOT_COMPLETE={name}_complete" in pilot.run_verb("completion", name).stdout
