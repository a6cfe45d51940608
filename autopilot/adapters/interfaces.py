"""Which of this host's addresses a service is reached at: ContainerPilot's `interfaces` rules.

Pure but for `host_addresses`, which asks the kernel (through ifaddr, getifaddrs(3)).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_INTERFACE_RULE_PATTERN = re.compile(r"(?P<name>[^:\[/]+)(?::(?P<family>inet6?)|\[(?P<index>\d+)\])?")


@dataclass(frozen=True, slots=True)
class Address:
    interface: str
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address


def list_host_addresses() -> list[Address]:
    import ifaddr

    found = [
        Address(adapter.name, ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0]))
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
    return sort_addresses(found)


def sort_addresses(addresses: Iterable[Address]) -> list[Address]:
    """By interface name, then by the address's bytes (IPv4 before IPv6)."""
    return sorted(addresses, key=lambda a: (a.interface, a.ip.version, a.ip.packed))


def choose_address(rules: Sequence[str], addresses: Sequence[Address]) -> str | None:
    """The address of the first rule that finds one. `addresses` are in order."""
    for rule in rules:
        found = _find_address(rule, addresses)
        if found is not None:
            return found
    return None


def _find_address(rule: str, addresses: Sequence[Address]) -> str | None:
    if rule.startswith("static:"):
        return rule.removeprefix("static:")
    matching = [str(address.ip) for address in addresses if _is_match(rule, address)]
    named = _INTERFACE_RULE_PATTERN.fullmatch(rule)
    index = int(named["index"]) if named and named["index"] else 0
    return matching[index] if index < len(matching) else None


def _is_match(rule: str, address: Address) -> bool:
    if "/" in rule:
        return address.ip in ipaddress.ip_network(rule, strict=False)
    if rule in ("inet", "inet6"):
        return _has_family(rule, address) and not address.ip.is_loopback
    named = _INTERFACE_RULE_PATTERN.fullmatch(rule)
    if named is None or named["name"] != address.interface:
        return False
    return named["index"] is not None or _has_family(named["family"] or "inet", address)


def _has_family(family: str, address: Address) -> bool:
    return address.ip.version == (6 if family == "inet6" else 4)
