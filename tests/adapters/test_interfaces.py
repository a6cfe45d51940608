"""ContainerPilot's interface rules."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from autopilot.adapters.interfaces import Address, choose_address, list_host_addresses, sort_addresses

HERE = sort_addresses(
    Address(name, ip_address(ip))
    for name, ip in [
        ("lo", "127.0.0.1"),
        ("lo", "::1"),
        ("eth1", "192.168.1.7"),
        ("eth0", "10.1.0.9"),
        ("eth0", "10.0.0.9"),
        ("eth0", "fdc6::9"),
    ]
)


@pytest.mark.parametrize(
    ("rules", "address"),
    [
        (["eth0"], "10.0.0.9"),
        (["eth0:inet"], "10.0.0.9"),
        (["eth0:inet6"], "fdc6::9"),
        (["eth0[1]"], "10.1.0.9"),
        (["eth0[2]"], "fdc6::9"),
        (["eth0[7]"], None),
        (["192.168.0.0/16"], "192.168.1.7"),
        (["fdc6::/48"], "fdc6::9"),
        (["inet"], "10.0.0.9"),
        (["inet6"], "fdc6::9"),
        (["lo"], "127.0.0.1"),
        (["static:192.0.2.1"], "192.0.2.1"),
        (["ens3", "172.16.0.0/12", "eth1"], "192.168.1.7"),
        (["ens3"], None),
    ],
)
def test_rules(rules, address):
    """The first rule that finds an address wins; `inet` and `inet6` never mean the loopback."""
    assert choose_address(rules, HERE) == address


def test_this_host():
    """The kernel's own list has the loopback address."""
    assert choose_address(["lo"], list_host_addresses()) == "127.0.0.1"
