"""The flags of `containerpilot` that ask a running supervisor for something, over ContainerPilot's own API.

A sensor may be a job that runs `-putmetric` every second, so this loads neither the command line's library nor
http.client, which take three times as long as all the rest: one request, HTTP/1.0, the answer is what comes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from autopilot.app.paths import CONTAINERPILOT_SOCKET_PATH, NoConfigError, find_default_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
else:
    import _socket as socket

REFUSED_EXIT_CODE, TIMED_OUT_EXIT_CODE = 1, 99
UNPROCESSABLE_STATUS = 422  # the status of a reload that cannot be
REQUEST_TIMEOUT_S, RELOAD_TIMEOUT_S = 10.0, 120.0  # s

Request = tuple[str, str, Mapping[str, str] | None]  # method, path, body


class CommandError(Exception):
    """One sentence, and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def send_requests(flags: Mapping[str, Sequence[str]], requested: set[str], config: str | None) -> None:
    """Do what is asked. Raises Failed: refused (1), wrong usage (64), nobody answers (69), a bad config (78), no answer
    in time (99)."""
    requests = list(_build_requests(flags, requested))
    path = _find_socket_path(config)
    for method, target, body in requests:
        answer = _send_request(
            path, method, target, body, timeout=RELOAD_TIMEOUT_S if target == "/v3/reload" else REQUEST_TIMEOUT_S
        )
        if target == "/v3/ping":
            print("ok")
        elif target == "/v3/reload":
            from autopilot.cli.reload import print_changes  # seldom asked for

            print_changes(json.loads(answer))


def _build_requests(flags: Mapping[str, Sequence[str]], requested: set[str]) -> Iterator[Request]:
    """Raises Failed."""
    if "reload" in requested:
        yield "POST", "/v3/reload", None
    if "maintenance" in requested:
        state = flags["maintenance"][-1]
        if state not in ("enable", "disable"):
            raise CommandError(f'invalid value "{state}" for flag -maintenance: write enable or disable', os.EX_USAGE)
        yield "POST", f"/v3/maintenance/{state}", None
    if "putenv" in requested:  # its documentation unsets by the name alone
        yield "POST", "/v3/environ", dict(_parse_pairs(s if "=" in s else f"{s}=" for s in flags["putenv"]))
    if "putmetric" in requested:
        yield "POST", "/v3/metric", dict(_parse_pairs(flags["putmetric"]))
    if "ping" in requested:
        yield "GET", "/v3/ping", None


def _parse_pairs(settings: Iterable[str]) -> Iterator[tuple[str, str]]:
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise CommandError(f"cannot set {setting!r}; write NAME=VALUE", os.EX_USAGE)
        yield name, value


def _send_request(path: str, method: str, target: str, body: Mapping[str, str] | None, *, timeout: float) -> str:
    """The answer's body. Raises Failed."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {target} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        connection.connect(path)
        connection.sendall(head.encode() + data)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        status = int(received.split(None, 2)[1])
    except TimeoutError:
        raise CommandError(f"no answer within {timeout:g} s", TIMED_OUT_EXIT_CODE) from None
    except (OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or "it left without an answer"
        raise CommandError(f"no supervisor answers on {path}: {reason}", os.EX_UNAVAILABLE) from None
    finally:
        connection.close()
    text = received.partition(b"\r\n\r\n")[2].decode(errors="replace")
    if status >= 400:
        raise CommandError(
            _parse_error(text) or f"status {status}",
            os.EX_CONFIG if status == UNPROCESSABLE_STATUS else REFUSED_EXIT_CODE,
        )
    return text


def _parse_error(text: str) -> str:
    """The sentence in an answer of ours, or the answer of a ContainerPilot."""
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


def _find_socket_path(config: str | None) -> str:
    """$AUTOPILOT_SOCKET, else `control.socket` of the config, else ContainerPilot's. A config that cannot be read is
    the supervisor's to complain about: it may run well with the one it has."""
    if os.environ.get("AUTOPILOT_SOCKET"):
        return os.environ["AUTOPILOT_SOCKET"]
    try:
        control = _read_control_section(config or find_default_config(os.environ, containerpilot=True))
    except NoConfigError:
        control = None
    except Exception as error:
        said = f"containerpilot: warning: cannot read the configuration: {error}"
        print(f"{said}; the socket is taken to be {CONTAINERPILOT_SOCKET_PATH}", file=sys.stderr)
        control = None
    named = control.get("socket") if isinstance(control, dict) else None
    return str(named or CONTAINERPILOT_SOCKET_PATH)


def _read_control_section(config: str) -> object:
    """The config's `control`, without looking at the rest: validation takes ten times as long."""
    with open(config, encoding="utf-8-sig") as file:
        text = file.read()
    if "{{" in text:
        from autopilot.spec import render

        text = render(config)
    if "control" not in text and "\\" not in text:
        return None
    import pyjson5

    tree = pyjson5.decode(text)
    return tree.get("control") if isinstance(tree, dict) else None
