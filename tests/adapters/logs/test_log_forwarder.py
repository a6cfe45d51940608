"""Lines reach another host in order, and nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from types import SimpleNamespace
from typing import Any

import pytest

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.adapters.logs import log_forwarder
from autopilot.adapters.logs.log_entry import ForwardedLine
from autopilot.adapters.logs.log_forwarder import LogForwarder
from autopilot.machines.cues import ConditionDetected, ConditionResolved
from autopilot.retry_delay import RetryDelay
from autopilot.spec.plan import LogDestination

TIMEOUT_S = 30.0
pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    """Try again soon."""
    monkeypatch.setattr(log_forwarder, "RETRY_DELAY", RetryDelay(first_s=0.01, max_s=0.05))


def encode(line):
    return line.message.encode() + b"\n"


def make_forwarder(port, *, protocol="tcp", cues=None, **fields):
    destination = LogDestination(
        url=f"{protocol}://localhost:{port}", protocol=protocol, host="localhost", port=port, **fields
    )
    return LogForwarder(destination, encode, ConditionReporter((cues if cues is not None else []).append))


def add(forwarder, *messages):
    for message in messages:
        forwarder.add(ForwardedLine(0, "info", "", message, {}))


class Receiver:
    """A server that keeps the lines that it gets."""

    def __init__(self):
        self.lines = []
        self.changed = asyncio.Event()
        self.writers = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.greet = lambda writer: None
        self.port = 0
        self.server = None

    async def listen(self, context=None):
        self.server = await asyncio.start_server(self.handle, "localhost", self.port, ssl=context)
        self.port = self.server.sockets[0].getsockname()[1]

    async def handle(self, reader, writer):
        self.writers.append(writer)
        self.greet(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                await self.reading.wait()
                self.lines.append(line.decode().strip())
                self.changed.set()

    async def stop(self):
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.close()
        self.writers.clear()

    async def wait_for(self, *lines):
        async with asyncio.timeout(TIMEOUT_S):
            while [line for line in self.lines if line in lines] != list(lines):
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def receiver():
    receiver = Receiver()
    await receiver.listen()
    yield receiver
    await receiver.stop()


@contextlib.asynccontextmanager
async def running(forwarder):
    task = asyncio.create_task(forwarder.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_order(receiver):
    """Lines from before the connection and later ones arrive in order."""
    forwarder = make_forwarder(receiver.port)
    add(forwarder, "1", "2")
    async with running(forwarder):
        await receiver.wait_for("1", "2")
        add(forwarder, "3")
        await receiver.wait_for("1", "2", "3")
    assert forwarder.dropped_count == 0


async def test_receiver_restarts(receiver):
    """Lines from while the receiver was away arrive when it is back, and the condition comes and goes."""
    cues: list[Any] = []
    forwarder = make_forwarder(receiver.port, cues=cues)
    async with running(forwarder):
        add(forwarder, "1")
        await receiver.wait_for("1")
        await receiver.stop()
        async with asyncio.timeout(TIMEOUT_S):
            while not cues:
                await asyncio.sleep(0.01)
        assert isinstance(cues[0], ConditionDetected) and "cannot send the log to tcp://localhost" in cues[0].detail
        add(forwarder, "2", "3")
        await receiver.listen()
        await receiver.wait_for("1", "2", "3")
        assert isinstance(cues[-1], ConditionResolved)


async def test_slow_receiver(receiver):
    """While a receiver reads nothing, lines are dropped and counted, never waited for; the first line after says so."""
    receiver.reading.clear()
    forwarder = make_forwarder(receiver.port, buffer_bytes=4096)
    async with running(forwarder):
        filler = "x" * 1000
        while not forwarder.dropped_count:
            add(forwarder, filler)
            await asyncio.sleep(0)
        dropped = forwarder.dropped_count
        receiver.reading.set()
        async with asyncio.timeout(TIMEOUT_S):
            while not any("lines of log dropped" in line for line in receiver.lines):
                add(forwarder, "after")
                await asyncio.sleep(0.01)
        await receiver.wait_for(*[line for line in receiver.lines if "dropped" in line][:1])
    (notice,) = [line for line in receiver.lines if "dropped" in line]
    assert int(notice.split()[0]) >= dropped


async def test_buffer_is_bounded():
    """Without a receiver the buffer never holds more than its size."""
    forwarder = make_forwarder(1, buffer_bytes=10_000)
    add(forwarder, *("x" * 100 for _ in range(1000)))
    assert forwarder._queued_bytes <= 10_000 and forwarder.dropped_count >= 900


async def test_flush(receiver):
    """At the end of the life everything that waits is sent; without a receiver the flush ends at once."""
    forwarder = make_forwarder(receiver.port)
    add(forwarder, *(str(number) for number in range(1000)))
    await forwarder.flush()
    await receiver.wait_for(*(str(number) for number in range(1000)))
    await receiver.stop()
    add(forwarder, "never")
    async with asyncio.timeout(TIMEOUT_S):
        await forwarder.flush()


async def test_datagrams():
    """By UDP each line is a datagram."""
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[bytes] = asyncio.Queue()

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data, _address):
            received.put_nowait(data)

    transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
    destination = LogDestination(
        url="udp://127.0.0.1", protocol="udp", host="127.0.0.1", port=transport.get_extra_info("sockname")[1]
    )
    forwarder = LogForwarder(destination, encode, ConditionReporter(print))
    add(forwarder, "1", "2")
    async with running(forwarder), asyncio.timeout(TIMEOUT_S):
        assert [await received.get(), await received.get()] == [b"1\n", b"2\n"]
    transport.close()


async def test_missing_certificate(tmp_path):
    """A certificate file that is missing is the trouble, by its name."""
    cues: list[Any] = []
    forwarder = make_forwarder(1, protocol="tls", cues=cues, ca_file=str(tmp_path / "ca.pem"))
    async with running(forwarder), asyncio.timeout(TIMEOUT_S):
        while not cues:
            await asyncio.sleep(0.01)
    assert f"{tmp_path}/ca.pem: No such file or directory" in cues[0].detail


@pytest.mark.real("openssl")
async def test_tls(certificate):
    """By TLS the receiver must have a certificate of the CA that the job spec names."""
    cert_file, key_file = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    receiver = Receiver()
    await receiver.listen(context)
    cues: list[Any] = []
    stranger = make_forwarder(receiver.port, protocol="tls", cues=cues)
    add(stranger, "secret")
    async with running(stranger), asyncio.timeout(TIMEOUT_S):
        while not cues:
            await asyncio.sleep(0.01)
    assert "certificate" in cues[0].detail.lower() and not receiver.lines
    friend = make_forwarder(receiver.port, protocol="tls", ca_file=str(cert_file))
    add(friend, "1")
    async with running(friend):
        await receiver.wait_for("1")
    await receiver.stop()


async def test_hung_receivers_leave_no_connection(monkeypatch):
    """A receiver that takes connections and reads nothing costs one connection at a time, however often it is tried."""
    monkeypatch.setattr(log_forwarder, "SEND_TIMEOUT_S", 0.1)
    monkeypatch.setattr(log_forwarder, "BATCH_BYTES", 32 << 20)  # more than the kernel keeps for a socket
    accepted: list[socket.socket] = []
    with socket.create_server(("localhost", 0)) as server:
        server.setblocking(False)
        forwarder = make_forwarder(server.getsockname()[1], buffer_bytes=64 << 20)
        for _ in range(32):
            add(forwarder, "x" * (1 << 20))
        before = len(os.listdir("/proc/self/fd"))
        running = asyncio.create_task(forwarder.run())
        async with asyncio.timeout(TIMEOUT_S * 2):
            while len(accepted) < 8:
                accepted.append((await asyncio.get_running_loop().sock_accept(server))[0])
        running.cancel()
        await asyncio.wait([running])
        assert len(os.listdir("/proc/self/fd")) - before - len(accepted) <= 2
        for connection in accepted:
            connection.close()


@pytest.mark.parametrize("kind", ["closes at once", "hangs", "no datagrams"])
async def test_false_receivers(monkeypatch, receiver, kind):
    """A receiver that accepts connections and takes nothing is a trouble until a connection lasts."""
    monkeypatch.setattr(log_forwarder, "STEADY_S", 0.3)
    cues: list[Any] = []
    forwarder = make_forwarder(receiver.port, cues=cues, buffer_bytes=64 << 20)
    if kind == "closes at once":
        receiver.greet = lambda writer: writer.close()
    elif kind == "hangs":
        monkeypatch.setattr(log_forwarder, "SEND_TIMEOUT_S", 0.1)
        monkeypatch.setattr(log_forwarder, "BATCH_BYTES", 32 << 20)  # more than the kernel keeps for a socket
        receiver.reading.clear()
        add(forwarder, *("x" * 32_000 for _ in range(1000)))
    else:
        forwarder = make_forwarder(receiver.port, cues=cues, protocol="udp")
    async with running(forwarder), asyncio.timeout(TIMEOUT_S * 2):
        while not cues:
            add(forwarder, "x")
            await asyncio.sleep(0.01)
        assert isinstance(cues[0], ConditionDetected) and "cannot send the log to" in cues[0].detail
        assert kind != "closes at once" or "it closes each connection at once" in cues[0].detail
        receiver.greet, transport = lambda writer: None, None
        monkeypatch.setattr(log_forwarder, "SEND_TIMEOUT_S", TIMEOUT_S)
        receiver.reading.set()
        if kind == "no datagrams":
            address = ("localhost", receiver.port)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=address)
        while not isinstance(cues[-1], ConditionResolved):
            await asyncio.sleep(0.01)
        if transport is not None:
            transport.close()


async def test_disk_takes_more_than_memory(receiver, tmp_path):
    """With space on the disk, an absence of the receiver that is longer than the buffer loses nothing, in order."""
    await receiver.stop()
    forwarder = make_forwarder(receiver.port, buffer_bytes=1000, spill_bytes=10 << 20)
    forwarder.open_spill(tmp_path, print)
    numbers = [str(number) for number in range(2000)]
    async with running(forwarder):
        add(forwarder, *numbers[:1000])
        assert forwarder.waiting_bytes > 3000
        await receiver.listen()
        for number in numbers[1000:]:
            add(forwarder, number)
            await asyncio.sleep(0)
        async with asyncio.timeout(TIMEOUT_S):
            while forwarder.waiting_bytes:
                await asyncio.sleep(0.01)
        await receiver.wait_for(*numbers)
    assert forwarder.dropped_count == 0 and receiver.lines == numbers


async def test_rest_goes_to_the_next_life(receiver, tmp_path):
    """Lines that a life could not send are sent by the next one, before its own, also those of several lives."""
    numbers = [str(number) for number in range(300)]
    for life in range(3):
        forwarder = make_forwarder(1, buffer_bytes=200, spill_bytes=10 << 20)
        if life == 1:
            add(forwarder, *numbers[100:105])  # from before the supervisor has its state directory
            forwarder.open_spill(tmp_path, print)
            add(forwarder, *numbers[105:200])
        else:
            forwarder.open_spill(tmp_path, print)
            add(forwarder, *numbers[life * 100 : life * 100 + 100])
        await forwarder.flush()
        forwarder.save_rest()
    (folder,) = tmp_path.iterdir()
    folder.rename(tmp_path / f"tcp%3A%2F%2Flocalhost%3A{receiver.port}")
    last = make_forwarder(receiver.port, spill_bytes=10 << 20)
    last.open_spill(tmp_path, print)
    add(last, "own")
    await last.flush()
    last.save_rest()
    await receiver.wait_for(*numbers, "own")
    assert receiver.lines == [*numbers, "own"]
    assert not list((tmp_path / folder.name).glob("*")) and last.waiting_bytes == 0


async def test_half_sent_segment_is_kept(receiver, tmp_path, monkeypatch):
    """A life that ends while it sends a segment leaves the unsent part of it to the next one."""
    monkeypatch.setattr(log_forwarder, "BATCH_BYTES", 40)
    numbers = [str(number) for number in range(100, 200)]
    first = make_forwarder(receiver.port, buffer_bytes=0, spill_bytes=1 << 20)
    first.open_spill(tmp_path, print)
    add(first, *numbers)
    connection = await first._connect()
    for _ in range(3):
        await first._send_batch(connection)
    connection.close()
    first.save_rest()
    second = make_forwarder(receiver.port, spill_bytes=1 << 20)
    second.open_spill(tmp_path, print)
    await second.flush()
    await receiver.wait_for(*numbers)
    assert receiver.lines == numbers


async def test_full_disk_space(tmp_path, receiver):
    """When the space on the disk is used up, new lines are dropped and counted, and a line tells it later."""
    forwarder = make_forwarder(receiver.port, buffer_bytes=1000, spill_bytes=5000)
    forwarder.open_spill(tmp_path, print)
    add(forwarder, *("x" * 99 for _ in range(200)))
    assert forwarder.waiting_bytes <= 6000 and 130 <= forwarder.dropped_count < 160
    dropped = forwarder.dropped_count
    async with running(forwarder), asyncio.timeout(TIMEOUT_S):
        while forwarder.waiting_bytes:
            await asyncio.sleep(0.01)
        add(forwarder, "after")
        await receiver.wait_for(
            f"{dropped} lines of log dropped: {forwarder.destination.url} did not take them", "after"
        )


async def test_losses_at_the_end_are_told(tmp_path, receiver):
    """Lines without room at the end of a life are counted, and the next life sends the count."""
    forwarder = make_forwarder(receiver.port, buffer_bytes=1000, spill_bytes=5000)
    forwarder.open_spill(tmp_path, print)
    add(forwarder, *(f"{number:09}" for number in range(1000)))
    forwarder.count_refused()
    dropped = forwarder.dropped_count
    forwarder.save_rest()
    assert forwarder.dropped_count == dropped + 100  # all of the buffer
    following = make_forwarder(receiver.port, spill_bytes=5000)
    following.open_spill(tmp_path, print)
    await following.flush()
    cause = f"{following.destination.url} did not take them"
    notices = [f"{dropped + 99} lines of log dropped: {cause}"]
    notices.append("1 line of log dropped: logging.redact.patterns had no time for them")
    await receiver.wait_for(*notices)
    assert len(receiver.lines) == 1000 - (dropped + 99) + 2


async def test_refused_lines_are_told(monkeypatch):
    """Lines for which redaction had no time are told by their own cause, and not before each line."""
    clock = {"now": 100.0}
    monkeypatch.setattr(log_forwarder, "time", SimpleNamespace(monotonic=lambda: clock["now"], time=lambda: 0.0))
    forwarder = make_forwarder(1)
    for number in range(5):
        forwarder.count_refused()
        add(forwarder, str(number))
    clock["now"] += 11.0
    add(forwarder, "5")
    *_, last_notice, last = forwarder._queue
    cause = b" of log dropped: logging.redact.patterns had no time for them\n"
    assert [*forwarder._queue][:2] == [b"1 line" + cause, b"0\n"]
    assert (last_notice, last) == (b"4 lines" + cause, b"5\n")
    assert len(forwarder._queue) == 8 and forwarder.dropped_count == 5


async def test_long_urls(tmp_path):
    """Two receivers whose URLs differ only at a late place have their own directories, and names that a disk takes."""
    for tenant in ("one", "two"):
        url = f"otlp+http://localhost/{'x' * 300}/{tenant}"
        destination = LogDestination(url=url, protocol="otlp+http", host="localhost", port=1, spill_bytes=1 << 20)
        for _ in range(2):
            forwarder = LogForwarder(destination, encode, ConditionReporter(print))
            forwarder.open_spill(tmp_path, print)
            add(forwarder, tenant)
            forwarder.save_rest()
    assert len(list(tmp_path.iterdir())) == 2
    assert all(len(path.name) == 200 and len(list(path.iterdir())) == 2 for path in tmp_path.iterdir())


async def test_no_disk(tmp_path):
    """A directory that cannot be used is a condition, and lines wait in memory."""
    cues: list[Any] = []
    forwarder = make_forwarder(1, spill_bytes=1 << 20, cues=cues)
    (tmp_path / "file").touch()
    forwarder.open_spill(tmp_path / "file", print)
    add(forwarder, "1")
    assert "cannot keep lines of the log" in cues[0].detail and forwarder.waiting_bytes
