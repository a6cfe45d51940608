"""Check that the name of a host resolves to an address."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.adapters.checks.child_check import ChildProbe, list_child_settings, run_in_child
from autopilot.spec.plan import Command

BATCH_SYSTEM = None
MAX_SHOWN_ADDRESSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NameProbe(ChildProbe):
    """Settings of a check of a name."""

    kind: ClassVar[str] = "resolves"

    host: str


PROBE_TYPE = NameProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of the key `resolves`."""
    from pydantic import Field

    from autopilot.spec import fields as f

    return f.Text | None, Field(default=None, description="a name of a host that must resolve to an address")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> NameProbe:
    """Return the settings for the plan."""
    return NameProbe(host=value, **list_child_settings(build_command))


async def run(probe: NameProbe, context: CheckContext) -> CheckResult:
    """Ask the resolver once, in a child process: it may wait for a server that is away."""
    return await run_in_child(probe, context, f"cannot resolve {probe.host}")


def examine(probe: NameProbe) -> CheckResult:
    """Resolve the name; the caller may wait long."""
    try:
        # a text would import a codec
        host = probe.host.encode() if probe.host.isascii() else probe.host
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return False, f"cannot resolve {probe.host}: {error.strerror}"
    except (ValueError, LookupError):  # a malformed name
        return False, f"cannot resolve {probe.host}: it is no name of a host"
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    return True, f"{probe.host} is {', '.join(addresses[:MAX_SHOWN_ADDRESSES])}"
