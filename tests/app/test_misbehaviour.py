"""Test that misbehaving programs and readers delay no other job's restart or stop, lose no line, and grow no memory."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import time

import pytest

from tests.app.harness import PROMPT_S, VICTIM, SupervisorProcess, eventually, shell

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`


def measure_stop(pilot):
    """Seconds from SIGTERM to the exit."""
    began = time.monotonic()
    assert pilot.stop() == 0
    return time.monotonic() - began


def test_check_slower_than_its_interval(tmp_path):
    """A slow check delays nobody, never runs twice at once, and does not hold the stop."""
    first = tmp_path / "first"  # is slow; each later check lasts far longer than a prompt stop
    script = f"test -e {first} && sleep 60; touch {first}; sleep 1"
    health = {"exec": shell(script), "interval": "100ms", "timeout": "90s", "ttl": "5m"}
    slow = {"name": "slow", "exec": ["sleep", "1000"], "health": health}
    with SupervisorProcess(tmp_path, {"jobs": [slow, VICTIM]}) as pilot:
        pilot.wait_for_event("victim", "started")
        pilot.wait_for_event("slow", "health check is slower than its interval")
        assert pilot.measure_restart_delay("victim") < PROMPT_S
        assert measure_stop(pilot) < PROMPT_S * 2


def test_deaf_job(tmp_path):
    """A job that ignores SIGTERM is killed at its timeout, and the others have stopped long before."""
    deaf = {
        "name": "deaf",
        "exec": shell("trap '' TERM; echo deaf; while :; do sleep 0.05; done"),
        "stop": {"timeout": "3s"},
    }
    with SupervisorProcess(tmp_path, {"jobs": [deaf, VICTIM]}) as pilot:
        pilot.wait_for_event("deaf", "deaf")
        assert pilot.measure_restart_delay("victim") < PROMPT_S
        began = time.monotonic()
        assert pilot.stop() == 0
        assert time.monotonic() - began > 2.9
        exits = [line["job"] for line in pilot.lines if line.get("event") == "job_exited"]
        assert exits[-2:] == ["victim", "deaf"]


def test_whole_family_is_gone(tmp_path):
    """The stop ends only when every descendant is gone, also one that left the session and the leader."""
    pids = tmp_path / "pids"
    daemon = f"setsid sh -c 'trap \"\" TERM; echo $$ >> {pids}; sleep 1000' &"
    script = f"{daemon} sh -c 'echo $$ >> {pids}; exec sleep 1000' & wait"
    with SupervisorProcess(
        tmp_path, {"jobs": [{"name": "a", "exec": shell(script), "stop": {"timeout": "300ms"}}]}
    ) as pilot:
        eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2, "both descendants run")
        assert pilot.stop() == 0
        assert not [pid for pid in pids.read_text().split() if os.path.exists(f"/proc/{pid}")]


def test_leftovers_do_not_run_beside_the_next_run(tmp_path):
    """Processes that outlive their leader, a double fork too, are gone before the job runs again."""
    pids = tmp_path / "pids"
    pids.touch()
    daemon = f"(setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' &)"
    runs = f"until [ $(wc -l < {pids}) -gt $before ]; do sleep 0.01; done"
    script = f"before=$(wc -l < {pids}); {daemon}; {runs}; exit 1"
    spec = {"jobs": [{"name": "a", "exec": shell(script), "restarts": 2, "backoff": {"initial": "1ms"}}]}
    with SupervisorProcess(tmp_path, spec) as pilot:
        assert pilot.wait() == 1
        assert len(pids.read_text().split()) == 3
        assert not [pid for pid in pids.read_text().split() if os.path.exists(f"/proc/{pid}")]


def test_descendant_holds_stdout(tmp_path):
    """A leader's exit is seen at once although a descendant holds its output open."""
    script = "trap '' TERM; sleep 300 & echo gone; exit 1"
    spec = {
        "jobs": [
            {
                "name": "a",
                "exec": shell(script),
                "restarts": 1,
                "backoff": {"initial": "1ms"},
                "stop": {"timeout": "100ms"},
            }
        ]
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        began = time.monotonic()
        assert pilot.wait() == 1
        assert time.monotonic() - began < 60  # the descendant holds it for 300 s
        assert pilot.list_job_output("a") == ["gone", "gone"]


def test_unterminated_last_line(tmp_path):
    """The end of what a job wrote is in the log also without a line end, also when the job is killed."""
    spec = {"jobs": [{"name": "a", "exec": shell("printf 'first\\nlast words'; kill -9 $$")}]}
    with SupervisorProcess(tmp_path, spec) as pilot:
        assert pilot.wait() == 137
        assert pilot.list_job_output("a") == ["first", "last words"]


def test_one_megabyte_line(tmp_path):
    """A line of a megabyte comes in pieces, all of it, and neither kills the job nor delays another."""
    script = "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo after; sleep 1000"
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": shell(script)}, VICTIM]}) as pilot:
        pilot.wait_for_event("a", "after")
        assert sum(map(len, pilot.list_job_output("a")[:-1])) == 1_000_000
        assert pilot.measure_restart_delay("victim") < PROMPT_S
        assert pilot.measure_memory() < 60 << 20
        pilot.stop()


def build_flood_job(name):
    return {"name": name, "exec": shell("while :; do echo 0123456789012345678901234567890123456789; done")}


def build_pid_recording_job(path):
    script = f"echo $$ >> {path}; exec sleep 1000"
    return {**VICTIM, "exec": shell(script)}


def read_recorded_pids(path):
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def measure_restart(path):
    """Seconds from a kill -9 of the victim to its next start, the median of several; no log is needed."""
    eventually(lambda: bool(read_recorded_pids(path)), "the victim runs")
    delays = []
    for _ in range(5):
        count, began = len(read_recorded_pids(path)), time.monotonic()
        os.kill(read_recorded_pids(path)[-1], signal.SIGKILL)
        eventually(lambda: len(read_recorded_pids(path)) > count, "the victim runs again")  # noqa: B023 - used in its own round
        delays.append(time.monotonic() - began)
    return statistics.median(delays)


def assert_prompt_without_log(pilot, path):
    """Restart and stop are prompt although nobody can read the log."""
    assert measure_restart(path) < PROMPT_S
    assert pilot.measure_memory() < 60 << 20
    pilot.send_signal()
    began = time.monotonic()
    assert pilot.process.wait(60) == 0
    assert time.monotonic() - began < 1.0 + PROMPT_S * 2  # a second is what the last log lines are given


def test_full_pipe(tmp_path):
    """A log that nobody reads blocks no job, delays nobody, and its buffer is bounded."""
    path = tmp_path / "starts"
    with SupervisorProcess(
        tmp_path, {"jobs": [build_flood_job("flood"), build_pid_recording_job(path)]}, read=False
    ) as pilot:
        assert_prompt_without_log(pilot, path)


def test_abandoned_pipe(tmp_path):
    """A log whose reader has gone away ends neither the supervisor nor a job."""
    path = tmp_path / "starts"
    with SupervisorProcess(
        tmp_path, {"jobs": [build_flood_job("flood"), build_pid_recording_job(path)]}, read=False
    ) as pilot:
        eventually(lambda: bool(read_recorded_pids(path)), "the victim runs")
        assert pilot.process.stdout is not None
        pilot.process.stdout.close()
        assert_prompt_without_log(pilot, path)
        pilot.process.stdout = None


def test_dropped_lines_are_counted(tmp_path):
    """A slow reader gets the number of dropped bytes as soon as it reads again, and the buffer for it is bounded."""
    written = tmp_path / "written"
    script = f"yes 0123456789012345678901234567890123456789 | head -c 8000000; touch {written}; sleep 1000"
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": shell(script)}]}, read=False) as pilot:
        eventually(written.exists, "the flood is written, though nobody reads it")
        pilot.send_signal()
        seen = b""
        assert pilot.process.stdout is not None
        while chunk := pilot.process.stdout.read(65536):
            seen += chunk
        assert pilot.process.wait(60) == 0
        assert b"bytes of log dropped" in seen
        assert len(seen) < 4 << 20


def test_slow_reader_gets_every_line(tmp_path):
    """A reader that is merely slower than the jobs write misses no line."""
    script = "i=0; while [ $i -lt 60000 ]; do echo line-$i-0123456789012345678901234567890123456789; i=$((i+1)); done"
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": shell(script)}]}, read=False) as pilot:
        seen = b""
        assert pilot.process.stdout is not None
        while chunk := pilot.process.stdout.read(32768):
            seen += chunk
            time.sleep(0.005)  # the slowness under test: 6 MB/s
        assert pilot.process.wait(60) == 0
        assert seen.count(b"line-") == 60000


def test_twenty_signals_in_a_row(tmp_path):
    """Twenty signals in a row delay nobody; the job that waits for them runs after the last one."""
    hup = {"name": "hup", "exec": shell("echo hup"), "when": {"source": "SIGHUP"}}
    with SupervisorProcess(tmp_path, {"jobs": [hup, VICTIM]}) as pilot:
        pilot.wait_for_event("victim", "started")
        for _ in range(20):
            pilot.send_signal(signal.SIGHUP)
        assert pilot.measure_restart_delay("victim") < PROMPT_S
        pilot.wait_for_event("hup", "ended")
        assert measure_stop(pilot) < PROMPT_S * 2


def test_two_hundred_jobs_every_50_ms(tmp_path):
    """An overload of periodic jobs delays neither another's restart nor the stop, and memory stays where it is."""
    many = [{"name": f"j{n}", "exec": ["true"], "when": {"interval": "50ms"}} for n in range(200)]
    path = tmp_path / "starts"
    with SupervisorProcess(
        tmp_path, {"jobs": [*many, build_pid_recording_job(path)], "logging": {"level": "ERROR"}}
    ) as pilot:
        eventually(lambda: bool(read_recorded_pids(path)), "the victim runs")
        assert measure_restart(path) < PROMPT_S
        before = pilot.measure_memory()
        assert measure_restart(path) < PROMPT_S
        assert pilot.measure_memory() - before < 4 << 20
        assert measure_stop(pilot) < PROMPT_S * 2


def test_silent_control_client(tmp_path):
    """Clients that connect and say nothing keep nobody from being answered."""
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM]}) as pilot:
        pilot.wait_for_event("victim", "started")
        silent = []
        for _ in range(20):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(pilot.state / "autopilot.sock"))
            silent.append(client)
        assert pilot.run_verb("ping").returncode == 0
        assert measure_stop(pilot) < PROMPT_S * 2
        for client in silent:
            client.close()


def test_zombies_are_reaped(tmp_path):
    """Orphans that come to us are reaped at once, whoever left them."""
    orphans = "for i in 1 2 3 4 5; do (sh -c 'sleep 0.1' &) ; done; sleep 1"
    count = "i=0; while [ $i -lt 300 ]; do n=$(ps -o stat= --ppid $CONTAINERPILOT_PID | grep -c Z); "
    count += "[ $n = 0 ] && break; i=$((i + 1)); sleep 0.1; done; echo $n"
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": shell(f"{orphans}; {count}")}]}) as pilot:
        pilot.wait()
        assert pilot.list_job_output("a") == ["0"]
