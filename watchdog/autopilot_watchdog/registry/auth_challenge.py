"""Parse the WWW-Authenticate header, by RFC 9110 (11.6.1): several challenges may stand in one header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

MAX_CHALLENGES = 10
MAX_HEADER_CHARS = 8192
_PARAMETER = re.compile(
    r'[\s,]*+([\w!#$%&\'*+.^`|~-]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]++)(?=[\s,]|$))', re.ASCII
)
_SCHEME = re.compile(r"[\s,]*+([\w!#$%&'*+.^`|~-]++)(?=[\s,]|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Challenge:
    """Way in which a server wants to be asked; scheme and names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Iterable[str]) -> Iterator[Challenge]:
    """Yield the challenges of all headers, MAX_CHALLENGES at most; what is none is passed over."""
    return islice((challenge for header in headers for challenge in _parse_header(header)), MAX_CHALLENGES)


def _parse_header(header: str) -> Iterator[Challenge]:
    text, position = header[:MAX_HEADER_CHARS], 0
    scheme, parameters = "", {}
    while position < len(text):
        if found := _PARAMETER.match(text, position):
            value = found[3] if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
            parameters[found[1].lower()] = value
            position = found.end()
        elif found := _SCHEME.match(text, position):
            if scheme:
                yield Challenge(scheme, parameters)
            scheme, parameters = found[1].lower(), {}
            position = found.end()
        else:  # the rest of a token68, or nonsense: go on behind the next comma
            comma = text.find(",", position)
            position = comma + 1 if comma >= 0 else len(text)
    if scheme:
        yield Challenge(scheme, parameters)
