"""Parse addresses of a job spec: URLs, host and port, HTTP headers and status ranges, network interfaces."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from autopilot.spec.consul_address import is_consul_address
from autopilot.spec.quantities import InvalidValueError, format_value, parse_whole_number

_INTERFACE = re.compile(r"[A-Za-z0-9_.\-]+(?::inet6?|\[[0-9]{1,3}\])?")
_HEADER_TEXT = re.compile(r"[\t -~\x80-\xff]*")  # Latin-1 without control characters
LogProtocol = Literal["tcp", "tls", "udp", "otlp+http", "otlp+https"]
_LOG_PORTS: dict[str, int] = {  # RFC 3195, RFC 5425, RFC 5426, OTLP
    "tcp": 601,
    "tls": 6514,
    "udp": 514,
    "otlp+http": 4318,
    "otlp+https": 4318,
}
_OTLP_PATH = "/v1/logs"
_INTERFACE_HELP = 'write "eth0", "eth0:inet6", "eth0[1]", "10.0.0.0/16", "inet", "inet6" or "static:ADDRESS"'


def parse_url(value: Any) -> str:
    """Return an http or https URL."""
    if not isinstance(value, str) or not _is_url(value):
        raise InvalidValueError(f'cannot be {format_value(value)}; write a URL like "http://localhost:8080/health"')
    return value


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and value.isprintable()
    except ValueError:
        return False


def parse_host_port(value: Any) -> tuple[str, int]:
    """Return host and port, such as ("localhost", 80), from "localhost:80", ":80", 80 or "[::1]:80"."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match = (
        re.fullmatch(r"(?:(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]*)):)?([0-9]{1,5})", text)
        if isinstance(text, str)
        else None
    )
    if match is None:
        raise InvalidValueError(f'cannot be {format_value(value)}; write "HOST:PORT"')
    return match[1] or match[2] or "localhost", parse_whole_number(match[3], 1, 65535)


class LogAddress(NamedTuple):
    """The address of a receiver of the log; `path` is "" except for OTLP."""

    protocol: LogProtocol
    host: str
    port: int
    path: str


def parse_log_url(value: Any) -> LogAddress:
    """Return the parts of "tls://HOST:PORT" or "otlp+https://HOST:PORT/PATH"; port and path may be left out."""
    syslog = '"tcp://HOST:PORT", "tls://HOST:PORT", "udp://HOST:PORT"'
    message = f'cannot be {format_value(value)}; write {syslog}, "otlp+http://HOST:PORT" or "otlp+https://HOST:PORT"'
    try:
        parts = urlsplit(value if isinstance(value, str) and value.isprintable() and " " not in value else "")
        port = _LOG_PORTS[parts.scheme] if parts.port is None else parts.port
    except (ValueError, KeyError):
        raise InvalidValueError(message) from None
    is_otlp = parts.scheme in ("otlp+http", "otlp+https")
    has_wrong_path = parts.path not in ("", "/") and not is_otlp
    if not parts.hostname or port == 0 or has_wrong_path or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidValueError(message)
    path = (parts.path if parts.path not in ("", "/") else _OTLP_PATH) if is_otlp else ""
    protocol: LogProtocol = parts.scheme  # type: ignore[assignment]  # a key of _LOG_PORTS
    return LogAddress(protocol, parts.hostname, port, path)


def parse_consul_address(value: Any) -> str:
    """Return the address of Consul, in one of the forms that `consul_address.split_consul_address` takes."""
    if not isinstance(value, str) or not is_consul_address(value):
        raise InvalidValueError(
            f'cannot be {format_value(value)}; write "HOST:PORT", "https://HOST:PORT" or "unix:///PATH"'
        )
    return value


def parse_status_range(value: Any) -> tuple[int, int]:
    """Return the first and the last status, from 200, "200-399" or [200, 399]."""
    bounds = value.split("-") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        first, last = parse_whole_number(bounds[0], 100, 599), parse_whole_number(bounds[-1], 100, 599)
        if len(bounds) > 2 or first > last:
            raise ValueError
    except (ValueError, IndexError):
        raise InvalidValueError(
            f'cannot be {format_value(value)}; write one status like 200 or a range like "200-399"'
        ) from None
    return first, last


def parse_headers(value: Any) -> dict[str, str]:
    """Return HTTP headers: tokens, and strings of one line that HTTP can send."""
    if not isinstance(value, dict):
        raise InvalidValueError(f"cannot be {format_value(value)}; write an object of names and strings")
    for name, text in value.items():
        if (
            not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name)
            or not isinstance(text, str)
            or not _HEADER_TEXT.fullmatch(text)
            or text[:1].isspace()
        ):
            help_ = "write a token and a string of one line, in Latin-1, that does not begin with white space"
            raise InvalidValueError(f"cannot contain {format_value(name)}: {format_value(text)}; {help_}")
    return dict(value)


def parse_interfaces(value: Any) -> tuple[str, ...]:
    """Return the interfaces to take an address from, from one string or an array, in ContainerPilot's syntax."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not items:
        raise InvalidValueError(f"cannot be {format_value(value)}; {_INTERFACE_HELP}")
    for item in items:
        if not isinstance(item, str) or not _is_interface(item):
            raise InvalidValueError(f"cannot contain {format_value(item)}; {_INTERFACE_HELP}")
    return tuple(items)


def _is_interface(item: str) -> bool:
    try:
        if item.startswith("static:"):
            ipaddress.ip_address(item.removeprefix("static:"))
        elif "/" in item:
            ipaddress.ip_network(item, strict=False)
        else:
            return bool(_INTERFACE.fullmatch(item))
    except ValueError:
        return False
    return True
