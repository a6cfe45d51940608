"""Run the flags of `containerpilot` that ask a running supervisor for something, over ContainerPilot's own API.

A sensor may be a job that runs `-putmetric` every second, so only light modules are loaded.
"""

from __future__ import annotations

import os
import sys

from autopilot.app.paths import CONTAINERPILOT_SOCKET_PATH, NoConfigError, find_default_config
from autopilot.cli.control_client import REQUEST_TIMEOUT_S, UsageError, find_socket_path, parse_pairs, send_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Request = tuple[str, str, Mapping[str, str] | None]  # method, path, body

RELOAD_TIMEOUT_S = 120.0


def send_requests(flags: Mapping[str, Sequence[str]], requested: set[str], config: str | None) -> None:
    """Send the requests that the flags stand for, in a fixed order, and print their results.

    Args:
        flags: Values of each flag, in their order.
        requested: Flags to carry out.
        config: Path of the config; None for the default one.

    Raises:
        ControlError: A flag is wrong, or a request failed; `exit_code` says how: refused (1), wrong usage (64), no
            supervisor (69), config with problems (78), no answer in time (99).
    """
    requests = list(_build_requests(flags, requested))
    path = _find_socket_path(config)
    for method, target, body in requests:
        timeout = RELOAD_TIMEOUT_S if target == "/v3/reload" else REQUEST_TIMEOUT_S
        answer = send_request(path, method, target, body, timeout=timeout)
        if target == "/v3/ping":
            print("ok")
        elif target == "/v3/reload":
            from autopilot.cli.reload import print_changes  # loads click

            print_changes(answer)


def _build_requests(flags: Mapping[str, Sequence[str]], requested: set[str]) -> Iterator[Request]:
    if "reload" in requested:
        yield "POST", "/v3/reload", None
    if "maintenance" in requested:
        state = flags["maintenance"][-1]
        if state not in ("enable", "disable"):
            raise UsageError(f'invalid value "{state}" for flag -maintenance: write enable or disable')
        yield "POST", f"/v3/maintenance/{state}", None
    if "putenv" in requested:
        yield "POST", "/v3/environ", parse_pairs(flags["putenv"])
    if "putmetric" in requested:
        yield "POST", "/v3/metric", parse_pairs(flags["putmetric"])
    if "ping" in requested:
        yield "GET", "/v3/ping", None


def _find_socket_path(config: str | None) -> str:
    """Return $AUTOPILOT_SOCKET, else `control.socket` of the config, else ContainerPilot's path.

    Where only the socket of `autopilot run` exists, it is taken, so that a sensor works under both programs.

    A config that cannot be read is only a warning: the supervisor may run well with the one it has loaded.
    """
    if os.environ.get("AUTOPILOT_SOCKET"):
        return os.environ["AUTOPILOT_SOCKET"]
    try:
        control = _read_control_section(config or find_default_config(os.environ, containerpilot=True))
    except NoConfigError:
        control = None
    except Exception as error:
        problem = f"containerpilot: warning: cannot read the configuration: {error}"
        print(f"{problem}; the socket is taken to be {CONTAINERPILOT_SOCKET_PATH}", file=sys.stderr)
        control = None
    named = control.get("socket") if isinstance(control, dict) else None
    if named or os.path.exists(CONTAINERPILOT_SOCKET_PATH):
        return str(named or CONTAINERPILOT_SOCKET_PATH)
    own = find_socket_path(None)
    return own if os.path.exists(own) else CONTAINERPILOT_SOCKET_PATH


def _read_control_section(config: str) -> object:
    """Return the section `control` of a config without validating the rest, which takes ten times as long."""
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
