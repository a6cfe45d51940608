"""Check canaries and the evidence that rollouts wait for: keys that are right by themselves and wrong together."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.config.canary_slots import format_canary_image
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.config.value_readers import Ring

Pointer = tuple[str | int, ...]
WAYS = ("share", "slots", "hosts")  # to choose canary slots


def find_canary_problems(config: Config) -> Iterator[tuple[Pointer, str]]:
    """Yield place and sentence for each problem."""
    yield from _check_rings(config, ("rollout", "rings"), config.rollout.rings)
    for index, group in enumerate(config.slots):
        if group.rollout is not None and group.rollout.rings is not None:
            yield from _check_rings(config, ("slots", index, "rollout", "rings"), group.rollout.rings)
        if group.canary is not None:
            yield from _check_canary(config, group, ("slots", index, "canary"))


def _check_rings(config: Config, place: Pointer, rings: tuple[Ring, ...]) -> Iterator[tuple[Pointer, str]]:
    if config.consul is None and any(ring.needs for ring in rings):
        yield place, 'cannot have `needs` without "consul", from which a host learns of other hosts; use `after`'


def _check_canary(config: Config, group: SlotGroup, place: Pointer) -> Iterator[tuple[Pointer, str]]:
    canary = group.canary
    assert canary is not None
    given = [way for way in WAYS if getattr(canary, way)]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        yield place, f'must have one of "share", "slots" and "hosts", found {found}'
    if canary.slots >= group.count:
        remedy = "leave at least one to the group's own image, or use `share` or `hosts`"
        yield (*place, "slots"), f"must be less than the group's {group.count} slots, found {canary.slots}; {remedy}"
    if format_canary_image(group) == group.image:
        yield (*place, "image"), f"is the group's own image {group.image}; give another tag"
    if config.consul is None and canary.promote.needs and not canary.slots:
        sentence = 'cannot wait for good lives without "consul", because some hosts have no canary slot'
        yield (*place, "promote"), f'{sentence}; use `slots`, or a time such as "24h"'
