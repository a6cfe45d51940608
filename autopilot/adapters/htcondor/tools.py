"""HTCondor's command line tools, each with its own time limit. An exit status of 0 proves nothing: callers look
afterwards.

Why tools and not the Python bindings: a hung startd would hold our only thread inside a C call for as long as it
likes, the wheel weighs 24 MB on disk and 19 MB in memory, and a direct query by tool costs 13 ms of CPU, which is 0.1
% at one in 15 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autopilot.adapters.htcondor.classads import Value, parse_ad, parse_ads, quoted
from autopilot.runtime.commands import CommandRunner, Finished
from autopilot.spec.plan import Command

COMMAND_LIMIT = (
    15.0  # s for a command that changes something; a node under load is slow, 120 s were seen on a broken one
)
QUERY_LIMIT = 10.0
SETTINGS = (
    "EXECUTE", "LOG", "SPOOL", "LOCK", "RUN", "COLLECTOR_HOST", "FULL_HOSTNAME", "STARTD_ADDRESS_FILE",
    "MAXJOBRETIREMENTTIME", "SHUTDOWN_GRACEFUL_TIMEOUT", "STARTD_NOT_RESPONDING_TIMEOUT",
    "SEC_TOKEN_SYSTEM_DIRECTORY", "SEC_TOKEN_DIRECTORY", "SEC_DEFAULT_AUTHENTICATION",
    "SEC_DEFAULT_AUTHENTICATION_METHODS", "SEC_CLIENT_AUTHENTICATION_METHODS", "CONDOR_IDS",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query brought. `ads` is None when it failed, and `problem` says how in one line."""

    ads: tuple[dict[str, Value], ...] | None
    problem: str = ""
    refused: bool = False  # it was reached, and does not take us


def last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def explain(done: Finished, what: str) -> str:
    if done.timed_out:
        return f"{what} did not answer within {done.seconds:.0f} s"
    return f"{what} failed with status {done.status}: {last_line(done.output)}"


def refusal(output: str) -> str | None:
    """How a daemon that was reached turned us away: it does not know us, or does not let us; None when it did not."""
    lines = [line.strip() for line in output.splitlines()]
    return next(
        (line[:300] for word in ("IDTOKENS", "DENIED", "AUTHENTICATE:") for line in lines if word in line), None
    )


class Tools:
    def __init__(self, run: CommandRunner) -> None:
        self._run = run

    async def call(self, *argv: str, limit: float | None = None) -> Finished:
        return await self._run.run(
            Command(argv=argv), timeout=COMMAND_LIMIT if limit is None else limit, name=Path(argv[0]).name
        )

    async def settings(self) -> tuple[dict[str, str], str]:
        """The effective value of each of SETTINGS (absent: undefined or empty), and a problem or ""."""
        marker = "autopilot:"
        request = marker + "\x1f".join(f"{name}=$({name})" for name in SETTINGS)
        done = await self.call("condor_config_val", "-macro", request, limit=QUERY_LIMIT)
        line = next((line for line in done.output.splitlines() if line.startswith(marker)), None)
        if done.timed_out or done.status != 0 or line is None:
            return {}, explain(done, "condor_config_val")
        pairs = (part.partition("=") for part in line.removeprefix(marker).split("\x1f"))
        return {name: value.strip() for name, _, value in pairs if value.strip()}, ""

    async def who(self, limit: float = QUERY_LIMIT) -> dict[str, Value]:
        """condor_master's own view (`STARTD = "Alive"`, `STARTD_PID = 25`); {} when it does not answer."""
        done = await self.call("condor_who", "-quick", limit=limit)
        return {} if done.timed_out else parse_ad(done.output.splitlines())

    async def slots(self, address: str, limit: float = QUERY_LIMIT) -> Answer:
        """Ask the startd itself, not the pool."""
        names = "Name,State,Activity,Draining,SlotType,JobId,TotalCpus,TotalMemory,Cpus,Memory,MyType"
        done = await self.call("condor_status", "-direct", address, "-long", "-attributes", names, limit=limit)
        if done.timed_out or done.status != 0:
            return Answer(None, explain(done, "condor_startd"))
        return Answer(tuple(ad for ad in parse_ads(done.output) if "State" in ad))

    async def known_to_collector(self, address: str, limit: float = QUERY_LIMIT) -> Answer:
        """The collector's ads of the startd with this address: none, and the node is not in the pool."""
        wanted = f"MyAddress =?= {quoted(address)}"
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
        done = await self.call(*argv, limit=limit)
        if done.timed_out or done.status != 0:
            return Answer(None, explain(done, "the collector"), refused=refusal(done.output) is not None)
        return Answer(tuple(ad for ad in parse_ads(done.output) if "Name" in ad))

    async def may_advertise(self, limit: float = QUERY_LIMIT) -> str:
        """Empty when the collector would take our ads, else its answer in one line."""
        done = await self.call("condor_ping", "-verbose", "-type", "collector", "ADVERTISE_STARTD", limit=limit)
        if done.status == 0 and not done.timed_out:
            return ""
        return refusal(done.output) or explain(done, "condor_ping")

    async def off_peacefully(self) -> Finished:
        return await self.call("condor_off", "-peaceful", "-daemon", "startd")

    async def off_drained(self, reason: str) -> Finished:
        return await self.call("condor_off", "-drain", "-master", "-reason", reason[:200])

    async def reconfigure_startd(self) -> Finished:
        return await self.call("condor_reconfig", "-daemon", "startd")

    async def resolves(self, host: str, limit: float) -> bool | None:
        """By this host's own resolver; None when there is no `getent` to ask. In a child: getaddrinfo blocks."""
        done = await self.call("getent", "ahosts", host, limit=limit)
        if done.timed_out:
            return False
        return None if done.status in (126, 127) else done.status == 0
