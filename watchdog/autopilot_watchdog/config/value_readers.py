"""Read single JSON values of the configuration.

Every reader takes the JSON value and returns the value in use, or raises InvalidValueError with the expectation.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from autopilot_watchdog.config.image_grammar import is_tagged_reference
from autopilot_watchdog.errors import WatchdogError
from autopilot_watchdog.timestamps import format_date, parse_timestamp

SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES_PER_UNIT = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
BYTES_PER_UNIT |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class InvalidValueError(WatchdogError, ValueError):
    """The value is wrong; the message is the expectation, as in: must be `a duration such as "90s"`."""


@dataclass(frozen=True, slots=True)
class LifeNeeds:
    """Evidence that a digest must have before more slots take it: lives that proved good, of the whole fleet."""

    good: int
    hosts: int = 1  # on at least so many hosts


@dataclass(frozen=True, slots=True)
class Ring:
    """Ring of a rollout: the first `share` (0 to 1) of the hosts may take a digest `after` seconds."""

    share: float
    after: float
    needs: LifeNeeds | None = None  # the ring stays closed until the digest has this evidence
    at_latest: float | None = None  # seconds after which it opens without evidence, if no host condemns it; None: never


def pass_through(json_value: object) -> object:
    """Return an object or a list of objects as it is: config_reader looks into it."""
    return json_value


def read_text(json_value: object) -> str:
    """Read a string."""
    if not isinstance(json_value, str):
        raise InvalidValueError("a string")
    return json_value


def read_boolean(json_value: object) -> bool:
    """Read true or false."""
    if not isinstance(json_value, bool):
        raise InvalidValueError("true or false")
    return json_value


def read_number(json_value: object) -> float:
    """Read a number of 0 or more."""
    if isinstance(json_value, bool) or not isinstance(json_value, int | float) or json_value < 0:
        raise InvalidValueError("a number of 0 or more")
    return float(json_value)


def read_positive_integer(json_value: object) -> int:
    """Read a whole number of 1 or more."""
    if isinstance(json_value, bool) or not isinstance(json_value, int) or json_value < 1:
        raise InvalidValueError("a whole number of 1 or more")
    return json_value


def read_string_list(json_value: object) -> tuple[str, ...]:
    """Read a list of strings that are not empty."""
    if not isinstance(json_value, list) or not all(isinstance(word, str) and word for word in json_value):
        raise InvalidValueError("a list of strings")
    return tuple(json_value)


def read_command(json_value: object) -> tuple[str, ...]:
    """Read a program and its arguments."""
    words = read_string_list(json_value)
    if not words:
        raise InvalidValueError("a list with the program and its arguments")
    return words


def read_string_map(json_value: object) -> dict[str, str]:
    """Read an object with strings as its values."""
    if not isinstance(json_value, dict) or not all(isinstance(value, str) for value in json_value.values()):
        raise InvalidValueError("an object whose values are strings")
    return dict(json_value)


def read_limits(json_value: object) -> dict[str, int]:
    """Read resource limits: whole numbers by name, -1 for unlimited."""
    if not isinstance(json_value, dict) or not all(type(value) is int and value >= -1 for value in json_value.values()):
        raise InvalidValueError('an object of whole numbers such as {"nofile": 65536}; -1 is unlimited')
    return dict(json_value)


def parse_duration(json_value: object) -> float:
    """Parse a duration such as "1h30m" into seconds."""
    wrong = InvalidValueError('a duration such as "90s", "5m", "1h30m" or "7d"')
    if not isinstance(json_value, str) or not (parts := re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", json_value)):
        raise wrong
    if "".join(amount + unit for amount, unit in parts) != json_value:
        raise wrong
    return sum(float(amount) * SECONDS_PER_UNIT[unit] for amount, unit in parts)


def parse_size(json_value: object) -> int:
    """Parse a size such as "16 GB", or a number of bytes, into bytes."""
    wrong = InvalidValueError('a size such as "16 GB", "512 MiB" or a number of bytes')
    if type(json_value) is int and json_value >= 0:
        return json_value
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?B|B|)", json_value) if isinstance(json_value, str) else None
    if match is None:
        raise wrong
    return int(float(match[1]) * BYTES_PER_UNIT[match[2]])


def parse_date(json_value: object) -> str:
    """Check a date such as "2025-01-01" and return its text."""
    text = read_text(json_value)
    try:
        if format_date(parse_timestamp(text)) == text:
            return text
    except ValueError:
        pass
    raise InvalidValueError('a date such as "2025-01-01"')


def parse_name_pattern(json_value: object) -> str:
    """Check a pattern of container or host names: letters, digits, "-" and ".", as every engine and DNS accept."""
    if not re.fullmatch(r"(?:[a-zA-Z0-9.-]|\{(?:host|index|number|slot)\})+", read_text(json_value)):
        raise InvalidValueError(
            'a name of letters, digits, "-" and "." with {number} or NN for the number, such as "{host}-NN"'
        )
    return read_text(json_value)


def parse_address(json_value: object) -> str:
    """Check a HOST:PORT address; an empty one is allowed."""
    match = re.fullmatch(r"(?:[a-zA-Z0-9.-]+|\[[0-9a-f:]+\]):(\d{1,5})", read_text(json_value)) if json_value else None
    if json_value and (match is None or not 0 < int(match[1]) < 65536):
        raise InvalidValueError('an address such as "127.0.0.1:9653"')
    return read_text(json_value)


def parse_image_reference(json_value: object) -> str:
    """Check an image reference with a tag and without a digest."""
    if not is_tagged_reference(read_text(json_value)):
        raise InvalidValueError(
            "an image with a tag such as registry.example.org/site/worker-node:stable (pin digests by the pin verb)"
        )
    return read_text(json_value)


def parse_surplus(json_value: object) -> str:
    """Check the word for surplus containers."""
    if json_value not in ("drain", "keep"):
        raise InvalidValueError('"drain" or "keep"')
    return read_text(json_value)


def parse_binds(json_value: object) -> tuple[str, ...]:
    """Check a list of binds such as "/cvmfs:/cvmfs:ro,rslave"."""
    for bind in read_string_list(json_value):
        if not re.fullmatch(r"[^:]+:/[^:]*(?::[a-zA-Z,]+)?", bind):
            raise InvalidValueError('a list of binds such as "/cvmfs:/cvmfs:ro,rslave"')
    return read_string_list(json_value)


def parse_ports(json_value: object) -> tuple[str, ...]:
    """Check a list of ports such as "9620:9618/udp"."""
    for port in read_string_list(json_value):
        if not re.fullmatch(r"\d{1,5}:\d{1,5}(?:/(?:tcp|udp))?", port):
            raise InvalidValueError('a list of ports such as "9620:9618" or "9620:9618/udp"')
    return read_string_list(json_value)


def parse_share(json_value: object) -> float:
    """Parse a share such as "5%" into a number above 0 and up to 1."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", str(json_value))
    if match is None or not 0 < float(match[1]) <= 100:
        raise InvalidValueError('a share such as "5%", above 0% and up to 100%')
    return float(match[1]) / 100


def parse_needs(json_value: object) -> LifeNeeds:
    """Parse the evidence that a digest needs, such as {"good": 20, "hosts": 2}."""
    wrong = InvalidValueError('needs such as {"good": 20} or {"good": 20, "hosts": 2}, whole numbers of 1 or more')
    if not isinstance(json_value, dict) or not {"good"} <= json_value.keys() <= {"good", "hosts"}:
        raise wrong
    try:
        return LifeNeeds(**{key: read_positive_integer(value) for key, value in json_value.items()})
    except InvalidValueError:
        raise wrong from None


def parse_rings(json_value: object) -> tuple[Ring, ...]:
    """Parse the rings of a rollout; their shares rise to 100%, their delays never fall, and the first needs nothing."""
    wrong = InvalidValueError(
        'rings such as [{"share": "1%", "after": "0s"}, {"share": "10%", "needs": {"good": 20}}, '
        '{"share": "100%", "after": "6h"}], rising to 100%; the first one cannot have `needs`'
    )
    if not isinstance(json_value, list) or not json_value:
        raise wrong
    rings: list[Ring] = []
    for ring in json_value:
        if not isinstance(ring, dict) or not {"share"} <= set(ring) <= {"share", "after", "needs", "at_latest"}:
            raise wrong
        if not ring.keys() & {"after", "needs"} or ("at_latest" in ring and "needs" not in ring):
            raise wrong
        share = parse_share(ring["share"])
        before_s = rings[-1].after if rings else 0.0
        after_s = parse_duration(ring["after"]) if "after" in ring else before_s
        needs = parse_needs(ring["needs"]) if "needs" in ring else None
        at_latest_s = parse_duration(ring["at_latest"]) if "at_latest" in ring else None
        if at_latest_s is not None and at_latest_s < after_s:
            raise wrong
        rings.append(Ring(share, after_s, needs, at_latest_s))
    pairs = list(itertools.pairwise(rings))
    if rings[-1].share != 1 or any(a.share >= b.share or a.after > b.after for a, b in pairs) or rings[0].needs:
        raise wrong
    return tuple(rings)
