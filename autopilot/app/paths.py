"""Choose the paths of the job spec, the state directory and the control socket, with their defaults."""

from __future__ import annotations

import os

from autopilot.errors import AutopilotError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_CONFIG_PATHS = ("/etc/autopilot.json5", "/etc/autopilot.json")  # the first that exists
CONTAINERPILOT_SOCKET_PATH = "/var/run/containerpilot.socket"


class NoConfigError(AutopilotError):
    """No job spec is named anywhere."""


def find_default_config(env: Mapping[str, str], containerpilot: bool = False) -> str:
    """Return the path of the job spec from the environment, or of the first default one that exists.

    Raises:
        NoConfigError: No job spec is named anywhere.
    """
    variables = ("AUTOPILOT_CONFIG", "CONTAINERPILOT")
    for variable in reversed(variables) if containerpilot else variables:
        if env.get(variable):
            return env[variable]
    for path in DEFAULT_CONFIG_PATHS:
        if os.path.exists(path):
            return path
    if containerpilot:
        raise NoConfigError("no configuration: name one with -config or in CONTAINERPILOT")
    raise NoConfigError(
        "no job spec: name one (`autopilot VERB CONFIG`), set AUTOPILOT_CONFIG, or put it at "
        + " or ".join(DEFAULT_CONFIG_PATHS)
    )


def choose_socket_path(planned: str | None, state: str, containerpilot: bool) -> str:
    """Return $AUTOPILOT_SOCKET, else the spec's `control.socket`, else the program's default."""
    own = CONTAINERPILOT_SOCKET_PATH if containerpilot else os.path.join(state, "autopilot.sock")
    return os.environ.get("AUTOPILOT_SOCKET") or planned or own


def choose_writable_state(state: str, socket: str) -> str:
    """Return a state directory that can be written: `state`, or a directory beside the socket.

    A read-only root or another user must not stop a drop-in, and the socket's directory is writable in any case.

    Args:
        state: The preferred directory; returned as it is when $AUTOPILOT_STATE names it.
        socket: The path of the control socket.

    Returns:
        The directory.
    """
    try:
        os.makedirs(state, exist_ok=True)
        usable = os.access(state, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    return state if usable or os.environ.get("AUTOPILOT_STATE") else get_state_beside_socket(socket)


def get_state_beside_socket(socket: str) -> str:
    """Return the state directory beside the control socket."""
    return socket + ".state"
