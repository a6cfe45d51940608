"""What `autopilot status` shows: the core's state in plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autopilot import __version__
from autopilot.machines import health, job, triggers
from autopilot.machines.core import Core
from autopilot.machines.job_record import JobRecord
from autopilot.spec.plan import Trigger

if TYPE_CHECKING:
    from autopilot.api.messages import JobStatus, Status, Wait


def build_status(core: Core, *, now: float, wall: float, life: str) -> Status:
    """`now` is the loop's time, `wall` the same moment in seconds since the epoch, which the answer's times are in."""

    def convert_to_epoch(moment: float | None) -> float | None:
        return None if moment is None else round(wall + moment - now, 3)

    life_state = core.lifetime
    return {
        "version": __version__,
        "life": life,
        "lifetime": {
            "phase": life_state.phase.value,
            "ends": convert_to_epoch(life_state.expires),
            "reason": life_state.reason or None,
            "drain_began": convert_to_epoch(life_state.drain_began),
            "deadline": convert_to_epoch(life_state.deadline),
        },
        "maintenance": core.job_set.maintenance,
        "shutdown": core.shutdown.phase.value,
        "good": core.boot_success.reached,
        "payloads": list(core.payloads),
        "troubles": dict(core.conditions),
        "jobs": [
            _describe_job(
                unit,
                convert_to_epoch(unit.state.since),
                _get_wait_end(unit, convert_to_epoch),
                name in core.stopped_by_operator,
            )
            for name, unit in core.job_records.items()
        ],
    }


def _get_wait_end(unit: JobRecord, convert_to_epoch: Callable[[float | None], float | None]) -> float | None:
    """A job with `cron` looks at the clock more often than its time comes."""
    appointment = unit.state.next_run
    return appointment.due if appointment is not None and unit.is_waiting else convert_to_epoch(unit.state.deadline)


def _describe_job(unit: JobRecord, since: float | None, until: float | None, stopped_by_operator: bool) -> JobStatus:
    state = unit.state
    return {
        "name": unit.plan.name,
        "state": state.phase.value,
        "health": unit.health.status.value if unit.plan.health else None,
        "pid": state.pid,
        "status": state.status,
        "asked": state.stop_requested or stopped_by_operator,
        "runs": state.run,
        "restarts": state.restarts,
        "since": since,
        "why": _describe_wait(unit, until),
    }


def _describe_wait(unit: JobRecord, until: float | None) -> Wait:
    """What the job waits for now, and until when."""
    waits: dict[job.Phase, str] = {
        job.Phase.BACKOFF: "back-off",
        job.Phase.DELAYED: "delay",
        job.Phase.STOPPING: "its processes",
        job.Phase.KILLING: "its processes",
        job.Phase.HOLDING: "its pre-stop jobs",
    }
    why: Wait = {}
    if unit.is_waiting:
        events = [_describe_trigger(trigger) for trigger in unit.missing_triggers]
        why["waits_for"] = ", ".join(events) or "its next time"
        why["sources"] = [trigger.source for trigger in unit.missing_triggers]
    elif unit.state.phase in waits:
        why["waits_for"] = waits[unit.state.phase]
    if until is not None and why:
        why["until"] = until
    if unit.health.status is health.Status.UNHEALTHY or (
        unit.health.status is health.Status.STARTING and unit.health.output
    ):
        why["last_check"] = unit.health.output[-500:]
    return why


def _describe_trigger(trigger: Trigger) -> str:
    return (
        "somebody to start it"
        if trigger.event == triggers.MANUAL_START_EVENT
        else f"{trigger.source or 'autopilot'} {trigger.event}"
    )
