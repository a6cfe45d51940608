"""Check image references by Docker's grammar (distribution/reference): host, path and tag, without a digest."""

from __future__ import annotations

import re

MAX_NAME_CHARS = 255  # of host and path, as Docker limits them

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_ADDRESS = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?"
_HOST = rf"(?=[^/]*[.:]|localhost/){_ADDRESS}"  # without a dot or a port, the first part belongs to the path
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(rf"(?P<name>(?:{_HOST}/)?{_PART}(?:/{_PART})*):[a-zA-Z0-9_][a-zA-Z0-9_.-]{{0,127}}")


def is_tagged_reference(text: str) -> bool:
    """Return True for a reference with a tag that every engine accepts."""
    found = _REFERENCE.fullmatch(text)
    return found is not None and len(found["name"]) <= MAX_NAME_CHARS
