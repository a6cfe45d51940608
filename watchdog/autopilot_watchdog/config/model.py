"""What /etc/autopilot-watchdog.json may say. Durations in seconds, sizes in bytes, once read.

Each field's metadata says how its JSON value is read (`read`), and for the reference what it is for (`doc`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autopilot_watchdog.config import values
from autopilot_watchdog.config.values import Ring

__all__ = ["Command", "Config", "Consul", "Failures", "Fitness", "Metrics", "Registry", "Ring", "Rollout", "SlotGroup"]


def _key(doc: str, read: Callable[[object], Any], **default: Any) -> Any:
    return field(metadata={"doc": doc, "read": read}, kw_only=True, **default)


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the site's, run without a shell."""

    exec: tuple[str, ...] = _key("the program and its arguments", values.words)
    timeout: float = _key("it is killed after so long", values.duration, default=300.0)


@dataclass(frozen=True, slots=True)
class SlotGroup:
    """Slots that are alike: NAME pattern x count."""

    name: str = _key("pattern of the slots' names: NN is the number, {host} the host's", values.pattern)
    image: str = _key("the image to run, with a tag: registry/repository:tag", values.image)
    count: int = _key("how many slots", values.positive, default=1)
    engine: str = _key("docker or podman, or a name from `engines`", values.text, default="docker")
    command: tuple[str, ...] = _key("arguments in place of the image's CMD", values.words, default=())
    env: Mapping[str, str] = _key("environment variables", values.text_map, default_factory=dict)
    volumes: tuple[str, ...] = _key("binds: /host:/container[:ro]", values.binds, default=())
    ports: tuple[str, ...] = _key("host:container[/udp]; slot n gets host + n - 1", values.ports, default=())
    network: str = _key("the engine's network: bridge, host, none or a name", values.text, default="")
    hostname: str = _key("pattern of the host name inside", values.pattern, default="")
    extra_hosts: Mapping[str, str] = _key(
        "more names in /etc/hosts: name -> address", values.text_map, default_factory=dict
    )
    dns_options: tuple[str, ...] = _key("options for resolv.conf", values.words, default=())
    cpus: float = _key("CPU cores, 0: no limit", values.number, default=0.0)
    memory: int = _key("memory limit, 0: none", values.size, default=0)
    shm: int = _key("size of /dev/shm, 0: the engine's default", values.size, default=0)
    ulimits: Mapping[str, int] = _key("soft and hard limit by name", values.limits, default_factory=dict)
    cap_add: tuple[str, ...] = _key("capabilities to add", values.words, default=())
    cap_drop: tuple[str, ...] = _key("capabilities to take away", values.words, default=())
    security_opt: tuple[str, ...] = _key("the engine's security options", values.words, default=())
    devices: tuple[str, ...] = _key("device files to pass on", values.words, default=())
    tmpfs: Mapping[str, str] = _key("memory file systems: path -> mount options", values.text_map, default_factory=dict)
    init: bool = _key("let the engine put its own init in front", values.boolean, default=False)
    state: str = _key(
        "where the state folder is mounted inside; empty: not at all", values.text, default="/var/lib/autopilot"
    )
    drain: tuple[str, ...] = _key(
        "run inside to ask for a drain", values.words, default=("autopilot", "drain", "--no-wait")
    )
    verify: Command | None = _key("signature check on the host, see docs/watchdog.md", values.nested, default=None)
    preflight: Command | None = _key("smoke test in a throwaway container", values.nested, default=None)

    @property
    def key(self) -> str:
        """What the memory of an image goes by: the same reference on two engines is two."""
        return f"{self.engine} {self.image}"

    def slot_names(self, host: str) -> list[str]:
        return [slot_name(self.name, host, number) for number in range(1, self.count + 1)]


def slot_name(pattern: str, host: str, number: int) -> str:
    return pattern.replace("{host}", host).replace("NN", f"{number:02}")


@dataclass(frozen=True, slots=True)
class Registry:
    timeout: float = _key("of each request to a registry", values.duration, default=10.0)
    check_every: float = _key("how often a host whose slots all run asks for news", values.duration, default=300.0)
    fresh: float = _key("an answer this old is asked for again before a start", values.duration, default=30.0)
    auth_file: str = _key("docker's config.json; empty: where docker and podman look", values.text, default="")
    insecure: tuple[str, ...] = _key(
        "registries we ask without TLS (loopback always); engines have a list of their own", values.words, default=()
    )
    pull_timeout: float = _key("a pull that takes longer has failed", values.duration, default=1800.0)


@dataclass(frozen=True, slots=True)
class Rollout:
    rings: tuple[Ring, ...] = _key(
        "share of the hosts that may take a new digest, and how long after its push",
        values.rings,
        default=(Ring(0.01, 0.0), Ring(0.10, 3600.0), Ring(1.0, 6 * 3600.0)),
    )
    spread: float = _key("the hosts of one ring begin evenly over so long", values.duration, default=600.0)


@dataclass(frozen=True, slots=True)
class Failures:
    quarantine_after: int = _key("failed lives in a row, on this host, of one digest", values.positive, default=3)
    good_after: float = _key("age at which an image without last words is good", values.duration, default=120.0)
    initial: float = _key("first wait of a slot after a failed life; doubles", values.duration, default=10.0)
    longest: float = _key("longest wait of a slot", values.duration, default=1800.0)
    host_after: int = _key(
        "failed lives in a row, of any slot, that hold the whole host back", values.positive, default=5
    )
    host_initial: float = _key("first wait of the host; doubles", values.duration, default=60.0)
    host_longest: float = _key("longest wait of the host", values.duration, default=3600.0)
    acquit_within: float = _key(
        "a digest is acquitted when the good one fails, too, within so long", values.duration, default=3600.0
    )


@dataclass(frozen=True, slots=True)
class Fitness:
    """The host's own pre-flight."""

    free_disk: int = _key("on the engine's and the state's disk", values.size, default=10**9)
    load_per_cpu: float = _key("1-minute load average per CPU, 0: not looked at", values.number, default=0.0)
    mounts: tuple[str, ...] = _key("folders to touch first, such as /cvmfs/...", values.words, default=())
    mount_timeout: float = _key("a folder that takes longer is broken", values.duration, default=10.0)
    earliest: str = _key("the clock is wrong before this date", values.date, default="2025-01-01")


@dataclass(frozen=True, slots=True)
class Metrics:
    textfile: str = _key("node-exporter's textfile to write; empty: none", values.text, default="")
    listen: str = _key("where `watch` serves /metrics, as host:port; empty: nowhere", values.address, default="")


@dataclass(frozen=True, slots=True)
class Consul:
    address: str = _key("the local agent's HTTP address", values.text, default="http://127.0.0.1:8500")
    token_file: str = _key("holds the ACL token; empty: none", values.text, default="")
    prefix: str = _key("of the keys in the KV store", values.text, default="autopilot")
    timeout: float = _key("of each request", values.duration, default=3.0)
    node: str = _key("pattern of the node name of a slot's agent; empty: none is removed", values.text, default="")


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    slots: tuple[SlotGroup, ...] = _key("groups of like slots", values.nested)
    host: str = _key("this host's name; empty: its short host name", values.text, default="")
    state: str = _key("where the watchdog keeps what it knows", values.text, default="/var/lib/autopilot-watchdog")
    audit: str = _key("JSON lines, one per decision; empty: STATE/audit.jsonl", values.text, default="")
    engines: Mapping[str, str] = _key(
        "API sockets by name, beside docker and podman", values.text_map, default_factory=dict
    )
    registry: Registry = _key("registries", values.nested, default=Registry())
    rollout: Rollout = _key("who gets a new digest when", values.nested, default=Rollout())
    failures: Failures = _key("what follows from failed lives", values.nested, default=Failures())
    fitness: Fitness = _key("the host's own pre-flight", values.nested, default=Fitness())
    metrics: Metrics = _key("Prometheus", values.nested, default=Metrics())
    consul: Consul | None = _key("the fleet's shared knowledge; absent: none", values.nested, default=None)

    def group_of(self) -> dict[str, tuple[SlotGroup, int]]:
        """Slot name -> its group and its number in it."""
        return {
            slot_name(group.name, self.host, number): (group, number)
            for group in self.slots
            for number in range(1, group.count + 1)
        }

    def group_for(self, key: str) -> SlotGroup:
        """A group that uses the image; groups of one image share its checks (the first one's)."""
        return next(group for group in self.slots if group.key == key)
