"""Observe the host: its engines with the last words of their containers, and the registries."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from autopilot_watchdog.bounded_json import clip_text
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import EngineDown, EngineView, RegistryFailure, TagDigest
from autopilot_watchdog.engine.engine import Engine, EngineRefusedError, EngineUnreachableError, list_images_on_disk
from autopilot_watchdog.registry import credentials
from autopilot_watchdog.registry.image_reference import split_host_and_path
from autopilot_watchdog.registry.registry_client import RegistryClient, RegistryError
from autopilot_watchdog.shell import last_words_reader

PASS_TIMEOUTS = 3.0  # of one request: an answer that needs all of its requests gets them, if each is quick


def observe_engine(config: Config, engine: Engine, memory: Memory) -> EngineView | EngineDown:
    """Return an engine's containers and images; EngineDown if it gives no usable answer."""
    folder = Path(config.state)
    try:
        containers = tuple(
            last_words_reader.attach_last_words(container, folder / "slots" / container.slot)
            for container in engine.list_containers()
        )
        images = frozenset(list_images_on_disk(engine, memory))
        return EngineView(containers, frozenset(digest for _, digest in images), images)
    except (EngineUnreachableError, ValueError) as error:  # ValueError: a stream that is no JSON
        return EngineDown(str(error))
    except EngineRefusedError as error:
        return EngineDown(f"cannot list the containers and images of {engine.name}: {error}")
    except Exception as error:  # a mistake of ours about this engine: the other ones are served
        return EngineDown(_describe_mistake(f"the answers of {engine.name}", error))


def build_registry_client(config: Config, reference: str, end: float | None = None) -> RegistryClient:
    """Create the client of an image's registry, with its credentials.

    Args:
        config: The configuration.
        reference: The image's reference.
        end: Moment of the monotonic clock at which all requests are over; None for no such limit.

    Raises:
        RegistryError: The credentials cannot be read.
    """
    host, path = split_host_and_path(reference)
    try:
        login = credentials.find_credentials(host, config.registry.auth_file, os.environ, path)
    except credentials.CredentialsError as error:
        raise RegistryError(str(error)) from None
    settings = config.registry
    return RegistryClient(
        reference, login, settings.insecure, settings.timeout, token_hosts=settings.token_hosts, end=end
    )


def fetch_tag_digests(
    config: Config, image_keys: Iterable[str], memory: Memory, engines: Mapping[str, Engine]
) -> dict[str, TagDigest | RegistryFailure]:
    """Ask the registry of each image once; return the answers by image key.

    All requests together may last PASS_TIMEOUTS times as long as one. An image whose turn does not come has no answer
    and is asked for first in the next pass, so a slow registry delays others and starves none.
    """
    answers: dict[str, TagDigest | RegistryFailure] = {}
    end = time.monotonic() + PASS_TIMEOUTS * config.registry.timeout
    for key in sorted(image_keys, key=lambda key: memory.get_image(key).asked_at):
        if answers and time.monotonic() >= end:
            break
        group, image = config.find_group(key), memory.get_image(key)
        try:
            platform = engines[group.engine].get_platform()
            client = build_registry_client(config, group.image, end)
            answers[key] = client.fetch_tag_digest(platform, image.platforms, image.records)
        except (RegistryError, EngineUnreachableError, EngineRefusedError) as error:
            answers[key] = RegistryFailure(clip_text(str(error)))
        except Exception as error:  # a mistake of ours about this image
            answers[key] = RegistryFailure(_describe_mistake(f"the registry's answers for {group.image}", error))
    return answers


def _describe_mistake(subject: str, error: Exception) -> str:
    return clip_text(f"internal error with {subject}: {error!r}; please report it")
