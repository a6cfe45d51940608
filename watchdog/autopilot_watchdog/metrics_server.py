"""Serve the metrics over HTTP with a bounded number of connections.

Connections that send nothing must not use up the descriptors with which `watch` does its work. Beyond the limit the
oldest connection makes room for the newest one, so a scrape always gets through.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

MAX_CONNECTIONS = 32
REQUEST_TIMEOUT_S = 10.0  # of silence


class _Handler(WSGIRequestHandler):
    """Handler that logs nothing and gives up a silent client."""

    timeout = REQUEST_TIMEOUT_S

    def log_message(self, format: str, *words: Any) -> None:
        """Log nothing."""


class BoundedServer(socketserver.ThreadingMixIn, WSGIServer):
    """WSGI server with one thread for each of at most MAX_CONNECTIONS connections."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        """Listen on an address.

        Raises:
            OSError: The address cannot be used.
        """
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self._connections: dict[socket.socket, None] = {}  # oldest first
        self._lock = threading.Lock()
        super().__init__((str(address[0]), port), _Handler)
        self.set_app(application)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; cut the oldest one if there are too many."""
        with self._lock:
            self._connections[request] = None
            if len(self._connections) > MAX_CONNECTIONS:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread sees the end and closes it
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that was served or cut."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that went away."""

    def server_bind(self) -> None:
        """Bind without asking the name service for our own name, as HTTPServer would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


def start_server(host: str, port: int, application: WSGIApplication) -> BoundedServer:
    """Start a server in a daemon thread.

    Raises:
        OSError: The address cannot be used.
    """
    server = BoundedServer(host, port, application)
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    return server
