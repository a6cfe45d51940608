"""Parse numbers as people write them: durations, sizes, shares, and plain numbers given as strings.

Each parser takes a value from the file and returns the number, or raises InvalidValueError with a message that begins
with "cannot" and ends with the remedy.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from autopilot.errors import AutopilotError

_NANOSECONDS_PER_UNIT = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign and the Greek letter: Go takes both
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MAX_DURATION_NS = (1 << 63) - 1  # the longest duration of Go, 292 years
_NUMBER = re.compile(r"\+?([0-9]*)(?:\.([0-9]*))?")
_DURATION_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?")
_DURATION_HELP = 'write seconds as a number or a duration like "1500ms", "10s" or "1h30m"'

_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))?\s*([A-Za-z]*)")
_BYTES_PER_UNIT = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("", 1024), ("b", 1000), ("ib", 1024))
}
_MAX_NUMBER_CHARS = 40  # longer numbers are mistakes, and int() takes quadratic time


class InvalidValueError(AutopilotError, ValueError):
    """A value that a job spec cannot have; a ValueError, so that pydantic collects it."""


def format_value(value: Any) -> str:
    """Return a value from the file as JSON of at most 60 characters, for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_duration(value: Any) -> float:
    """Return seconds from a number, a numeric string or Go's duration syntax."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidValueError(f"cannot be {format_value(value)}; {_DURATION_HELP}")
    nanoseconds = _parse_duration_text(value) if isinstance(value, str) else _convert_seconds_to_ns(value)
    if nanoseconds > _MAX_DURATION_NS:
        raise InvalidValueError(f"cannot be longer than 292 years, got {format_value(value)}")
    return nanoseconds / 1_000_000_000


def _convert_seconds_to_ns(value: float) -> int:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValueError(f"cannot be {value}; {_DURATION_HELP}")
    if value < 0:
        raise InvalidValueError(f"cannot be negative, got {format_value(value)}")
    return round(min(value, 1e12) * 1_000_000_000) if isinstance(value, float) else value * 1_000_000_000


def _parse_duration_text(text: str) -> int:
    if text.startswith("-"):
        raise InvalidValueError(f"cannot be negative, got {format_value(text)}")
    if len(text) > _MAX_NUMBER_CHARS:  # before the patterns: their time grows with the square of the length
        raise InvalidValueError(f"cannot be read as a duration: {format_value(text)}; {_DURATION_HELP}")
    plain = _NUMBER.fullmatch(text)
    body = text.removeprefix("+")
    parts = [(*plain.groups(), "s")] if plain else [match.groups() for match in _DURATION_PART.finditer(body)]
    matched_chars = sum(match.end() - match.start() for match in _DURATION_PART.finditer(body))
    is_complete = plain is not None or matched_chars == len(body)
    has_digits = all(whole or fraction for whole, fraction, _ in parts)
    if not (parts and is_complete and has_digits):
        raise InvalidValueError(f"cannot be read as a duration: {format_value(text)}; {_DURATION_HELP}")
    return sum(_compute_nanoseconds(*part) for part in parts)


def _compute_nanoseconds(whole: str, fraction: str | None, unit: str) -> int:
    scale = _NANOSECONDS_PER_UNIT[unit]
    fraction = fraction or ""
    return int(whole or "0") * scale + int(int(fraction or "0") * scale // 10 ** len(fraction))


def parse_size(value: Any) -> int:
    """Return bytes from a number or a text like "1GB" (1000-based), "1GiB" or "1G" (1024-based)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return _require_size_in_range(value, value)
    match = _SIZE.fullmatch(value) if isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS else None
    unit = _BYTES_PER_UNIT.get(match[3].lower()) if match else None
    if match is None or unit is None:
        raise InvalidValueError(
            f'cannot be read as a size: {format_value(value)}; write a number of bytes or a text like "512MB" or "1GiB"'
        )
    fraction = match[2] or ""
    return _require_size_in_range(int(match[1]) * unit + int(fraction or "0") * unit // 10 ** len(fraction), value)


def _require_size_in_range(number: int, value: object) -> int:
    if number >= 1 << 63:
        raise InvalidValueError(f"cannot be so large: {format_value(value)}; the limit is 2^63 - 1 bytes")
    return number


def parse_whole_number(value: Any, minimum: int = 0, maximum: int = (1 << 31) - 1) -> int:
    """Return a whole number within bounds from a number or a string of digits."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValueError(f"cannot be {format_value(value)}; write a whole number from {minimum} to {maximum}")
    if not minimum <= value <= maximum:
        raise InvalidValueError(f"cannot be {format_value(value)}; it must be from {minimum} to {maximum}")
    return value


def parse_number(value: Any) -> float:
    """Return a finite number from a number or a string."""
    if isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS and _FLOAT.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValueError(f"cannot be {format_value(value)}; write a number")
    if not abs(value) < 1e300:  # true for NaN too: it compares false
        raise InvalidValueError(f"cannot be {format_value(value)}; write a finite number")
    return float(value)


def parse_share(value: Any) -> float:
    """Return a share from 0 to 1 from a number or a percentage like "10%"."""
    percent = isinstance(value, str) and value.endswith("%")
    try:
        result = parse_number(value.removesuffix("%")) / 100 if percent else parse_number(value)
    except ValueError:
        result = -1.0
    if not 0 <= result <= 1:
        raise InvalidValueError(
            f'cannot be {format_value(value)}; write a share from 0 to 1 or a percentage like "10%"'
        )
    return result


_FLAG_WORDS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}


def parse_flag(value: Any) -> bool:
    """Return a flag from true, false, 1, 0, or their strings as Go reads them: templates can only write strings."""
    if isinstance(value, str) and value in _FLAG_WORDS:
        return _FLAG_WORDS[value]
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if not isinstance(value, bool):
        raise InvalidValueError(f"cannot be {format_value(value)}; write true or false")
    return value
