"""Answers without an end or of an absurd size: memory is bounded, and the answer is nothing known about its sender."""

from __future__ import annotations

import socket
import tracemalloc
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from autopilot_watchdog.bounded_http import HttpClient
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.engine import EngineError
from autopilot_watchdog.engine.engine_http import EngineClient
from autopilot_watchdog.registry.registry_client import MANIFEST_MEDIA_TYPES, RegistryClient, RegistryError
from autopilot_watchdog.shell.fleet_store import FleetStore

from tests.watchdog.hostile_servers import drip_bytes
from tests.watchdog.scenes import build_config

pytestmark = pytest.mark.slow

BLOCK = b"x" * (1 << 20)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n" % MANIFEST_MEDIA_TYPES[0].encode()
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FLOODS = {  # the beginning of an answer, and the block that follows it again and again
    "chunk of size -1": (CHUNKED + b"-1\r\n", BLOCK),
    "negative chunk": (CHUNKED + b"-ffff\r\n", BLOCK),
    "huge chunk": (CHUNKED + b"fffffffffff\r\n", BLOCK),
    "endless chunk size": (CHUNKED, b"0" * 65536),
    "endless chunks": (CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    "empty chunk extensions": (CHUNKED, b"1;" + b"e" * 60000 + b"\r\nx\r\n"),
    "endless trailers": (CHUNKED + b"0\r\n", b"T: " + b"x" * 60000 + b"\r\n"),
    "endless headers": (OK, b"T: " + b"x" * 60000 + b"\r\n"),
    "endless header": (OK + b"T: ", BLOCK),
    "endless interim answers": (b"", b"HTTP/1.1 100 Continue\r\nT: " + b"x" * 60000 + b"\r\n\r\n"),
    "no length": (OK + b"\r\n", BLOCK),
    "huge length": (OK + b"Content-Length: 99999999999999\r\n\r\n", BLOCK),
    "negative length": (OK + b"Content-Length: -1\r\n\r\n", BLOCK),
    "body of a redirect": (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", BLOCK),
    "body of a refusal": (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\n\r\n", BLOCK),
    "body of a failure": (b"HTTP/1.1 500 No\r\n\r\n", BLOCK),
    "no HTTP": (b"", BLOCK),
}
MAX_MEMORY_BYTES = 120 << 20  # the largest document may be there as bytes, as text, and as values
LIMIT_S = 3.0


@contextmanager
def measure_memory() -> Iterator[None]:
    """Fail if the block takes more memory than MAX_MEMORY_BYTES at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", FLOODS)
def test_floods_over_tcp(name: str) -> None:
    """A registry or Consul that floods is a sentence."""
    beginning, block = FLOODS[name]
    with drip_bytes(beginning, interval_s=0, block=block) as address, measure_memory():
        with pytest.raises(RegistryError):
            RegistryClient(f"{address}/site/wn:v1", None, (), LIMIT_S).fetch_tag_digest(("linux", "amd64"), {}, ())
        store = FleetStore(build_config(consul={"address": f"http://{address}", "timeout": f"{LIMIT_S:.0f}s"}))
        assert store.read_fleet_state() is None and store.last_error


@pytest.mark.parametrize("name", FLOODS)
def test_floods_of_an_engine(tmp_path: Path, name: str) -> None:
    """An engine that floods has answered nothing."""
    path = str(tmp_path / "docker.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    beginning, block = FLOODS[name]
    with drip_bytes(beginning, listener, interval_s=0, block=block), measure_memory(), pytest.raises(EngineError):
        DockerEngine("docker", path, "owner").list_containers()


def test_stream_of_an_engine(tmp_path: Path) -> None:
    """A stream may last for ever, but not with a chunk of a negative size."""
    path = str(tmp_path / "docker.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    with drip_bytes(CHUNKED + b"-1\r\n", listener, interval_s=0, block=BLOCK), measure_memory():
        client = EngineClient("docker", path)
        with client.open_response("GET", "/events", versioned=False, is_endless=True) as response:
            assert list(client.read_json_lines(response)) == []


@pytest.mark.parametrize(
    ("size", "chunk"),
    [
        (0, 0),
        (1, 0),
        (65536, 0),
        (4 << 20, 0),
        (0, 7),
        (1, 7),
        (65536, 7),
        (1, 65536),
        (65536, 65536),
        (4 << 20, 65536),
    ],
)
def test_honest_answers_are_whole(size: int, chunk: int) -> None:
    """An answer of the allowed size is read as a whole, in chunks of any size."""
    body = b"y" * size
    if not chunk:
        answer = OK + b"Content-Length: %d\r\n\r\n" % size + body
    else:
        parts = [body[begin : begin + chunk] for begin in range(0, size, chunk)]
        answer = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    with drip_bytes(answer, interval_s=60) as address:
        _, found = HttpClient(use_proxies=False).send(urllib.request.Request(f"http://{address}/"), 30, 4 << 20)
    assert found == body
