"""`autopilot check --simulate`: a life in virtual time, by the machines that run the real one."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from autopilot.cli.main import main as autopilot

SPEC: dict[str, Any] = {
    "htcondor": {"job": "master"},
    "lifetime": {"max": "1h", "drain": {"htcondor": True}, "deadline": "10m", "grace": "1m"},
    "jobs": [
        {"name": "master", "exec": "condor_master -f", "essential": True, "health": {"exec": "true", "interval": "1m"}},
        {"name": "web", "exec": "web", "restarts": "unlimited", "health": {"exec": "true", "interval": "10s"}},
        {"name": "report", "exec": "report", "when": {"interval": "20m"}},
        {"name": "alarm", "exec": "alarm", "when": {"source": "web", "each": "unhealthy"}},
    ],
}


INTERVALS = (("often", "1m"), ("rare", "7m"))


def simulate(place: Path, script: str, *options: str, spec: dict[str, Any] = SPEC) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: its start is of no interest here."""
    (place / "spec.json").write_text(json.dumps(spec))
    (place / "script").write_text(script)
    words = ["check", "spec.json", "--simulate", "script", *options]
    out, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(place),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        autopilot(words, prog_name="autopilot")
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess(words, code or 0, out.getvalue(), errors.getvalue())


def run_simulation(place: Path, script: str) -> list[str]:
    done = simulate(place, script)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_life_of_one_payload(tmp_path: Path) -> None:
    """The life drains when its payload has begun, and goes with it; a second one is a mistake of the script."""
    spec = {**SPEC, "htcondor": {"node": True}, "lifetime": {"payloads": 1, "drain": {"htcondor": True}}}
    script = "at 50m payloads 1.0\nat 1h5m payloads\n"
    lines = simulate(tmp_path, script, spec=spec).stdout.splitlines()
    begun = next(line for line in lines if "drain begun" in line)
    assert begun.startswith("+0:50:00.000") and "1 of 1 payload taken" in begun
    assert lines[-1].startswith("+1:05:00") and lines[-1].endswith("exit 0: 1 of 1 payload taken, drained")
    refused = simulate(tmp_path, "at 50m payloads 1.0 2.0\n", spec=spec)
    assert refused.returncode == 64 and "a life takes 1 (lifetime.payloads)" in refused.stderr


def test_a_life_to_its_drained_end(tmp_path: Path) -> None:
    """The lifetime ends, the payload finishes, the node goes: each with its virtual time, in no real time."""
    began = time.monotonic()
    lines = run_simulation(tmp_path, "at 50m payloads 1.0\nat 1h5m payloads\n")
    assert time.monotonic() - began < 60  # far less than the virtual hours
    assert "+0:00:00.010  master: marked healthy" in lines
    assert any(line.startswith("+1:00:00.000  drain begun: its lifetime is over") for line in lines)
    assert "+1:05:00.000  drain completed: no payload runs, and none can start" in lines
    assert lines[-1].endswith("exit 0: drained")


def test_a_payload_that_does_not_end_is_forced(tmp_path: Path) -> None:
    """A payload that outlives deadline and grace is ended, and the exit code says so."""
    lines = run_simulation(tmp_path, "at 1m payloads 1.0\n")
    assert any(line.startswith("+1:10:00.000  drain deadline reached") for line in lines)
    assert lines[-1].startswith("+1:11:0") and "exit 75: drained, forced" in lines[-1]


def test_repetitions_are_folded(tmp_path: Path) -> None:
    """What a job repeats is told once, also when lines of other jobs are between; the numbers say how often."""
    spec = {"jobs": [{"name": name, "exec": name, "when": {"interval": interval}} for name, interval in INTERVALS]}
    done = simulate(tmp_path, "run often for 2s\nrun rare for 5s\nat 59m exit rare 7\nend 1h\n", spec=spec)
    lines = done.stdout.splitlines()
    assert lines[-1].endswith("still alive: the script ends here") and len(lines) < 12
    assert "+0:00:00.000  often: started" in lines
    assert "+0:00:02.000  often: ended, exit 0 (these 2 lines 59 more until +0:59:02.000)" in lines
    assert any("rare: ended, exit 0 (these 2 lines " in line for line in lines)


def test_one_job_alone(tmp_path: Path) -> None:
    """With --only there are the lines of that job, and the end; an unknown job is wrong use."""
    spec = {"jobs": [{"name": name, "exec": name, "when": {"interval": interval}} for name, interval in INTERVALS]}
    lines = simulate(tmp_path, "end 1h\n", "--only", "rare", spec=spec).stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("+")] == ["rare:", "rare:", "still"]
    report = json.loads(simulate(tmp_path, "end 1h\n", "--only", "rare", "-o", "json", spec=spec).stdout)
    assert {entry["job"] for entry in report["timeline"]} == {"rare"}
    refused = simulate(tmp_path, "end 1h\n", "--only", "rar", spec=spec)
    assert refused.returncode == 64 and 'did you mean "rare"?' in refused.stderr


def test_what_jobs_do(tmp_path: Path) -> None:
    """Runs that end, checks that fail for a while, events that start other jobs, and a signal: as the script has it."""
    script = """
    run report for 3s exit 1
    at 5m check web fails no answer      # and for long enough to be seen
    at 6m check web passes
    at 7m exit web 9
    at 8m signal SIGTERM
    """
    lines = run_simulation(tmp_path, script)
    assert lines[0] == "assumed: runs of alarm take 1 s; `run JOB for ...` changes it"
    assert "+0:00:03.000  report: ended, exit 1" in lines
    assert any("web: marked unhealthy: no answer" in line for line in lines)
    assert any(line.startswith("+0:05:1") and line.endswith("alarm: started") for line in lines)
    assert any("web: health check failed: no answer (" in line and "more until +0:06:0" in line for line in lines)
    assert "+0:07:00.000  web: ended, exit 9" in lines
    assert lines[-1].startswith("+0:08:0") and lines[-1].endswith("exit 0: stopped by SIGTERM")


def test_one_seed_one_life(tmp_path: Path) -> None:
    """What is drawn is drawn from the seed."""
    script = "at 1m exit web 1\nend 5m\n"
    first, again, other = (simulate(tmp_path, script, "--seed", seed).stdout for seed in "112")
    assert first == again != other


def test_cron(tmp_path: Path) -> None:
    """A job with `cron` runs by the virtual clock, which begins now."""
    hourly = {"jobs": [{"name": "hourly", "exec": "true", "when": {"cron": "0 * * * *"}}]}
    found = json.loads(simulate(tmp_path, "end 179m\n", "-o", "json", spec=hourly).stdout)
    runs = [event["at"] for event in found["timeline"] if event["event"] == "JobStarted"]
    assert [round(later - earlier) for earlier, later in itertools.pairwise(runs)] in ([3600], [3600, 3600])


def test_as_json(tmp_path: Path) -> None:
    """The events are there for a script, with their times in seconds, and how the life ended."""
    found = json.loads(simulate(tmp_path, "at 10s ask stop\n", "-o", "json").stdout)
    assert {"at": 0.0, "event": "JobStarted", "job": "web", "run": 1, "pid": found["timeline"][3]["pid"]} in found[
        "timeline"
    ]
    assert found["outcome"] == {"reason": "signal", "detail": "stopped by autopilot stop", "code": 0}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("at 5m exit wbe 1", "line 1: cannot read 'at 5m exit wbe 1': there is no job 'wbe'; there are: master, web"),
        ("\n\nrun web for", "line 3: cannot read 'run web for': it ends too soon"),
        ("exit web 1", "say when: at 10m exit web 1"),
        ("at noon signal SIGTERM", "duration"),
        ("check web falls", "a check passes, fails or hangs, not 'falls'"),
        ("at 1m signal SIGKILL", "we heed SIGTERM, SIGINT, SIGHUP, SIGUSR2"),
        ("at 1m watch db healthy", "there is no watch 'db'; there are: none"),
        ("sleep 5", "'sleep' is none of: run, check, deaf, gate, exit"),
    ],
)
def test_wrong_script(tmp_path: Path, script: str, expected: str) -> None:
    """A line that is wrong is named with its number and what would be right; exit code 64."""
    done = simulate(tmp_path, script)
    assert done.returncode == 64
    assert expected in done.stderr.replace("\n       ", " ")


@pytest.mark.slow
def test_endless_script(tmp_path: Path) -> None:
    """A life in which so much happens that nobody would read it is given up, not computed for ever."""
    ticks = {"jobs": [{"name": "tick", "exec": "true", "when": {"interval": "1ms"}}]}
    done = simulate(tmp_path, "run tick for 0.5ms\n", spec=ticks)
    assert done.returncode == 1 and "let something end sooner" in done.stderr
