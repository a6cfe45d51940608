"""Define the actions that the core asks of the shell, and their outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pull:
    """Fetch the digest from the registry and check that the engine has exactly that."""

    image: str  # the image's key, see SlotGroup.image_key
    digest: str


@dataclass(frozen=True, slots=True)
class Verify:
    """Run the site's signature check."""

    image: str
    digest: str
    group: str = ""  # name of the group of slots


@dataclass(frozen=True, slots=True)
class Preflight:
    """Run the site's smoke test in a throwaway container of the image."""

    image: str
    digest: str
    group: str = ""  # name of the group of slots


@dataclass(frozen=True, slots=True)
class Start:
    """Start a container of the digest in an empty slot."""

    slot: str
    digest: str
    image: str = ""  # key of the group's former image; "" for the present one
    reason: str = field(default="", compare=False)  # phrase that tells the reason for this digest


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Complete the last words of a dead container, end its registration in Consul, remove it with its volumes."""

    container: str
    slot: str
    engine: str
    code: str
    sentence: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask the container's supervisor to drain: nothing new starts, what runs may finish."""

    container: str
    slot: str
    engine: str


@dataclass(frozen=True, slots=True)
class RemoveImage:
    """Remove an unused image that the watchdog pulled."""

    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class ShareQuarantine:
    """Tell the fleet, through Consul, that a digest fails on a host that runs a good one well."""

    image: str
    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class ShareGoodLife:
    """Tell the fleet, through Consul, that a digest that other hosts condemn lives well on this one."""

    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class WithdrawQuarantine:
    """Take back, in Consul, that a digest fails on this host."""

    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class ShareLives:
    """Tell the fleet, through Consul, how many lives of a digest proved good on this host; 0 takes the number back."""

    image: str  # "" if the digest is the newest of no image any more
    digest: str
    lives: int


FleetVoice = ShareQuarantine | ShareGoodLife | WithdrawQuarantine | ShareLives  # words of this host to the fleet
Preparation = Pull | Verify | Preflight  # steps that may take long, so they run beside the passes
Action = Pull | Verify | Preflight | Start | RemoveContainer | Drain | RemoveImage | FleetVoice


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of an action."""

    action: Action
    error: str = ""  # sentence about the failure; "" after a success
    container: str = ""  # Start: the engine's id of the new container
    blames_image: bool = False  # Verify, Preflight: True if the check refused the image, False if it could not run
