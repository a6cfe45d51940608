"""Find the preparing steps that run beside the passes, so that none is planned twice, and tell how long they run."""

from __future__ import annotations

from collections.abc import Sequence

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core.observation import Observation
from autopilot_watchdog.core.rollout import DigestChoice
from autopilot_watchdog.core.slot_actions import Preflight, Preparation, Pull, Verify

STEP_VERBS: dict[type[Preparation], str] = {Pull: "pulls", Verify: "verifies", Preflight: "pre-flights"}


def find_step_in_flight(
    observation: Observation, group: SlotGroup, choices: Sequence[DigestChoice]
) -> tuple[Preparation, float] | None:
    """Return the step that is under way for a group, and its begin in epoch seconds; None for none.

    Args:
        observation: The latest look at the host.
        group: The group of slots.
        choices: The digests that may be started. A step for any other digest, such as the pull of a digest
            that was quarantined meanwhile, holds nothing up.
    """
    wanted = {(choice.key or group.image_key, choice.digest) for choice in choices}
    for step, since in observation.in_flight.items():
        if (step.image, step.digest) in wanted and (isinstance(step, Pull) or step.group in ("", group.name)):
            return step, since
    return None


def list_patience_ends(observation: Observation, config: Config) -> list[float]:
    """Return the epoch seconds at which empty slots wait no longer for each step that is under way."""
    patiences = {config.find_rollout(group).patience for group in config.slots}
    return [since + patience for since in observation.in_flight.values() for patience in patiences]


def describe_step(step: Preparation, since: float, now: float) -> str:
    """Return a phrase that tells the step and how long it has been under way."""
    return f"the watchdog {STEP_VERBS[type(step)]} {step.digest[:19]} since {max(0.0, now - since):.0f} s"
