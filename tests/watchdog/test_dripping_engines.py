"""Engines that send a byte now and then: every call ends when its time is over."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.engine import EngineUnreachableError, PullError
from autopilot_watchdog.engine.engine_http import EngineClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.hostile_servers import drip_bytes
from tests.watchdog.scenes import A

LIMIT_S = 0.3
PATIENCE_S = 60.0  # a call without a limit would take for ever
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE_HEAD = JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BEGINNINGS = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 2",
    "half a header": b"HTTP/1.1 200 OK\r\nServer: ",
    "a body with a length": JSON_HEAD + b"Content-Length: 100000\r\n\r\n[",
    "a body without a length": JSON_HEAD + b"Connection: close\r\n\r\n[",
    "half a size of a chunk": WHOLE_HEAD + b"1",
    "half a chunk": WHOLE_HEAD + b"ffff\r\n[",
    "an error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 100000\r\n\r\n{",
}


@contextmanager
def listen_at(path: Path) -> Iterator[socket.socket]:
    """Listen on a unix socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def assert_call_ends(folder: Path, beginning: bytes, block: bytes) -> None:
    """Call an engine that answers with a beginning and then drips, and check that the call is given up in time."""
    path = folder / "engine.sock"
    path.unlink(missing_ok=True)
    client = EngineClient("docker", str(path))
    with listen_at(path) as listener, drip_bytes(beginning, listener, block=block):
        begin = time.monotonic()
        with pytest.raises(EngineUnreachableError) as caught:
            client.request_json("GET", "/containers/json", timeout=LIMIT_S, versioned=False)
        assert time.monotonic() - begin < PATIENCE_S
    assert caught.value.timed_out and "no complete answer within 0.3 s" in str(caught.value)


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
def test_call_to_a_dripping_engine_ends(beginning: bytes, tmp_path: Path) -> None:
    """A call ends when its time is over, wherever in its answer the engine begins to drip."""
    assert_call_ends(tmp_path, beginning, b"1")


@settings(max_examples=scale_examples(8), deadline=None)
@given(cut=st.integers(0, 200))
def test_call_ends_wherever_the_answer_is_cut(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A valid answer that is cut anywhere and goes on in drips never holds a call."""
    body = json.dumps([{"Id": "c" * 64}] * 3).encode()
    whole = JSON_HEAD + f"Content-Length: {len(body) + 1}\r\n\r\n".encode() + body
    assert_call_ends(tmp_path_factory.mktemp("engine"), whole[: min(cut, len(whole) - 1)], b"")


@pytest.mark.parametrize("beginning", [WHOLE_HEAD + b"ffff\r\n{", JSON_HEAD + b'Connection: close\r\n\r\n{}\n{"a": "'])
def test_dripping_pull_ends(beginning: bytes, tmp_path: Path) -> None:
    """A pull with a progress report that drips within one line fails when the time for pulls is over."""
    path = tmp_path / "engine.sock"
    engine = DockerEngine("docker", str(path), "owner")
    engine._client._version_prefix = "/v1.41"
    with listen_at(path) as listener, drip_bytes(beginning, listener):
        begin = time.monotonic()
        with pytest.raises(PullError, match=r"the pull took longer than 0\.3 s"):
            engine.pull_image("r/i", A, auth=None, timeout=LIMIT_S)
        assert time.monotonic() - begin < PATIENCE_S


def test_no_thread_for_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of processes a call, whose time cannot be limited then, fails as one to a silent engine."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with listen_at(tmp_path / "engine.sock"):
        client = EngineClient("docker", str(tmp_path / "engine.sock"))
        with pytest.raises(EngineUnreachableError, match="cannot limit the time of the request: can't start new"):
            client.request_json("GET", "/_ping", versioned=False)
