"""What the core tells the shell to do, and what the shell says came of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pull:
    """Fetch the digest from the registry and check that the engine has exactly that."""

    image: str  # the image's key, see config.model.SlotGroup.key
    digest: str


@dataclass(frozen=True, slots=True)
class Verify:
    """Run the site's signature check."""

    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class Preflight:
    """Run the site's smoke test in a throwaway container of the image."""

    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class Start:
    slot: str
    digest: str


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """A life is over: complete its last words, take its registration out of Consul, remove container and volumes."""

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
    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class ShareQuarantine:
    """Tell the fleet, through Consul, that a digest fails where a good one lives well."""

    image: str
    digest: str
    reason: str


Action = Pull | Verify | Preflight | Start | RemoveContainer | Drain | RemoveImage | ShareQuarantine


def describe(action: Action) -> tuple[str, str]:
    """For people and the audit log: what is done, and to what."""
    what = type(action).__name__.lower()
    if isinstance(action, RemoveContainer):
        return what, f"{action.slot}, {action.sentence} (verdict: {action.verdict})"
    named = (getattr(action, key, "") for key in ("slot", "image", "digest"))
    return what, ", ".join(name for name in named if name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an action. `error` is empty when it succeeded."""

    action: Action
    error: str = ""
    container: str = ""  # Start: the engine's id of the new container
    blames_image: bool = False  # Verify, Preflight: the image was judged; False: it could not be
