"""Define Slurm's settings in the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from autopilot.spec.plan import BatchSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmNode:
    """The arguments that make slurmd a dynamic node; `None` means: found out at start."""

    name: str | None = None  # None: the slot, else the host's name
    controller: str | None = None  # asked for slurm.conf ("configless"); None: the image brings one
    cpus: float | None = None  # None: from the cgroup, v1 or v2
    memory: int | None = None  # bytes; None: from the cgroup
    settings: Mapping[str, str] = field(default_factory=dict)  # further parameters of the node, such as Feature


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSettings(BatchSettings):
    """Interval of the node's observations, the directory of its steps, and its registration."""

    nested_types: ClassVar[Mapping[str, type]] = {"node": SlurmNode}

    poll: float = 15.0  # s; steps and the node's record are looked at so often
    node: SlurmNode | None = None  # None: the image's slurm.conf or the job's command names the node
