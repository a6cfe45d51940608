"""The flags of `containerpilot` that ask a running supervisor for something, over ContainerPilot's own API."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from autopilot.app.boot import CONTAINERPILOT_SOCKET, CannotBoot, default_config
from autopilot.cli.client import ask, pairs
from autopilot.spec import SpecError

EX_USAGE = 64
STATES = ("enable", "disable")
RELOAD = 120.0  # s; the configuration is validated in a child

Request = tuple[str, str, Mapping[str, object] | None]


def send(flags: Mapping[str, Sequence[str]], asked: set[str], config: str | None) -> int:
    """Do what is asked. The exit code: 0, 1 refused, 64 wrong usage, 69 nobody, 78 a bad config, 99 no answer."""
    try:
        for method, target, body in list(_requests(flags, asked)):
            _tell(target, ask(_socket(config), method, target, body, limit=RELOAD if target == "/v3/reload" else 10.0))
    except click.ClickException as error:
        print(f"containerpilot: {error.format_message()}", file=sys.stderr)
        return EX_USAGE if isinstance(error, click.UsageError) else error.exit_code
    return 0


def _requests(flags: Mapping[str, Sequence[str]], asked: set[str]) -> Iterator[Request]:
    """Raises UsageError."""
    if "reload" in asked:
        yield "POST", "/v3/reload", None
    if "maintenance" in asked:
        state = flags["maintenance"][-1]
        if state not in STATES:
            raise click.UsageError(f'invalid value "{state}" for flag -maintenance: write enable or disable')
        yield "POST", f"/v3/maintenance/{state}", None
    if "putenv" in asked:  # its documentation unsets by the name alone
        yield "POST", "/v3/environ", pairs(s if "=" in s else f"{s}=" for s in flags["putenv"])
    if "putmetric" in asked:
        yield "POST", "/v3/metric", pairs(flags["putmetric"])
    if "ping" in asked:
        yield "GET", "/v3/ping", None


def _tell(target: str, answer: Mapping[str, Any]) -> None:
    if target == "/v3/ping":
        print("ok")
    elif target == "/v3/reload":
        from autopilot.cli.reload import tell

        tell(answer)


def _socket(config: str | None) -> str:
    """$AUTOPILOT_SOCKET, else `control.socket` of the config, else ContainerPilot's. A config that cannot be read is
    the supervisor's to complain about: it may run well with the one it has."""
    if os.environ.get("AUTOPILOT_SOCKET"):
        return os.environ["AUTOPILOT_SOCKET"]
    try:
        tree = _tree(config or default_config(os.environ, containerpilot=True))
    except CannotBoot:
        return CONTAINERPILOT_SOCKET
    except SpecError as error:
        print(f"containerpilot: warning: {error}; the socket is taken to be {CONTAINERPILOT_SOCKET}", file=sys.stderr)
        return CONTAINERPILOT_SOCKET
    control = tree.get("control") if isinstance(tree, dict) else None
    named = control.get("socket") if isinstance(control, dict) else None
    return str(named or CONTAINERPILOT_SOCKET)


def _tree(config: str) -> Any:
    """The config, parsed and no more: validation takes ten times as long. Raises SpecError."""
    from autopilot.spec import render
    from autopilot.spec.parsing import SyntaxProblem, parse
    from autopilot.spec.source import refusal

    try:
        return parse(render(config)).value
    except SyntaxProblem as problem:
        raise refusal(config, problem.message) from None
