"""Talks to a running supervisor through its control socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import click

TIMED_OUT_EXIT_CODE = 99  # as s6's wait verbs say it


class SupervisorUnreachableError(click.ClickException):
    exit_code = os.EX_UNAVAILABLE


class ConnectionLostError(SupervisorUnreachableError):
    """It was there, and went away before it answered."""


class AnswerTimeoutError(click.ClickException):
    exit_code = TIMED_OUT_EXIT_CODE


class ConfigRejectedError(click.ClickException):
    exit_code = os.EX_CONFIG


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def find_socket_path(given: str | None) -> str:
    """--socket, else $AUTOPILOT_SOCKET, else autopilot.sock in the state directory; where none is, ContainerPilot's."""
    from autopilot.app.paths import CONTAINERPILOT_SOCKET_PATH, choose_state_directory

    if named := given or os.environ.get("AUTOPILOT_SOCKET"):
        return named
    own = os.path.join(choose_state_directory(None), "autopilot.sock")
    return CONTAINERPILOT_SOCKET_PATH if os.path.exists(CONTAINERPILOT_SOCKET_PATH) and not os.path.exists(own) else own


def parse_pairs(settings: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE..., split. Raises UsageError."""
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"cannot set {setting!r}; write NAME=VALUE")
        values[name] = value
    return values


def send_request(
    path: str, method: str, target: str, body: Mapping[str, object] | None = None, *, timeout: float | None = 10.0
) -> dict[str, Any]:
    """The answer to one request. Raises Unreachable, TookTooLong, or ClickException with what the supervisor says."""
    connection = _UnixConnection(path, timeout)
    try:
        connection.request(method, target, body=json.dumps(body) if body else None)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read().strip() or b"{}")
    except TimeoutError:
        raise AnswerTimeoutError(f"no answer within {timeout:g} s") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _build_unreachable_error(path, error) from None
    finally:
        connection.close()
    if response.status >= 400:
        kind = ConfigRejectedError if response.status == HTTPStatus.UNPROCESSABLE_ENTITY else click.ClickException
        raise kind(str(answer.get("error", f"status {response.status}")))
    return answer


def follow(path: str, target: str) -> Iterator[dict[str, Any]]:
    """The records of a stream as they come, until the supervisor ends it. Raises Unreachable, ClickException."""
    connection = _UnixConnection(path, None)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        if response.status >= 400:
            raise click.ClickException(str(json.loads(response.read()).get("error", f"status {response.status}")))
        with suppress(OSError, http.client.HTTPException):  # its life is over
            for line in response:
                yield json.loads(line)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _build_unreachable_error(path, error) from None
    finally:
        connection.close()


def _build_unreachable_error(path: str, error: Exception) -> SupervisorUnreachableError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    kind = (
        ConnectionLostError
        if isinstance(error, (http.client.HTTPException, ConnectionResetError))
        else SupervisorUnreachableError
    )
    return kind(f"no supervisor answers on {path} ({reason}); is it running, is --socket right?")


def wait_for_end(path: str, timeout: float | None) -> None:
    """Returns when the life is over: its end takes the connection with it. Raises TookTooLong."""
    with suppress(SupervisorUnreachableError):
        send_request(path, "GET", "/v1/end", timeout=timeout)


def print_result(output: str, text: str, data: Mapping[str, Any]) -> None:
    """`text`, or the answer's data on one line."""
    click.echo(json.dumps(data) if output == "json" else text)


socket_option = click.option("--socket", "given_socket", metavar="PATH", help="Control socket of the supervisor.")
output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
wait_options = (
    click.option("--no-wait", is_flag=True, help="Return at once."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Stop waiting after so long (exit 99)."),
)


def add_wait_options(command: Any) -> Any:
    """Adds --no-wait and --timeout."""
    for option in wait_options:
        command = option(command)
    return command
