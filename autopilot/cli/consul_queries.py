"""Asks Consul for the verbs that look beyond this container."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from autopilot.cli.control_client import SupervisorUnreachableError

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient

DEFAULT_ADDRESS = "127.0.0.1:8500"

consul_option = click.option(
    "--consul", "given", metavar="HOST:PORT", help=f"Consul; $CONSUL_HTTP_ADDR, else {DEFAULT_ADDRESS}."
)


def query_consul(given: str | None, query: Callable[[ConsulClient], Awaitable[Any]]) -> Any:
    """The answer to one question. Token and certificates come from Consul's own environment variables."""
    if find_spec("consul") is None or find_spec("aiohttp") is None:
        raise click.ClickException("py-consul is not installed: pip install condor-autopilot[consul]")
    from autopilot.adapters.consul.connection_settings import ConsulSetupError, build_connection_settings
    from autopilot.adapters.consul.consul_client import ConsulClient
    from autopilot.adapters.consul.consul_errors import ConsulRefusedError
    from autopilot.adapters.consul.consul_errors import ConsulUnreachableError as NotReached
    from autopilot.spec.plan import Consul

    written = given or os.environ.get("CONSUL_HTTP_ADDR") or DEFAULT_ADDRESS
    scheme, _, address = written.rpartition("://")

    async def run_query() -> Any:
        client = ConsulClient(
            build_connection_settings(
                Consul(address=address, scheme="https" if scheme == "https" else None), os.environ
            )
        )
        try:
            return await query(client)
        finally:
            await client.close()

    try:
        return asyncio.run(run_query())
    except NotReached as error:
        raise SupervisorUnreachableError(f"cannot reach Consul at {written}: {error}; name it with --consul") from None
    except (ConsulRefusedError, ConsulSetupError) as error:
        raise click.ClickException(f"Consul at {written}: {error}") from None
