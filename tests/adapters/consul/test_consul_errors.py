"""Answers of a server that is not Consul, such as a load balancer's page, are refusals."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from autopilot.adapters.consul import blocking_query
from autopilot.adapters.consul.connection_settings import build_connection_settings
from autopilot.adapters.consul.consul_client import ConsulClient
from autopilot.adapters.consul.consul_errors import ConsulRefusedError
from autopilot.spec.spec_loading import load_text
from tests.app.harness import PROMPT_S, VICTIM, SupervisorProcess

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

PAGE, STATUS, NUMBERS, DEEP = b"<html>Welcome</html>", b'{"status": "ok"}', b"[1]", b"[" * 100_000


@pytest.fixture(params=[PAGE, STATUS, NUMBERS, DEEP], ids=["page", "status", "numbers", "deep"])
def address(request):
    class FixedAnswerHandler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("X-Consul-Index", "1")
            self.send_header("Content-Length", str(len(request.param)))
            self.end_headers()
            self.wfile.write(request.param)

        do_PUT = do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), FixedAnswerHandler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_what_is_no_answer_is_refused(address, monkeypatch):
    """Every answer that Consul cannot have given is a refusal."""
    plan = load_text(f'{{consul: "{address}", jobs: [{{name: "a", exec: "true"}}]}}').plan
    assert plan.consul is not None
    client = ConsulClient(build_connection_settings(plan.consul, {}))
    try:
        with pytest.raises(ConsulRefusedError, match=r"no answer of Consul|Failed to decode"):
            await client.call(client.api.session.create(name="n", ttl=10))
        with pytest.raises(ConsulRefusedError, match="no answer of Consul"):
            await client.find_node_name("web")
        monkeypatch.setattr(blocking_query, "FAILURES_BEFORE_REPORT", 1)
        refused = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(
            blocking_query.run_blocking_query(
                blocking_query.build_service_query("web"), client, lambda _: None, on_refused=refused.set_result
            )
        )
        await asyncio.wait([task, refused], return_when=asyncio.FIRST_COMPLETED)
        assert task.cancel() and refused.result()
    finally:
        client.close()


def test_a_life_goes_on(tmp_path, address):
    """With such a server jobs run, restarts are quick, and the stop is orderly."""
    lock = {"name": "site", "limit": 1, "before": "work", "ttl": "10s"}
    work = {"name": "work", "exec": "true"}
    more = {"watches": [{"name": "w", "interval": 1}, {"key": "k", "name": "k", "interval": 1}], "locks": [lock]}
    with SupervisorProcess(tmp_path, {"consul": address, "jobs": [VICTIM, work], **more}) as pilot:
        pilot.wait_for(lambda line: line.get("trouble") == "consul-watch-w")
        assert pilot.measure_restart_delay("victim", times=2) < PROMPT_S
        assert pilot.stop() == 0
