"""Send requests to the control socket of a running supervisor.

A sensor may be a job that runs `containerpilot -putmetric` every second, so this module loads neither click nor
http.client, which take three times as long as all the rest. HTTP/1.0 does: the answer ends with the connection.
"""

from __future__ import annotations

import json
import os

from autopilot.app.paths import CONTAINERPILOT_SOCKET_PATH
from autopilot.errors import AutopilotError
from autopilot.socket_addresses import build_socket_address
from autopilot.state_directory import choose_state_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from autopilot.api.messages import JobStatus, Status
else:
    import _socket as socket  # `socket` without its enums, which take 4 ms to load

REFUSED_EXIT_CODE, TIMED_OUT_EXIT_CODE = 1, 99  # 99 as in s6's verbs that wait
UNPROCESSABLE_STATUS = 422  # the job spec of a reload has problems
REQUEST_TIMEOUT_S = 10.0
READ_SIZE_BYTES = 65536


class ControlError(AutopilotError):
    """Request that failed: one sentence, and the exit code of the verb."""

    exit_code = REFUSED_EXIT_CODE


class UsageError(ControlError):
    """Arguments that cannot be sent."""

    exit_code = os.EX_USAGE


class SupervisorUnreachableError(ControlError):
    """No supervisor answers on the socket."""

    exit_code = os.EX_UNAVAILABLE


class ConnectionLostError(SupervisorUnreachableError):
    """The supervisor accepted the connection and closed it before its answer was complete."""


class AnswerTimeoutError(ControlError):
    """The supervisor did not answer in time."""

    exit_code = TIMED_OUT_EXIT_CODE


class ConfigRejectedError(ControlError):
    """The job spec has problems."""

    exit_code = os.EX_CONFIG


def find_socket_path(given: str | None) -> str:
    """Return the path of the control socket.

    It is the given one, else $AUTOPILOT_SOCKET, else autopilot.sock in the state directory, or ContainerPilot's where
    only that exists.
    """
    if named := given or os.environ.get("AUTOPILOT_SOCKET"):
        return named
    own = os.path.join(choose_state_directory(None), "autopilot.sock")
    return CONTAINERPILOT_SOCKET_PATH if os.path.exists(CONTAINERPILOT_SOCKET_PATH) and not os.path.exists(own) else own


def parse_pairs(settings: Iterable[str]) -> dict[str, str]:
    """Split `NAME=VALUE` settings.

    Raises:
        UsageError: A setting has no "=".
    """
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"cannot set {setting!r}; write NAME=VALUE")
        values[name] = value
    return values


def send_request(
    path: str,
    method: str,
    target: str,
    body: Mapping[str, object] | None = None,
    *,
    timeout: float | None = REQUEST_TIMEOUT_S,
) -> dict[str, Any]:
    """Send one request, and return its answer; an empty answer is {}.

    Args:
        path: Path of the control socket.
        method: HTTP method.
        target: Path and query of the operation (docs/api.md).
        body: JSON object; None sends no body.
        timeout: Seconds to wait for each part of the answer; None waits for as long as it takes.

    Raises:
        SupervisorUnreachableError: Nobody answers, or (ConnectionLostError) the connection broke.
        AnswerTimeoutError: No answer came in time.
        ConfigRejectedError: The job spec of a reload has problems.
        ControlError: The supervisor refused the request.
    """
    connection = _Connection(path, timeout)
    try:
        status = connection.send(method, target, body)
        text = connection.read_body()
    finally:
        connection.close()
    if status >= 400:
        kind = ConfigRejectedError if status == UNPROCESSABLE_STATUS else ControlError
        raise kind(_parse_error(text) or f"status {status}")
    if not text.strip():
        return {}
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ConnectionLostError(f"the answer on {path} is no JSON: {error}") from None
    return answer


def follow(path: str, target: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a stream as they come, until the supervisor ends it.

    Raises:
        SupervisorUnreachableError: Nobody answers.
        ControlError: The supervisor refused the request.
    """
    connection = _Connection(path, None)
    try:
        status = connection.send("GET", target, None)
        if status >= 400:
            raise ControlError(_parse_error(connection.read_body()) or f"status {status}")
        if connection.has_known_length:  # taken at once: a pager reads slowly, and the server waits for 10 s only
            yield from map(json.loads, connection.read_body().splitlines())
            return
        for line in connection.iterate_lines():
            yield json.loads(line)
    finally:
        connection.close()


def get_status(path: str, *, timeout: float | None = REQUEST_TIMEOUT_S) -> Status:
    """Ask for the state of the supervisor and its jobs. Raises ControlError, as `send_request` does."""
    answer: Any = send_request(path, "GET", "/v1/status", timeout=timeout)
    status: Status = answer
    return status


def find_job(status: Status, name: str) -> JobStatus:
    """Return the state of one job.

    Raises:
        ControlError: There is no such job.
    """
    for job in status["jobs"]:
        if job["name"] == name:
            return job
    raise ControlError(f"there is no job {name!r}; there are: {', '.join(job['name'] for job in status['jobs'])}")


def wait_for_end(path: str, timeout: float | None) -> None:
    """Wait until the supervisor's life is over: its end takes the connection with it.

    Raises:
        AnswerTimeoutError: The life goes on after `timeout` seconds.
    """
    try:
        send_request(path, "GET", "/v1/end", timeout=timeout)
    except SupervisorUnreachableError:
        return


class _Connection:
    """Connection for one request."""

    def __init__(self, path: str, timeout: float | None) -> None:
        self._path, self._timeout = path, timeout
        self._received = b""
        self._expected_bytes: int | None = None  # of the body
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)

    def send(self, method: str, target: str, body: Mapping[str, object] | None) -> int:
        """Send the request, and return the status of the answer."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        try:
            self._socket.connect(build_socket_address(self._path))
        except OSError as error:
            raise SupervisorUnreachableError(self._describe_failure(error.strerror or str(error))) from None
        try:
            self._socket.sendall(head.encode() + data)
        except TimeoutError:
            raise self._build_timeout_error() from None
        except OSError:
            pass  # a server that refuses a request early has answered it already
        while b"\r\n\r\n" not in self._received:
            if not (part := self._read()):
                raise ConnectionLostError(self._describe_failure("it closed the connection without an answer"))
            self._received += part
        lines, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *headers = lines.decode(errors="replace").split("\r\n")
        for header in headers:
            name, _, value = header.partition(":")
            if name.lower() == "content-length" and value.strip().isdecimal():
                self._expected_bytes = int(value)
        try:
            return int(first.split(None, 2)[1])
        except (ValueError, IndexError):
            raise ConnectionLostError(self._describe_failure("its answer is not HTTP")) from None

    @property
    def has_known_length(self) -> bool:
        """True for an answer that is no stream."""
        return self._expected_bytes is not None

    def read_body(self) -> str:
        """Return the whole body."""
        parts = [self._received]
        while part := self._read():
            parts.append(part)
        body = b"".join(parts)
        if self._expected_bytes is not None and len(body) < self._expected_bytes:
            raise ConnectionLostError(self._describe_failure("it closed the connection within its answer"))
        return body.decode(errors="replace")

    def iterate_lines(self) -> Iterator[bytes]:
        """Yield the lines of the body as they come; a last line that was cut is left out."""
        rest = self._received
        while True:
            *lines, rest = rest.split(b"\n")
            yield from lines
            try:
                part = self._read()
            except ConnectionLostError:
                return  # the life of the supervisor is over
            if not part:
                return
            rest += part

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> bytes:
        """Return the next part; empty at the end."""
        try:
            return self._socket.recv(READ_SIZE_BYTES)
        except TimeoutError:
            raise self._build_timeout_error() from None
        except OSError as error:
            raise ConnectionLostError(self._describe_failure(error.strerror or str(error))) from None

    def _build_timeout_error(self) -> AnswerTimeoutError:
        return AnswerTimeoutError(f"no answer within {self._timeout:g} s")

    def _describe_failure(self, reason: str) -> str:
        return f"no supervisor answers on {self._path}: {reason}; is it running, is this its socket?"


def _parse_error(text: str) -> str:
    """Return the sentence in an answer of ours, or the whole answer of a ContainerPilot."""
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.strip()
