"""Cron expressions: five fields as in crontab(5), or six with seconds first, or one of cron's names such as @daily."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from autopilot.spec.os_names import format_suggestion
from autopilot.spec.quantities import format_value

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELD_NAMES = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_MAX_CHARS = 200
_HELP = 'write "minute hour day-of-month month day-of-week", for example "*/5 * * * *"'


def parse_cron_expression(value: Any) -> str:
    """The expression, its fields apart by one space, names written out."""
    from cronsim import CronSim, CronSimError

    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_CHARS:
        raise ValueError(f"cannot be {format_value(value)}; {_HELP}")
    if value.startswith("@"):
        return _expand_alias(value)
    fields = value.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"cannot be {format_value(value)}: it has {len(fields)} fields; {_HELP}")
    try:
        comes = next(CronSim(" ".join(fields), datetime(2000, 1, 1)), None) is not None
    except CronSimError as error:
        raise ValueError(f"cannot be {format_value(value)}: {_describe_error(str(error), fields)}; {_HELP}") from None
    if not comes:
        raise ValueError(f"cannot be {format_value(value)}: that never comes")
    return " ".join(fields)


def _expand_alias(value: str) -> str:
    if value == "@reboot":
        raise ValueError('cannot be "@reboot"; leave `when` out: the job then runs once, when the container starts')
    if value not in _ALIASES:
        near = format_suggestion(value, _ALIASES) or f"; there are: {', '.join(_ALIASES)}"
        raise ValueError(f"cannot be {format_value(value)}{near}")
    return _ALIASES[value]


def _describe_error(cronsim_message: str, fields: list[str]) -> str:
    """CronSim says "Bad minute"; we also say what stands there."""
    name = cronsim_message.removeprefix("Bad ")
    at = _FIELD_NAMES.index(name) - (6 - len(fields)) if name in _FIELD_NAMES else None
    return f'its {name} cannot be "{fields[at]}"' if at is not None else cronsim_message
