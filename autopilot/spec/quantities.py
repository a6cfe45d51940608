"""Numbers with a unit, as people write them: durations, sizes, shares, and plain numbers that come as strings.

Each function takes what stood in the file and returns the number, or raises ValueError with a message that begins with
"cannot" and says what would be right.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

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
_MAX_DURATION_NS = (1 << 63) - 1  # nanoseconds; where Go's duration ends, 292 years
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
_MAX_NUMBER_CHARS = 40  # of any number; longer ones are mistakes, and Python's int() is quadratic


def format_value(value: Any) -> str:
    """A value from the file, short enough for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def format_seconds(value: float) -> str:
    """A duration for a message: `30 s`."""
    return f"{value:.15g} s"


def parse_duration(value: Any) -> float:
    """Seconds from a number, a numeric string or Go's duration syntax."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"cannot be {format_value(value)}; {_DURATION_HELP}")
    nanoseconds = _parse_duration_text(value) if isinstance(value, str) else _convert_seconds_to_ns(value)
    if nanoseconds > _MAX_DURATION_NS:
        raise ValueError(f"cannot be longer than 292 years, got {format_value(value)}")
    return nanoseconds / 1_000_000_000


def _convert_seconds_to_ns(value: float) -> int:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"cannot be {value}; {_DURATION_HELP}")
    if value < 0:
        raise ValueError(f"cannot be negative, got {format_value(value)}")
    return round(min(value, 1e12) * 1_000_000_000) if isinstance(value, float) else value * 1_000_000_000


def _parse_duration_text(text: str) -> int:
    if text.startswith("-"):
        raise ValueError(f"cannot be negative, got {format_value(text)}")
    plain = _NUMBER.fullmatch(text)
    body = text.removeprefix("+")
    parts = [(*plain.groups(), "s")] if plain else [match.groups() for match in _DURATION_PART.finditer(body)]
    whole = plain is not None or sum(match.end() - match.start() for match in _DURATION_PART.finditer(body)) == len(
        body
    )
    digits = all(whole_part or fraction for whole_part, fraction, _ in parts)
    if not (parts and whole and digits and len(text) <= _MAX_NUMBER_CHARS):
        raise ValueError(f"cannot be read as a duration: {format_value(text)}; {_DURATION_HELP}")
    return sum(_compute_nanoseconds(*part) for part in parts)


def _compute_nanoseconds(whole: str, fraction: str | None, unit: str) -> int:
    scale = _NANOSECONDS_PER_UNIT[unit]
    fraction = fraction or ""
    return int(whole or "0") * scale + int(int(fraction or "0") * scale // 10 ** len(fraction))


def parse_size(value: Any) -> int:
    """Bytes from a number or a text like "1GB" (1000-based), "1GiB" or "1G" (1024-based)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return _require_size_in_range(value, value)
    match = _SIZE.fullmatch(value) if isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS else None
    unit = _BYTES_PER_UNIT.get(match[3].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(
            f'cannot be read as a size: {format_value(value)}; write a number of bytes or a text like "512MB" or "1GiB"'
        )
    fraction = match[2] or ""
    return _require_size_in_range(int(match[1]) * unit + int(fraction or "0") * unit // 10 ** len(fraction), value)


def _require_size_in_range(number: int, value: object) -> int:
    if number >= 1 << 63:
        raise ValueError(f"cannot be so large: {format_value(value)}; the limit is 2^63 - 1 bytes")
    return number


def parse_whole_number(value: Any, minimum: int = 0, maximum: int = (1 << 31) - 1) -> int:
    """A whole number, or a string of digits."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"cannot be {format_value(value)}; write a whole number from {minimum} to {maximum}")
    if not minimum <= value <= maximum:
        raise ValueError(f"cannot be {format_value(value)}; it must be from {minimum} to {maximum}")
    return value


def parse_number(value: Any) -> float:
    """A finite number, or a string that is one."""
    if isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS and _FLOAT.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"cannot be {format_value(value)}; write a number")
    if not abs(value) < 1e300:  # NaN compares false, so it ends here too
        raise ValueError(f"cannot be {format_value(value)}; write a finite number")
    return float(value)


def parse_share(value: Any) -> float:
    """A share from 0 to 1, or a percentage like "10%"."""
    percent = isinstance(value, str) and value.endswith("%")
    try:
        result = parse_number(value.removesuffix("%")) / 100 if percent else parse_number(value)
    except ValueError:
        result = -1.0
    if not 0 <= result <= 1:
        raise ValueError(f'cannot be {format_value(value)}; write a share from 0 to 1 or a percentage like "10%"')
    return result


def parse_flag(value: Any) -> bool:
    """true or false; templates can only write them as strings, so those are fine too."""
    if value in ("true", "false"):
        return bool(value == "true")
    if not isinstance(value, bool):
        raise ValueError(f"cannot be {format_value(value)}; write true or false")
    return value
