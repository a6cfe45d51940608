"""Let a group of slots have a rollout of its own: the keys that it gives replace those of the file's `rollout`."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot_watchdog.config import rollout_windows, value_readers
from autopilot_watchdog.config.config_field import declare_field
from autopilot_watchdog.config.rollout_windows import RolloutWindow
from autopilot_watchdog.config.value_readers import Ring


@dataclass(frozen=True, slots=True)
class GroupRollout:
    """Keys of `rollout` for one group; None for those of the file."""

    rings: tuple[Ring, ...] | None = declare_field(
        "share of the hosts that may take a new digest, and how long after its push",
        value_readers.parse_rings,
        default=None,
    )
    spread: float | None = declare_field(
        "the hosts of one ring begin evenly over so long", value_readers.parse_duration, default=None
    )
    min_age: float | None = declare_field(
        "no host takes a digest that it has seen for less than this", value_readers.parse_duration, default=None
    )
    windows: tuple[RolloutWindow, ...] | None = declare_field(
        'when a new digest may be taken, such as "Mon-Fri 09:00-16:00"; empty: always',
        rollout_windows.parse_windows,
        default=None,
    )
    time_zone: str | None = declare_field(
        "of the windows; empty: the host's", rollout_windows.parse_time_zone, default=None
    )
    patience: float | None = declare_field(
        "an empty slot waits so long for each step that prepares a digest; then it takes the best one that is ready",
        value_readers.parse_duration,
        default=None,
    )
