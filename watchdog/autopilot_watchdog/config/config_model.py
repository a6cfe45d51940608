"""Declare the keys of /etc/autopilot-watchdog.json. Read values are in seconds and bytes.

The metadata of a field holds the reader of its JSON value (`read`) and its sentence in the reference (`doc`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autopilot_watchdog.config import value_readers
from autopilot_watchdog.config.value_readers import Ring

__all__ = [
    "Command",
    "Config",
    "ConsulConfig",
    "FailuresConfig",
    "FitnessConfig",
    "MetricsConfig",
    "RegistryConfig",
    "Ring",
    "RolloutConfig",
    "SlotGroup",
]

DEFAULT_ENGINE_SOCKETS = {  # by the engine's name; engine/engine_registry.py has the factories
    "docker": "/var/run/docker.sock",
    "podman": "/run/podman/podman.sock",
}


def _declare_field(doc: str, read: Callable[[object], Any], **default: Any) -> Any:
    return field(metadata={"doc": doc, "read": read}, kw_only=True, **default)


@dataclass(frozen=True, slots=True)
class Command:
    """Program of the site, run without a shell."""

    exec: tuple[str, ...] = _declare_field("the program and its arguments", value_readers.read_string_list)
    timeout: float = _declare_field("it is killed after so long", value_readers.parse_duration, default=300.0)


@dataclass(frozen=True, slots=True)
class SlotGroup:
    """Group of slots that differ in their numbers only."""

    name: str = _declare_field(
        "pattern of the slots' names: NN is the number, {host} the host's", value_readers.parse_name_pattern
    )
    image: str = _declare_field(
        "the image to run, with a tag: registry/repository:tag", value_readers.parse_image_reference
    )
    count: int = _declare_field("how many slots", value_readers.read_positive_integer, default=1)
    engine: str = _declare_field(
        "docker or podman, or a name from `engines`", value_readers.read_text, default="docker"
    )
    command: tuple[str, ...] = _declare_field(
        "arguments in place of the image's CMD", value_readers.read_string_list, default=()
    )
    env: Mapping[str, str] = _declare_field(
        "environment variables", value_readers.read_string_map, default_factory=dict
    )
    volumes: tuple[str, ...] = _declare_field("binds: /host:/container[:ro]", value_readers.parse_binds, default=())
    ports: tuple[str, ...] = _declare_field(
        "host:container[/udp]; slot n gets host + n - 1", value_readers.parse_ports, default=()
    )
    network: str = _declare_field(
        "the engine's network: bridge, host, none or a name", value_readers.read_text, default=""
    )
    hostname: str = _declare_field("pattern of the host name inside", value_readers.parse_name_pattern, default="")
    extra_hosts: Mapping[str, str] = _declare_field(
        "more names in /etc/hosts: name -> address", value_readers.read_string_map, default_factory=dict
    )
    dns_options: tuple[str, ...] = _declare_field("options for resolv.conf", value_readers.read_string_list, default=())
    cpus: float = _declare_field("CPU cores, 0: no limit", value_readers.read_number, default=0.0)
    memory: int = _declare_field("memory limit, 0: none", value_readers.parse_size, default=0)
    shm: int = _declare_field("size of /dev/shm, 0: the engine's default", value_readers.parse_size, default=0)
    ulimits: Mapping[str, int] = _declare_field(
        "soft and hard limit by name", value_readers.read_limits, default_factory=dict
    )
    cap_add: tuple[str, ...] = _declare_field("capabilities to add", value_readers.read_string_list, default=())
    cap_drop: tuple[str, ...] = _declare_field("capabilities to take away", value_readers.read_string_list, default=())
    security_opt: tuple[str, ...] = _declare_field(
        "the engine's security options", value_readers.read_string_list, default=()
    )
    devices: tuple[str, ...] = _declare_field("device files to pass on", value_readers.read_string_list, default=())
    tmpfs: Mapping[str, str] = _declare_field(
        "memory file systems: path -> mount options", value_readers.read_string_map, default_factory=dict
    )
    init: bool = _declare_field("let the engine put its own init in front", value_readers.read_boolean, default=False)
    state: str = _declare_field(
        "where the state folder is mounted inside; empty: not at all",
        value_readers.read_text,
        default="/var/lib/autopilot",
    )
    drain: tuple[str, ...] = _declare_field(
        "run inside to ask for a drain", value_readers.read_string_list, default=("autopilot", "drain", "--no-wait")
    )
    verify: Command | None = _declare_field(
        "signature check on the host, see docs/watchdog.md", value_readers.pass_through, default=None
    )
    preflight: Command | None = _declare_field(
        "smoke test in a throwaway container", value_readers.pass_through, default=None
    )

    @property
    def image_key(self) -> str:
        """Key of the image in the memory: one reference on two engines has two keys."""
        return f"{self.engine} {self.image}"

    def list_slot_names(self, host: str) -> list[str]:
        """Return the names of the group's slots on this host, in the order of their numbers."""
        return [format_slot_name(self.name, host, number) for number in range(1, self.count + 1)]


def format_slot_name(pattern: str, host: str, number: int) -> str:
    """Fill the host's name ({host}) and the slot's number (NN) into a pattern."""
    return pattern.replace("{host}", host).replace("NN", f"{number:02}")


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """Settings of the requests to image registries."""

    timeout: float = _declare_field("of each request to a registry", value_readers.parse_duration, default=10.0)
    check_every: float = _declare_field(
        "how often a host whose slots all run asks for news", value_readers.parse_duration, default=300.0
    )
    fresh: float = _declare_field(
        "an answer this old is asked for again before a start", value_readers.parse_duration, default=30.0
    )
    auth_file: str = _declare_field(
        "docker's config.json; empty: where docker and podman look", value_readers.read_text, default=""
    )
    insecure: tuple[str, ...] = _declare_field(
        "registries we ask without TLS (loopback always); engines have a list of their own",
        value_readers.read_string_list,
        default=(),
    )
    pull_timeout: float = _declare_field(
        "a pull that takes longer has failed", value_readers.parse_duration, default=1800.0
    )


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """Settings of the rings in which hosts take a new digest."""

    rings: tuple[Ring, ...] = _declare_field(
        "share of the hosts that may take a new digest, and how long after its push",
        value_readers.parse_rings,
        default=(Ring(0.01, 0.0), Ring(0.10, 3600.0), Ring(1.0, 6 * 3600.0)),
    )
    spread: float = _declare_field(
        "the hosts of one ring begin evenly over so long", value_readers.parse_duration, default=600.0
    )


@dataclass(frozen=True, slots=True)
class FailuresConfig:
    """Settings of back-off and quarantine."""

    quarantine_after: int = _declare_field(
        "failed lives in a row, on this host, of one digest", value_readers.read_positive_integer, default=3
    )
    good_after: float = _declare_field(
        "age at which an image without last words is good", value_readers.parse_duration, default=120.0
    )
    initial: float = _declare_field(
        "first wait of a slot after a failed life; doubles", value_readers.parse_duration, default=10.0
    )
    longest: float = _declare_field("longest wait of a slot", value_readers.parse_duration, default=1800.0)
    host_after: int = _declare_field(
        "failed lives in a row, of any slot, that hold the whole host back",
        value_readers.read_positive_integer,
        default=5,
    )
    host_initial: float = _declare_field("first wait of the host; doubles", value_readers.parse_duration, default=60.0)
    host_longest: float = _declare_field("longest wait of the host", value_readers.parse_duration, default=3600.0)
    acquit_within: float = _declare_field(
        "a digest is acquitted when the good one fails, too, within so long",
        value_readers.parse_duration,
        default=3600.0,
    )


@dataclass(frozen=True, slots=True)
class FitnessConfig:
    """Settings of the host's own pre-flight."""

    free_disk: int = _declare_field("on the engine's and the state's disk", value_readers.parse_size, default=10**9)
    load_per_cpu: float = _declare_field(
        "1-minute load average per CPU, 0: not looked at", value_readers.read_number, default=0.0
    )
    mounts: tuple[str, ...] = _declare_field(
        "folders to touch first, such as /cvmfs/...", value_readers.read_string_list, default=()
    )
    mount_timeout: float = _declare_field(
        "a folder that takes longer is broken", value_readers.parse_duration, default=10.0
    )
    earliest: str = _declare_field(
        "the clock is wrong before this date", value_readers.parse_date, default="2025-01-01"
    )


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Settings of the metrics for Prometheus."""

    textfile: str = _declare_field(
        "node-exporter's textfile to write; empty: none", value_readers.read_text, default=""
    )
    listen: str = _declare_field(
        "where `watch` serves /metrics, as host:port; empty: nowhere", value_readers.parse_address, default=""
    )


@dataclass(frozen=True, slots=True)
class ConsulConfig:
    """Settings of the fleet's shared knowledge in Consul."""

    address: str = _declare_field(
        "the local agent's HTTP address", value_readers.read_text, default="http://127.0.0.1:8500"
    )
    token_file: str = _declare_field("holds the ACL token; empty: none", value_readers.read_text, default="")
    prefix: str = _declare_field("of the keys in the KV store", value_readers.read_text, default="autopilot")
    timeout: float = _declare_field("of each request", value_readers.parse_duration, default=3.0)
    node: str = _declare_field(
        "pattern of the node name of a slot's agent; empty: none is removed", value_readers.read_text, default=""
    )


@dataclass(frozen=True, slots=True)
class Config:
    """Configuration of one host: the whole file."""

    slots: tuple[SlotGroup, ...] = _declare_field("groups of like slots", value_readers.pass_through)
    host: str = _declare_field("this host's name; empty: its short host name", value_readers.read_text, default="")
    state: str = _declare_field(
        "where the watchdog keeps what it knows", value_readers.read_text, default="/var/lib/autopilot-watchdog"
    )
    audit: str = _declare_field(
        "JSON lines, one per decision; empty: STATE/audit.jsonl", value_readers.read_text, default=""
    )
    engines: Mapping[str, str] = _declare_field(
        "API sockets by name, beside docker and podman; KIND:/path where no name tells the kind of engine",
        value_readers.read_string_map,
        default_factory=dict,
    )
    registry: RegistryConfig = _declare_field("registries", value_readers.pass_through, default=RegistryConfig())
    rollout: RolloutConfig = _declare_field(
        "the hosts' turns for a new digest", value_readers.pass_through, default=RolloutConfig()
    )
    failures: FailuresConfig = _declare_field(
        "back-off and quarantine after failed lives", value_readers.pass_through, default=FailuresConfig()
    )
    fitness: FitnessConfig = _declare_field(
        "the host's own pre-flight", value_readers.pass_through, default=FitnessConfig()
    )
    metrics: MetricsConfig = _declare_field("Prometheus", value_readers.pass_through, default=MetricsConfig())
    consul: ConsulConfig | None = _declare_field(
        "the fleet's shared knowledge; absent: none", value_readers.pass_through, default=None
    )

    def map_slots_to_groups(self) -> dict[str, tuple[SlotGroup, int]]:
        """Return the group of each slot, and the slot's number in it, by the slot's name."""
        return {
            format_slot_name(group.name, self.host, number): (group, number)
            for group in self.slots
            for number in range(1, group.count + 1)
        }

    def find_group(self, key: str) -> SlotGroup:
        """Return the first group that uses the image of this key; the others share the checks of that group."""
        return next(group for group in self.slots if group.image_key == key)
