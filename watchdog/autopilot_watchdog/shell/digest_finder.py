"""Find out whether a digest can be started at all: on the engine's disk, or in the registry."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.engine.engine import EngineRefusedError, EngineUnreachableError
from autopilot_watchdog.engine.engine_registry import create_engines
from autopilot_watchdog.registry.image_reference import get_repository
from autopilot_watchdog.registry.registry_client import RegistryError
from autopilot_watchdog.shell.observe import build_registry_client


@dataclass(frozen=True, slots=True)
class DigestFinding:
    """Answer to the question for a digest; with neither flag it was found."""

    sentence: str = ""  # "" if it was found
    is_missing: bool = False  # everything answered, and nothing has it
    is_unknown: bool = False  # it is not on the disk as far as known, and the registry does not answer


def find_digest(config: Config, key: str, digest: str) -> DigestFinding:
    """Look for a digest of an image on its engine's disk, then in its registry."""
    group = config.find_group(key)
    repository = get_repository(group.image)
    engine = create_engines(config)[group.engine]
    engine_trouble = ""
    try:
        if engine.has_image(repository, digest):
            return DigestFinding()
    except (EngineUnreachableError, EngineRefusedError) as error:
        engine_trouble = f"; {error}"
    try:
        if build_registry_client(config, group.image).has_digest(digest):
            return DigestFinding()
    except RegistryError as error:
        return DigestFinding(f"it is not known on this host's disk, and {error}{engine_trouble}", is_unknown=True)
    if engine_trouble:
        return DigestFinding(f"the registry has no {repository}@{digest}{engine_trouble}", is_unknown=True)
    return DigestFinding(f"neither this host nor the registry has {repository}@{digest}", is_missing=True)
