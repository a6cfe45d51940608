"""Define HTCondor's settings in the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from autopilot.spec.plan import BatchSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class HtcondorNode:
    """The configuration that is rendered before condor_master starts; `None` means: found out at start."""

    path: str = "/etc/condor/config.d/50-autopilot.conf"
    condor_host: str | None = None  # None: $CONDOR_HOST, else as the image's configuration has it
    name: str | None = None  # None: unique per life
    cpus: float | None = None  # None: from the cgroup, v1 or v2
    memory: int | None = None  # bytes; None: from the cgroup
    token: str | None = None  # a file or directory to copy tokens from; None: only examine those that are there
    settings: Mapping[str, str] = field(default_factory=dict)  # further configuration, wins over ours


@dataclass(frozen=True, slots=True, kw_only=True)
class HtcondorSettings(BatchSettings):
    """Interval of the node's observations, the free space it needs, and its configuration."""

    nested_types: ClassVar[Mapping[str, type]] = {"node": HtcondorNode}

    poll: float = 15.0  # s; payloads, membership and space are looked at so often
    node: HtcondorNode | None = None  # None: the image brings its own configuration
    min_execute: int = 1 << 30  # bytes free in EXECUTE; with less `space` fails
    min_log: int = 100 << 20  # bytes free in LOG
