"""A receiver of OTLP/HTTP that decodes requests with OpenTelemetry's own messages."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import socket
import ssl
import threading
from pathlib import Path
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse


class ReceivedLine(NamedTuple):
    """A line as the receiver understands it."""

    body: str
    severity: str
    number: int
    event: str
    time_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class OtlpReceiver:
    """A server on a port of the loopback; `statuses` are those of its next answers, then it answers 200."""

    def __init__(self, port: int = 0, certificate: tuple[Path, Path] | None = None) -> None:
        self.lines: list[ReceivedLine] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.statuses: list[int] = []
        self.rejected_count = 0  # told in each answer
        self.compressed_body: bytes | None = None  # of each answer, in place of the message
        self._connections: list[socket.socket] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver._connections.append(self.connection)

            def do_POST(self) -> None:
                receiver._handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket,
                server_side=True,
                do_handshake_on_connect=False,  # in the thread of its connection: it holds up no other one
            )
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in self._connections:  # kept open by the client
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        data = request.rfile.read(int(request.headers["Content-Length"]))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.paths.append(request.path)
        status = self.statuses.pop(0) if self.statuses else 200
        answer = ExportLogsServiceResponse()
        if status == 200:
            if request.headers["Content-Encoding"] == "gzip":
                data = gzip.decompress(data)
            self.lines += decode_request(data)
            answer.partial_success.rejected_log_records = self.rejected_count
        body = answer.SerializeToString() if self.compressed_body is None else self.compressed_body
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Content-Type", "application/x-protobuf")
        if self.compressed_body is not None:
            request.send_header("Content-Encoding", "gzip")
        if status == 302:
            request.send_header("Location", "/elsewhere")
        request.end_headers()
        request.wfile.write(body)


def decode_request(data: bytes) -> list[ReceivedLine]:
    """Return the lines of one request."""
    lines = []
    for resource_logs in ExportLogsServiceRequest.FromString(data).resource_logs:
        resource = read_attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            assert scope_logs.scope.name == "autopilot"
            for record in scope_logs.log_records:
                body, attributes = record.body.string_value, read_attributes(record.attributes)
                text, number, name = record.severity_text, record.severity_number, record.event_name
                lines.append(ReceivedLine(body, text, number, name, record.time_unix_nano, attributes, resource))
    return lines


def read_attributes(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dict."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
