"""Lines reach a receiver of OTLP/HTTP in order and with all their parts, by OpenTelemetry's own exporter."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import select
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.adapters.logs import log_forwarder
from autopilot.adapters.logs.log_entry import ForwardedLine
from autopilot.adapters.logs.log_forwarder import LogForwarder
from autopilot.adapters.logs.otlp_connection import MAX_ANSWER_BYTES, ObservedSession, OtlpConnection
from autopilot.adapters.logs.otlp_format import OtlpFormat, decode_frames
from autopilot.retry_delay import RetryDelay
from autopilot.spec.plan import LogDestination
from tests.adapters.logs.otlp_receiver import OtlpReceiver
from tests.app.harness import SupervisorProcess, eventually, find_free_port, shell

OtlpProtocol = Literal["otlp+http", "otlp+https"]
TIMEOUT_S = 60.0
CONTEXT = {"slot": "s1", "container_id": "f00", "image_digest": "sha256:1"}
FORMAT = OtlpFormat(hostname="c1", life_id="abc", context=CONTEXT)
RUN_WITHOUT_LIBRARY = "import sys; sys.modules['opentelemetry'] = None; from autopilot.__main__ import main; main()"
WHOLE_FRAME = FORMAT.encode(ForwardedLine(1700000000.25, "error", "exit", "exit 1", {"job": "web", "pid": 7}))
CHANGED_FRAMES = st.builds(
    lambda start, length, data: WHOLE_FRAME[:start] + data + WHOLE_FRAME[start + length :],
    st.integers(0, len(WHOLE_FRAME)),
    st.integers(0, 4),
    st.binary(max_size=4) | st.from_regex(rb"[0-9eE\[\]{}\",:.-]{0,4}", fullmatch=True),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
LIKE_FRAMES = st.tuples(
    st.integers() | st.floats(),
    VALUES,
    VALUES,
    VALUES,
    st.dictionaries(st.text(max_size=9), VALUES, max_size=3),
    st.lists(st.tuples(VALUES, VALUES), max_size=3),
).map(lambda parts: json.dumps(parts).encode())


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    """Try again soon."""
    monkeypatch.setattr(log_forwarder, "RETRY_DELAY", RetryDelay(first_s=0.01, max_s=0.05))


def make_forwarder(port, cues=None, *, form=FORMAT, protocol: OtlpProtocol = "otlp+http", **fields):
    destination = LogDestination(
        url=f"{protocol}://localhost:{port}/v1/logs",
        protocol=protocol,
        host="localhost",
        port=port,
        path="/v1/logs",
        **fields,
    )
    return LogForwarder(destination, form.encode, ConditionReporter((cues if cues is not None else []).append))


def add(forwarder, *messages):
    for message in messages:
        forwarder.add(ForwardedLine(1.5, "info", "", message, {"job": "web", "stream": "stdout", "pid": 7}))


@contextlib.asynccontextmanager
async def running(forwarder):
    task = asyncio.create_task(forwarder.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def wait_until(condition):
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.01)


def bodies(receiver):
    return [line.body for line in receiver.lines]


async def test_parts_of_a_line():
    """A line arrives with time, level, event, attributes and the container, by OpenTelemetry's names, compressed."""
    line = ForwardedLine(
        1700000000.25, "error", "exit", "exit 1", {"job": "web", "reason": "done", "pid": 7, "no": None}
    )
    program = ForwardedLine(1.0, "info", "", "a\nb", {"job": "web", "stream": "file", "file": "/x", "payload": "3.0"})
    with OtlpReceiver() as receiver:
        forwarder = make_forwarder(receiver.port, headers=(("Authorization", "Bearer t"),))
        forwarder.add(line)
        forwarder.add(program)
        await forwarder.flush()
        first, second = receiver.lines
        (headers,) = receiver.headers
    assert receiver.paths == ["/v1/logs"]
    assert headers["authorization"] == "Bearer t" and headers["content-encoding"] == "gzip"
    assert first[:5] == ("exit 1", "error", 17, "exit", 1700000000250000000)
    assert first.attributes == {"autopilot.job": "web", "autopilot.reason": "done", "process.pid": 7}
    assert second.body == "a\nb" and second.event == ""
    assert second.attributes == {
        "autopilot.job": "web",
        "autopilot.stream": "file",
        "log.file.path": "/x",
        "autopilot.payload": "3.0",
    }
    assert first.resource == second.resource
    expected = {
        "service.name": "autopilot",
        "service.instance.id": "abc",
        "host.name": "c1",
        "container.id": "f00",
        "autopilot.slot": "s1",
        "autopilot.image_digest": "sha256:1",
    }
    assert expected.items() <= first.resource.items()


async def test_strange_names():
    """A name of a file that is no UTF-8 does not hold up the lines."""
    name = b"/x\xff\n".decode(errors="surrogateescape")
    with OtlpReceiver() as receiver:
        forwarder = make_forwarder(receiver.port)
        forwarder.add(ForwardedLine(1.0, "info", "", f"cannot read {name}", {"stream": "file", "file": name}))
        await forwarder.flush()
        (line,) = receiver.lines
    assert line.body == "cannot read /x?\n" and line.attributes["log.file.path"] == "/x?\n"


async def test_receiver_restarts():
    """A receiver that comes later, restarts or asks for patience (503) gets every line, in order; status shows it."""
    cues: list[Any] = []
    port = find_free_port()
    forwarder = make_forwarder(port, cues)
    async with running(forwarder):
        add(forwarder, "1")
        await wait_until(lambda: cues)
        assert "cannot send the log to otlp+http://localhost" in cues[0].detail
        with OtlpReceiver(port) as receiver:
            receiver.statuses = [503]
            await wait_until(lambda: bodies(receiver) == ["1"])
            await wait_until(lambda: len(cues) == 2)
        add(forwarder, "2", "3")
        with OtlpReceiver(port) as receiver:
            await wait_until(lambda: bodies(receiver) == ["2", "3"])
    assert forwarder.dropped_count == 0


async def test_refused_lines():
    """Lines that a receiver refuses for good are dropped and counted, and later ones arrive; a redirect fails."""
    cues: list[Any] = []
    with OtlpReceiver() as receiver:
        receiver.statuses = [302, 401, 400]
        forwarder = make_forwarder(receiver.port, cues)
        add(forwarder, "1", "2")
        async with running(forwarder):
            await wait_until(lambda: forwarder.dropped_count == 2)
            receiver.rejected_count = 1
            add(forwarder, "3")
            await wait_until(lambda: "3" in bodies(receiver))
            await wait_until(lambda: forwarder.dropped_count >= 3)
    assert any("HTTP 401" in getattr(cue, "detail", "") for cue in cues)
    assert "2 lines of log dropped" in bodies(receiver)[0]


@pytest.mark.parametrize("status", [200, 302, 500])
def test_large_answers(status):
    """An answer that grows when it is decompressed is read in bounded length, that of a redirect too."""
    with OtlpReceiver() as receiver:
        receiver.statuses, receiver.compressed_body = [status], gzip.compress(bytes(64 * MAX_ANSWER_BYTES))
        session = ObservedSession()
        session.request("POST", f"http://127.0.0.1:{receiver.port}/", data=b"")
        session.close()
    assert session.status == status and session.answer == bytes(MAX_ANSWER_BYTES + 1)


def drip(server, start, is_asked, is_gone):
    """Accept a connection and send the start of an answer, then byte after byte until the client is gone."""
    peer, _ = server.accept()
    with peer, contextlib.suppress(OSError):
        peer.recv(1)
        is_asked.set()
        peer.sendall(b"HTTP/1.1 200 OK\r\n" + start)
        while not select.select([peer], [], [], 0.01)[0] or peer.recv(65536):
            peer.sendall(b"x")
    is_gone.set()


@pytest.mark.parametrize("start", [b"X-Header: ", b"Content-Length: 60000\r\n\r\n"])
async def test_receiver_drips(start):
    """A receiver that sends its answer byte by byte keeps neither the socket nor the thread of a closed connection."""
    is_asked, is_gone = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server, start, is_asked, is_gone), daemon=True).start()
        connection = OtlpConnection(make_forwarder(server.getsockname()[1]).destination, timeout_s=TIMEOUT_S)
        task = asyncio.create_task(connection.send([WHOLE_FRAME]))
        await wait_until(is_asked.is_set)
        task.cancel()
        await asyncio.wait([task])
        connection.close()
        await wait_until(is_gone.is_set)
    await wait_until(lambda: not any(thread.name == "otlp" for thread in threading.enumerate()))


@pytest.mark.real("openssl")
async def test_tls(certificate):
    """By TLS the receiver must have a certificate of the CA that the job spec names."""
    cues: list[Any] = []
    with OtlpReceiver(certificate=certificate) as receiver:
        stranger = make_forwarder(receiver.port, cues, protocol="otlp+https")
        add(stranger, "secret")
        async with running(stranger):
            await wait_until(lambda: cues)
        assert "certificate" in cues[0].detail.lower() and not receiver.lines
        friend = make_forwarder(receiver.port, protocol="otlp+https", ca_file=str(certificate[0]))
        add(friend, "1")
        await friend.flush()
        assert bodies(receiver) == ["1"]


async def test_lines_of_an_earlier_life(tmp_path):
    """Lines that waited on the disk keep the container of the life that they are from."""
    old = OtlpFormat(hostname="c0", life_id="old", context={})
    forwarder = make_forwarder(1, form=old, spill_bytes=1 << 20)
    forwarder.open_spill(tmp_path, print)
    add(forwarder, "before")
    forwarder.save_rest()
    with OtlpReceiver() as receiver:
        (folder,) = tmp_path.iterdir()
        folder.rename(tmp_path / folder.name.replace("3A1%", f"3A{receiver.port}%"))
        forwarder = make_forwarder(receiver.port, spill_bytes=1 << 20)
        forwarder.open_spill(tmp_path, print)
        add(forwarder, "after")
        await forwarder.flush()
        found = [(line.body, line.resource["service.instance.id"]) for line in receiver.lines]
    assert found == [("before", "old"), ("after", "abc")]


@example(b'[1e999,"info","","x",{},[]]')
@example(b'[1,"info","","\\ud800",{"a":99999999999999999999},[["\\ud800","x"]]]')
@given(st.binary(max_size=200) | CHANGED_FRAMES | LIKE_FRAMES)
def test_damaged_frames(data):
    """A frame that the disk has changed is left out, or is a whole record that protobuf can hold."""
    for record in decode_frames([data]):
        assert 0 <= record.time_ns < 1 << 64
        values = [value for value in record.attributes.values() if not isinstance(value, int)]
        names = [*record.attributes, *(text for pair in record.resource for text in pair)]
        text = "".join((record.level, record.event, record.body, *names, *values))
        assert text.encode().decode() == text
        assert all(abs(value) < 1 << 63 for value in record.attributes.values() if isinstance(value, int))


def test_frames_around_a_damaged_one():
    """Frames before and after a damaged one become records."""
    whole = FORMAT.encode(ForwardedLine(1.0, "info", "", "x", {"pid": 7}))
    assert len(decode_frames([whole, b'[1e999,"info","","x",{},[]]', whole])) == 2


@given(st.text(), st.dictionaries(st.text(max_size=80), st.none() | st.integers() | st.text() | st.lists(st.text())))
def test_every_line_can_be_encoded(message, fields):
    """Any line comes back from its encoded form, in bounded length."""
    (record,) = decode_frames([FORMAT.encode(ForwardedLine(time.time(), "info", "e", message, fields))])
    assert record.body == message
    assert len(record.attributes) <= len(fields) and all(not isinstance(v, list) for v in record.attributes.values())


@pytest.mark.slow
def test_of_a_life(tmp_path):
    """Lines of a real life arrive, without secrets, the last ones too; the next life sends those that were left."""
    port = find_free_port()
    command = shell("echo token is $API_TOKEN; sleep 1000")
    spec = {
        "logging": {"forward": [{"to": f"otlp+http://127.0.0.1:{port}", "spill": "4MiB"}]},
        "jobs": [{"name": "web", "exec": command, "env": {"API_TOKEN": "abc-secret"}}],
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        pilot.wait_for(lambda line: "token is" in line["message"])
        assert pilot.stop() == 0
    assert list(pilot.state.glob("log-spill/*/*.lines"))
    with OtlpReceiver(port) as receiver:
        with SupervisorProcess(tmp_path, spec) as pilot:
            eventually(lambda: bodies(receiver).count("token is [redacted]") == 2, "both lives' lines have arrived")
            assert pilot.stop() == 0
        lives = list(dict.fromkeys(line.resource["service.instance.id"] for line in receiver.lines))
        ends = [line for line in receiver.lines if line.event == "exit"]
    assert len(lives) == 2 and [line.resource["service.instance.id"] for line in ends] == lives
    assert not list(pilot.state.glob("log-spill/*/*.lines")) and pilot.stderr_text == ""


def test_library_is_missing(tmp_path):
    """Without the library `check` warns and `run` refuses to start, each with the remedy."""
    spec = {"logging": {"forward": [{"to": "otlp+http://h"}]}, "jobs": [{"name": "web", "exec": "sleep 1000"}]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    found = {}
    for verb in ("check", "run"):
        command = [sys.executable, "-c", RUN_WITHOUT_LIBRARY, verb, str(tmp_path / "spec.json")]
        env = {"AUTOPILOT_STATE": str(tmp_path / "state"), "PATH": "/usr/bin:/bin"}
        found[verb] = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert found["run"].returncode == 78
    for done in found.values():
        assert "with its extra otlp" in done.stdout + done.stderr
