"""Derive the resources of each slot from those of a group's first slot: cores, GPUs, addresses.

Slot 1 has the resources as the configuration names them. Slot n has the next ones: cores 0-15 become 16-31 in slot 2,
and an address is counted up by one.
"""

from __future__ import annotations

import ipaddress
import re

from autopilot_watchdog.config.value_readers import InvalidValueError, parse_duration, read_string_map, read_text

MAX_CORE = 65535
OWN_LABEL_PREFIX = "autopilot."  # of the labels by which the watchdog knows its containers
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def parse_cpuset(json_value: object) -> str:
    """Check a set of cores such as "0-15" or "0-7,64-71"; an empty one is allowed."""
    text = read_text(json_value)
    wrong = InvalidValueError('cores such as "0-15" or "0-7,64-71"')
    for part in text.split(",") if text else ():
        match = _RANGE.fullmatch(part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise wrong
    if len(list_cores(text)) != len(set(list_cores(text))):
        raise wrong
    return text


def list_cores(cpuset: str) -> list[int]:
    """Return the cores of a set, in its order; none for an empty one."""
    return [core for first, last in _split_ranges(cpuset) for core in range(first, last + 1)]


def shift_cpuset(cpuset: str, number: int) -> str:
    """Return the cores of slot `number`: each range moves on by its own length for each slot before."""
    parts = []
    for first, last in _split_ranges(cpuset):
        shift = (number - 1) * (last - first + 1)
        parts.append(f"{first + shift}-{last + shift}" if last > first else f"{first + shift}")
    return ",".join(parts)


def _split_ranges(cpuset: str) -> list[tuple[int, int]]:
    pairs = [part.partition("-") for part in cpuset.split(",") if part]
    return [(int(first), int(last or first)) for first, _, last in pairs]


def list_gpus(count: int, number: int) -> list[str]:
    """Return the GPUs of slot `number` if each slot has `count`: slot 1 has 0, 1, ..."""
    return [str(index) for index in range((number - 1) * count, number * count)]


def parse_gpu_count(json_value: object) -> int:
    """Read a number of GPUs; 0 is none."""
    if type(json_value) is not int or not 0 <= json_value <= 64:
        raise InvalidValueError("a whole number from 0 to 64")
    return json_value


def parse_pids_limit(json_value: object) -> int:
    """Read a limit of processes; 0 is none."""
    if type(json_value) is not int or json_value < 0:
        raise InvalidValueError("a whole number of 0 or more")
    return json_value


def parse_ip(json_value: object) -> str:
    """Check an address such as "10.1.2.11"; an empty one is allowed."""
    text = read_text(json_value)
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise InvalidValueError('an address such as "10.1.2.11" or "fd00::11"') from None


def shift_ip(ip: str, number: int) -> str:
    """Return the address of slot `number`.

    Raises:
        ValueError: There is no such address.
    """
    return str(ipaddress.ip_address(ip) + (number - 1))


def parse_mac(json_value: object) -> str:
    """Check the hardware address of one interface, such as "02:42:0a:01:02:0b"; an empty one is allowed."""
    text = read_text(json_value).lower()
    if text and (not re.fullmatch(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", text) or int(text[:2], 16) & 1):
        raise InvalidValueError('a hardware address of one interface such as "02:42:0a:01:02:0b"')
    return text


def shift_mac(mac: str, number: int) -> str:
    """Return the hardware address of slot `number`."""
    digits = f"{(int(mac.replace(':', ''), 16) + number - 1) % (1 << 48):012x}"
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


def parse_labels(json_value: object) -> dict[str, str]:
    """Check labels; those by which the watchdog knows its containers are its own."""
    labels = read_string_map(json_value)
    if any(name.startswith(OWN_LABEL_PREFIX) for name in labels):
        raise InvalidValueError(f'an object with no key that begins with "{OWN_LABEL_PREFIX}", as our own labels do')
    return labels


def parse_stop_timeout(json_value: object) -> float:
    """Read the seconds between SIGTERM and SIGKILL: whole ones, because engines count so."""
    seconds = parse_duration(json_value)
    if seconds != int(seconds):
        raise InvalidValueError('a duration of whole seconds such as "90s" or "5m"')
    return seconds
