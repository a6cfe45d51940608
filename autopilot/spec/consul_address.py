"""Take the address of Consul apart, as Consul's own clients do; light, because connecting needs it too."""

from __future__ import annotations

import re

UNIX_PREFIX = "unix://"
DEFAULT_ADDRESS = "127.0.0.1:8500"

_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/?#@]+)(?::([0-9]{1,5}))?")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal


def is_consul_address(text: str) -> bool:
    """Return True for HOST or HOST:PORT, also after http:// or https://, and for unix:///PATH."""
    if text.startswith(UNIX_PREFIX):
        return text.startswith(f"{UNIX_PREFIX}/") and "\0" not in text
    match = _HOST_AND_PORT.fullmatch(split_consul_address(text)[1])
    return match is not None and (match[1] is None or 1 <= int(match[1]) <= 65535)


def names_port(text: str) -> bool:
    """Return True for an address with a port."""
    match = _HOST_AND_PORT.fullmatch(split_consul_address(text)[1])
    return match is not None and match[1] is not None


def split_consul_address(text: str) -> tuple[Literal["http", "https"] | None, str]:
    """Return the scheme that an address names (or None), and the address without it; unix:///PATH is unchanged.

    A slash after the port is dropped. Without a port it is the scheme's own: 80 or 443.
    """
    for prefix in ("http://", "https://"):
        if text.startswith(prefix):
            return ("https" if prefix == "https://" else "http"), text.removeprefix(prefix).removesuffix("/")
    return None, text
