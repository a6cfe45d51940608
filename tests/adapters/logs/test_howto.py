"""The configurations of docs/logs-howto.md work: job specs are valid, and programs of Debian take lines."""

from __future__ import annotations

import http.server
import json
import re
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from autopilot.spec import load_text
from lab.journal_namespace import run_with_journal
from lab.syslog_servers import start_configured_server
from tests.app.harness import SupervisorProcess, eventually, find_free_port, shell

HOWTO = (Path(__file__).parents[3] / "docs/logs-howto.md").read_text()
LIMIT_S = 90.0


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", HOWTO)


def build_spec(receiver: str, certificate: Path) -> dict[str, Any]:
    return {
        "logging": {"forward": [{"to": receiver, "facility": "local0", "ca_file": str(certificate)}]},
        "jobs": [{"name": "web", "exec": shell("echo from-the-job; sleep 1000")}],
    }


def has_arrived(output: Path) -> bool:
    return output.exists() and "from-the-job" in output.read_text()


def test_job_specs() -> None:
    """Each job spec of the page is valid."""
    blocks = find_blocks("json5")
    for block in blocks:
        jobs = "" if block.startswith("jobs:") else ', jobs: [{name: "main", exec: "true"}]'
        loaded = load_text(f"{{{block.rstrip()}{jobs}}}", "f", {}, runs_here=False)
        assert loaded.plan.jobs
    assert len(blocks) >= 6


@pytest.mark.real("syslog")
@pytest.mark.parametrize("server", ["rsyslog", "syslog-ng"])
def test_syslog_configurations(tmp_path: Path, certificate: tuple[Path, Path], server: str) -> None:
    """The page's configuration of the server writes the lines of a real supervisor, by job or as JSON."""
    port = find_free_port()
    text = find_blocks(server)[0].replace("6514", str(port)).replace("/var/log", str(tmp_path))
    for name, file in (("key", certificate[1]), ("cert", certificate[0]), ("ca", certificate[0])):
        text = re.sub(rf"/etc/[a-z.-]+/{name}\.pem", str(file), text)
    spec = build_spec(f"tls://127.0.0.1:{port}", certificate[0])
    output = tmp_path / ("autopilot/web.log" if server == "rsyslog" else "autopilot.json")
    with start_configured_server(server, text), SupervisorProcess(tmp_path, spec):
        eventually(lambda: has_arrived(output), "the line of the job has arrived", timeout_s=LIMIT_S, interval_s=0.1)
    if server == "syslog-ng":
        lines = [json.loads(line) for line in output.read_text().splitlines()]
        assert any(line["message"] == "from-the-job" and line["stream"] == "stdout" for line in lines)
    else:
        assert (tmp_path / "autopilot/autopilot.log").exists()


@contextmanager
def serve_bulk_requests(found: list[dict[str, Any]]) -> Any:
    """Answer Elasticsearch's bulk requests, as its documentation describes them."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer({})

        do_GET = do_HEAD

        def do_POST(self) -> None:
            lines = self.rfile.read(int(self.headers["Content-Length"])).decode().splitlines()
            found.extend(json.loads(line) for line in lines[1::2])
            items = [{"index": {"status": 201}} for _ in lines[1::2]]
            self.answer({"errors": False, "items": items})

        def answer(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.real("syslog")
def test_elasticsearch_configuration(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A real rsyslog with the page's configuration sends the lines as documents, in bulk requests."""
    port, found = find_free_port(), []  # type: ignore[var-annotated]
    with serve_bulk_requests(found) as bulk_port:
        text = find_blocks("rsyslog")[1].replace("elastic.example.org", "127.0.0.1").replace("9200", str(bulk_port))
        text += f'module(load="imtcp")\ninput(type="imtcp" port="{port}" ruleset="elasticsearch")\n'
        spec = {**build_spec(f"tcp://127.0.0.1:{port}", certificate[0])}
        del spec["logging"]["forward"][0]["ca_file"]
        with start_configured_server("rsyslog", text), SupervisorProcess(tmp_path, spec):
            eventually(
                lambda: any(document["message"].strip() == "from-the-job" for document in found),
                f"a document has arrived: {found}",
                timeout_s=LIMIT_S,
                interval_s=0.1,
            )
    (document,) = (document for document in found if document["message"].strip() == "from-the-job")
    assert document["job"] == "web" and 'stream="stdout"' in document["fields"]


@pytest.mark.real("journald")
def test_journald(tmp_path: Path) -> None:
    """A supervisor's lines are in a real journal, each as JSON, and the page's command finds those of a job."""
    (tmp_path / "spec.json").write_text(json.dumps({"jobs": [{"name": "web", "exec": "echo in-the-journal"}]}))
    (start,) = re.findall(r"(?m)^(systemd-cat .*?) autopilot run", HOWTO)
    (read,) = re.findall(r"(?m)^(journalctl .*?) \|", HOWTO)
    run = f"AUTOPILOT_STATE={tmp_path}/state {start} {sys.executable} -m autopilot run {tmp_path}/spec.json"
    output = run_with_journal(f"{run} && journalctl --sync && {read}")
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines if line.get("stream") == "stdout"] == ["in-the-journal"]
    assert any(line.get("event") == "exit" for line in lines)
