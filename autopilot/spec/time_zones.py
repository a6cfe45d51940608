"""Find time zones by their names in the tz database, and the zone of this machine."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from autopilot.errors import AutopilotError

if TYPE_CHECKING:
    from datetime import tzinfo

LOCALTIME_PATH = "/etc/localtime"


class TimeZoneError(AutopilotError, LookupError):
    """A time zone that cannot be found or read on this machine."""


@cache
def find_zone(name: str) -> tzinfo:
    """Return the zone of a name; raise TimeZoneError when this machine does not know it."""
    from datetime import UTC  # takes 3 ms, which only jobs with `cron` spend
    from zoneinfo import ZoneInfo

    try:
        return UTC if name == "UTC" else ZoneInfo(name)  # UTC works in an image without tzdata too
    except (OSError, ValueError) as error:  # a folder's name, a path
        raise TimeZoneError(f"this machine has no time zone {name!r}") from error


def find_local_zone() -> tzinfo:
    """Return this machine's zone: $TZ, else /etc/localtime, else UTC.

    $TZ is read as glibc reads it: a name, the path of a zone file, or a rule in POSIX's form.

    Raises:
        TimeZoneError: $TZ or /etc/localtime is set but is no time zone. (glibc takes UTC then.)
    """
    given = os.environ.get("TZ", "")
    if not given:
        try:
            return _read_zone_file(LOCALTIME_PATH)
        except FileNotFoundError:
            return find_zone("UTC")
        except (OSError, ValueError) as error:
            raise TimeZoneError(f"{LOCALTIME_PATH} cannot be read as a time zone: {error}") from error
    zone = given.removeprefix(":")
    for read_zone in (_read_zone_file,) if zone.startswith("/") else (find_zone, _parse_posix_rule):
        try:
            return read_zone(zone)
        except (LookupError, OSError, ValueError):
            pass
    remedy = 'write a name like "Europe/Berlin" (it needs tzdata) or the path of a zone file'
    raise TimeZoneError(f"TZ={given} is no time zone here; {remedy}")


def _read_zone_file(path: str) -> tzinfo:
    """Return the zone of a file; raise OSError or ValueError."""
    from zoneinfo import ZoneInfo

    with open(path, "rb") as file:
        return ZoneInfo.from_file(file)


def _parse_posix_rule(rule: str) -> tzinfo:
    """Return the zone of a POSIX rule such as CET-1CEST,M3.5.0,M10.5.0/3.

    A file of the tz database ends with such a rule, for the years after those that it lists. So build a file that lists
    none (RFC 8536: two headers, each with one type of local time, then the rule).

    Raises:
        ValueError: The rule is wrong.
    """
    import struct
    from io import BytesIO
    from zoneinfo import ZoneInfo

    header = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    utc = struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    return ZoneInfo.from_file(BytesIO((header + utc) * 2 + b"\n" + rule.encode() + b"\n"))
