"""Asks Consul for the verbs that look beyond this container."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from autopilot.cli.client import Unreachable

if TYPE_CHECKING:
    from autopilot.adapters.consul.client import Client

DEFAULT = "127.0.0.1:8500"

consul_option = click.option(
    "--consul", "given", metavar="HOST:PORT", help=f"Consul; $CONSUL_HTTP_ADDR, else {DEFAULT}."
)


def asked(given: str | None, question: Callable[[Client], Awaitable[Any]]) -> Any:
    """The answer to one question. Token and certificates come from Consul's own environment variables."""
    if find_spec("consul") is None or find_spec("aiohttp") is None:
        raise click.ClickException("py-consul is not installed: pip install condor-autopilot[consul]")
    from autopilot.adapters.consul.access import CannotUseConsul, access
    from autopilot.adapters.consul.client import Client, Refused
    from autopilot.adapters.consul.client import Unreachable as NotReached
    from autopilot.spec.plan import Consul

    written = given or os.environ.get("CONSUL_HTTP_ADDR") or DEFAULT
    scheme, _, address = written.rpartition("://")

    async def answer() -> Any:
        client = Client(access(Consul(address=address, scheme="https" if scheme == "https" else None), os.environ))
        try:
            return await question(client)
        finally:
            await client.close()

    try:
        return asyncio.run(answer())
    except NotReached as error:
        raise Unreachable(f"cannot reach Consul at {written}: {error}; name it with --consul") from None
    except (Refused, CannotUseConsul) as error:
        raise click.ClickException(f"Consul at {written}: {error}") from None
