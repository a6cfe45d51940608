"""Test that the verbs which ask Consul end with one line, whatever answers them."""

from __future__ import annotations

import http.server
import threading

import pytest
from click.testing import CliRunner

from autopilot.adapters.consul import consul_transport
from autopilot.cli import fleet, history

pytestmark = pytest.mark.slow

ANSWERS = {
    "deep": b"[" * 200_000,
    "digits": b"9" * 100_000,
    "null": b"null",
    "no objects": b'[3, null, "x"]',
    "an object": b'{"a": {"b": 1}}',
    "wrong types": b'[{"Service": {"Meta": 5}, "Node": 7, "Checks": 9, "Value": 4}]',
    "no JSON": b"<html>",
    "large": b'"' + b"x" * 5_000_000 + b'"',
}


@pytest.fixture
def server():
    """The port of a server, and the list whose last item is its answer to every request."""
    answers = [b""]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = answers[-1]
            self.send_response(200)
            self.send_header("X-Consul-Index", "1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_):
            """Print no traceback of a client that reads only a part: it would stand among the verb's own lines."""

    with Server(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving.server_port, answers
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("verb", [["fleet"], ["history", "--fleet"]], ids=["fleet", "history"])
def test_garbage_is_one_line(server, monkeypatch, answer, verb):
    """An answer that is none of Consul's ends `fleet` and `history` with a short line and no traceback."""
    monkeypatch.setattr(consul_transport, "MAX_ANSWER_BYTES", 1 << 20)
    port, answers = server
    answers.append(answer)
    command = fleet.command if verb[0] == "fleet" else history.command
    done = CliRunner().invoke(command, [*verb[1:], "--consul", f"127.0.0.1:{port}"])
    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 1
    assert done.output.startswith("Error: Consul at ")
    assert len(done.output) < 1000
