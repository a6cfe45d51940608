"""Test that hostile requests and jobs neither end the supervisor nor reach another job."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.app.harness import VICTIM, SupervisorProcess, eventually, shell

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`


def send_raw_request(pilot, text):
    """The first line of the answer to raw bytes on the control socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(pilot.state / "autopilot.sock"))
        client.sendall(text)
        return client.recv(65536).split(b"\r\n")[0]


def build_post(path, body):
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"HEAD /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"nonsense\r\n\r\n", b"400"),
        (build_post(b"/v1/drain", b"[" * 60000), b"400"),
        (build_post(b"/v1/drain", b'{"deadline": 1' + b"0" * 400 + b"}"), b"400"),
        (build_post(b"/v1/drain", b'{"deadline": "soon"}'), b"400"),
        (build_post(b"/v1/jobs/nobody/restart", b""), b"404"),
        (build_post(b"/v1/drain", b"x" * 70000), b"413"),
    ],
)
def test_wrong_requests_are_answered(tmp_path, text, status):
    """A wrong request gets its status, and the supervisor goes on."""
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM]}) as pilot:
        pilot.wait_for_event("victim", "started")
        assert send_raw_request(pilot, text).split()[1] == status
        assert pilot.run_verb("ping").returncode == 0
        assert pilot.stop() == 0


def test_clients_that_gave_up_waiting(tmp_path):
    """Clients that waited for the end and left keep nobody else from being served."""
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM]}) as pilot:
        pilot.wait_for_event("victim", "started")
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(pilot.state / "autopilot.sock"))
                client.sendall(b"GET /v1/end HTTP/1.1\r\nHost: x\r\n\r\n")
        assert pilot.run_verb("ping").returncode == 0
        assert pilot.stop() == 0


def test_stopped_job_is_stopped(tmp_path):
    """A job that was SIGSTOPped hears its SIGTERM: it is told to go on."""
    script = "trap 'echo heard; exit 0' TERM; echo up; kill -STOP $$; while :; do sleep 0.02; done"
    with SupervisorProcess(
        tmp_path, {"jobs": [{"name": "a", "exec": shell(script), "stop": {"timeout": "10s"}}]}
    ) as pilot:
        pilot.wait_for_event("a", "up")
        assert pilot.stop() == 0
        assert "heard" in pilot.list_job_output("a")


def test_process_with_a_strange_name(tmp_path):
    """A deaf process whose name is no text is killed at its timeout like any other, and the log tells of it."""
    script = "printf '\\377\\n\\033[2J' > /proc/$$/comm; trap '' TERM; echo deaf; while :; do sleep 0.05; done"
    job = {"name": "a", "exec": shell(script), "stop": {"timeout": "200ms"}}
    with SupervisorProcess(tmp_path, {"jobs": [job, VICTIM]}) as pilot:
        pilot.wait_for_event("a", "deaf")
        assert pilot.stop() == 0
        line = pilot.wait_for_event("a", "sending SIGKILL")
        assert any("\ufffd" in name for name in line["processes"])


def test_many_processes_are_one_short_line(tmp_path):
    """Of hundreds of deaf processes the log names some and tells the number of the others."""
    script = "trap '' TERM; for i in $(seq 200); do sleep 1000 & done; echo deaf; while :; do sleep 0.05; done"
    job = {"name": "a", "exec": shell(script), "stop": {"timeout": "200ms"}}
    with SupervisorProcess(tmp_path, {"jobs": [job]}) as pilot:
        pilot.wait_for_event("a", "deaf")
        assert pilot.stop() == 0
        named = pilot.wait_for_event("a", "sending SIGKILL")["processes"]
        assert len(named) == 51 and named[-1].startswith("and ") and named[-1].endswith(" more")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users reach; those of pytest are its own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.real("root")
def test_orphans_that_hide(open_folder):
    """An orphan in a session of its own, with an emptied environment and as another user, is gone before the next run,
    also where we may not trace others.
    """
    pids = open_folder / "pids"
    pids.touch()
    pids.chmod(0o666)
    hide = f"env -i /usr/bin/setsid /bin/sh -c 'echo $$ >> {pids}; exec /bin/sleep 1000' &"
    hidden = f"until [ $(wc -l < {pids}) -gt $before ]; do sleep 0.01; done"
    script = f"before=$(wc -l < {pids}); {hide} {hidden}; exit 1"
    job = {"name": "a", "exec": shell(script), "user": "nobody", "restarts": 2}
    (open_folder / "c.json").write_text(json.dumps({"jobs": [{**job, "backoff": {"initial": "1ms"}}]}))
    blind = ["setpriv", "--bounding-set=-sys_ptrace,-sys_admin", "--inh-caps=-sys_ptrace,-sys_admin"]
    done = subprocess.run(
        [*blind, sys.executable, "-m", "autopilot", "run", str(open_folder / "c.json")],
        env={**os.environ, "AUTOPILOT_STATE": str(open_folder / "state")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(pids.read_text().split()) == 3
    assert done.stdout.count('"left_behind": 1') == 3
    assert not [pid for pid in pids.read_text().split() if os.path.exists(f"/proc/{pid}")]


def test_closed_standard_output(tmp_path):
    """Started with its output closed, it runs as well, and its exit code is the job's."""
    (tmp_path / "c.json").write_text('{"jobs": [{"name": "a", "exec": ["sh", "-c", "echo x; exit 3"]}]}')
    script = f"exec {sys.executable} -m autopilot run {tmp_path}/c.json >&- 2>&-"
    done = subprocess.run(
        shell(script), env={**os.environ, "AUTOPILOT_STATE": str(tmp_path / "state")}, timeout=60, check=False
    )
    assert done.returncode == 3
    assert "event" not in (tmp_path / "state" / "lock").read_text()


def test_job_name_with_a_space(tmp_path):
    """A job with a space in its name can be addressed by it."""
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "sleep 1000", "exec": "sleep 1000"}]}) as pilot:
        pilot.wait_for_event("sleep 1000", "started")
        assert pilot.run_verb("restart", "sleep 1000").returncode == 0
        assert pilot.stop() == 0


def test_many_short_lines(tmp_path):
    """Very short lines all arrive at a reader that reads."""
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": shell('yes "" | head -20000')}]}) as pilot:
        assert pilot.wait() == 0
        assert len(pilot.list_job_output("a")) == 20000


def test_terminal_escapes(tmp_path):
    """Output of a job can neither act on the terminal of a reader of the text log, nor forge a line."""
    script = "printf '\\033]0;pwned\\007 and\\rforged\\n'"
    spec = {"jobs": [{"name": "a", "exec": shell(script)}], "logging": {"format": "text"}}
    with SupervisorProcess(tmp_path, spec) as pilot:
        assert pilot.wait() == 0
        line = next(line["message"] for line in pilot.lines if "pwned" in line["message"])
        assert line.endswith("a | \\x1b]0;pwned\\x07 and\\x0dforged")


def test_start_during_the_stop_is_refused(tmp_path):
    """No job can be started while everything is being stopped."""
    slow = {"name": "slow", "exec": shell("trap 'sleep 1.5; exit 0' TERM; echo up; while :; do sleep 0.02; done")}
    with SupervisorProcess(tmp_path, {"jobs": [slow, VICTIM]}) as pilot:
        pilot.wait_for_event("slow", "up")
        pilot.send_signal(signal.SIGTERM)
        pilot.wait_for_event("victim", "ended")
        assert "being stopped" in pilot.run_verb("start", "victim").stderr
        assert pilot.wait() == 0


def test_shared_socket_is_left_alone(tmp_path):
    """A second supervisor with the first one's socket leaves before it starts anything, and leaves the socket."""
    first_place, second_place = tmp_path / "1", tmp_path / "2"
    first_place.mkdir(), second_place.mkdir()
    env = {"AUTOPILOT_SOCKET": str(tmp_path / "x.sock")}
    with SupervisorProcess(first_place, {"jobs": [VICTIM]}, env=env) as first:
        first.wait_for_event("victim", "started")
        touching = {"name": "a", "exec": ["touch", str(tmp_path / "started")]}
        with SupervisorProcess(second_place, {"jobs": [touching]}, env=env) as second:
            assert second.wait() == 64
        assert first.run_verb("ping", "--socket", env["AUTOPILOT_SOCKET"]).returncode == 0
        assert not (tmp_path / "started").exists()
        assert first.stop() == 0


def test_log_folder_is_gone(tmp_path):
    """SIGUSR1 when the log's folder is gone is said, in the old log, and nothing ends."""
    folder = tmp_path / "logs"
    folder.mkdir()
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM], "logging": {"output": str(folder / "log")}}) as pilot:
        eventually(lambda: "started" in (folder / "log").read_text() if (folder / "log").exists() else False, "it logs")
        moved = folder.rename(tmp_path / "moved")
        pilot.send_signal(signal.SIGUSR1)
        eventually(lambda: "cannot reopen" in (moved / "log").read_text(), "it says so")
        assert pilot.stop() == 0


@pytest.fixture
def fifo(tmp_path):
    """A FIFO that nobody reads yet."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


class FifoReader:
    """Reads a FIFO whenever it is asked what has come."""

    def __init__(self, path):
        self.fd, self.text = os.open(path, os.O_RDONLY | os.O_NONBLOCK), ""

    def has_read(self, word):
        with suppress(BlockingIOError):
            self.text += os.read(self.fd, 1 << 16).decode()
        return word in self.text

    def close(self):
        os.close(self.fd)


def count_descriptors(pilot, path):
    """Count the supervisor's descriptors of this file."""
    count = 0
    for fd in Path(f"/proc/{pilot.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            count += fd.readlink() == path
    return count


def test_log_is_a_fifo_without_a_reader(tmp_path, fifo):
    """A FIFO that nobody reads does not hold up the start for ever: exit 78, and nothing is left running."""
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM], "logging": {"output": str(fifo)}}) as pilot:
        assert pilot.wait() == 78
        assert f"cannot open the log {fifo}" in pilot.stderr_text


def test_reload_to_a_fifo_without_a_reader(tmp_path, fifo):
    """A reload that would log into a FIFO that nobody reads is refused, and the life goes on."""
    with SupervisorProcess(tmp_path, {"jobs": [VICTIM]}) as pilot:
        pilot.wait_for_event("victim", "started")
        done = pilot.reload({"jobs": [VICTIM], "logging": {"output": str(fifo)}})
        assert done.returncode == 78 and f"cannot open the log {fifo}" in done.stderr
        assert pilot.stop() == 0


def test_fifo_is_reopened(tmp_path, fifo):
    """SIGUSR1 takes no descriptor more each time, writes go on, and a reader that is gone does not hang us."""
    reader = FifoReader(fifo)
    try:
        with SupervisorProcess(tmp_path, {"jobs": [VICTIM], "logging": {"output": str(fifo)}}) as pilot:
            eventually(lambda: reader.has_read("started"), "it logs")
            for count in range(3):
                pilot.send_signal(signal.SIGUSR1)
                assert pilot.run_verb("env", f"COUNT={count}").returncode == 0  # heard after the signal
            eventually(lambda: reader.has_read("") and reader.text.count("environment changed") == 3, "writes go on")
            assert count_descriptors(pilot, fifo) == 1
            reader.close()
            pilot.send_signal(signal.SIGUSR1)
            assert pilot.run_verb("ping").returncode == 0
            reader = FifoReader(fifo)
            assert pilot.run_verb("env", "COUNT=last").returncode == 0
            eventually(lambda: reader.has_read("environment changed"), "the old one still works")
            assert pilot.stop() == 0
    finally:
        reader.close()


def test_probe_of_an_impossible_name(tmp_path):
    """A health check whose host cannot be a name fails as a check."""
    health = {"tcp": "a..b:80", "interval": "200ms"}
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "a", "exec": "sleep 1000", "health": health}]}) as pilot:
        pilot.wait_for_event("a", "marked unhealthy")
        assert pilot.stop() == 0
