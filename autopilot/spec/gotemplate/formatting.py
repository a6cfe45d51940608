"""Format values as Go does: `%v`, and printf with its verbs, flags, width and precision."""

from __future__ import annotations

import json
import re
from typing import Any

_DIRECTIVE = re.compile(r"%([-+# 0]*)([0-9]*)(?:\.([0-9]*))?(.?)", re.S)
_MAX_WIDTH = 10_000
_NUMBER_VERBS = {"d": "d", "x": "x", "X": "X", "o": "o", "b": "b"}
_FLOAT_VERBS = "eEfFgG"


_TYPE_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    float: "float64",
    str: "string",
    dict: "map[string]string",
    type(None): "nil",
}


def get_type_name(value: Any) -> str:
    """Return Go's name of a value's type."""
    if isinstance(value, list):
        return "[]int" if value and isinstance(value[0], int) else "[]string"
    return _TYPE_NAMES[type(value)]


def format_value(value: Any) -> str:
    """Return a value as `%v` prints it."""
    match value:
        case bool() | None:
            return {True: "true", False: "false", None: "<no value>"}[value]
        case float():
            return _format_general(value, None, "g", "")
        case list():
            return f"[{' '.join(map(format_value, value))}]"
        case dict():
            return f"map[{' '.join(f'{key}:{value[key]}' for key in sorted(value))}]"
    return str(value)


def format_print(values: list[Any]) -> str:
    """Return values as fmt.Sprint prints them: with a space between two that are no strings."""
    text = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            text += " "
        text += format_value(value)
    return text


def format_printf(pattern: str, values: list[Any]) -> str:
    """Return values as fmt.Sprintf prints them; as in Go, a mismatch is printed in the text instead of refused."""
    rest = list(values)

    def format_directive(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if not verb:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if _is_too_wide(width) or _is_too_wide(precision or ""):
            return "%!(BADWIDTH)"
        if not rest:
            return f"%!{verb}(MISSING)"
        return _format_operand(
            rest.pop(0), flags, int(width or 0), None if precision is None else int(precision.lstrip("0") or 0), verb
        )

    text = _DIRECTIVE.sub(format_directive, pattern)
    if rest:
        text += f"%!(EXTRA {', '.join(f'{get_type_name(value)}={format_value(value)}' for value in rest)})"
    return text


def _is_too_wide(digits: str) -> bool:
    """Return True for a width or precision beyond _MAX_WIDTH; int() refuses thousands of digits."""
    significant = digits.lstrip("0")
    return len(significant) > len(str(_MAX_WIDTH)) or int(significant or 0) > _MAX_WIDTH


def _format_operand(value: Any, flags: str, width: int, precision: int | None, verb: str) -> str:
    if isinstance(value, list) and verb not in "vT":
        return f"[{' '.join(_format_operand(item, flags, width, precision, verb) for item in value)}]"
    text = _format_unpadded(value, flags, precision, verb)
    if text is None:
        return f"%!{verb}({get_type_name(value)}={format_value(value)})"
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and numeric and (precision is None or isinstance(value, float)):
        return text.zfill(width)
    return text.rjust(width)


def _format_unpadded(value: Any, flags: str, precision: int | None, verb: str) -> str | None:
    if verb == "T":
        return get_type_name(value)
    match value:
        case bool():
            return format_value(value) if verb in "tv" else None
        case int():
            return _format_integer(value, flags, precision, "d" if verb == "v" else verb)
        case float():
            return _format_float(value, flags, precision, "g" if verb == "v" else verb)
        case str():
            return _format_string(value, flags, precision, verb)
    return format_value(value) if verb == "v" else None


def _format_integer(value: int, flags: str, precision: int | None, verb: str) -> str | None:
    if verb == "c":
        return chr(value) if 0 <= value <= 0x10FFFF and not 0xD800 <= value <= 0xDFFF else "\ufffd"
    if verb == "q":
        return f"'{chr(value)}'" if 32 <= value < 0x10FFFF and not 0xD800 <= value <= 0xDFFF else "'\ufffd'"
    if verb == "U":
        return f"U+{value:04X}"
    if verb not in _NUMBER_VERBS:
        return None
    digits = format(abs(value), _NUMBER_VERBS[verb])
    digits = digits.rjust(precision or 0, "0")
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
    return f"{_format_sign(value, flags)}{prefix}{digits}"


def _format_float(value: float, flags: str, precision: int | None, verb: str) -> str | None:
    if verb not in _FLOAT_VERBS:
        return None
    if verb in "gG":
        return _format_general(value, precision, verb, flags)
    return _format_sign(value, flags) + format(abs(value), f".{6 if precision is None else precision}{verb}")


def _format_general(value: float, precision: int | None, verb: str, flags: str) -> str:
    """Format %g; without a precision, the fewest digits that identify the number, and an exponent from 1e+06 on."""
    if precision is not None:
        text = format(abs(value), f".{precision}{verb}")
    else:
        digits = next(n for n in range(1, 18) if float(format(value, f".{n}g")) == value)
        exponent = int(format(value, f".{digits - 1}e").partition("e")[2])
        text = format(abs(value), f".{digits - 1}e" if not -4 <= exponent < 6 else f".{max(digits - 1 - exponent, 0)}f")
    return _format_sign(value, flags) + (text.upper() if verb == "G" else text)


def _format_string(value: str, flags: str, precision: int | None, verb: str) -> str | None:
    cut = value if precision is None else value[:precision]
    match verb:
        case "s" | "v":
            return cut
        case "q":
            return f"`{cut}`" if "#" in flags and "`" not in cut else json.dumps(cut, ensure_ascii=False)
        case "x" | "X":
            return (
                cut.encode(errors="surrogateescape").hex()
                if verb == "x"
                else cut.encode(errors="surrogateescape").hex().upper()
            )
    return None


def _format_sign(value: float, flags: str) -> str:
    return "-" if value < 0 else "+" if "+" in flags else " " if " " in flags else ""
