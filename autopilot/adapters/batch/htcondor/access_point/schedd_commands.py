"""Ask and configure a schedd by HTCondor's tools, each with its own time limit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from autopilot.adapters.batch.htcondor.access_point.access_point_config import REQUIREMENT_NAME
from autopilot.adapters.batch.htcondor.access_point.queue_counts import (
    FACTORY_QUESTION,
    QueueCounts,
    count_unmade_jobs,
    parse_totals,
)
from autopilot.adapters.batch.htcondor.classads import parse_ads, quote_string
from autopilot.adapters.batch.htcondor.collector_link import parse_collectors
from autopilot.adapters.batch.htcondor.condor_commands import (
    QUERY_TIMEOUT_S,
    CondorCommands,
    QueryResult,
    find_refusal,
)
from autopilot.runtime.command_runner import describe_failure

PING_TIMEOUT_S = 5.0  # of a schedd that may be long gone
CONNECT_TIMEOUT_S = 3.0


class ScheddCommands:
    """The tools that concern the schedd of this container."""

    def __init__(self, commands: CondorCommands) -> None:
        """Run the tools by `commands`."""
        self._commands = commands

    async def count_jobs(self, timeout: float = QUERY_TIMEOUT_S) -> tuple[QueueCounts | None, str]:
        """Return the jobs of the queue, and a problem in one line; None when the schedd does not answer.

        The jobs still to be made are asked for first: one made between both questions is then counted twice, and never
        missed.
        """
        question = ("condor_q", "-allusers", "-factory", "-json", *FACTORY_QUESTION)
        factories = await self._commands.run(*question, timeout=timeout)
        if factories.timed_out or factories.status != 0:
            return None, describe_failure(factories, "condor_q")
        totals = await self._commands.run("condor_q", "-allusers", "-totals", "-json", timeout=timeout)
        if totals.timed_out or totals.status != 0:
            return None, describe_failure(totals, "condor_q")
        unmade, counts = count_unmade_jobs(factories.output), parse_totals(totals.output)
        if unmade is None or counts is None:
            return None, "condor_q printed something else than counts"
        return replace(counts, unmade=unmade), ""

    async def reconfigure(self) -> None:
        """Let the schedd read its configuration again. The caller looks at the effect."""
        await self._commands.run("condor_reconfig", "-daemon", "schedd")

    async def has_requirement(self, requirement: str) -> tuple[bool, str]:
        """Return whether the running schedd asks this of new jobs, by its value too, and a problem in one line."""
        names, problem = await self._read_running_setting("SUBMIT_REQUIREMENT_NAMES")
        if problem or REQUIREMENT_NAME not in names.replace(",", " ").split():
            return False, problem
        value, problem = await self._read_running_setting(f"SUBMIT_REQUIREMENT_{REQUIREMENT_NAME}")
        return requirement in (line.strip() for line in value.splitlines()), problem

    async def _read_running_setting(self, name: str) -> tuple[str, str]:
        """Return a setting as the running schedd has it, and a problem in one line."""
        done = await self._commands.run("condor_config_val", "-schedd", name, timeout=QUERY_TIMEOUT_S)
        if done.timed_out or done.status != 0:
            return "", describe_failure(done, "condor_schedd")
        return done.output, ""

    async def query_collector(self, name: str, timeout: float = QUERY_TIMEOUT_S) -> QueryResult:
        """Return the collector's ads of the schedd with this name."""
        argv = ("condor_status", "-schedd", "-constraint", f"Name =?= {quote_string(name)}", "-limit", "1")
        done = await self._commands.run(*argv, "-long", "-attributes", "Name,MyAddress,LastHeardFrom", timeout=timeout)
        if done.timed_out or done.status != 0:
            refused = find_refusal(done.output) is not None
            return QueryResult(None, describe_failure(done, "the collector"), refused=refused)
        return QueryResult(tuple(ad for ad in parse_ads(done.output) if "Name" in ad))

    async def check_advertise_right(self, timeout: float = QUERY_TIMEOUT_S) -> str:
        """Return "" when the collector would take the schedd's ad, else its answer in one line."""
        argv = ("condor_ping", "-verbose", "-type", "collector", "ADVERTISE_SCHEDD")
        done = await self._commands.run(*argv, timeout=timeout)
        if done.status == 0 and not done.timed_out:
            return ""
        return find_refusal(done.output) or describe_failure(done, "condor_ping")

    async def find_namesake(self, name: str) -> str:
        """Return the address of the schedd of this name that the pool knows, dead or alive; "" without one."""
        known = await self.query_collector(name)
        return str(known.ads[0].get("MyAddress", "")) if known.ads else ""

    async def is_alive(self, address: str) -> bool:
        """Return whether a daemon answers at this address, be it with a refusal.

        A schedd that reads a long queue, or waits for its disk, is silent for long: it still holds its port. The
        address of a dead host does not.
        """
        done = await self._commands.run("condor_ping", "-verbose", "-addr", address, "READ", timeout=PING_TIMEOUT_S)
        if done.timed_out:
            return any([await _can_connect(host, port) for host, port in parse_collectors(address)])
        return done.status == 0 or find_refusal(done.output) is not None


async def _can_connect(host: str, port: int) -> bool:
    """Return whether a program listens on this port."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, ValueError):  # TimeoutError is an OSError; ValueError: no port number
        return False
    writer.transport.abort()
    return True
