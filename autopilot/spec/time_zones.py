"""Time zones by their names in the tz database, and the one of this machine."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo

LOCALTIME_PATH = "/etc/localtime"


@cache
def find_zone(name: str) -> tzinfo:
    """Raises LookupError for one that nobody knows here."""
    from datetime import UTC  # 3 ms, for jobs with `cron` alone
    from zoneinfo import ZoneInfo

    try:
        return UTC if name == "UTC" else ZoneInfo(name)  # an image without tzdata knows UTC as well
    except (OSError, ValueError) as error:  # a folder's name, a path
        raise LookupError(f"no time zone {name!r}") from error


def find_local_zone() -> tzinfo:
    """This machine's: $TZ as glibc reads it (a name, a file, POSIX's own form), else /etc/localtime, else UTC. Raises
    LookupError with one sentence for what is none of these; for glibc it is UTC then."""
    given = os.environ.get("TZ", "")
    if not given:
        try:
            return _read_zone_file(LOCALTIME_PATH)
        except FileNotFoundError:
            return find_zone("UTC")
        except (OSError, ValueError) as error:
            raise LookupError(f"{LOCALTIME_PATH} cannot be read as a time zone: {error}") from error
    zone = given.removeprefix(":")
    for understood in (_read_zone_file,) if zone.startswith("/") else (find_zone, _parse_posix_rule):
        try:
            return understood(zone)
        except (LookupError, OSError, ValueError):
            pass
    remedy = 'write a name like "Europe/Berlin" (it needs tzdata) or the path of a zone file'
    raise LookupError(f"TZ={given} is no time zone here; {remedy}")


def _read_zone_file(path: str) -> tzinfo:
    """Raises OSError or ValueError."""
    from zoneinfo import ZoneInfo

    with open(path, "rb") as file:
        return ZoneInfo.from_file(file)


def _parse_posix_rule(rule: str) -> tzinfo:
    """Of a rule such as CET-1CEST,M3.5.0,M10.5.0/3. Raises ValueError.

    Files of the tz database end with such a rule, for the years after those they list: so one that lists none is made
    (RFC 8536: two headers, each with one type of local time, then the rule).
    """
    import struct
    from io import BytesIO
    from zoneinfo import ZoneInfo

    header = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    utc = struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    return ZoneInfo.from_file(BytesIO((header + utc) * 2 + b"\n" + rule.encode() + b"\n"))
