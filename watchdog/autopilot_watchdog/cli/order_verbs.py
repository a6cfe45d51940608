"""Take the operator's orders about images and waits: the verbs from `pin` to `resume`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click

from autopilot_watchdog.cli.verb_support import (
    EX_CANTCREAT,
    EX_TEMPFAIL,
    EX_USAGE,
    config_option,
    fail,
    get_operator,
    open_audit,
    resolve_slots,
)
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import operator_orders
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.cordons import CordonError
from autopilot_watchdog.core.engine_memory import EngineOrderError
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.rollout import list_group_choices
from autopilot_watchdog.shell.digest_finder import find_digest
from autopilot_watchdog.shell.fleet_store import FleetStore
from autopilot_watchdog.shell.state_file import StateError, StateStore
from autopilot_watchdog.shell.wake_pipe import wake_watch

fleet_option = click.option("--fleet", is_flag=True, help="For every host of the fleet, through Consul.")
image_option = click.option("--image", help="Which image, when the configuration has several.")


@click.command()
@click.argument("digest")
@click.option("--force", is_flag=True, help="Pin a digest that neither this host nor the registry is known to have.")
@image_option
@config_option
def pin(config: Config, digest: str, image: str | None, force: bool) -> None:
    """Let the next lives take DIGEST and ignore the registry's newest.

    Exit 64: neither this host nor the registry has it; 75: nobody can tell, because one of them does not answer.
    """
    key = find_image_key(config, image)
    try:
        whole = operator_orders.resolve_digest(StateStore(Path(config.state)).peek().get_image(key), digest)
    except operator_orders.OrderError as error:
        fail(f"cannot do that: {error}", EX_USAGE)
    found = find_digest(config, key, whole)
    if not force and found.is_missing:
        fail(f"cannot pin {key} to {whole}: {found.sentence}", EX_USAGE)
    if not force and found.is_unknown:
        fail(f"cannot pin {key} to {whole}: {found.sentence}; --force pins it all the same", EX_TEMPFAIL)

    def pin_with_warning(memory: Memory) -> tuple[Memory, str]:
        after, sentence = operator_orders.set_pin(memory, key, whole, time.time())
        return after, f"{sentence}; {found.sentence}" if found.sentence else sentence

    apply_order(config, pin_with_warning)


@click.command()
@image_option
@config_option
def unpin(config: Config, image: str | None) -> None:
    """Follow the registry again."""
    key = find_image_key(config, image)
    apply_image_order(config, key, lambda memory: operator_orders.remove_pin(memory, key))


@click.command()
@click.option("--reason", default="", help="Reason that `explain` will tell.")
@fleet_option
@image_option
@config_option
def rollback(config: Config, reason: str, fleet: bool, image: str | None) -> None:
    """Quarantine the newest digest: the next lives take the good one before it.

    Exit 64: refused, the sentence says why; 75: with --fleet, Consul does not answer.
    """
    key = find_image_key(config, image)
    full = f"rolled back by {get_operator()} on {config.host}{f': {reason}' if reason else ''}"

    def roll_back(memory: Memory) -> tuple[Memory, str]:
        source = "fleet" if fleet else "operator"
        after, sentence = operator_orders.roll_back(memory, key, time.time(), full, source)
        if fleet:
            (digest,) = {
                one
                for other, image in after.images.items()
                for one, entry in image.quarantine.items()
                if memory.get_image(other).quarantine.get(one) != entry
            }
            sentence = f"{sentence}; {_order_fleet_quarantine(config, digest, full)}"
        return after, sentence

    apply_image_order(config, key, roll_back)


def _order_fleet_quarantine(config: Config, digest: str, reason: str) -> str:
    """Quarantine a digest for the fleet and return a sentence; OrderError if that fails, so nothing is done here."""
    if config.consul is None:
        raise operator_orders.OrderError("cannot tell the fleet: the configuration has no `consul`")
    if error := FleetStore(config).order_quarantine(digest, reason):
        raise operator_orders.FleetOrderError(f"cannot quarantine {digest} for the fleet, so not here either: {error}")
    return "the other hosts learn of it in their next pass"


@click.command()
@click.argument("digest")
@image_option
@config_option
def release(config: Config, digest: str, image: str | None) -> None:
    """Lift the quarantine of DIGEST, here and in Consul.

    Exit 64: it is not quarantined; 75: Consul does not answer.
    """
    key = find_image_of_digest(config, image, digest)

    def release_everywhere(memory: Memory) -> tuple[Memory, str]:
        whole = operator_orders.resolve_digest(memory.get_image(key), digest)
        if whole not in memory.get_image(key).quarantine and _is_condemned_elsewhere(config, whole):
            after, sentence = memory, f"{whole} is not quarantined on this host, and no more by the fleet"
        else:
            after, sentence = operator_orders.release_quarantine(memory, key, whole, time.time())
        if config.consul and (error := FleetStore(config).release_quarantine(whole)):
            raise operator_orders.FleetOrderError(f"cannot release {whole} for the fleet, so not here either: {error}")
        return after, sentence

    apply_image_order(config, key, release_everywhere)


def _is_condemned_elsewhere(config: Config, digest: str) -> bool:
    """Return True if Consul has a quarantine of the digest, by an order or by a host."""
    fleet = FleetStore(config).read_fleet_state() if config.consul else None
    return fleet is not None and (digest in fleet.quarantine or digest in fleet.voices)


@click.command()
@click.argument("digest")
@click.option("--reason", default="", help="Reason that `explain` will tell.")
@click.option("--force", is_flag=True, help="Allow it if no digest can be started afterwards.")
@fleet_option
@image_option
@config_option
def quarantine(  # noqa: PLR0917  # the options of a verb
    config: Config, digest: str, reason: str, force: bool, fleet: bool, image: str | None
) -> None:
    """Start DIGEST no more, until `release`; containers of it run on.

    Exit 64: refused, the sentence says why; 75: with --fleet, Consul does not answer.
    """
    key = find_image_of_digest(config, image, digest)
    full = f"quarantined by {get_operator()} on {config.host}{f': {reason}' if reason else ''}"

    def quarantine_everywhere(memory: Memory) -> tuple[Memory, str]:
        whole = operator_orders.resolve_digest(memory.get_image(key), digest)
        after, sentence = operator_orders.quarantine_digest(
            memory, key, whole, full, now=time.time(), force=force, source="fleet" if fleet else "operator"
        )
        return after, f"{sentence}; {_order_fleet_quarantine(config, whole, full)}" if fleet else sentence

    apply_image_order(config, key, quarantine_everywhere)


@click.command()
@click.argument("slots", nargs=-1)
@config_option
def retry(config: Config, slots: tuple[str, ...]) -> None:
    """Try again now, after a repair: end the waits of SLOTS (all without one), of the host and of pulls."""
    groups = config.map_slots_to_groups()
    keys = {name: groups[name][0].image_key for name in resolve_slots(config, slots) or groups}
    apply_order(config, lambda memory: operator_orders.retry_now(memory, keys))


@click.command()
@config_option
def pause(config: Config) -> None:
    """Start nothing until `resume`; containers run on."""
    apply_order(config, operator_orders.pause)


@click.command()
@config_option
def resume(config: Config) -> None:
    """End a pause."""
    apply_order(config, operator_orders.resume)


def find_image_key(config: Config, image: str | None) -> str:
    """Return the key of the image that an order is about; without a name the canaries' images do not count."""
    own = dict.fromkeys(group.image_key for group in config.slots)
    canaries = [group.image_key for group in config.list_canaries()]
    keys = own if image is None else own | dict.fromkeys(canaries)
    matches = [key for key in keys if image is None or is_named(image, key)]
    if len(matches) != 1:
        raise click.UsageError(f"the image is not clear; give --image with one of: {', '.join(keys)}")
    return matches[0]


def is_named(image: str, key: str) -> bool:
    """Return True if an operator's word names an image: its reference, its key, or its tag such as ":canary"."""
    return image in (key, key.partition(" ")[2]) or (image.startswith(":") and key.endswith(image))


def find_image_of_digest(config: Config, image: str | None, digest: str) -> str:
    """Return the key of the image that an order about a digest is about: a canary's if only that one knows the digest.

    Args:
        config: The configuration.
        image: The operator's choice; None for none.
        digest: The digest, or its beginning.
    """
    key = find_image_key(config, image)
    if image is not None:
        return key
    memory = StateStore(Path(config.state)).peek()
    canaries = [group.image_key for group in config.list_canaries()]
    beginnings = (digest, f"sha256:{digest}")
    candidates = [(candidate, memory.get_image(candidate)) for candidate in (key, *canaries)]
    quarantined = [one for one, known in candidates if any(found.startswith(beginnings) for found in known.quarantine)]
    known_to = [one for one, known in candidates if any(found.startswith(beginnings) for found in known.records)]
    return next(iter([*quarantined, *known_to]), key)


def apply_order(config: Config, order: Callable[[Memory], tuple[Memory, str]]) -> None:
    """Apply an order to the memory, and record its sentence; exit with 64 if it is refused, 75 without the fleet."""
    store = StateStore(Path(config.state))
    try:
        with store.lock(wait=True):
            memory, sentence = order(store.load())
            store.save(memory)
        wake_watch(store.folder)
    except operator_orders.FleetOrderError as error:
        fail(f"cannot do that: {error}", EX_TEMPFAIL)
    except (operator_orders.OrderError, CordonError, EngineOrderError) as error:
        fail(f"cannot do that: {error}", EX_USAGE)
    except StateError as error:
        fail(str(error), EX_CANTCREAT)
    open_audit(config).record(AuditEvent.ORDER, sentence, by=get_operator())


def apply_image_order(config: Config, key: str, order: Callable[[Memory], tuple[Memory, str]]) -> None:
    """Apply an order about an image, and tell the effect on the next lives."""

    def add_effect(memory: Memory) -> tuple[Memory, str]:
        after, sentence = order(memory)
        choices = list_group_choices(after, config.find_group(key), config, time.time())
        if not choices:
            return after, f"{sentence}; no digest may be started now: empty slots wait for a newer push"
        return after, f"{sentence}; now a life takes {choices[0].digest}, {choices[0].reason}"

    apply_order(config, add_effect)
