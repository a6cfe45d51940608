"""Declare the keys of `suspicion`: the comparison of a digest with the good one before it."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot_watchdog.config import value_readers
from autopilot_watchdog.config.config_field import declare_field
from autopilot_watchdog.config.value_readers import InvalidValueError

SUSPICION_ACTIONS = ("warn", "quarantine", "off")
MIN_FALSE_ALARMS, MAX_FALSE_ALARMS = 1e-6, 0.2
MIN_LIVES, MAX_LIVES = 3, 30  # of each side of a comparison


def parse_suspicion_action(json_value: object) -> str:
    """Check the word for the treatment of suspect digests."""
    if json_value not in SUSPICION_ACTIONS:
        raise InvalidValueError('"warn", "quarantine" or "off"')
    return value_readers.read_text(json_value)


def parse_false_alarms(json_value: object) -> float:
    """Check a chance between one in a million and one in five."""
    if isinstance(json_value, bool) or not isinstance(json_value, int | float):
        raise InvalidValueError("a chance such as 0.01")
    if not MIN_FALSE_ALARMS <= json_value <= MAX_FALSE_ALARMS:
        raise InvalidValueError(f"a chance from {MIN_FALSE_ALARMS:f} to {MAX_FALSE_ALARMS}, such as 0.01")
    return float(json_value)


def parse_life_count(json_value: object) -> int:
    """Check a least number of lives: fewer prove nothing, and more are not remembered."""
    count = value_readers.read_positive_integer(json_value)
    if not MIN_LIVES <= count <= MAX_LIVES:
        raise InvalidValueError(f"a whole number from {MIN_LIVES} to {MAX_LIVES}")
    return count


def parse_period(json_value: object) -> float:
    """Parse a duration of more than 0 s."""
    seconds = value_readers.parse_duration(json_value)
    if not seconds:
        raise InvalidValueError('a duration of more than 0 s, such as "10m"')
    return seconds


@dataclass(frozen=True, slots=True)
class SuspicionConfig:
    """Settings of the comparison of a digest with the good one before it."""

    action: str = declare_field(
        "for a digest that does worse than the good one before it: warn only tells, "
        "quarantine tries the other one and then decides, off compares nothing",
        parse_suspicion_action,
        default="warn",
    )
    false_alarms: float = declare_field(
        "highest chance that a host suspects a digest that is as good as the one before it",
        parse_false_alarms,
        default=0.01,
    )
    lives: int = declare_field("lives of the new digest before it is compared", parse_life_count, default=5)
    former_lives: int = declare_field(
        "lives of the digest before it that a comparison needs", parse_life_count, default=10
    )
    together: float = declare_field(
        "bad ends of lives within so long count once: they may have one cause outside", parse_period, default=600.0
    )
    burst: float = declare_field(
        "payloads that end within so long count as one observation: a user's broken jobs come together",
        parse_period,
        default=6 * 3600.0,
    )
