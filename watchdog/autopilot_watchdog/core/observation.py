"""What one look at the host shows. Facts only: nothing here is a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DEAD_STATES = frozenset(
    {"created", "exited", "dead"}
)  # the engine's words; with any other, known or not, it is left alone


@dataclass(frozen=True, slots=True)
class LastWords:
    """A container's last-words.json, as far as the watchdog reads it (docs/last-words.md). Times in epoch seconds."""

    state: str = "running"
    reason: str = ""
    detail: str = ""
    exit_code: int | None = None
    good: bool = False
    draining: bool = False
    payloads_killed: int = 0  # payloads


@dataclass(frozen=True, slots=True)
class Container:
    """One container with the watchdog's labels."""

    id: str
    name: str
    engine: str
    slot: str
    digest: str
    image: str  # the image's reference when it was started
    state: str  # the engine's: created, running, paused, restarting, stopping, removing, exited, dead
    started: float = 0.0
    ended: float = 0.0
    exit_code: int = 0
    oom_killed: bool = False
    last_words: LastWords | None = None

    @property
    def image_key(self) -> str:
        """What the memory of its image goes by."""
        return f"{self.engine} {self.image}"

    @property
    def alive(self) -> bool:
        return self.state not in DEAD_STATES


@dataclass(frozen=True, slots=True)
class EngineView:
    """What an engine that answered has. `digests`: of those the memory knows, the ones on its disk."""

    containers: tuple[Container, ...] = ()
    digests: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EngineDown:
    """The engine cannot be asked: its slots are unknown, never missing."""

    sentence: str


@dataclass(frozen=True, slots=True)
class TagDigest:
    """The registry's answer for this host's platform."""

    digest: str
    index: str = ""  # the digest of the index it came from, "" if none
    urgency: str = ""  # the image's label: "now" or a date; "" none, or not looked at because the digest is known


@dataclass(frozen=True, slots=True)
class RegistryFailure:
    sentence: str


@dataclass(frozen=True, slots=True)
class FleetState:
    """What Consul says: digests that other hosts quarantined (with their reasons), and an urgency."""

    quarantine: Mapping[str, str] = field(default_factory=dict)
    urgency: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    engines: Mapping[str, EngineView | EngineDown]
    tag_digests: Mapping[str, TagDigest | RegistryFailure] = field(
        default_factory=dict
    )  # by image key; only those asked this time
    unfit_reasons: tuple[str, ...] = ()  # why this host should start nothing now, sentences
    boot: str = ""  # the host's kernel's name of its present life
    booted: float = 0.0  # when that began, by the present clock
    fleet: FleetState | None = None
