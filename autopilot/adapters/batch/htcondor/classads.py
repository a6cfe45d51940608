"""Parse ClassAds in their long form: `Name = value`, one attribute a line, as in job ads and `-long` output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite

MAX_NUMBER_LENGTH = 400  # of the longest double without an exponent; Python refuses to read thousands of digits
MAX_ID_LENGTH = 256

Value = str | int | float | bool
Ad = Mapping[str, Value]

_ATTRIBUTE_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*) = (.*)")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_PAYLOAD_ID = re.compile(rf"[!-~]{{1,{MAX_ID_LENGTH}}}")  # printable ASCII without blanks
_REAL = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)


def parse_literal(text: str) -> Value | None:
    """Return the value of a literal; None for an expression, a list, `undefined`, `error`, and numbers out of range."""
    text = text.strip()
    if string := _STRING.fullmatch(text):
        return re.sub(r"\\(.)", r"\1", string[1])
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if len(text) > MAX_NUMBER_LENGTH:
        return None
    if _INTEGER.fullmatch(text):
        return number if -(1 << 63) <= (number := int(text)) < 1 << 63 else None
    if _REAL.fullmatch(text):
        return real if isfinite(real := float(text)) else None
    return None


def parse_ad(lines: Iterable[str]) -> dict[str, Value]:
    """Return the attributes with literal values; expressions, and a tool's warnings in between, are left out."""
    ad: dict[str, Value] = {}
    for line in lines:
        matched = _ATTRIBUTE_LINE.fullmatch(line.strip())
        if matched and (value := parse_literal(matched[2])) is not None:
            ad[matched[1]] = value
    return ad


def parse_ads(text: str) -> Iterator[dict[str, Value]]:
    """Yield the ads of a `-long` output; empty lines separate them."""
    for block in re.split(r"\n\s*\n", text):
        if ad := parse_ad(block.split("\n")):
            yield ad


def get_payload_id(ad: Ad) -> str | None:
    """Return a job's GlobalJobId (unique over all schedds), else ClusterId.ProcId; None when the ad is no job's.

    The job may have written the ad itself: an id that could not be a schedd's is not passed on to logs and status.
    """
    if isinstance(known := ad.get("GlobalJobId"), str) and _PAYLOAD_ID.fullmatch(known):
        return known
    cluster, proc = ad.get("ClusterId"), ad.get("ProcId")
    if isinstance(cluster, int) and isinstance(proc, int):
        return f"{cluster}.{proc}"
    return None


def quote_string(text: str) -> str:
    """Return a ClassAd string literal. Raises ValueError for control characters."""
    if any(ord(char) < 32 for char in text):
        raise ValueError(f"control character in {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
