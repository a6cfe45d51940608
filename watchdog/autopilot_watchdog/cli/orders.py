"""autopilot-watchdog pin, unpin, rollback, release, pause, resume: the operator's orders, kept in the state."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click

from autopilot_watchdog.cli.common import EX_CANTCREAT, EX_USAGE, audit_for, fail, with_config
from autopilot_watchdog.config.model import Config
from autopilot_watchdog.core import operator
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.shell.consul import ConsulKV
from autopilot_watchdog.shell.state import StateError, Store

image_option = click.option("--image", help="Which image, when the configuration has several.")


@click.command()
@click.argument("digest")
@image_option
@with_config
def pin(config: Config, digest: str, image: str | None) -> None:
    """The next lives take DIGEST, whatever the registry says."""
    key = _key(config, image)
    _order(config, lambda memory: operator.pin(memory, key, digest, time.time()))


@click.command()
@image_option
@with_config
def unpin(config: Config, image: str | None) -> None:
    """Follow the registry again."""
    key = _key(config, image)
    _order(config, lambda memory: operator.unpin(memory, key, time.time()))


@click.command()
@image_option
@with_config
def rollback(config: Config, image: str | None) -> None:
    """Quarantine the newest digest: the next lives take the good one before it."""
    key = _key(config, image)
    _order(config, lambda memory: operator.rollback(memory, key, time.time()))


@click.command()
@click.argument("digest")
@image_option
@with_config
def release(config: Config, digest: str, image: str | None) -> None:
    """Lift the quarantine of DIGEST, here and in Consul."""
    key = _key(config, image)

    def order(memory: Memory) -> tuple[Memory, str]:
        whole = operator.full_digest(memory.image(key), digest)
        after, said = operator.release(memory, key, whole, time.time())
        if config.consul and (trouble := ConsulKV(config).release(whole)):
            raise operator.OrderError(f"cannot release {whole} for the fleet, so not here either: {trouble}")
        return after, said

    _order(config, order)


@click.command()
@with_config
def pause(config: Config) -> None:
    """Start nothing until `resume`. What runs, runs on."""
    _order(config, operator.pause)


@click.command()
@with_config
def resume(config: Config) -> None:
    """End a pause."""
    _order(config, operator.resume)


def _key(config: Config, image: str | None) -> str:
    keys = dict.fromkeys(group.key for group in config.slots)
    found = [key for key in keys if image is None or image in (key, key.partition(" ")[2])]
    if len(found) != 1:
        raise click.UsageError(f"which image? give --image with one of: {', '.join(keys)}")
    return found[0]


def _order(config: Config, order: Callable[[Memory], tuple[Memory, str]]) -> None:
    store = Store(Path(config.state))
    try:
        with store.locked(wait=True):
            memory, said = order(store.load())
            store.save(memory)
    except operator.OrderError as error:
        fail(f"cannot do that: {error}", EX_USAGE)
    except StateError as error:
        fail(str(error), EX_CANTCREAT)
    audit_for(config).note("order", said)
