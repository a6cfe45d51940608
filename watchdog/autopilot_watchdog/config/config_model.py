"""Declare the keys of /etc/autopilot-watchdog.json. Read values are in seconds and bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

from autopilot_watchdog.config import rollout_windows, value_readers
from autopilot_watchdog.config.canary_config import CanaryConfig
from autopilot_watchdog.config.canary_slots import CanaryGroup, build_canary_group, is_canary_slot
from autopilot_watchdog.config.config_field import declare_field
from autopilot_watchdog.config.group_rollout import GroupRollout
from autopilot_watchdog.config.rollout_windows import RolloutWindow
from autopilot_watchdog.config.slot_config import Command, SlotGroup, format_slot_name
from autopilot_watchdog.config.suspicion_config import SuspicionConfig
from autopilot_watchdog.config.value_readers import Ring

__all__ = [
    "CanaryConfig",
    "Command",
    "Config",
    "ConsulConfig",
    "FailuresConfig",
    "FitnessConfig",
    "GroupRollout",
    "MetricsConfig",
    "NotifyConfig",
    "RegistryConfig",
    "Ring",
    "RolloutConfig",
    "SlotGroup",
    "SuspicionConfig",
]

DEFAULT_ENGINE_SOCKETS = {  # by the engine's name; engine/engine_registry.py has the factories
    "docker": "/var/run/docker.sock",
    "podman": "/run/podman/podman.sock",
}


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """Settings of the requests to image registries."""

    timeout: float = declare_field(
        "of each request to a registry, as a whole", value_readers.parse_duration, default=10.0
    )
    check_every: float = declare_field(
        "how often a host whose slots all run asks for news", value_readers.parse_duration, default=300.0
    )
    fresh: float = declare_field(
        "an answer this old is asked for again before a start", value_readers.parse_duration, default=30.0
    )
    auth_file: str = declare_field(
        "docker's config.json or podman's auth.json; empty: where docker and podman look",
        value_readers.read_text,
        default="",
    )
    insecure: tuple[str, ...] = declare_field(
        "registries we ask without TLS (loopback always); engines have a list of their own",
        value_readers.read_string_list,
        default=(),
    )
    token_hosts: tuple[str, ...] = declare_field(
        "further hosts of token services that may see the credentials; a registry's own domain always",
        value_readers.read_string_list,
        default=(),
    )
    pull_timeout: float = declare_field(
        "a pull that takes longer has failed", value_readers.parse_duration, default=1800.0
    )
    patience: float = declare_field(
        "a pass waits so long for an answer (Consul's too), then uses the last one; the next pass takes the new one",
        value_readers.parse_duration,
        default=0.5,
    )


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """Settings of the rings: hosts take a new digest one ring after another."""

    rings: tuple[Ring, ...] = declare_field(
        "share of the hosts that may take a new digest, and how long after its push",
        value_readers.parse_rings,
        default=(Ring(0.01, 0.0), Ring(0.10, 3600.0), Ring(1.0, 6 * 3600.0)),
    )
    spread: float = declare_field(
        "the hosts of one ring begin evenly over so long", value_readers.parse_duration, default=600.0
    )
    min_age: float = declare_field(
        "no host takes a digest that it has seen for less than this", value_readers.parse_duration, default=0.0
    )
    windows: tuple[RolloutWindow, ...] = declare_field(
        'when a new digest may be taken, such as "Mon-Fri 09:00-16:00"; empty: always',
        rollout_windows.parse_windows,
        default=(),
    )
    time_zone: str = declare_field("of the windows; empty: the host's", rollout_windows.parse_time_zone, default="")
    patience: float = declare_field(
        "an empty slot waits so long for each step that prepares a digest; then it takes the best one that is ready",
        value_readers.parse_duration,
        default=2.0,
    )


@dataclass(frozen=True, slots=True)
class FailuresConfig:
    """Settings of back-off and quarantine."""

    quarantine_after: int = declare_field(
        "failed lives in a row, on this host, of one digest", value_readers.read_positive_integer, default=3
    )
    good_after: float = declare_field(
        "age at which an image without last words is good", value_readers.parse_duration, default=120.0
    )
    initial: float = declare_field(
        "first wait of a slot after a failed life; doubles", value_readers.parse_duration, default=10.0
    )
    longest: float = declare_field("longest wait of a slot", value_readers.parse_duration, default=1800.0)
    host_after: int = declare_field(
        "failed lives in a row, of any slot, that hold the whole host back",
        value_readers.read_positive_integer,
        default=5,
    )
    host_initial: float = declare_field("first wait of the host; doubles", value_readers.parse_duration, default=60.0)
    host_longest: float = declare_field("longest wait of the host", value_readers.parse_duration, default=3600.0)
    quorum: int = declare_field(
        "hosts that must say the same before the fleet believes it", value_readers.read_positive_integer, default=2
    )
    acquit_within: float = declare_field(
        "a digest is acquitted when the good one fails, too, within so long",
        value_readers.parse_duration,
        default=3600.0,
    )


@dataclass(frozen=True, slots=True)
class FitnessConfig:
    """Settings of the host's own pre-flight."""

    free_disk: int = declare_field("on the engine's and the state's disk", value_readers.parse_size, default=10**9)
    load_per_cpu: float = declare_field(
        "1-minute load average per CPU, 0: not looked at", value_readers.read_number, default=0.0
    )
    mounts: tuple[str, ...] = declare_field(
        "folders to touch first, such as /cvmfs/...", value_readers.read_string_list, default=()
    )
    mount_timeout: float = declare_field(
        "a folder that takes longer is broken", value_readers.parse_duration, default=10.0
    )
    earliest: str = declare_field("the clock is wrong before this date", value_readers.parse_date, default="2025-01-01")


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Settings of the metrics for Prometheus."""

    textfile: str = declare_field("node-exporter's textfile to write; empty: none", value_readers.read_text, default="")
    listen: str = declare_field(
        "where `watch` serves /metrics, as host:port; empty: nowhere", value_readers.parse_address, default=""
    )


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """Settings of the program that is told of events."""

    exec: tuple[str, ...] = declare_field(
        "the program and its arguments; it gets the event as JSON on standard input", value_readers.read_command
    )
    timeout: float = declare_field("it is killed after so long", value_readers.parse_duration, default=30.0)
    events: tuple[str, ...] = declare_field(
        "ids of the audit log's events to tell",
        value_readers.read_string_list,
        default=("quarantine", "release", "promote", "pull-stuck", "suspect"),
    )


@dataclass(frozen=True, slots=True)
class ConsulConfig:
    """Settings of the fleet's shared knowledge in Consul."""

    address: str = declare_field(
        "the local agent's HTTP address", value_readers.read_text, default="http://127.0.0.1:8500"
    )
    token_file: str = declare_field("holds the ACL token; empty: none", value_readers.read_text, default="")
    prefix: str = declare_field("of the keys in the KV store", value_readers.read_text, default="autopilot-watchdog")
    timeout: float = declare_field("of each request, as a whole", value_readers.parse_duration, default=3.0)
    node: str = declare_field(
        "pattern of the node name of a slot's agent; empty: none is removed", value_readers.read_text, default=""
    )


@dataclass(frozen=True)  # without slots: the map of the slots and the channels are computed once
class Config:
    """Configuration of one host: the whole file."""

    slots: tuple[SlotGroup, ...] = declare_field("groups of like slots", value_readers.pass_through)
    host: str = declare_field("this host's name; empty: its short host name", value_readers.read_text, default="")
    state: str = declare_field(
        "where the watchdog keeps what it knows", value_readers.read_text, default="/var/lib/autopilot-watchdog"
    )
    audit: str = declare_field(
        "JSON lines, one per decision; empty: STATE/audit.jsonl", value_readers.read_text, default=""
    )
    surplus: str = declare_field(
        "containers without a slot in the configuration: drain asks them to end by themselves, keep lets them live",
        value_readers.parse_surplus,
        default="drain",
    )
    engines: Mapping[str, str] = declare_field(
        "API sockets by name, beside docker and podman; KIND:/path where no name tells the kind of engine",
        value_readers.read_string_map,
        default_factory=dict,
    )
    parallel_starts: int = declare_field(
        "how many containers are started or removed at once", value_readers.read_positive_integer, default=8
    )
    registry: RegistryConfig = declare_field("registries", value_readers.pass_through, default=RegistryConfig())
    rollout: RolloutConfig = declare_field(
        "the hosts' turns for a new digest", value_readers.pass_through, default=RolloutConfig()
    )
    failures: FailuresConfig = declare_field(
        "back-off and quarantine after failed lives", value_readers.pass_through, default=FailuresConfig()
    )
    suspicion: SuspicionConfig = declare_field(
        "comparison of a digest with the good one before it", value_readers.pass_through, default=SuspicionConfig()
    )
    fitness: FitnessConfig = declare_field(
        "the host's own pre-flight", value_readers.pass_through, default=FitnessConfig()
    )
    metrics: MetricsConfig = declare_field("Prometheus", value_readers.pass_through, default=MetricsConfig())
    notify: NotifyConfig | None = declare_field(
        "a program of the site that is told of events; absent: none", value_readers.pass_through, default=None
    )
    consul: ConsulConfig | None = declare_field(
        "the fleet's shared knowledge; absent: none", value_readers.pass_through, default=None
    )

    def map_slots_to_groups(self) -> Mapping[str, tuple[SlotGroup, int]]:
        """Return the group of each slot, and the slot's number in it, by the slot's name.

        The group of a canary slot is a CanaryGroup: the same one with the canary's image.
        """
        return self._slot_map

    @cached_property
    def _slot_map(self) -> Mapping[str, tuple[SlotGroup, int]]:
        found: dict[str, tuple[SlotGroup, int]] = {}
        for group in self.slots:
            canary_group = build_canary_group(group) if group.canary else group
            for number in range(1, group.count + 1):
                name = format_slot_name(group.name, self.host, number)
                is_canary = group.canary is not None and is_canary_slot(group.canary, self.host, name, number)
                found[name] = (canary_group if is_canary else group, number)
        return found

    def list_channels(self, *, with_followed: bool = False) -> Sequence[SlotGroup]:
        """Return every group, each followed by its CanaryGroup if this host has a canary slot of it.

        Args:
            with_followed: True for the CanaryGroups, too, that this host only follows: a rule may promote their digest.
        """
        return self._followed_channels if with_followed else self._used_channels

    @cached_property
    def _used_channels(self) -> Sequence[SlotGroup]:
        return self._build_channels(with_followed=False)

    @cached_property
    def _followed_channels(self) -> Sequence[SlotGroup]:
        return self._build_channels(with_followed=True)

    def _build_channels(self, *, with_followed: bool) -> Sequence[SlotGroup]:
        if not any(group.canary for group in self.slots):
            return self.slots
        used = {group.name for group, _ in self.map_slots_to_groups().values() if isinstance(group, CanaryGroup)}
        channels: list[SlotGroup] = []
        for group in self.slots:
            channels.append(group)
            if group.canary and (group.name in used or (with_followed and not group.canary.promote.is_manual)):
                channels.append(build_canary_group(group))
        return tuple(channels)

    def find_rollout(self, group: SlotGroup) -> RolloutConfig:
        """Return the rollout of a group: the file's, with the keys that the group gives."""
        if group.rollout is None:
            return self.rollout
        given = {field.name: getattr(group.rollout, field.name) for field in fields(group.rollout)}
        return replace(self.rollout, **{name: value for name, value in given.items() if value is not None})

    def list_engines(self) -> dict[str, str]:
        """Return the sockets of the engines that a slot uses, by name."""
        return {group.engine: self.find_engine_address(group.engine) for group in self.slots}

    def find_engine_address(self, name: str) -> str:
        """Return the socket of an engine; "" for an unknown name."""
        return self.engines.get(name) or DEFAULT_ENGINE_SOCKETS.get(name, "")

    def list_canaries(self) -> Sequence[CanaryGroup]:
        """Return the CanaryGroup of every group with a canary, also those of which this host has no canary slot."""
        return tuple(build_canary_group(group) for group in self.slots if group.canary)

    def find_group(self, key: str, name: str = "") -> SlotGroup:
        """Return the first group with an image, if possible one of a name; a CanaryGroup for an image of canaries only.

        Groups with one image share the checks of the first of them.

        Args:
            key: The image's key.
            name: The group's name; "" for any.
        """
        known = self._groups_by_key[key]
        return next((group for group in known if group.name == name), known[0])

    @cached_property
    def _groups_by_key(self) -> Mapping[str, Sequence[SlotGroup]]:
        """List the groups by their images' keys: groups before canaries, canaries of this host before others."""
        found: dict[str, list[SlotGroup]] = {}
        for group in (*self.slots, *self.list_channels(with_followed=True), *self.list_canaries()):
            found.setdefault(group.image_key, []).append(group)
        return found
