"""State the resources of the host that a slot's container has for itself, so that no other container uses them, too.

A resource is the container's own if its text names the slot: a folder with {number}, a published port, a device with
{slot}. A text that is the same in every slot of a group, such as /cvmfs, is shared by design. In a group of one slot
nothing is shared. The claims are a label of the container, because the configuration it was started with may be gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from autopilot_watchdog.bounded_json import get_list, get_object, get_text, parse_json
from autopilot_watchdog.config import slot_resources
from autopilot_watchdog.config.slot_config import SlotGroup, fill_group

DEFAULT_DRAIN = ("autopilot", "drain", "--no-wait")
MAX_CLAIMS = 1024  # of one container
MAX_CLAIM_CHARS = 4096
MAX_LABEL_CHARS = 1 << 16
MAX_NUMBER = 1e18
FOLDER = "folder "  # before the path of a claimed folder


@dataclass(frozen=True, slots=True)
class SlotClaims:
    """Resources of one container."""

    own: tuple[str, ...] = ()  # such as "port 9620/tcp", "folder /scratch/01", "device /dev/nvidia0"
    cpus: float = 0.0  # 0: not limited, so not counted
    drain: tuple[str, ...] = DEFAULT_DRAIN  # run inside to ask for a drain


def compute_claims(group: SlotGroup, host: str, number: int) -> SlotClaims:
    """Compute the claims of a slot's container."""
    filled = fill_group(group, host, number)
    own = dict.fromkeys(_list_resources(filled, number))
    if group.count > 1:
        other = number + 1 if number < group.count else number - 1
        for shared in _list_resources(fill_group(group, host, other), other):
            own.pop(shared, None)
    return SlotClaims(tuple(own), group.cpus, filled.drain)


def _list_resources(group: SlotGroup, number: int) -> Iterator[str]:
    """Yield the resources of a filled group: all that only one container can have at a time."""
    for port in group.ports:
        first, rest = port.split(":", 1)
        yield f"port {int(first) + number - 1}/{rest.partition('/')[2] or 'tcp'}"
    yield from _list_bound_folders(group.volumes)
    yield from (f"device {device}" for device in group.devices)
    yield from (f"core {core}" for core in slot_resources.list_cores(slot_resources.shift_cpuset(group.cpuset, number)))
    yield from (f"GPU {index}" for index in slot_resources.list_gpus(group.gpus, number))
    if group.ip:
        yield f"address {slot_resources.shift_ip(group.ip, number)}"
    if group.mac:
        yield f"address {slot_resources.shift_mac(group.mac, number)}"


def _list_bound_folders(binds: Iterable[str]) -> Iterator[str]:
    """Yield the folders and named volumes that are bound for writing."""
    for bind in binds:
        source, _, rest = bind.partition(":")
        options = rest.partition(":")[2].split(",")
        if "ro" not in options:
            yield f"{FOLDER}{source.rstrip('/') or '/'}"


def are_in_conflict(claim: str, other: str) -> bool:
    """Return True if two claims are of the same thing, or of a folder and another one inside of it."""
    if claim == other:
        return True
    if not (claim.startswith(FOLDER) and other.startswith(FOLDER)):
        return False
    return claim.startswith(f"{other.rstrip('/')}/") or other.startswith(f"{claim.rstrip('/')}/")


def format_claims(claims: SlotClaims) -> str:
    """Return the text of the container's label."""
    return json.dumps({"own": claims.own, "cpus": claims.cpus, "drain": claims.drain})


def parse_claims(label: str) -> SlotClaims | None:
    """Read the text of a label; None if it is no such text."""
    try:
        document = parse_json(label)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    own, drain = (
        tuple(word[:MAX_CLAIM_CHARS] for word in get_list(document, key)[:MAX_CLAIMS] if isinstance(word, str))
        for key in ("own", "drain")
    )
    return SlotClaims(own, _get_number(document, "cpus"), drain or DEFAULT_DRAIN)


def read_host_config(host_config: object) -> SlotClaims:
    """Guess the claims of a container without the label from the engine's account of it: nothing is known as shared.

    Args:
        host_config: The HostConfig of Docker's GET /containers/ID/json.
    """
    own: list[str] = []
    for port in list(get_object(host_config, "PortBindings"))[:MAX_CLAIMS]:
        protocol = port.partition("/")[2] or "tcp"
        for binding in get_list(get_object(host_config, "PortBindings"), port)[:MAX_CLAIMS]:
            number = get_text(binding, "HostPort")
            own += [f"port {number}/{protocol}"] if number else []
    binds = [bind for bind in get_list(host_config, "Binds")[:MAX_CLAIMS] if isinstance(bind, str)]
    own += _list_bound_folders(binds)
    devices = get_list(host_config, "Devices")[:MAX_CLAIMS]
    own += [f"device {get_text(device, 'PathOnHost', MAX_CLAIM_CHARS)}" for device in devices]
    return SlotClaims(tuple(dict.fromkeys(own)), _get_number(host_config, "NanoCpus") / 1e9)


def _get_number(document: object, key: str) -> float:
    found = document.get(key) if isinstance(document, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return 0.0
    return float(found) if 0 <= found < MAX_NUMBER else 0.0
