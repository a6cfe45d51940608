"""Send lines of the log to another host: in order, from a bounded buffer, never waited for by anybody.

A line stays in the buffer until the connection has taken it, and after a break it is sent again: a receiver may see a
line twice, or miss those that only the network had. While the receiver is away or slow the buffer fills; then new lines
are dropped and counted, and the count is sent as soon as there is room.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.adapters.logs.log_entry import ForwardedLine
from autopilot.amounts import format_count
from autopilot.retry_delay import RetryDelay
from autopilot.spec.plan import LogDestination

RETRY_DELAY = RetryDelay(first_s=0.5, max_s=30.0)
CONNECT_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 30.0  # for a batch: a receiver that takes nothing for so long has hung
BATCH_BYTES = 64 * 1024
MAX_PROBLEM_CHARS = 200


class Connection(Protocol):
    """A connection to a receiver."""

    async def send(self, frames: list[bytes]) -> None:
        """Send frames, and return once the kernel has taken them; raise OSError when the connection is lost."""
        ...

    async def wait_until_lost(self) -> None:
        """Return when the connection was closed, by the receiver or here."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class LogForwarder:
    """The lines for one destination."""

    def __init__(
        self,
        destination: LogDestination,
        encode: Callable[[ForwardedLine], bytes],
        conditions: ConditionReporter,
    ) -> None:
        """Create an empty buffer; `run` sends.

        Args:
            destination: The receiver.
            encode: Returns a line as the bytes to send.
            conditions: Reports that the receiver cannot be reached.
        """
        self.destination, self._encode, self._conditions = destination, encode, conditions
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._unreported_count = 0  # of dropped lines, since the last notice
        self.dropped_count = 0  # of lines, since the start
        self._queue_changed = asyncio.Event()
        self._is_lost = False  # the connection

    @property
    def _condition(self) -> str:
        return f"log-forward {self.destination.url}"

    def add(self, line: ForwardedLine) -> None:
        """Queue a line, or drop and count it."""
        if self._unreported_count and self._queued_bytes < self.destination.buffer_bytes // 2:
            lost = format_count(self._unreported_count, "line")
            sentence = f"{lost} of log dropped: {self.destination.url} did not take them"
            self._unreported_count = 0
            self._append(self._encode(ForwardedLine(time.time(), "warning", "log_lines_dropped", sentence, {})))
        data = self._encode(line)
        if self._unreported_count or self._queued_bytes + len(data) > self.destination.buffer_bytes:
            self._unreported_count += 1
            self.dropped_count += 1
        else:
            self._append(data)

    def _append(self, data: bytes) -> None:
        self._queue.append(data)
        self._queued_bytes += len(data)
        self._queue_changed.set()

    async def run(self) -> None:
        """Connect and send, for ever; after a failure again, with back-off."""
        failures = 0
        while True:
            try:
                connection = await self._connect()
                failures = 0
                self._conditions.clear_condition(self._condition)
                await self._send_until_lost(connection)
            except (OSError, TimeoutError, ValueError) as error:  # ValueError: a certificate or a name that is none
                failures += 1
                if failures > 1:  # a receiver that restarts is back at once
                    problem = f"cannot send the log to {self.destination.url}: {_describe(error)}"
                    remedy = "lines wait in a buffer, then they are dropped and counted; it is tried again"
                    self._conditions.raise_condition(self._condition, f"{problem}; {remedy}")
            await asyncio.sleep(RETRY_DELAY.compute(failures, random.random()))

    async def flush(self) -> None:
        """Send what is left, by a connection of its own, at the end of the life; give up at the first failure."""
        try:
            if self._queue:
                connection = await self._connect()
                try:
                    while self._queue:
                        await self._send_batch(connection)
                finally:
                    connection.close()
        except (OSError, TimeoutError, ValueError):
            pass  # nobody is left to be told

    async def _connect(self) -> Connection:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await CONNECTORS[self.destination.protocol](self.destination)

    async def _send_until_lost(self, connection: Connection) -> None:
        """Send the queue, and all that comes into it; return or raise OSError when the connection is lost."""
        self._is_lost = False
        await asyncio.gather(self._watch_for_loss(connection), self._send_queue(connection))

    async def _watch_for_loss(self, connection: Connection) -> None:
        await connection.wait_until_lost()
        self._is_lost = True
        self._queue_changed.set()

    async def _send_queue(self, connection: Connection) -> None:
        try:
            while not self._is_lost:
                self._queue_changed.clear()
                if self._queue:
                    await self._send_batch(connection)
                else:
                    await self._queue_changed.wait()
        finally:
            connection.close()  # which ends the watch too

    async def _send_batch(self, connection: Connection) -> None:
        frames: list[bytes] = []
        size = 0
        for frame in self._queue:
            if frames and size + len(frame) > BATCH_BYTES:
                break
            frames.append(frame)
            size += len(frame)
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await connection.send(frames)
        for _ in frames:
            self._queued_bytes -= len(self._queue.popleft())


class StreamConnection:
    """TCP, with or without TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        writer.transport.set_write_buffer_limits(0)  # so that `drain` returns only when the kernel has all

    async def send(self, frames: list[bytes]) -> None:
        """Send frames one after another."""
        self._writer.write(b"".join(frames))
        await self._writer.drain()

    async def wait_until_lost(self) -> None:
        """Return when the connection was closed; the receiver's words are thrown away."""
        try:
            while await self._reader.read(1024):
                pass
        except OSError:
            return

    def close(self) -> None:
        """Close it; what the kernel has is still sent, and the rest is sent by the next connection."""
        if self._writer.transport.get_write_buffer_size():  # close() would wait for a receiver that hangs for ever
            self._writer.transport.abort()
        self._writer.close()


class DatagramConnection:
    """UDP: nobody tells if a message arrives."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer, self._closed = peer, asyncio.Event()

    async def send(self, frames: list[bytes]) -> None:
        """Send each frame as a datagram."""
        loop = asyncio.get_running_loop()
        for frame in frames:
            await loop.sock_sendall(self._peer, frame)

    async def wait_until_lost(self) -> None:
        """Return when it was closed here: nobody else closes it."""
        await self._closed.wait()

    def close(self) -> None:
        """Close the socket."""
        self._peer.close()
        self._closed.set()


async def _connect_tcp(destination: LogDestination) -> Connection:
    return StreamConnection(*await asyncio.open_connection(destination.host, destination.port))


async def _connect_tls(destination: LogDestination) -> Connection:
    import ssl  # 2 MB, only for those that use it

    context = ssl.create_default_context(cafile=destination.ca_file)
    if destination.cert_file is not None:
        context.load_cert_chain(destination.cert_file, destination.key_file, password="")  # "": ask no terminal
    return StreamConnection(*await asyncio.open_connection(destination.host, destination.port, ssl=context))


async def _connect_udp(destination: LogDestination) -> Connection:
    found = await asyncio.get_running_loop().getaddrinfo(
        destination.host, destination.port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP
    )
    family, kind, protocol, _, address = found[0]
    peer = socket.socket(family, kind, protocol)
    try:
        peer.setblocking(False)
        peer.connect(address)
    except OSError:
        peer.close()
        raise
    return DatagramConnection(peer)


CONNECTORS = {"tcp": _connect_tcp, "tls": _connect_tls, "udp": _connect_udp}


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:MAX_PROBLEM_CHARS]
