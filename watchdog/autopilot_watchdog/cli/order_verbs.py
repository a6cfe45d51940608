"""Take the operator's orders: the verbs `pin`, `unpin`, `rollback`, `release`, `pause`, `resume`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click

from autopilot_watchdog.cli.verb_support import EX_CANTCREAT, EX_USAGE, config_option, fail, open_audit
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import operator_orders
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.shell.fleet_store import FleetStore
from autopilot_watchdog.shell.state_file import StateError, StateStore
from autopilot_watchdog.shell.wake_pipe import wake_watch

image_option = click.option("--image", help="Which image, when the configuration has several.")


@click.command()
@click.argument("digest")
@image_option
@config_option
def pin(config: Config, digest: str, image: str | None) -> None:
    """Let the next lives take DIGEST and ignore the registry's newest."""
    key = _find_image_key(config, image)
    _apply_order(config, lambda memory: operator_orders.set_pin(memory, key, digest, time.time()))


@click.command()
@image_option
@config_option
def unpin(config: Config, image: str | None) -> None:
    """Follow the registry again."""
    key = _find_image_key(config, image)
    _apply_order(config, lambda memory: operator_orders.remove_pin(memory, key))


@click.command()
@image_option
@config_option
def rollback(config: Config, image: str | None) -> None:
    """Quarantine the newest digest: the next lives take the good one before it."""
    key = _find_image_key(config, image)
    _apply_order(config, lambda memory: operator_orders.roll_back(memory, key, time.time()))


@click.command()
@click.argument("digest")
@image_option
@config_option
def release(config: Config, digest: str, image: str | None) -> None:
    """Lift the quarantine of DIGEST, here and in Consul."""
    key = _find_image_key(config, image)

    def release_everywhere(memory: Memory) -> tuple[Memory, str]:
        whole = operator_orders.resolve_digest(memory.get_image(key), digest)
        after, sentence = operator_orders.release_quarantine(memory, key, whole, time.time())
        if config.consul and (error := FleetStore(config).release_quarantine(whole)):
            raise operator_orders.OrderError(f"cannot release {whole} for the fleet, so not here either: {error}")
        return after, sentence

    _apply_order(config, release_everywhere)


@click.command()
@config_option
def pause(config: Config) -> None:
    """Start nothing until `resume`; containers run on."""
    _apply_order(config, operator_orders.pause)


@click.command()
@config_option
def resume(config: Config) -> None:
    """End a pause."""
    _apply_order(config, operator_orders.resume)


def _find_image_key(config: Config, image: str | None) -> str:
    keys = dict.fromkeys(group.image_key for group in config.slots)
    matches = [key for key in keys if image is None or image in (key, key.partition(" ")[2])]
    if len(matches) != 1:
        raise click.UsageError(f"the image is not clear; give --image with one of: {', '.join(keys)}")
    return matches[0]


def _apply_order(config: Config, order: Callable[[Memory], tuple[Memory, str]]) -> None:
    store = StateStore(Path(config.state))
    try:
        with store.lock(wait=True):
            memory, sentence = order(store.load())
            store.save(memory)
        wake_watch(store.folder)
    except operator_orders.OrderError as error:
        fail(f"cannot do that: {error}", EX_USAGE)
    except StateError as error:
        fail(str(error), EX_CANTCREAT)
    open_audit(config).record(AuditEvent.ORDER, sentence)
