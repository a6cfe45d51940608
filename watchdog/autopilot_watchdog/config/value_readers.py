"""How single JSON values are read: each takes what was found and returns the value, or raises Wrong with a remedy."""

from __future__ import annotations

import datetime
import itertools
import re
from dataclasses import dataclass

SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES_PER_UNIT = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
BYTES_PER_UNIT |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class InvalidValueError(ValueError):
    """What was expected here, as in: must be `a duration such as "90s"`."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The first `share` (0 to 1) of the hosts may take a digest `after` so many seconds."""

    share: float
    after: float


def pass_through(found: object) -> object:
    """An object or list of objects: config.reading looks into it."""
    return found


def read_text(found: object) -> str:
    if not isinstance(found, str):
        raise InvalidValueError("a string")
    return found


def read_boolean(found: object) -> bool:
    if not isinstance(found, bool):
        raise InvalidValueError("true or false")
    return found


def read_number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or found < 0:
        raise InvalidValueError("a number of 0 or more")
    return float(found)


def read_positive_integer(found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise InvalidValueError("a whole number of 1 or more")
    return found


def read_string_list(found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(word, str) and word for word in found):
        raise InvalidValueError("a list of strings")
    return tuple(found)


def read_string_map(found: object) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidValueError("an object whose values are strings")
    return dict(found)


def read_limits(found: object) -> dict[str, int]:
    if not isinstance(found, dict) or not all(type(value) is int and value >= -1 for value in found.values()):
        raise InvalidValueError('an object of whole numbers such as {"nofile": 65536}; -1 is unlimited')
    return dict(found)


def parse_duration(found: object) -> float:
    wrong = InvalidValueError('a duration such as "90s", "5m", "1h30m" or "7d"')
    if not isinstance(found, str) or not (parts := re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", found)):
        raise wrong
    if "".join(amount + unit for amount, unit in parts) != found:
        raise wrong
    return sum(float(amount) * SECONDS_PER_UNIT[unit] for amount, unit in parts)


def parse_size(found: object) -> int:
    wrong = InvalidValueError('a size such as "16 GB", "512 MiB" or a number of bytes')
    if type(found) is int and found >= 0:
        return found
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?B|B|)", found) if isinstance(found, str) else None
    if match is None:
        raise wrong
    return int(float(match[1]) * BYTES_PER_UNIT[match[2]])


def parse_date(found: object) -> str:
    try:
        datetime.date.fromisoformat(read_text(found))
    except ValueError:
        raise InvalidValueError('a date such as "2025-01-01"') from None
    return read_text(found)


def parse_name_pattern(found: object) -> str:
    """Container and host names: what both engines and DNS accept, after substitution."""
    if not re.fullmatch(r"(?:[a-zA-Z0-9.-]|\{host\})+", read_text(found)):
        raise InvalidValueError('a name of letters, digits, "-" and "." with NN for the number, such as "{host}-NN"')
    return read_text(found)


def parse_address(found: object) -> str:
    match = re.fullmatch(r"(?:[a-zA-Z0-9.-]+|\[[0-9a-f:]+\]):(\d{1,5})", read_text(found)) if found else None
    if found and (match is None or not 0 < int(match[1]) < 65536):
        raise InvalidValueError('an address such as "127.0.0.1:9653"')
    return read_text(found)


def parse_image_reference(found: object) -> str:
    if not re.fullmatch(r"(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-z0-9._/-]+:[\w][\w.-]{0,127}", read_text(found)):
        raise InvalidValueError(
            "an image with a tag such as registry.example.org/site/worker-node:stable (pin digests by the pin verb)"
        )
    return read_text(found)


def parse_binds(found: object) -> tuple[str, ...]:
    for bind in read_string_list(found):
        if not re.fullmatch(r"[^:]+:/[^:]*(?::[a-zA-Z,]+)?", bind):
            raise InvalidValueError('a list of binds such as "/cvmfs:/cvmfs:ro,rslave"')
    return read_string_list(found)


def parse_ports(found: object) -> tuple[str, ...]:
    for port in read_string_list(found):
        if not re.fullmatch(r"\d{1,5}:\d{1,5}(?:/(?:tcp|udp))?", port):
            raise InvalidValueError('a list of ports such as "9620:9618" or "9620:9618/udp"')
    return read_string_list(found)


def parse_rings(found: object) -> tuple[Ring, ...]:
    wrong = InvalidValueError(
        'rings such as [{"share": "1%", "after": "0s"}, {"share": "100%", "after": "6h"}], rising to 100%'
    )
    if not isinstance(found, list) or not found:
        raise wrong
    read = []
    for ring in found:
        if not isinstance(ring, dict) or set(ring) != {"share", "after"}:
            raise wrong
        share = re.fullmatch(r"(\d+(?:\.\d+)?)%", str(ring["share"]))
        if share is None:
            raise wrong
        read.append(Ring(float(share[1]) / 100, parse_duration(ring["after"])))
    pairs = list(itertools.pairwise(read))
    if read[-1].share != 1 or any(a.share >= b.share or a.after > b.after for a, b in pairs) or read[0].share <= 0:
        raise wrong
    return tuple(read)
