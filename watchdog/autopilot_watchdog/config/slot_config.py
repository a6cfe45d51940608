"""Declare the keys of a group of slots, and name the slots. Read values are in seconds and bytes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from autopilot_watchdog.config import slot_resources, value_readers
from autopilot_watchdog.config.canary_config import CanaryConfig
from autopilot_watchdog.config.config_field import declare_field
from autopilot_watchdog.config.group_rollout import GroupRollout
from autopilot_watchdog.config.placeholders import (
    expand_number_words,
    fill_placeholders,
    find_unknown_placeholders,
)

DEFAULT_DRAIN_COMMAND = ("autopilot", "drain", "--no-wait")
# keys of a group with placeholders for a slot: lists of texts, and mappings of texts to texts
FILLED_KEYS = (
    *("command", "env", "volumes", "devices", "extra_hosts", "dns_options", "security_opt", "tmpfs", "drain"),
    *("labels", "log_options"),
)
FILLED_TEXT_KEYS = ("network", "state")  # the same for single texts


@dataclass(frozen=True, slots=True)
class Command:
    """Program of the site, run without a shell."""

    exec: tuple[str, ...] = declare_field("the program and its arguments", value_readers.read_string_list)
    timeout: float = declare_field("it is killed after so long", value_readers.parse_duration, default=300.0)


@dataclass(frozen=True, slots=True)
class SlotGroup:
    """Group of slots that differ in their numbers only."""

    name: str = declare_field(
        "pattern of the slots' names with {host}, and {number}, NN standing alone, or {index} (from 0)",
        value_readers.parse_name_pattern,
    )
    image: str = declare_field(
        "the image to run, with a tag: registry/repository:tag", value_readers.parse_image_reference
    )
    count: int = declare_field("how many slots", value_readers.read_positive_integer, default=1)
    engine: str = declare_field("docker or podman, or a name from `engines`", value_readers.read_text, default="docker")
    command: tuple[str, ...] = declare_field(
        "arguments in place of the image's CMD", value_readers.read_string_list, default=()
    )
    env: Mapping[str, str] = declare_field("environment variables", value_readers.read_string_map, default_factory=dict)
    volumes: tuple[str, ...] = declare_field(
        "binds: /host:/container[:OPTIONS], such as ro or ro,rslave", value_readers.parse_binds, default=()
    )
    ports: tuple[str, ...] = declare_field(
        "host:container[/udp]; slot n gets host + n - 1", value_readers.parse_ports, default=()
    )
    network: str = declare_field(
        "the engine's network: bridge, host, none or a name", value_readers.read_text, default=""
    )
    hostname: str = declare_field("pattern of the host name inside", value_readers.parse_name_pattern, default="")
    extra_hosts: Mapping[str, str] = declare_field(
        "more names in /etc/hosts: name -> address", value_readers.read_string_map, default_factory=dict
    )
    dns_options: tuple[str, ...] = declare_field("options for resolv.conf", value_readers.read_string_list, default=())
    cpus: float = declare_field("CPU cores, 0: no limit", value_readers.read_number, default=0.0)
    memory: int = declare_field("memory limit, 0: none", value_readers.parse_size, default=0)
    shm: int = declare_field("size of /dev/shm, 0: the engine's default", value_readers.parse_size, default=0)
    ulimits: Mapping[str, int] = declare_field(
        "soft and hard limit by name", value_readers.read_limits, default_factory=dict
    )
    cap_add: tuple[str, ...] = declare_field("capabilities to add", value_readers.read_string_list, default=())
    cap_drop: tuple[str, ...] = declare_field("capabilities to take away", value_readers.read_string_list, default=())
    security_opt: tuple[str, ...] = declare_field(
        "the engine's security options", value_readers.read_string_list, default=()
    )
    devices: tuple[str, ...] = declare_field("device files to pass on", value_readers.read_string_list, default=())
    tmpfs: Mapping[str, str] = declare_field(
        "memory file systems: path -> mount options", value_readers.read_string_map, default_factory=dict
    )
    cpuset: str = declare_field(
        "cores of slot 1, such as 0-15; slot n gets the next ones", slot_resources.parse_cpuset, default=""
    )
    gpus: int = declare_field(
        "GPUs of each slot by Docker's NVIDIA runtime: slot 1 gets the first ones, slot n the next",
        slot_resources.parse_gpu_count,
        default=0,
    )
    ip: str = declare_field(
        "address of slot 1 in the named network; slot n gets this one + n - 1", slot_resources.parse_ip, default=""
    )
    mac: str = declare_field(
        "hardware address of slot 1; slot n gets this one + n - 1", slot_resources.parse_mac, default=""
    )
    labels: Mapping[str, str] = declare_field(
        "further labels of the container", slot_resources.parse_labels, default_factory=dict
    )
    log_driver: str = declare_field("the engine's log driver, empty: its default", value_readers.read_text, default="")
    log_options: Mapping[str, str] = declare_field(
        "options of the log driver, such as max-size", value_readers.read_string_map, default_factory=dict
    )
    pids_limit: int = declare_field("most processes, 0: no limit", slot_resources.parse_pids_limit, default=0)
    read_only: bool = declare_field(
        "the image's file system cannot be written", value_readers.read_boolean, default=False
    )
    stop_timeout: float = declare_field(
        "time between SIGTERM and SIGKILL when the engine stops the container, 0s: the engine's default",
        slot_resources.parse_stop_timeout,
        default=0.0,
    )
    init: bool = declare_field("let the engine put its own init in front", value_readers.read_boolean, default=False)
    state: str = declare_field(
        "where the state folder is mounted inside; empty: not at all",
        value_readers.read_text,
        default="/var/lib/autopilot",
    )
    drain: tuple[str, ...] = declare_field(
        "run inside to ask for a drain", value_readers.read_string_list, default=DEFAULT_DRAIN_COMMAND
    )
    verify: Command | None = declare_field(
        "signature check on the host, see docs/watchdog.md", value_readers.pass_through, default=None
    )
    preflight: Command | None = declare_field(
        "smoke test in a throwaway container", value_readers.pass_through, default=None
    )
    canary: CanaryConfig | None = declare_field(
        "part of the slots that takes another tag", value_readers.pass_through, default=None
    )
    rollout: GroupRollout | None = declare_field(
        "keys that replace those of the file's `rollout` for this group", value_readers.pass_through, default=None
    )

    @property
    def image_key(self) -> str:
        """Key of the image in the memory: one reference on two engines has two keys."""
        return f"{self.engine} {self.image}"

    def list_slot_names(self, host: str) -> list[str]:
        """Return the names of the group's slots on this host, in the order of their numbers."""
        return [format_slot_name(self.name, host, number) for number in range(1, self.count + 1)]


@functools.lru_cache(maxsize=4096)  # every look at the host asks for all names
def format_slot_name(pattern: str, host: str, number: int, slot: str = "") -> str:
    """Fill a slot's values into a pattern of names: {host}, {number} (or NN standing alone), {index} and {slot}."""
    return fill_placeholders(expand_number_words(pattern), _list_values(host, number, slot))


def _list_values(host: str, number: int, slot: str) -> dict[str, str]:
    """Return the values of a slot's placeholders."""
    return {"host": host, "number": f"{number:02}", "index": str(number - 1), "slot": slot}


def fill_group(group: SlotGroup, host: str, number: int) -> SlotGroup:
    """Return the group with the placeholders of one slot filled into its texts."""
    values = _list_values(host, number, format_slot_name(group.name, host, number))
    return _fill_texts(group, values)


def fill_group_for_host(group: SlotGroup, host: str) -> SlotGroup:
    """Return the group with the host filled into its texts, and without the texts that differ from slot to slot."""
    return _fill_texts(group, {"host": host}, keeps_others=False)


def _fill_texts(group: SlotGroup, values: Mapping[str, str], *, keeps_others: bool = True) -> SlotGroup:
    """Return the group with filled texts; without those that have other placeholders, unless they are kept."""

    def fill(text: str) -> str:
        return fill_placeholders(text, values)

    def is_kept(*texts: str) -> bool:
        return keeps_others or not any(unknown for text in texts for unknown in find_unknown_placeholders(text, values))

    if not any("{" in text for text in _list_texts(group)):
        return group
    filled: dict[str, Any] = {}
    for key in FILLED_KEYS:
        found = getattr(group, key)
        if isinstance(found, Mapping):
            filled[key] = {fill(name): fill(text) for name, text in found.items() if is_kept(name, text)}
        else:
            filled[key] = tuple(fill(text) for text in found if is_kept(text))
    for key in FILLED_TEXT_KEYS:
        text = getattr(group, key)
        filled[key] = fill(text) if is_kept(text) else ""
    return replace(group, **filled)


def _list_texts(group: SlotGroup) -> Iterator[str]:
    for key in FILLED_KEYS:
        found = getattr(group, key)
        yield from found
        if isinstance(found, Mapping):
            yield from found.values()
    for key in FILLED_TEXT_KEYS:
        yield getattr(group, key)
