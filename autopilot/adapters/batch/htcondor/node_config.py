"""Render the node's configuration: a worker that joins, drains well and knows its own size. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from autopilot.adapters.batch.htcondor.payload_limit import PayloadCount, render_limit
from autopilot.errors import AutopilotError

RETIREMENT_S = 365 * 86400  # longer than any drain: the supervisor keeps the deadline, which a reload may move
GRACEFUL_TIMEOUT_S = RETIREMENT_S + 3600
LIFE_ATTRIBUTE = "AutopilotLife"  # of the ads of a node that a supervisor runs
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


class InvalidSettingError(AutopilotError, ValueError):
    """A name or value cannot stand in a configuration file as one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The settings that differ from node to node."""

    condor_host: str | None  # None: as the image's configuration has it
    name: str
    cpus: int
    memory: int  # MiB
    domain: str = "local"  # for host names without a dot, where the image's configuration names none
    accept_jobs: bool = True
    payload_limit: int | None = None  # payloads of this life, after which the startd refuses any other
    payload_count: PayloadCount = field(default_factory=PayloadCount)


def build_node_name(configured_name: str | None, life_id: str, slot: str | None) -> str:
    """Return a name that is unique for each life.

    With a name used again, the last message of the old startd would remove the new node's ads for up to 300 s.
    """
    name = configured_name or "-".join(part for part in (slot, life_id) if part)
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:100] or "autopilot"


def build_life_variables(settings: Mapping[str, str], life_id: str) -> dict[str, str]:
    """Return the environment variables that let the node's ads tell its life: Consul knows the node by it.

    STARTD_EXPRS is HTCondor's older name of STARTD_ATTRS. The startd reads both, so the site's own STARTD_ATTRS stays.

    Args:
        settings: The node's settings.
        life_id: The unique id of the life.
    """
    names = " ".join(part for part in (settings.get("STARTD_EXPRS", ""), LIFE_ATTRIBUTE) if part)
    return {f"_CONDOR_{LIFE_ATTRIBUTE}": f'"{life_id}"', "_CONDOR_STARTD_EXPRS": names}


def format_setting(name: str, value: str) -> str:
    """Return the line `name = value`.

    Raises:
        InvalidSettingError: It would not be one line: a line's end begins another setting, a backslash at the end
            swallows the next.
    """
    if not _NAME.fullmatch(name):
        raise InvalidSettingError(f"{name!r} is not the name of a setting")
    if any(ord(char) < 32 and char != "\t" for char in value) or "\x7f" in value:
        raise InvalidSettingError(f"{name}: control characters and line ends cannot be in a value, got {value!r}")
    if value.rstrip().endswith("\\"):
        raise InvalidSettingError(
            f"{name}: a value cannot end with a backslash (it would join the next line), got {value!r}"
        )
    if value.lstrip().startswith("@="):
        raise InvalidSettingError(
            f"{name}: a value cannot begin with @= (it would open a multi-line value), got {value!r}"
        )
    return f"{name} = {value}"


def render(node: NodeSettings, settings: Mapping[str, str]) -> str:
    """Return the file's text; `settings` come last, so they win. Raises InvalidSettingError."""
    lines = [
        "# Written by autopilot before each start of condor_master; changes here are lost.",
        "use ROLE: Execute",
        "use FEATURE: PartitionableSlot(1, 100%)",
    ]
    if node.condor_host:
        lines.append(format_setting("CONDOR_HOST", node.condor_host))
    lines += [
        "# unique for each life: the last message of an old startd of this name would remove our ads",
        "# (with its host: HTCondor looks a bare name up in the DNS, and may wait long for that)",
        format_setting("MASTER_NAME", f"{node.name}@$(FULL_HOSTNAME)"),
        format_setting("STARTD_NAME", f"{node.name}@$(FULL_HOSTNAME)"),
        "# what the cgroup gives, not what the machine has",
        f"NUM_CPUS = {node.cpus}",
        f"MEMORY = {node.memory}",
        "# a drain lets jobs finish; a hung startd is not waited for an hour",
        f"MAXJOBRETIREMENTTIME = {RETIREMENT_S}",
        f"SHUTDOWN_GRACEFUL_TIMEOUT = {GRACEFUL_TIMEOUT_S}",
        "SHUTDOWN_FAST_TIMEOUT = 30",
        "STARTD_NOT_RESPONDING_TIMEOUT = 300",
        "# neither works in a container; 20 s of CPU and 1 s for each life",
        "RunBenchmarks = False",
        "ENABLE_KERNEL_TUNING = False",
    ]
    lines += [
        "# names without a dot break condor_status -direct and condor_drain",
        "if ! defined DEFAULT_DOMAIN_NAME",
        "  " + format_setting("DEFAULT_DOMAIN_NAME", node.domain),
        "endif",
    ]
    lines += [format_setting(name, value) for name, value in settings.items()]
    if node.payload_limit is not None:
        lines += render_limit(node.payload_limit, node.payload_count)
    if not node.accept_jobs:
        lines += ["# EXECUTE is full: each new job would go on hold", "START = False"]
    return "\n".join(lines) + "\n"


def get_domain(host: str | None) -> str:
    """Return the domain of a host name: `pool` of `cm.pool`; `local` for an address or a name without a dot."""
    if host is None or not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]*[A-Za-z][A-Za-z0-9-]*)+", host):
        return "local"
    return host.split(".", 1)[1]
