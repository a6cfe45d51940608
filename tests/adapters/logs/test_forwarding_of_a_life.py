"""The log of a real supervisor reaches real syslog servers, and secrets do not."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest

from lab.syslog_servers import PACKAGES, Ports, start_syslog_server
from tests.app.harness import SupervisorProcess, eventually, find_free_port, shell

TAIL = """
    printf "first\\nfile: $API_TOKEN pin-1234\\n" >> "$LOG"
    echo to-stdout; echo to-stderr >&2; echo "token is $API_TOKEN"; echo "$A_PRIVATE_KEY"; sleep 1000
"""


def can_connect(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def build_spec(to, log_file, **destination):
    return {
        "logging": {
            "forward": [{"to": to, "facility": "local3", **destination}],
            "redact": {"patterns": ["pin-[0-9]+"]},
        },
        "jobs": [
            {
                "name": "web",
                "exec": shell(TAIL),
                "env": {"LOG": str(log_file), "API_TOKEN": "abcdef-secret", "A_PRIVATE_KEY": "key-one\nkey-two"},
                "logging": {"files": [{"path": str(log_file)}]},
            },
            {"name": "pin", "exec": shell("echo my pin-1234; sleep 1000")},
        ],
    }


@pytest.mark.real("syslog")
@pytest.mark.parametrize("server", PACKAGES)
@pytest.mark.parametrize("protocol", ["tcp", "tls", "udp"])
def test_syslog_servers(tmp_path, certificate, server, protocol):
    """A job's output, its files and the supervisor's lines arrive at a real server with all parts, until the exit."""
    ports = Ports(*(find_free_port() for _ in range(3)))
    destination = {"ca_file": str(certificate[0])} if protocol == "tls" else {}
    spec = build_spec(f"{protocol}://127.0.0.1:{getattr(ports, protocol)}", tmp_path / "app.log", **destination)
    with start_syslog_server(server, ports, *certificate) as output:
        eventually(lambda: can_connect(ports.tcp), "the server listens")
        with SupervisorProcess(tmp_path, spec) as pilot:
            eventually(lambda: output.exists() and "first" in output.read_text(), "the file's line has arrived")
            pilot.process.terminate()
            pilot.process.wait()
        eventually(lambda: "exit 0" in output.read_text(), "the last line has arrived")
        received = [line.split("|") for line in output.read_text().splitlines()]
    job_lines = {parts[5].strip(): parts for parts in received if parts[0] == "web"}
    redacted = {"token is [redacted]", "file: [redacted] [redacted]", "[redacted]"}
    assert {"to-stdout", "to-stderr", "first", *redacted} <= job_lines.keys()
    application, facility, severity, _, data, _ = job_lines["first"]
    assert (application, facility, severity) == ("web", "local3", "info")
    assert 'stream="file"' in data and f'file="{tmp_path}/app.log"' in data
    (ended,) = (parts for parts in received if parts[3] == "exit")
    assert ended[0] == "autopilot"
    assert not re.search("abcdef-secret|pin-1234|key-one|key-two", repr(received))


@pytest.mark.slow
def test_no_receiver(tmp_path):
    """Without a receiver everything runs as without the section, `status` shows the trouble, and the end is prompt."""
    spec = build_spec(f"tcp://127.0.0.1:{find_free_port()}", tmp_path / "app.log")
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for_event("web", "started")
        eventually(lambda: "cannot send the log to tcp://" in pilot.run_verb("status").stdout, "the trouble is shown")
        pilot.process.terminate()
        assert pilot.process.wait(30) == 0


@pytest.mark.slow
def test_reload(tmp_path):
    """A reload adds and removes receivers and files; the job runs on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        spec = build_spec(f"tcp://127.0.0.1:{server.getsockname()[1]}", tmp_path / "app.log")
        bare = {"jobs": [{**spec["jobs"][0], "logging": {}}, spec["jobs"][1]]}
        with SupervisorProcess(tmp_path, bare) as pilot:
            pid = pilot.wait_for_event("web", "started")["pid"]
            pilot.write_spec(spec)
            assert pilot.run_verb("reload").returncode == 0
            connection, _ = server.accept()
            connection.settimeout(1)
            received = b""
            for _ in range(60):  # a file that is there at the first look is followed from its end
                with (tmp_path / "app.log").open("a") as file:
                    file.write("later\n")
                with contextlib.suppress(TimeoutError):
                    received += connection.recv(65536)
                if b"] later" in received:
                    break
            assert b"] later" in received
            connection.settimeout(30)
            pilot.write_spec(bare)
            assert pilot.run_verb("reload").returncode == 0
            while connection.recv(65536):
                pass
            connection.close()
            assert f'"pid": {pid}' in pilot.run_verb("status", "-o", "json").stdout
