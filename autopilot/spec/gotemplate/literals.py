"""Parse Go's literals in a template: strings, runes and numbers."""

from __future__ import annotations

import re

from autopilot.spec.gotemplate.rendered_template import TemplateError

_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv\\'"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))""", re.S
)
_SIMPLE_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MAX_NUMBER_CHARS = 100


def parse_literal(kind: str, text: str, offset: int) -> str | int | float:
    """Return the value of a literal token; raise TemplateError at `offset` for a wrong one."""
    try:
        if kind == "number":
            return _parse_number(text)
        if kind == "raw":
            return text[1:-1].replace("\r", "")
        inner = _ESCAPE.sub(_decode_escape, text[1:-1])
    except (ValueError, OverflowError) as error:
        raise TemplateError(f"cannot read {text[:40]}: {error}", offset) from None
    if kind == "string":
        return inner
    if len(inner) != 1:
        raise TemplateError(
            f"cannot read {text[:40]}: single quotes enclose one character; write strings in double quotes", offset
        )
    return ord(inner)


def _decode_escape(match: re.Match[str]) -> str:
    simple, hexadecimal, short, long, octal, other = match.groups()
    if simple:
        return _SIMPLE_ESCAPES.get(simple, simple)
    if other is not None and not (hexadecimal or short or long or octal):
        raise ValueError(f"no such escape: {match[0]}")
    code = int(octal, 8) if octal else int(hexadecimal or short or long, 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF or ((octal or hexadecimal) and code > 0x7F):
        raise ValueError(f"no such character: {match[0]}")
    return chr(code)


def _parse_number(text: str) -> int | float:
    digits = text.lstrip("+-").lower()
    if len(digits) > _MAX_NUMBER_CHARS:
        raise ValueError("it is too long for a number")
    if not digits.startswith("0x") and any(mark in digits for mark in ".e"):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError("it is too large")
        return number
    base = 8 if re.fullmatch(r"0[0-9_]+", digits) else 0  # 017 is octal in Go
    whole = int(digits, base)
    whole = -whole if text.startswith("-") else whole
    if not -(1 << 63) <= whole < 1 << 63:
        raise ValueError("it does not fit 64 bits")
    return whole
