"""Parse cron expressions: five fields as in crontab(5), six with seconds first, or a name such as @daily."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from autopilot.spec.os_names import format_suggestion
from autopilot.spec.quantities import InvalidValueError, format_value

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
    """Return the expression with single spaces between its fields, names such as @daily expanded."""
    from cronsim import CronSim, CronSimError

    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_CHARS:
        raise InvalidValueError(f"cannot be {format_value(value)}; {_HELP}")
    if value.startswith("@"):
        return _expand_alias(value)
    fields = value.split()
    if len(fields) not in (5, 6):
        raise InvalidValueError(f"cannot be {format_value(value)}: it has {len(fields)} fields; {_HELP}")
    try:
        first = next(CronSim(" ".join(fields), datetime(2000, 1, 1)), None)
    except CronSimError as error:
        raise InvalidValueError(
            f"cannot be {format_value(value)}: {_describe_error(str(error), fields)}; {_HELP}"
        ) from None
    if first is None:
        raise InvalidValueError(f"cannot be {format_value(value)}: no date matches it; {_HELP}")
    return " ".join(fields)


def _expand_alias(value: str) -> str:
    if value == "@reboot":
        raise InvalidValueError(
            'cannot be "@reboot"; leave `when` out: the job then runs once, when the container starts'
        )
    if value not in _ALIASES:
        remedy = format_suggestion(value, _ALIASES) or f"; write one of {', '.join(_ALIASES)}"
        raise InvalidValueError(f"cannot be {format_value(value)}: there is no such name{remedy}")
    return _ALIASES[value]


def _describe_error(cronsim_message: str, fields: list[str]) -> str:
    """Return CronSim's message ("Bad minute") with the value of the field."""
    name = cronsim_message.removeprefix("Bad ")
    index = _FIELD_NAMES.index(name) - (6 - len(fields)) if name in _FIELD_NAMES else None
    return f'its {name} cannot be "{fields[index]}"' if index is not None else cronsim_message
