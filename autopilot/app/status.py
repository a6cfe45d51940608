"""What `autopilot status` shows: the core's state in plain data."""

from __future__ import annotations

from collections.abc import Callable

from autopilot import __version__
from autopilot.machines import health, job, when
from autopilot.machines.core import Core
from autopilot.machines.unit import Unit
from autopilot.spec.plan import Trigger


def snapshot(core: Core, *, now: float, wall: float, life: str) -> dict[str, object]:
    """`now` is the loop's time, `wall` the same moment in seconds since the epoch, which the answer's times are in."""

    def at(moment: float | None) -> float | None:
        return None if moment is None else round(wall + moment - now, 3)

    life_state = core.lifetime
    return {
        "version": __version__,
        "life": life,
        "lifetime": {
            "phase": life_state.phase.value,
            "ends": at(life_state.expires),
            "reason": life_state.reason or None,
            "drain_began": at(life_state.drain_began),
            "deadline": at(life_state.deadline),
        },
        "maintenance": core.crew.maintenance,
        "shutdown": core.shutdown.phase.value,
        "good": core.probation.good,
        "payloads": list(core.payloads),
        "troubles": dict(core.troubles),
        "jobs": [
            _job(unit, at(unit.state.since), _until(unit, at), name in core.held) for name, unit in core.units.items()
        ],
    }


def _until(unit: Unit, at: Callable[[float | None], float | None]) -> float | None:
    """A job with `cron` looks at the clock more often than its time comes."""
    appointment = unit.state.appointment
    return appointment.due if appointment is not None and unit.waits else at(unit.state.deadline)


def _job(unit: Unit, since: float | None, until: float | None, held: bool) -> dict[str, object]:
    state = unit.state
    return {
        "name": unit.plan.name,
        "state": state.phase.value,
        "health": unit.health.status.value if unit.plan.health else None,
        "pid": state.pid,
        "status": state.status,
        "asked": state.asked or held,
        "runs": state.run,
        "restarts": state.restarts,
        "since": since,
        "why": _why(unit, until),
    }


def _why(unit: Unit, until: float | None) -> dict[str, object]:
    """What the job waits for now, and until when."""
    waits: dict[job.Phase, str] = {
        job.Phase.BACKOFF: "back-off",
        job.Phase.DELAYED: "delay",
        job.Phase.STOPPING: "its processes",
        job.Phase.KILLING: "its processes",
        job.Phase.HOLDING: "its pre-stop jobs",
    }
    why: dict[str, object] = {}
    if unit.waits:
        events = [_words(trigger) for trigger in unit.missing]
        why["waits_for"] = ", ".join(events) or "its next time"
        why["sources"] = [trigger.source for trigger in unit.missing]
    elif unit.state.phase in waits:
        why["waits_for"] = waits[unit.state.phase]
    if until is not None and why:
        why["until"] = until
    if unit.health.status is health.Status.UNHEALTHY or (
        unit.health.status is health.Status.STARTING and unit.health.output
    ):
        why["last_check"] = unit.health.output[-500:]
    return why


def _words(trigger: Trigger) -> str:
    return "somebody to start it" if trigger.event == when.ASKED else f"{trigger.source or 'autopilot'} {trigger.event}"
