"""Build the part of `status -o json` that describes images, cordons and containers that cannot be removed."""

from __future__ import annotations

from dataclasses import asdict

from autopilot_watchdog.config.canary_slots import CanaryGroup
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.image_troubles import list_image_troubles
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.rollout import list_group_choices


def build_image_rows(config: Config, memory: Memory, now: float) -> list[dict[str, object]]:
    """Return an object for each image of the configuration, in its order."""
    rows: list[dict[str, object]] = []
    for key, group in {group.image_key: group for group in config.list_channels(with_followed=True)}.items():
        image = memory.get_image(key)
        choices = list_group_choices(memory, group, config, now)
        rows.append(
            {
                "image": group.image,
                "engine": group.engine,
                "canary_of": group.stable_image if isinstance(group, CanaryGroup) else None,
                "newest": image.newest or None,
                "answered_at": image.answered_at or None,
                "good": image.last_good or None,
                "known_good": [good.digest for good in image.known_good],
                "pin": image.pin or None,
                "next": choices[0].digest if choices else None,
                "next_reason": choices[0].reason if choices else None,
                "quarantine": {digest: asdict(entry) for digest, entry in image.quarantine.items()},
                "suspicions": {
                    digest: {criterion: asdict(found) for criterion, found in record.suspicions.items()}
                    for digest, record in image.records.items()
                    if record.suspicions
                },
                "troubles": list(list_image_troubles(image, now)),
            }
        )
    return rows


def build_order_rows(memory: Memory) -> dict[str, object]:
    """Return the cordons by slot ("*" is the whole host), and the containers that cannot be removed, by id."""
    return {
        "cordons": {name: asdict(cordon) for name, cordon in memory.cordons.items()},
        "unremovable": {id: asdict(stuck) for id, stuck in memory.stuck.items()},
    }
