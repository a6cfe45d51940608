"""Query Consul, for the verbs that show more than this container."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from autopilot.errors import REINSTALL_REMEDY, AutopilotError

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient

DEFAULT_ADDRESS = "127.0.0.1:8500"

consul_option = click.option(
    "--consul",
    "given",
    metavar="HOST:PORT",
    help=f"Address of Consul.  [default: $CONSUL_HTTP_ADDR, else {DEFAULT_ADDRESS}]",
)


class ConsulQueryError(AutopilotError, click.ClickException):
    """Consul does not answer."""

    exit_code = os.EX_UNAVAILABLE


def query_consul(given: str | None, query: Callable[[ConsulClient], Awaitable[Any]]) -> Any:
    """Return the answer to one query. Token and certificates come from Consul's own environment variables.

    Args:
        given: Address, with or without a scheme; None for the default.
        query: Function that asks a client.

    Raises:
        ConsulQueryError: Consul does not answer.
        click.ClickException: Consul refused the query, or its library is not installed.
    """
    if find_spec("consul") is None:
        raise click.ClickException(f"py-consul is not installed: {REINSTALL_REMEDY}")
    from autopilot.adapters.consul.connection_settings import ConsulSetupError, build_connection_settings
    from autopilot.adapters.consul.consul_client import ConsulClient
    from autopilot.adapters.consul.consul_errors import (
        ConsulRefusedError,
        ConsulUnreachableError,
        reject_malformed_answers,
    )
    from autopilot.spec.plan import Consul

    target = given or os.environ.get("CONSUL_HTTP_ADDR") or DEFAULT_ADDRESS

    async def run_query() -> Any:
        client = ConsulClient(build_connection_settings(Consul(address=target), os.environ))
        try:
            with reject_malformed_answers():
                return await query(client)
        finally:
            client.close()

    try:
        return asyncio.run(run_query())
    except ConsulUnreachableError as error:
        raise ConsulQueryError(f"cannot reach Consul at {target}: {error}; name it with --consul") from None
    except (ConsulRefusedError, ConsulSetupError) as error:
        raise click.ClickException(f"Consul at {target}: {error}") from None
