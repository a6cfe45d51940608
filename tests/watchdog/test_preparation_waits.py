"""The waits after failed checks belong to a group, an image and an engine."""

from __future__ import annotations

import json
from typing import Any

from autopilot_watchdog.config.config_reader import parse_config
from autopilot_watchdog.core.group_history import follow_groups
from autopilot_watchdog.core.memory import (
    DigestRecord,
    GroupMemory,
    ImageMemory,
    Memory,
    StepFailures,
)
from autopilot_watchdog.core.preparation_waits import forget_former_checks

from tests.watchdog.scenes import BEGIN, IMAGE, KEY, A, build_config

FAILED = StepFailures(5, BEGIN + 3600, "bad signature")
OTHER_IMAGE = IMAGE.replace("stable", "next")


def build_memory(groups: dict[str, GroupMemory], *failed: str) -> Memory:
    """Build a memory in which checks of these names have failed for a digest of the usual image."""
    record = DigestRecord(
        BEGIN, pulled=True, tries=2, not_before=BEGIN + 60, checks_failed=dict.fromkeys(failed, FAILED)
    )
    return Memory(images={KEY: ImageMemory(newest=A, records={A: record})}, groups=groups)


def test_waits_stay_on_their_engine() -> None:
    """A group that moves to another engine has no waits there: neither of its pull nor of its checks."""
    memory = build_memory({"wn-NN": GroupMemory(KEY)}, "verify wn-NN")
    memory = follow_groups(build_config(group={"engine": "podman"}), memory)
    record = memory.images[f"podman {IMAGE}"].records[A]
    assert (record.pulled, record.tries, record.not_before, dict(record.checks_failed)) == (False, 0, 0, {})


def test_checks_of_a_group_that_left_the_image_are_forgotten() -> None:
    """A group's failed check stays with its present and former images, and goes from an image of other groups."""
    verify = {"exec": ["/bin/true"]}
    slots: list[dict[str, Any]] = [
        {"name": "a-NN", "image": OTHER_IMAGE, "verify": verify},
        {"name": "b-NN", "image": IMAGE, "verify": verify},
        {"name": "c-NN", "image": OTHER_IMAGE, "verify": verify},
        {"name": "d-NN", "image": IMAGE},
    ]
    config = parse_config(json.dumps({"host": "h1", "slots": slots}))
    groups = {"c-NN": GroupMemory(f"docker {OTHER_IMAGE}", (KEY,))}
    memory = build_memory(groups, *(f"verify {slot['name']}" for slot in slots))
    (image,) = forget_former_checks(config, memory).images.values()
    assert set(image.records[A].checks_failed) == {"verify b-NN", "verify c-NN"}
