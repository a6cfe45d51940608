"""The client of the control socket reads an answer of known length at once, and tells when a part is missing."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from autopilot.cli.control_client import ConnectionLostError, follow

LINE = b'{"message": "x"}\n'


def serve_once(path: Path, answer: bytes) -> threading.Thread:
    """Answer one request on a socket, and close the connection."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server, server.accept()[0] as client:
            client.recv(65536)
            client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize("missing", [0, 1])
def test_a_page_is_whole_or_an_error(tmp_path: Path, missing: int) -> None:
    """A page that the server cuts is an error, and not a shorter page."""
    head = f"HTTP/1.0 200 OK\r\nContent-Length: {(2 + missing) * len(LINE)}\r\n\r\n".encode()
    server = serve_once(tmp_path / "s", head + 2 * LINE)
    records = follow(str(tmp_path / "s"), "/v1/logs")
    if missing:
        with pytest.raises(ConnectionLostError, match="within its answer"):
            list(records)
    else:
        assert list(records) == 2 * [{"message": "x"}]
    server.join()
