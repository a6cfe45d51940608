"""HTCondor's command line tools, each with its own time limit. An exit status of 0 proves nothing: callers look
afterwards.

Why tools and not the Python bindings: a hung startd would hold our only thread inside a C call for as long as it
likes, the wheel weighs 24 MB on disk and 19 MB in memory, and a direct query by tool costs 13 ms of CPU, which is 0.1
% at one in 15 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autopilot.adapters.batch.htcondor.classads import Value, parse_ad, parse_ads, quote_string
from autopilot.runtime.command_runner import CommandResult, CommandRunner
from autopilot.spec.plan import Command

COMMAND_TIMEOUT_S = (
    15.0  # s for a command that changes something; a node under load is slow, 120 s were seen on a broken one
)
QUERY_TIMEOUT_S = 10.0
SETTING_NAMES = (
    "EXECUTE", "LOG", "SPOOL", "LOCK", "RUN", "COLLECTOR_HOST", "FULL_HOSTNAME", "STARTD_ADDRESS_FILE",
    "MAXJOBRETIREMENTTIME", "SHUTDOWN_GRACEFUL_TIMEOUT", "STARTD_NOT_RESPONDING_TIMEOUT",
    "SEC_TOKEN_SYSTEM_DIRECTORY", "SEC_TOKEN_DIRECTORY", "SEC_DEFAULT_AUTHENTICATION",
    "SEC_DEFAULT_AUTHENTICATION_METHODS", "SEC_CLIENT_AUTHENTICATION_METHODS", "CONDOR_IDS",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query brought. `ads` is None when it failed, and `problem` says how in one line."""

    ads: tuple[dict[str, Value], ...] | None
    problem: str = ""
    refused: bool = False  # it was reached, and does not take us


def get_last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def describe_failure(result: CommandResult, subject: str) -> str:
    if result.timed_out:
        return f"{subject} did not answer within {result.duration_s:.0f} s"
    return f"{subject} failed with status {result.status}: {get_last_line(result.output)}"


def find_refusal(output: str) -> str | None:
    """How a daemon that was reached turned us away: it does not know us, or does not let us; None when it did not."""
    lines = [line.strip() for line in output.splitlines()]
    return next(
        (line[:300] for word in ("IDTOKENS", "DENIED", "AUTHENTICATE:") for line in lines if word in line), None
    )


class CondorCommands:
    def __init__(self, command_runner: CommandRunner) -> None:
        self._command_runner = command_runner

    async def run(self, *argv: str, timeout: float | None = None) -> CommandResult:
        return await self._command_runner.run(
            Command(argv=argv), timeout=COMMAND_TIMEOUT_S if timeout is None else timeout, name=Path(argv[0]).name
        )

    async def read_settings(self) -> tuple[dict[str, str], str]:
        """The effective value of each of SETTINGS (absent: undefined or empty), and a problem or ""."""
        marker = "autopilot:"
        request = marker + "\x1f".join(f"{name}=$({name})" for name in SETTING_NAMES)
        done = await self.run("condor_config_val", "-macro", request, timeout=QUERY_TIMEOUT_S)
        line = next((line for line in done.output.splitlines() if line.startswith(marker)), None)
        if done.timed_out or done.status != 0 or line is None:
            return {}, describe_failure(done, "condor_config_val")
        pairs = (part.partition("=") for part in line.removeprefix(marker).split("\x1f"))
        return {name: value.strip() for name, _, value in pairs if value.strip()}, ""

    async def query_master(self, timeout: float = QUERY_TIMEOUT_S) -> dict[str, Value]:
        """condor_master's own view (`STARTD = "Alive"`, `STARTD_PID = 25`); {} when it does not answer."""
        done = await self.run("condor_who", "-quick", timeout=timeout)
        return {} if done.timed_out else parse_ad(done.output.splitlines())

    async def query_slots(self, address: str, timeout: float = QUERY_TIMEOUT_S) -> QueryResult:
        """Ask the startd itself, not the pool."""
        names = "Name,State,Activity,Draining,SlotType,JobId,TotalCpus,TotalMemory,Cpus,Memory,MyType"
        done = await self.run("condor_status", "-direct", address, "-long", "-attributes", names, timeout=timeout)
        if done.timed_out or done.status != 0:
            return QueryResult(None, describe_failure(done, "condor_startd"))
        return QueryResult(tuple(ad for ad in parse_ads(done.output) if "State" in ad))

    async def query_collector(self, address: str, timeout: float = QUERY_TIMEOUT_S) -> QueryResult:
        """The collector's ads of the startd with this address: none, and the node is not in the pool."""
        wanted = f"MyAddress =?= {quote_string(address)}"
        argv = (
            "condor_status",
            "-startd",
            "-constraint",
            wanted,
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
        """Empty when the collector would take our ads, else its answer in one line."""
        done = await self.run("condor_ping", "-verbose", "-type", "collector", "ADVERTISE_STARTD", timeout=timeout)
        if done.status == 0 and not done.timed_out:
            return ""
        return find_refusal(done.output) or describe_failure(done, "condor_ping")

    async def stop_startd_peacefully(self) -> CommandResult:
        return await self.run("condor_off", "-peaceful", "-daemon", "startd")

    async def drain_master(self, reason: str) -> CommandResult:
        return await self.run("condor_off", "-drain", "-master", "-reason", reason[:200])

    async def reconfigure_startd(self) -> CommandResult:
        return await self.run("condor_reconfig", "-daemon", "startd")

    async def can_resolve(self, host: str, timeout: float) -> bool | None:
        """By this host's own resolver; None when there is no `getent` to ask. In a child: getaddrinfo blocks."""
        done = await self.run("getent", "ahosts", host, timeout=timeout)
        if done.timed_out:
            return False
        return None if done.status in (126, 127) else done.status == 0
