"""Time zones by their names in the tz database."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo


@cache
def named(name: str) -> tzinfo:
    """Raises LookupError for one that nobody knows here."""
    from datetime import UTC  # 3 ms, for jobs with `cron` alone
    from zoneinfo import ZoneInfo

    try:
        return UTC if name == "UTC" else ZoneInfo(name)  # an image without tzdata knows UTC as well
    except (OSError, ValueError) as error:  # a folder's name, a path
        raise LookupError(f"no time zone {name!r}") from error
