"""Send lines of the log to another host: in order, from a bounded buffer, never waited for by anybody.

A line stays in the buffer until the connection has taken it, and after a break it is sent again: a receiver may see a
line twice, or miss those that only the network had. While the receiver is away or slow the buffer fills; then new lines
go to the disk, if the job spec gives space there, and are sent after those of the buffer. When there is no room left,
new lines are dropped and counted, and the count is sent as soon as there is room.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.adapters.logs.log_entry import ForwardedLine
from autopilot.adapters.logs.log_spill import LogSpill
from autopilot.amounts import format_count
from autopilot.retry_delay import RetryDelay
from autopilot.spec.plan import LogDestination

RETRY_DELAY = RetryDelay(first_s=0.5, max_s=30.0)
CONNECT_TIMEOUT_S = 10.0
STEADY_S = 5.0  # a connection that ends sooner may be that of a proxy without a receiver behind it
MAX_QUICK_LOSSES = 1  # in a row, which are no trouble yet: a receiver that restarts
SEND_TIMEOUT_S = 30.0  # for a batch: a receiver that takes nothing for so long has hung
OTLP_TIMEOUT_S = 10.0  # for a batch with the answer, the default of OpenTelemetry
BATCH_BYTES = 64 * 1024
REFUSED_NOTICE_S = 10.0  # from one notice of refused lines to the next
NOTICE_BYTES = 16 * 1024  # on the disk beyond its bound, for the notices of the last lines
MAX_PROBLEM_CHARS = 200
MAX_NAME_CHARS = 200  # of the name of a directory
DIGEST_CHARS = 16  # of them, for a URL that is too long


class Connection(Protocol):
    """A connection to a receiver."""

    is_open: bool
    """False if only a `send` that succeeds shows that the receiver is there."""

    async def send(self, frames: list[bytes]) -> int:
        """Send frames, and return when the kernel or the receiver has taken them.

        Args:
            frames: The encoded lines.

        Returns:
            The number of frames that the receiver refuses for good.

        Raises:
            OSError: The connection is lost, or the receiver cannot take them now.
        """
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
        self._unreported_count = 0  # of lines that were dropped for want of room, since the last notice
        self._unreported_refused_count = 0  # of lines for which redaction had no time, since the last notice
        self._refused_told_at: float | None = None  # monotonic time of their last notice
        self.dropped_count = 0  # of lines, since the start
        self._queue_changed = asyncio.Event()
        self._is_lost = self._is_steady = self._is_sending = False  # the connection
        self._failures = 0  # one after the other
        self._quick_losses = 0  # of connections that were no steady ones, one after the other
        self._spill: LogSpill | None = None
        self._is_first_segment_queued = False  # the queue holds lines of the spill's first segment, and no others

    @property
    def _condition(self) -> str:
        return f"log-forward {self.destination.url}"

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the lines that wait, in memory and on the disk."""
        on_disk = self._spill.size_bytes if self._spill is not None else 0
        return on_disk if self._is_first_segment_queued else on_disk + self._queued_bytes

    def open_spill(self, parent: Path, on_moved: Callable[[str], None]) -> None:
        """Use the disk from now on, if the job spec gives space there, and send the lines of earlier lives first.

        Args:
            parent: The directory for the lines of all receivers.
            on_moved: Gets a sentence when something else had to be moved aside there.
        """
        if self.destination.spill_bytes is None:
            return
        directory = parent / _build_directory_name(self.destination.url)
        try:
            self._spill = LogSpill(directory, self.destination.spill_bytes, on_moved)
        except OSError as error:
            problem = f"cannot keep lines of the log in {directory}: {_describe(error)}"
            kind = f"log-spill {self.destination.url}"
            self._conditions.raise_condition(kind, f"{problem}; they wait in memory only")
            return
        if not self._spill.is_empty:  # what this life has logged so far comes after the lines of earlier ones
            frames = list(self._queue)
            self._queue.clear()
            self._queued_bytes = 0
            for frame in frames:
                if not self._spill.append(frame):
                    self._count_dropped(1)

    def add(self, line: ForwardedLine) -> None:
        """Queue a line, or drop and count it."""
        self._tell_dropped()
        self._tell_refused()
        if self._unreported_count or not self._keep(self._encode(line)):
            self._count_dropped(1)

    def take_over(self, earlier: LogForwarder) -> None:
        """Take the lines in memory and the counts of an ended forwarder to the same receiver, before `add` and `run`.

        Lines beyond the size of this buffer are the newest ones: they are dropped and counted.
        """
        self.dropped_count, self._unreported_count = earlier.dropped_count, earlier._unreported_count
        self._unreported_refused_count = earlier._unreported_refused_count
        self._refused_told_at, self._conditions = earlier._refused_told_at, earlier._conditions
        for frame in earlier._queue:
            if self._queued_bytes + len(frame) > self.destination.buffer_bytes:
                break
            self._append(frame)
        self._count_dropped(len(earlier._queue) - len(self._queue))
        earlier._forget_queue()

    def drop_rest(self) -> int:
        """Drop and count the lines in memory of a receiver that is not used any more; return their number."""
        self._conditions.clear_all()
        count = len(self._queue)
        self._count_dropped(count)
        self._forget_queue()
        return count

    def count_refused(self) -> None:
        """Count a line that cannot be sent, because redaction has no time for it."""
        self._unreported_refused_count += 1
        self.dropped_count += 1

    def _tell_dropped(self) -> None:
        if self._unreported_count and self._has_much_room() and self._keep(self._encode(self._build_dropped_notice())):
            self._unreported_count = 0

    def _tell_refused(self) -> None:
        """Send the number of refused lines, not too often: patterns may get and lose their time line by line."""
        now = time.monotonic()
        if self._refused_told_at is not None and now - self._refused_told_at < REFUSED_NOTICE_S:
            return
        is_wanted = self._unreported_refused_count and not self._unreported_count
        if is_wanted and self._keep(self._encode(self._build_refused_notice())):
            self._unreported_refused_count, self._refused_told_at = 0, now

    def _build_dropped_notice(self) -> ForwardedLine:
        return _build_notice(self._unreported_count, f"{self.destination.url} did not take them")

    def _build_refused_notice(self) -> ForwardedLine:
        return _build_notice(self._unreported_refused_count, "logging.redact.patterns had no time for them")

    def _has_much_room(self) -> bool:
        if self._spill is None or self._spill.is_empty:
            return self._queued_bytes < self.destination.buffer_bytes // 2
        return self._spill.size_bytes < self._spill.max_bytes // 2

    def _keep(self, data: bytes) -> bool:
        """Queue an encoded line, on the disk if older lines are there or memory is full; return False without room."""
        if self._spill is not None and not self._spill.is_empty:
            return self._spill.append(data)
        if self._queued_bytes + len(data) <= self.destination.buffer_bytes:
            self._append(data)
            return True
        return self._spill is not None and self._spill.append(data)

    def _count_dropped(self, count: int) -> None:
        self._unreported_count += count
        self.dropped_count += count

    def _append(self, data: bytes) -> None:
        self._queue.append(data)
        self._queued_bytes += len(data)
        self._queue_changed.set()

    async def run(self) -> None:
        """Connect and send, for ever; after a failure again, with back-off."""
        while True:
            try:
                connection = await self._connect()
                if connection.is_open:
                    self._handle_success()
                    self._quick_losses += 1
                with suppress(ConnectionError) if connection.is_open else nullcontext():  # a reset is a loss, too
                    await self._send_until_lost(connection)
                if self._quick_losses > MAX_QUICK_LOSSES:
                    raise ConnectionError("it closes each connection at once")
            except (OSError, TimeoutError, ValueError) as error:  # ValueError: a certificate or a name that is none
                self._failures += 1
                if self._failures > 1:  # a receiver that restarts is back at once
                    problem = f"cannot send the log to {self.destination.url}: {_describe(error)}"
                    remedy = "lines wait in a buffer, then they are dropped and counted; it is tried again"
                    self._conditions.raise_condition(self._condition, f"{problem}; {remedy}")
            await asyncio.sleep(RETRY_DELAY.compute(max(self._failures, self._quick_losses), random.random()))

    def _handle_success(self) -> None:
        if self._quick_losses <= MAX_QUICK_LOSSES:
            self._failures = 0
            self._conditions.clear_condition(self._condition)

    def _become_steady(self) -> None:
        self._is_steady = True
        if not self._is_sending:  # else the receiver may have hung
            self._quick_losses = 0
            self._handle_success()

    async def flush(self) -> None:
        """Send what is left, by a connection of its own, at the end of the life; give up at the first failure."""
        try:
            if self._has_lines():
                connection = await self._connect()
                try:
                    while self._has_lines():
                        await self._send_batch(connection)
                finally:
                    connection.close()
        except (OSError, TimeoutError, ValueError):
            pass  # nobody is left to be told

    def save_rest(self) -> None:
        """Leave the lines that were not sent to the next life, at the end of this one, where the disk has space."""
        if self._spill is None:
            return
        if self._is_first_segment_queued:
            self._spill.replace_first(self._queue)
        elif lost := self._spill.put_first(list(self._queue)):
            self._count_dropped(lost)
        self._forget_queue()
        if self._unreported_count and self._append_last_notice(self._spill, self._build_dropped_notice()):
            self._unreported_count = 0
        if self._unreported_refused_count and self._append_last_notice(self._spill, self._build_refused_notice()):
            self._unreported_refused_count = 0
        self._spill.close()
        self._spill = None

    def _append_last_notice(self, spill: LogSpill, notice: ForwardedLine) -> bool:
        return spill.append(self._encode(notice), extra_bytes=NOTICE_BYTES)

    def _forget_queue(self) -> None:
        self._queue.clear()
        self._queued_bytes, self._is_first_segment_queued = 0, False

    async def _connect(self) -> Connection:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await CONNECTORS[self.destination.protocol](self.destination)

    async def _send_until_lost(self, connection: Connection) -> None:
        """Send the queue, and all that comes into it; return or raise OSError when the connection is lost."""
        self._is_lost = self._is_steady = False
        timer = asyncio.get_running_loop().call_later(STEADY_S, self._become_steady) if connection.is_open else None
        try:
            await asyncio.gather(self._watch_for_loss(connection), self._send_queue(connection))
        finally:
            if timer is not None:
                timer.cancel()

    async def _watch_for_loss(self, connection: Connection) -> None:
        await connection.wait_until_lost()
        self._is_lost = True
        self._queue_changed.set()

    async def _send_queue(self, connection: Connection) -> None:
        try:
            while not self._is_lost:
                self._queue_changed.clear()
                if self._has_lines():
                    await self._send_batch(connection)
                else:
                    await self._queue_changed.wait()
        finally:
            connection.close()  # which ends the watch too

    def _has_lines(self) -> bool:
        return bool(self._queue) or (self._spill is not None and not self._spill.is_empty)

    def _load_first_segment(self, spill: LogSpill) -> None:
        """Take the oldest lines from the disk into the queue, which is empty; pass over damaged segments."""
        while not self._queue and not spill.is_empty:
            for frame in spill.read_first():
                self._append(frame)
            self._is_first_segment_queued = bool(self._queue)
            if not self._queue:
                spill.drop_first()

    async def _send_batch(self, connection: Connection) -> None:
        if not self._queue and self._spill is not None:
            self._load_first_segment(self._spill)
        frames: list[bytes] = []
        size = 0
        for frame in self._queue:
            if frames and size + len(frame) > BATCH_BYTES:
                break
            frames.append(frame)
            size += len(frame)
        if not frames:  # all that was on the disk was damaged
            return
        self._is_sending = True
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                refused_count = await connection.send(frames)
        finally:
            self._is_sending = False
        if self._is_steady:
            self._quick_losses = 0
        self._handle_success()
        for _ in frames:
            self._queued_bytes -= len(self._queue.popleft())
        if self._is_first_segment_queued and not self._queue and self._spill is not None:
            self._spill.drop_first()
            self._is_first_segment_queued = False
        if refused_count:
            self._count_dropped(refused_count)


def _build_directory_name(url: str) -> str:
    """Return the name of the directory for the lines of a receiver; a long one ends with a digest of the URL."""
    name = quote(url, safe="")
    if len(name) <= MAX_NAME_CHARS:
        return name
    from hashlib import sha256  # only for those that have such a URL

    digest = sha256(url.encode()).hexdigest()[:DIGEST_CHARS]
    return f"{name[: MAX_NAME_CHARS - DIGEST_CHARS - 1]}-{digest}"


def _build_notice(count: int, cause: str) -> ForwardedLine:
    sentence = f"{format_count(count, 'line')} of log dropped: {cause}"
    return ForwardedLine(time.time(), "warning", "log_lines_dropped", sentence, {})


class StreamConnection:
    """TCP, with or without TLS."""

    is_open = True

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        writer.transport.set_write_buffer_limits(0)  # so that `drain` returns only when the kernel has all

    async def send(self, frames: list[bytes]) -> int:
        """Send frames one after another."""
        self._writer.write(b"".join(frames))
        await self._writer.drain()
        return 0

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

    is_open = True

    def __init__(self, peer: socket.socket) -> None:
        self._peer, self._closed = peer, asyncio.Event()

    async def send(self, frames: list[bytes]) -> int:
        """Send each frame as a datagram."""
        loop = asyncio.get_running_loop()
        for frame in frames:
            await loop.sock_sendall(self._peer, frame)
        return 0

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

    try:
        context = ssl.create_default_context(cafile=destination.ca_file)
        if destination.cert_file is not None:
            context.load_cert_chain(destination.cert_file, destination.key_file, password="")  # "": ask no terminal
    except OSError as error:
        files = filter(None, (destination.ca_file, destination.cert_file, destination.key_file))
        raise OSError(f"{', '.join(files)}: {_describe(error)}") from error
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


async def _connect_otlp(destination: LogDestination) -> Connection:
    from autopilot.runtime.script_loading import import_modules

    await import_modules("autopilot.adapters.logs.otlp_connection")  # 0.3 s and 18 MB, only for those that use it
    from autopilot.adapters.logs.otlp_connection import OtlpConnection

    return OtlpConnection(destination, timeout_s=OTLP_TIMEOUT_S)


CONNECTORS = {
    "tcp": _connect_tcp,
    "tls": _connect_tls,
    "udp": _connect_udp,
    "otlp+http": _connect_otlp,
    "otlp+https": _connect_otlp,
}


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:MAX_PROBLEM_CHARS]
