"""Choose the address of this host at which a service is reached, by ContainerPilot's `interfaces` rules.

Pure, except `list_host_addresses`, which asks the kernel (through ifaddr, getifaddrs(3)).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_INTERFACE_RULE_PATTERN = re.compile(r"(?P<name>[^:\[/]+)(?::(?P<family>inet6?)|\[(?P<index>\d+)\])?")


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address of a network interface."""

    interface: str
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address


def list_host_addresses() -> list[Address]:
    """Return the addresses of all interfaces of this host, sorted by `sort_addresses`."""
    import ifaddr

    addresses = [
        Address(adapter.name, ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0]))
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
    return sort_addresses(addresses)


def sort_addresses(addresses: Iterable[Address]) -> list[Address]:
    """Return the addresses by interface name, then by their bytes, IPv4 before IPv6."""
    return sorted(addresses, key=lambda a: (a.interface, a.ip.version, a.ip.packed))


def choose_address(rules: Sequence[str], addresses: Sequence[Address]) -> str | None:
    """Return the address of the first rule that matches one, None if no rule does.

    Args:
        rules: Rules such as `eth0`, `eth0:inet6`, `eth0[1]`, `10.0.0.0/16`, `inet`, `static:192.0.2.7`.
        addresses: The host's addresses as `sort_addresses` returns them.
    """
    for rule in rules:
        address = _find_address(rule, addresses)
        if address is not None:
            return address
    return None


def _find_address(rule: str, addresses: Sequence[Address]) -> str | None:
    if rule.startswith("static:"):
        return rule.removeprefix("static:")
    matching = [str(address.ip) for address in addresses if _is_match(rule, address)]
    parts = _INTERFACE_RULE_PATTERN.fullmatch(rule)
    index = int(parts["index"]) if parts and parts["index"] else 0
    return matching[index] if index < len(matching) else None


def _is_match(rule: str, address: Address) -> bool:
    if "/" in rule:
        return address.ip in ipaddress.ip_network(rule, strict=False)
    if rule in ("inet", "inet6"):
        return _has_family(rule, address) and not address.ip.is_loopback
    parts = _INTERFACE_RULE_PATTERN.fullmatch(rule)
    if parts is None or parts["name"] != address.interface:
        return False
    return parts["index"] is not None or _has_family(parts["family"] or "inet", address)


def _has_family(family: str, address: Address) -> bool:
    return address.ip.version == (6 if family == "inet6" else 4)
