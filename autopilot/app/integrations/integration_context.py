"""Define the values and callbacks that all integrations share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autopilot.app.kept_files import KeptFiles
from autopilot.app.life_context import LifeContext
from autopilot.errors import AutopilotError
from autopilot.machines.cues import Cue
from autopilot.runtime.command_runner import CommandRunner
from autopilot.runtime.observer_loop import Work
from autopilot.spec.plan import Plan

if TYPE_CHECKING:
    from autopilot.adapters.telemetry.life_figures import LifeFigures
    from autopilot.api.messages import Status


class IntegrationError(AutopilotError):
    """The plan needs something that this host does not have: one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class IntegrationContext:
    """Callbacks from the integrations to the supervisor.

    Attributes:
        life: The life that is shown to others.
        report: Takes cues for the core.
        start_task: Runs an observer in the background, by the name of its condition. An internal error in it ends no
            life: it is reported, and a function is called again for a new run.
        commands: Runs the commands of templates.
        get_status: Returns the answer of `autopilot status`.
        get_figures: Returns the figures of this life that no event tells.
        log_moved_file: Logs a sentence about a foreign thing that was moved out of the place of a file of ours.
        kept_files: Makes files of this life again that somebody removes.
    """

    life: LifeContext
    report: Callable[[Cue], None]
    start_task: Callable[[str, Work], asyncio.Task[None]]
    commands: CommandRunner
    get_status: Callable[[], Status]
    get_figures: Callable[[], LifeFigures]
    log_moved_file: Callable[[str], None]
    kept_files: KeptFiles


def has_integrations(plan: Plan) -> bool:
    """Return True when the plan has a section that an integration serves."""
    return plan.consul is not None or plan.telemetry is not None or bool(plan.templates)
