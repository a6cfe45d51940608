"""Send lines of the log by OTLP/HTTP, with the exporter of the OpenTelemetry SDK.

The exporter is a blocking program with retries of its own for answers that ask for them (429, 503, `Retry-After`). It
runs in a thread that nobody waits for at the end of a life. A connection that fails is left to the forwarder, with its
back-off. This module imports the SDK, so it is loaded only where a job spec asks for OTLP.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import requests
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from requests.adapters import HTTPAdapter

from autopilot import __version__
from autopilot.adapters.logs.otlp_format import OtlpRecord, decode_frames
from autopilot.spec.plan import LogDestination

REFUSING_STATUSES = (400, 413, 422)  # the same lines would be refused again
MAX_ANSWER_BYTES = 64 * 1024
SCOPE = InstrumentationScope("autopilot", __version__)

# the forwarder reports failures; the SDK's own words would go to stderr, in between the lines of jobs
logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
logging.getLogger("opentelemetry").propagate = False


class SocketReportingAdapter(HTTPAdapter):
    """The connections of a session, with a report of each new socket before its first byte."""

    def __init__(self, on_connected: Callable[[socket.socket], None]) -> None:
        self._on_connected = on_connected
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Create the pools of connections to receivers."""
        super().init_poolmanager(*args, **options)
        self._observe(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the pools of connections to a proxy."""
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if is_new:
            self._observe(manager)
        return manager

    def _observe(self, manager: Any) -> None:
        pool_classes = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: self._derive(pool_classes[scheme]) for scheme in pool_classes}

    def _derive(self, pool_class: Any) -> Any:
        """Return a class of pools whose connections report their sockets."""

        def connect(connection: Any) -> socket.socket:
            connected: socket.socket = pool_class.ConnectionCls._new_conn(connection)
            self._on_connected(connected)
            return connected

        connection_class = type("ReportingConnection", (pool_class.ConnectionCls,), {"_new_conn": connect})
        return type("ReportingPool", (pool_class,), {"ConnectionCls": connection_class})


class ObservedSession(requests.Session):
    """A session that keeps the last answer in bounded length, and leaves retries of lost connections to the caller.

    The time limit of the HTTP library holds for each read alone. So `close` shuts the socket down, and a request that
    is under way in another thread ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status: int | None = None
        self.problem = ""
        self.answer = b""
        self._lock = threading.Lock()
        self._is_closed = False
        self._held: socket.socket | None = None  # a second descriptor of the newest socket
        for scheme in ("http://", "https://"):
            self.mount(scheme, SocketReportingAdapter(self._hold))

    def _hold(self, connected: socket.socket) -> None:
        with self._lock:
            if self._is_closed:
                connected.close()
                raise OSError("the connection is closed")
            if self._held is not None:
                self._held.close()
            self._held = socket.socket(fileno=os.dup(connected.fileno()))

    def close(self) -> None:
        """Close all connections, that of a request under way too."""
        with self._lock:
            self._is_closed = True
            if self._held is not None:
                with suppress(OSError):  # the receiver has closed it
                    self._held.shutdown(socket.SHUT_RDWR)
                self._held.close()
                self._held = None
        super().close()

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: the library would read the whole answer of a redirect, without a bound."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request; raise RequestException without an answer."""
        self.status, self.problem, self.answer = None, "", b""
        # a CA of the job spec goes before one of the environment
        options |= {"stream": True, "allow_redirects": False, "verify": options.get("verify") or self.verify}
        try:
            response = super().request(*args, **options)
            self.answer = response.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
        except (OSError, ValueError) as error:  # of requests, urllib3 and TLS: their classes derive from these
            self.problem = _describe_problem(error)
            raise requests.RequestException(self.problem) from error
        except Exception as error:  # urllib3's own
            self.problem = type(error).__name__
            raise requests.RequestException(self.problem) from error
        if len(self.answer) > MAX_ANSWER_BYTES:
            response.close()
        self.status, self.problem = response.status_code, f"HTTP {response.status_code} {response.reason}"
        return response


class OtlpConnection:
    """The connection to one receiver."""

    is_open = False

    def __init__(self, destination: LogDestination, *, timeout_s: float) -> None:
        """Prepare; the first `send` connects.

        Args:
            destination: The receiver.
            timeout_s: The limit for a batch and its answer, with retries.
        """
        scheme = destination.protocol.removeprefix("otlp+")
        host = f"[{destination.host}]" if ":" in destination.host else destination.host
        self._session = ObservedSession()
        self._exporter = OTLPLogExporter(
            endpoint=f"{scheme}://{host}:{destination.port}{destination.path}",
            certificate_file=destination.ca_file,
            client_key_file=destination.key_file,
            client_certificate_file=destination.cert_file,
            headers=dict(destination.headers) or None,
            timeout=timeout_s,
            compression=Compression.Gzip,
            session=self._session,
        )
        self._closed = asyncio.Event()

    async def send(self, frames: list[bytes]) -> int:
        """Send frames as one request, and return the number of those that the receiver refuses for good."""
        records = decode_frames(frames)
        batch = _build_batch(records)
        is_taken = await _run_in_thread(lambda: self._exporter.export(batch) is LogRecordExportResult.SUCCESS)
        status = self._session.status
        if status in REFUSING_STATUSES:
            return len(frames)
        if not is_taken or status is None or not 200 <= status < 300:
            raise OSError(self._session.problem or "no answer")
        return len(frames) - len(records) + min(len(records), _count_rejected(self._session.answer))

    async def wait_until_lost(self) -> None:
        """Return when it was closed here: a request shows that the receiver is gone."""
        await self._closed.wait()

    def close(self) -> None:
        """Close it; a request or a retry that is under way ends."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        self._closed.set()


def _build_batch(records: Sequence[OtlpRecord]) -> list[ReadableLogRecord]:
    resources = {pairs: Resource(dict(pairs)) for pairs in dict.fromkeys(record.resource for record in records)}
    return [
        ReadableLogRecord(
            LogRecord(
                timestamp=record.time_ns,
                observed_timestamp=record.time_ns,
                severity_text=record.level,
                severity_number=SeverityNumber(record.severity_number),
                body=record.body,
                attributes=dict(record.attributes),
                event_name=record.event or None,
            ),
            resources[record.resource],
            SCOPE,
        )
        for record in records
    ]


def _count_rejected(answer: bytes) -> int:
    """Return the number of lines that an answer calls rejected; 0 for an answer that cannot be read."""
    try:
        return max(0, int(ExportLogsServiceResponse.FromString(answer).partial_success.rejected_log_records))
    except Exception:  # protobuf's DecodeError has several homes; some receivers answer in JSON or with words
        return 0


async def _run_in_thread(work: Any) -> bool:
    """Return the result of `work`, from a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def set_outcome(result: bool, error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(OSError(f"{type(error).__name__}: {error}"))

    def run() -> None:
        result, problem = False, None
        try:
            result = work()
        except Exception as error:
            problem = error
        with suppress(RuntimeError):  # the loop is closed: the life is over
            loop.call_soon_threadsafe(set_outcome, result, problem)

    threading.Thread(target=run, name="otlp", daemon=True).start()
    return await done


def _describe_problem(error: Exception) -> str:
    """Return the innermost cause of an error of the HTTP library: its own words hold addresses of objects."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
