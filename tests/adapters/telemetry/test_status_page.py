"""The status page and its stream, from a real supervisor."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from contextlib import ExitStack
from html.parser import HTMLParser
from typing import Any

import pytest

from autopilot.adapters.http_server import RequestError
from autopilot.adapters.telemetry.status_page import MAX_LISTENERS, StatusStream
from tests.adapters.telemetry.test_telemetry_adapter import OPENER, WEB, build_telemetry, read_samples
from tests.app.harness import SupervisorProcess, eventually, shell

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def spec():
    health = {"exec": shell(f"echo '{NASTY}'; exit 1"), "interval": "0.1s", "timeout": "5s", "failures": 1}
    bad = {"name": "bad", "exec": ["sleep", "1000"], "health": health}
    return {"telemetry": build_telemetry(), "jobs": [WEB, bad]}


def open_stream(spec, path):
    return OPENER.open(f"http://127.0.0.1:{spec['telemetry']['port']}{path}", timeout=60)


def read_events(answer):
    for line in answer:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_page_stands_alone(tmp_path, spec):
    """The page loads nothing from elsewhere, inserts no markup, and its policy allows only its own script."""
    with SupervisorProcess(tmp_path, spec, env={"AUTOPILOT_HOST": NASTY}):
        eventually(lambda: bool(read_samples(spec)), "there")
        with open_stream(spec, "/") as answer:
            text, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
    elements = Elements(text).found
    assert {tag for tag, _ in elements} >= {"h1", "main", "script", "style"}
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in elements
    links = [value for _, attributes in elements for name, value in attributes.items() if name in ("src", "href")]
    assert links == ["data:,", "metrics", "v1/status"]
    assert not re.search(r"https?:|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|\bon[a-z]+=", text)
    for tag in ("script", "style"):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_stream_is_live(tmp_path, spec):
    """A listener is sent the whole status at once and after each change, as data and not as markup."""
    spec["telemetry"]["check_output"] = True
    with SupervisorProcess(tmp_path, spec, env={"AUTOPILOT_HOST": "h1", "AUTOPILOT_SLOT": "s2"}) as pilot:
        eventually(lambda: bool(read_samples(spec)), "there")
        with open_stream(spec, "/v1/stream") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            statuses = read_events(answer)
            first = next(statuses)
            assert (first["about"]["host"], first["about"]["slot"]) == ("h1", "s2")
            bad = next(job for status in statuses for job in status["jobs"] if job["health"] == "unhealthy")
            assert bad["why"]["last_check"].strip() == NASTY
            assert pilot.run_verb("restart", "web").returncode == 0
            assert any(status["jobs"][0]["restarts"] == 1 for status in statuses)


def test_output_of_checks_is_hidden(tmp_path, spec):
    """Without `check_output` the port shows no output of health checks; the control socket does."""
    with SupervisorProcess(tmp_path, spec) as pilot:
        eventually(lambda: bool(read_samples(spec)), "there")
        with open_stream(spec, "/v1/stream") as answer:
            told = read_events(answer)
            bad = next(job for status in told for job in status["jobs"] if job["health"] == "unhealthy")
            assert "last_check" not in bad["why"]
        assert NASTY in {job["why"].get("last_check", "").strip() for job in pilot.get_status()["jobs"]}


def test_listeners_are_bounded(tmp_path, spec):
    """At most 16 clients listen, one that leaves makes room, and none delays the stop, even one that never reads."""
    with SupervisorProcess(tmp_path, spec) as pilot, ExitStack() as stack:
        eventually(lambda: bool(read_samples(spec)), "there")
        listening = [stack.enter_context(open_stream(spec, "/v1/stream")) for _ in range(MAX_LISTENERS)]
        assert request_stream(spec).startswith(b"HTTP/1.1 503")
        listening.pop().close()
        eventually(lambda: request_stream(spec).startswith(b"HTTP/1.1 200"), "room")
        deaf = stack.enter_context(socket.create_connection(("127.0.0.1", spec["telemetry"]["port"])))
        deaf.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert pilot.stop() == 0


def test_listeners_are_counted_when_they_come():
    """Streams are counted when they are opened, not at their first event; one dropped before that makes room."""
    never_called: Any = dict
    live = StatusStream(never_called)
    streams = [live.open_stream() for _ in range(MAX_LISTENERS)]
    with pytest.raises(RequestError):
        live.open_stream()
    streams.pop()
    assert live.open_stream()


def request_stream(spec):
    with socket.create_connection(("127.0.0.1", spec["telemetry"]["port"])) as client:
        client.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        return client.recv(100)
