"""Run HTCondor's command line tools, each with its own time limit.

An exit status of 0 proves nothing: callers observe the node afterwards. The Python bindings are not used: a hung startd
would hold our only thread inside a C call, the wheel weighs 24 MB on disk and 19 MB in memory, and a direct query by
tool costs 13 ms of CPU, 0.1 % at one in 15 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autopilot.adapters.batch.htcondor.classads import Value, parse_ad, parse_ads, quote_string
from autopilot.runtime.command_runner import CommandResult, CommandRunner, describe_failure
from autopilot.spec.plan import Command

COMMAND_TIMEOUT_S = 15.0  # for a command that changes something; it took 120 s on a broken node
QUERY_TIMEOUT_S = 10.0
SETTING_NAMES = (
    "EXECUTE", "LOG", "SPOOL", "LOCK", "RUN", "COLLECTOR_HOST", "FULL_HOSTNAME", "STARTD", "STARTD_ADDRESS_FILE",
    "STARTD_LOG", "STARTD_HISTORY", "STARTD_EXPRS", "SCHEDD_NAME",
    "MAXJOBRETIREMENTTIME", "SHUTDOWN_GRACEFUL_TIMEOUT", "STARTD_NOT_RESPONDING_TIMEOUT",
    "SEC_TOKEN_SYSTEM_DIRECTORY", "SEC_TOKEN_DIRECTORY", "SEC_DEFAULT_AUTHENTICATION",
    "SEC_DEFAULT_AUTHENTICATION_METHODS", "SEC_CLIENT_AUTHENTICATION_METHODS", "CONDOR_IDS",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The answer of a daemon."""

    ads: tuple[dict[str, Value], ...] | None  # None: the query failed
    problem: str = ""  # the failure in one line
    refused: bool = False  # the daemon was reached, and denied access


def find_refusal(output: str) -> str | None:
    """Return a daemon's line about a denied authentication or authorization; None when it was not even reached."""
    lines = [line.strip() for line in output.splitlines()]
    return next(
        (line[:300] for word in ("IDTOKENS", "DENIED", "AUTHENTICATE:") for line in lines if word in line), None
    )


class CondorCommands:
    """HTCondor's tools, run among the supervisor's processes."""

    def __init__(self, command_runner: CommandRunner, env: Mapping[str, str] | None = None) -> None:
        """Run tools by `command_runner`, with the variables `env` over the supervisor's own."""
        self._command_runner, self._env = command_runner, env or {}

    async def run(self, *argv: str, timeout: float | None = None) -> CommandResult:
        """Run one tool; `timeout` is in seconds, COMMAND_TIMEOUT_S when None."""
        return await self._command_runner.run(
            Command(argv=argv, env=self._env),
            timeout=COMMAND_TIMEOUT_S if timeout is None else timeout,
            name=Path(argv[0]).name,
        )

    async def read_settings(self) -> tuple[dict[str, str], str]:
        """Return the values of SETTING_NAMES (absent: undefined or empty), and a problem in one line or ""."""
        marker = "autopilot:"
        request = marker + "\x1f".join(f"{name}=$({name})" for name in SETTING_NAMES)
        done = await self.run("condor_config_val", "-macro", request, timeout=QUERY_TIMEOUT_S)
        line = next((line for line in done.output.splitlines() if line.startswith(marker)), None)
        if done.timed_out or done.status != 0 or line is None:
            return {}, describe_failure(done, "condor_config_val")
        pairs = (part.partition("=") for part in line.removeprefix(marker).split("\x1f"))
        return {name: value.strip() for name, _, value in pairs if value.strip()}, ""

    async def query_master(self, timeout: float = QUERY_TIMEOUT_S) -> dict[str, Value]:
        """Return condor_master's view of its daemons (`STARTD = "Alive"`, `STARTD_PID = 25`); {} without an answer."""
        done = await self.run("condor_who", "-quick", timeout=timeout)
        return {} if done.timed_out else parse_ad(done.output.split("\n"))

    async def query_slots(self, address: str, timeout: float = QUERY_TIMEOUT_S) -> QueryResult:
        """Return the slots, by the startd itself and not by the pool."""
        names = "Name,State,Activity,Draining,SlotType,JobId,TotalCpus,TotalMemory,Cpus,Memory,JobStarts,MyType"
        done = await self.run("condor_status", "-direct", address, "-long", "-attributes", names, timeout=timeout)
        if done.timed_out or done.status != 0:
            return QueryResult(None, describe_failure(done, "condor_startd"))
        return QueryResult(tuple(ad for ad in parse_ads(done.output) if "State" in ad))

    async def query_collector(self, address: str, timeout: float = QUERY_TIMEOUT_S) -> QueryResult:
        """Return the collector's ads of the startd with this address; without any, the node is not in the pool."""
        constraint = f"MyAddress =?= {quote_string(address)}"
        argv = (
            "condor_status",
            "-startd",
            "-constraint",
            constraint,
            "-limit",
            "1",
            "-long",
            "-attributes",
            "Name,LastHeardFrom",
        )
        done = await self.run(*argv, timeout=timeout)
        if done.timed_out or done.status != 0:
            return QueryResult(
                None, describe_failure(done, "the collector"), refused=find_refusal(done.output) is not None
            )
        return QueryResult(tuple(ad for ad in parse_ads(done.output) if "Name" in ad))

    async def check_advertise_right(self, timeout: float = QUERY_TIMEOUT_S) -> str:
        """Return "" when the collector would take our ads, else its answer in one line."""
        done = await self.run("condor_ping", "-verbose", "-type", "collector", "ADVERTISE_STARTD", timeout=timeout)
        if done.status == 0 and not done.timed_out:
            return ""
        return find_refusal(done.output) or describe_failure(done, "condor_ping")

    async def stop_startd_peacefully(self) -> CommandResult:
        """Tell the startd to end once its jobs are done (sequence B of `drain_steps`)."""
        return await self.run("condor_off", "-peaceful", "-daemon", "startd")

    async def drain_master(self, reason: str) -> CommandResult:
        """Tell condor_master to drain the node and end (sequence A of `drain_steps`)."""
        return await self.run("condor_off", "-drain", "-master", "-reason", reason[:200])

    async def reconfigure_startd(self) -> CommandResult:
        """Let the startd read its configuration again; it sends its ads at once, too."""
        return await self.run("condor_reconfig", "-daemon", "startd")

    async def can_resolve(self, host: str, timeout: float) -> bool | None:
        """Return whether this host's resolver finds a name; None without `getent`. In a child: getaddrinfo blocks."""
        done = await self.run("getent", "ahosts", host, timeout=timeout)
        if done.timed_out:
            return False
        return None if done.status in (126, 127) else done.status == 0
