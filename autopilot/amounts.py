"""Format durations and counts as people say them."""

from __future__ import annotations

SECONDS_ALONE_S = 120.0  # up to this, a duration is easier to read in seconds


def format_seconds(seconds: float) -> str:
    """Return a duration such as `1.5 s`, `30 s`, `2m30s` or `72h`: beyond two minutes in the job spec's notation."""
    if not SECONDS_ALONE_S < seconds < 1e15:
        return f"{round(seconds, 3):.15g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{amount}{unit}" for amount, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if amount)


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 payload` or `2 payloads`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
