"""Define the settings of an access point in the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autopilot.spec.plan import BatchSettings

Ending = Literal["queue", "handover"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPointSettings(BatchSettings):
    """The configuration that is written before condor_master starts, and the way the life ends."""

    poll: float = 15.0  # s; the queue, the membership and the space are looked at so often
    path: str = "/etc/condor/config.d/50-autopilot.conf"
    condor_host: str | None = None  # None: $CONDOR_HOST, else as the image's configuration has it
    name: str | None = None  # SCHEDD_NAME; None: as the image's configuration has it
    spool: str | None = None  # SPOOL; None: as the image's configuration has it
    token: str | None = None  # a file or directory to copy tokens from; None: only examine those that are there
    settings: Mapping[str, str] = field(default_factory=dict)  # further configuration, wins over ours
    min_spool: int = 1 << 30  # bytes free in SPOOL; with less `space` fails
    min_log: int = 100 << 20  # bytes free in LOG
    ending: Ending = "queue"  # lifetime.drain: the queue empties, or the next life takes it over
