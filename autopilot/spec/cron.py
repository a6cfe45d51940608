"""Cron expressions: five fields as in crontab(5), or six with seconds first, or one of cron's names such as @daily."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from autopilot.spec.posix import suggestion
from autopilot.spec.units import shown

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_MOST_CHARACTERS = 200
_HELP = 'write "minute hour day-of-month month day-of-week", for example "*/5 * * * *"'


def expression(value: Any) -> str:
    """The expression, its fields apart by one space, names written out."""
    from cronsim import CronSim, CronSimError

    if not isinstance(value, str) or not value.strip() or len(value) > _MOST_CHARACTERS:
        raise ValueError(f"cannot be {shown(value)}; {_HELP}")
    if value.startswith("@"):
        return _named(value)
    fields = value.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"cannot be {shown(value)}: it has {len(fields)} fields; {_HELP}")
    try:
        comes = next(CronSim(" ".join(fields), datetime(2000, 1, 1)), None) is not None
    except CronSimError as error:
        raise ValueError(f"cannot be {shown(value)}: {_wrong(str(error), fields)}; {_HELP}") from None
    if not comes:
        raise ValueError(f"cannot be {shown(value)}: that never comes")
    return " ".join(fields)


def _named(value: str) -> str:
    if value == "@reboot":
        raise ValueError('cannot be "@reboot"; leave `when` out: the job then runs once, when the container starts')
    if value not in _NAMED:
        near = suggestion(value, _NAMED) or f"; there are: {', '.join(_NAMED)}"
        raise ValueError(f"cannot be {shown(value)}{near}")
    return _NAMED[value]


def _wrong(said: str, fields: list[str]) -> str:
    """CronSim says "Bad minute"; we also say what stands there."""
    name = said.removeprefix("Bad ")
    at = _FIELDS.index(name) - (6 - len(fields)) if name in _FIELDS else None
    return f'its {name} cannot be "{fields[at]}"' if at is not None else said
