"""Define the observation of a host: everything that one look at it shows, without any decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autopilot_watchdog.config.slot_claims import SlotClaims
from autopilot_watchdog.core.slot_actions import Preparation

UNHEALTHY = "unhealthy"  # the engines' word for a container whose health check fails
UNKNOWN_STATE = "unknown"  # our own word: the engine tells nothing usable about the container
# Docker's words; a container in any other state, known or not, counts as alive and is left alone
DEAD_STATES = frozenset({"created", "exited", "dead"})
NO_CLAIMS = SlotClaims()


@dataclass(frozen=True, slots=True)
class LastWords:
    """Content of a container's last-words.json that the watchdog uses (docs/last-words.md)."""

    state: str = "running"
    reason: str = ""
    detail: str = ""
    exit_code: int | None = None
    good: bool = False
    draining: bool = False
    payloads_run: int = 0
    payloads_killed: int = 0
    payloads_finished: int = 0  # with a known end
    payloads_failed_fast: int = 0  # those that ended with an error within a minute


@dataclass(frozen=True, slots=True)
class Container:
    """Container with the watchdog's labels. Times are epoch seconds, 0 is never."""

    id: str
    name: str
    engine: str
    slot: str
    digest: str
    image: str  # the image's reference in the configuration at the start
    state: str  # Docker's word: created, running, paused, restarting, stopping, removing, exited, dead
    started: float = 0.0
    ended: float = 0.0
    exit_code: int = 0
    oom_killed: bool = False
    stop_asked: bool = False  # somebody asked the engine to kill it; looked at only after a lack of memory
    health: str = ""  # the engine's own check: starting, healthy, unhealthy; "" without one
    health_output: str = ""  # last output of that check
    last_words: LastWords | None = None
    claims: SlotClaims = NO_CLAIMS

    @property
    def unhealthy(self) -> bool:
        """True if the engine's own check says that the container is not healthy."""
        return self.health == UNHEALTHY

    @property
    def image_key(self) -> str:
        """Key of the container's image in the memory."""
        return f"{self.engine} {self.image}"

    @property
    def alive(self) -> bool:
        """True unless the container has certainly ended or never started."""
        return self.state not in DEAD_STATES


@dataclass(frozen=True, slots=True)
class EngineView:
    """State of an engine that answered."""

    containers: tuple[Container, ...] = ()
    digests: frozenset[str] = frozenset()  # remembered digests on the engine's disk
    images: frozenset[tuple[str, str]] | None = None  # the same with the images' keys; None: under every name

    def has_image(self, key: str, digest: str) -> bool:
        """Return True if the digest is on the engine's disk under the image's name."""
        return digest in self.digests if self.images is None else (key, digest) in self.images


@dataclass(frozen=True, slots=True)
class EngineDown:
    """Engine that did not answer: its slots are unknown, never missing."""

    sentence: str


@dataclass(frozen=True, slots=True)
class TagDigest:
    """Answer of a registry for this host's platform."""

    digest: str
    index: str = ""  # the digest of the index it came from, "" if none
    urgency: str = ""  # the image's label: "now" or a date; "" none, or not looked at because the digest is known


@dataclass(frozen=True, slots=True)
class RegistryFailure:
    """Sentence about a registry that gave no usable answer; an observation, no exception."""

    sentence: str


@dataclass(frozen=True, slots=True)
class FleetVoices:
    """Voices of the fleet's hosts on one digest."""

    condemning: Mapping[str, str] = field(default_factory=dict)  # reasons by host
    well: tuple[str, ...] = ()  # hosts on which it lives well


@dataclass(frozen=True, slots=True)
class FleetPromotion:
    """Order for all hosts: a canary's digest becomes the group's; without a digest there is none."""

    digest: str = ""
    over: str = ""  # the tag's digest at that time
    canary: str = ""  # reference of the canary's image
    reason: str = ""
    given: str = ""  # time of the order: a later one of the same digests is another order


@dataclass(frozen=True, slots=True)
class FleetState:
    """Shared knowledge of the fleet, from Consul."""

    quarantine: Mapping[str, str] = field(default_factory=dict)  # an operator's for all hosts: reasons by digest
    urgency: str = ""  # "now" or a date; "" none
    voices: Mapping[str, FleetVoices] = field(default_factory=dict)  # by digest
    good: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # digests by image reference, the latest first
    lives: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # good ones by host, by digest
    promotions: Mapping[str, FleetPromotion] = field(default_factory=dict)  # by the reference of the group's own image


@dataclass(frozen=True, slots=True)
class Observation:
    """Result of one look at the host."""

    engines: Mapping[str, EngineView | EngineDown]
    # by image key; only the images that were asked for this time
    tag_digests: Mapping[str, TagDigest | RegistryFailure] = field(default_factory=dict)
    unfit_reasons: tuple[str, ...] = ()  # sentences; with any, this host starts nothing now
    boot: str = ""  # the kernel's id of its present run
    booted: float = 0.0  # start of that run, in epoch seconds by the present clock
    fleet: FleetState | None = None
    cpus: int = 0  # of the host; 0: not known
    # preparing steps that are under way, in this process or another one, each with its begin in epoch seconds
    in_flight: Mapping[Preparation, float] = field(default_factory=dict)
