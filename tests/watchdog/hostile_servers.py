"""Serve answers that no honest server gives: canned bytes by path, and bytes or floods without an end."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass
class CannedServer:
    """HTTP server with canned answers; `requests` has the method, path and Authorization header of each request."""

    port: int
    answers: dict[str, tuple[int, dict[str, str], bytes]]  # by the end of the path: status, headers, body
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)  # all headers of each request
    # by the end of the path: answers that are given first, each once
    first_answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = field(default_factory=dict)
    awake: threading.Event = field(default_factory=threading.Event)  # while it is not set, no request is answered

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"


@contextlib.contextmanager
def serve_answers(
    answers: Mapping[str, tuple[int, dict[str, str], bytes]], unix_path: str = "", *, head_status: int = 200
) -> Iterator[CannedServer]:
    """Serve canned answers on a loopback port or a unix socket.

    A path without one is answered with 404. Another `head_status` than 200 is the answer to each HEAD that would have
    been answered with 200.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            canned.awake.wait()
            canned.requests.append((self.command, self.path, self.headers.get("Authorization", "")))
            canned.headers.append(dict(self.headers.items()))
            first = next((left for end, left in canned.first_answers.items() if left and path.endswith(end)), None)
            match = next((answer for end, answer in canned.answers.items() if path.endswith(end)), (404, {}, b""))
            status, headers, body = first.pop(0) if first else match
            if self.command == "HEAD" and status == 200:
                status = head_status
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *words: object) -> None:
            pass

    server: socketserver.BaseServer
    if unix_path:
        server, port = socketserver.ThreadingUnixStreamServer(unix_path, Handler), 0
    else:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        port = server.server_address[1]
    canned = CannedServer(port, dict(answers))
    canned.awake.set()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield canned
    finally:
        canned.awake.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def drip_bytes(
    beginning: bytes, listener: socket.socket | None = None, interval_s: float = 0.05, block: bytes = b"x"
) -> Iterator[str]:
    """Answer each connection with a beginning and then one more block at each interval, for ever; yield the address."""
    own = listener or socket.create_server(("127.0.0.1", 0))
    done = threading.Event()
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(beginning)
            while not done.wait(interval_s):
                connection.sendall(block)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = own.accept()
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield "" if listener else f"127.0.0.1:{own.getsockname()[1]}"
    finally:
        done.set()
        own.shutdown(socket.SHUT_RDWR)
        own.close()
        for thread in [acceptor, *threads]:
            thread.join(60)
