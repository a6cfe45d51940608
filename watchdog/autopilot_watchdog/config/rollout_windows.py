"""Read and apply maintenance windows: times of the week when a host may take a new digest.

A window is "Mon-Fri 09:00-16:00", "Sat,Sun 00:00-24:00" or "22:00-06:00": without days it is every day, and one over
midnight belongs to the day of its beginning.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass

from autopilot_watchdog.config.value_readers import InvalidValueError, read_string_list, read_text

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_PER_DAY = 24 * 60
_WINDOW = re.compile(r"(?:([A-Za-z,-]+) )?(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class RolloutWindow:
    """Span of time on some days of the week; `end` is after midnight if it is not after `begin`."""

    days: tuple[int, ...]  # 0 is Monday
    begin: int  # minutes since midnight
    end: int


def parse_windows(json_value: object) -> tuple[RolloutWindow, ...]:
    """Parse a list of windows; an empty one means always."""
    return tuple(_parse_window(text) for text in read_string_list(json_value))


def _parse_window(text: str) -> RolloutWindow:
    wrong = InvalidValueError('windows such as ["Mon-Fri 09:00-16:00", "Sat,Sun 00:00-24:00", "22:00-06:00"]')
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise wrong
    begin, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
    if begin >= MINUTES_PER_DAY or end > MINUTES_PER_DAY or begin == end or int(match[3]) > 59 or int(match[5]) > 59:
        raise wrong
    days: list[int] = []
    for part in (match[1] or "Mon-Sun").split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS or part.endswith("-"):
            raise wrong
        place, count = DAYS.index(first), (DAYS.index(last or first) - DAYS.index(first)) % 7 + 1
        days += [(place + step) % 7 for step in range(count)]
    return RolloutWindow(tuple(sorted(set(days))), begin, end)


def parse_time_zone(json_value: object) -> str:
    """Check the name of a time zone; an empty one is the host's."""
    text = read_text(json_value)
    try:
        if text:
            zoneinfo.ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # KeyError: there is none of that name
        raise InvalidValueError('a time zone that this host knows, such as "Europe/Zurich" or "UTC"') from None
    return text


def find_window_time(windows: Sequence[RolloutWindow], time_zone: str, at: float) -> float:
    """Return the first epoch seconds from `at` on that lie in a window: `at` itself inside of one, or without any.

    Args:
        windows: The windows.
        time_zone: The name of their time zone; "" for the host's.
        at: Epoch seconds.
    """
    if not windows:
        return at
    zone = zoneinfo.ZoneInfo(time_zone) if time_zone else None
    today = datetime.datetime.fromtimestamp(at, zone).date()
    begins: list[float] = []
    for offset in range(-1, 8):  # yesterday's may last until today
        day = today + datetime.timedelta(days=offset)
        for window in windows:
            if day.weekday() not in window.days:
                continue
            begin = _compute_moment(day, window.begin, zone)
            length = window.end if window.end > window.begin else window.end + MINUTES_PER_DAY
            if begin <= at < _compute_moment(day, length, zone):
                return at
            begins.append(begin)
    return min(begin for begin in begins if begin > at)


def _compute_moment(day: datetime.date, minutes: int, zone: datetime.tzinfo | None) -> float:
    """Return the epoch seconds at which a clock on the wall shows so many minutes after a day's midnight."""
    days, rest = divmod(minutes, MINUTES_PER_DAY)
    time = datetime.time(rest // 60, rest % 60)
    return datetime.datetime.combine(day + datetime.timedelta(days=days), time, zone).timestamp()
