"""Build the answer of `autopilot status` from the core's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autopilot import __version__
from autopilot.machines import gate, health, job, triggers
from autopilot.machines.core import Core
from autopilot.machines.gate_set import GateRecord
from autopilot.machines.job_record import JobRecord
from autopilot.spec.plan import Trigger

if TYPE_CHECKING:
    from autopilot.api.messages import GateStatus, JobEnd, JobStatus, Status, Wait

MAX_ANSWER_CHARS = 500  # of the output of a check


def build_status(core: Core, *, now: float, wall: float, life: str) -> Status:
    """Return the core's part of the answer.

    Args:
        core: The core.
        now: The event loop's time.
        wall: The same time in seconds since the epoch, the unit of all times in the answer.
        life: The id of this life.

    Returns:
        Plain data for JSON.
    """

    def convert_to_epoch(moment: float | None) -> float | None:
        return None if moment is None else round(wall + moment - now, 3)

    life_state, outer_job = core.lifetime, core.outer_job
    return {
        "version": __version__,
        "life": life,
        "lifetime": {
            "phase": life_state.phase.value,
            "ends": convert_to_epoch(life_state.expires),
            "reason": life_state.reason or None,
            "drain_began": convert_to_epoch(life_state.drain_began),
            "deadline": convert_to_epoch(life_state.deadline),
            "payloads_taken": life_state.taken,
            "payload_limit": core.lifetime_plan.payloads,
            "batch_job": None if outer_job is None else {"ends": outer_job.epoch, "source": outer_job.origin},
        },
        "maintenance": core.job_set.maintenance,
        "shutdown": core.shutdown.phase.value,
        "good": core.boot_success.reached,
        "payloads": list(core.payloads),
        "troubles": dict(core.conditions),
        "jobs": [
            _describe_job(
                record,
                convert_to_epoch(record.state.since),
                _get_wait_end(record, convert_to_epoch),
                name in core.stopped_by_operator,
            )
            for name, record in core.job_records.items()
        ],
        "gates": [_describe_gate(record, now) for record in core.job_set.gates.records.values()],
    }


def _describe_gate(record: GateRecord, now: float) -> GateStatus:
    state = record.state
    return {
        "name": record.plan.name,
        "state": state.phase.value,
        "before": list(record.plan.before),
        "attempts": state.attempts,
        "waited": round(now - state.began if state.phase in gate.ACTIVE_PHASES else state.waited, 3),
        "answer": state.output[-MAX_ANSWER_CHARS:],
        "passed": state.passed,
        "remedy": record.plan.remedy,
    }


def _get_wait_end(record: JobRecord, convert_to_epoch: Callable[[float | None], float | None]) -> float | None:
    """Return the end of the present wait; a waiting job with `cron` wakes more often than its next run."""
    next_run = record.state.next_run
    return next_run.due if next_run is not None and record.is_waiting else convert_to_epoch(record.state.deadline)


def _describe_job(record: JobRecord, since: float | None, until: float | None, stopped_by_operator: bool) -> JobStatus:
    state = record.state
    return {
        "name": record.plan.name,
        "state": state.phase.value,
        "end": _get_end(record, stopped_by_operator) if record.is_done else None,
        "health": record.health.status.value if record.plan.health else None,
        "pid": state.pid,
        "status": state.status,
        "asked": state.stop_requested or stopped_by_operator,
        "runs": state.run,
        "restarts": state.restarts,
        "since": since,
        "why": _describe_wait(record, until),
    }


def _get_end(record: JobRecord, stopped_by_operator: bool) -> JobEnd:
    """Return the result of a job that is over."""
    state = record.state
    if not state.run or state.given_up:
        return "never ran"
    if state.stop_requested or stopped_by_operator:
        return "stopped"
    return "failed" if state.status else "succeeded"


def _describe_wait(record: JobRecord, until: float | None) -> Wait:
    """Return the reason why the job waits, and until when; empty when it does not wait."""
    waits: dict[job.Phase, str] = {
        job.Phase.BACKOFF: "back-off",
        job.Phase.DELAYED: "delay",
        job.Phase.STOPPING: "its processes",
        job.Phase.KILLING: "its processes",
        job.Phase.HOLDING: "its pre-stop jobs",
    }
    why: Wait = {}
    if record.is_waiting:
        triggers_text = ", ".join(_describe_trigger(trigger) for trigger in record.missing_triggers)
        held_texts = [f"template.{name} rendered" for name in record.held_for]
        held_texts += [f"check {name}" for name in record.held_by]
        why["waits_for"] = triggers_text or ", ".join(held_texts) or "its next time"
        if record.held_by:
            why["gates"] = list(record.held_by)
        why["sources"] = [trigger.source for trigger in record.missing_triggers]
    elif record.state.phase in waits:
        why["waits_for"] = waits[record.state.phase]
    if record.state.given_up:
        why["given_up"] = record.state.given_up
    if until is not None and why:
        why["until"] = until
    if record.health.status is health.Status.UNHEALTHY or (
        record.health.status is health.Status.STARTING and record.health.output
    ):
        why["last_check"] = record.health.output[-MAX_ANSWER_CHARS:]
    return why


def _describe_trigger(trigger: Trigger) -> str:
    return (
        "an operator to start it"
        if trigger.event == triggers.MANUAL_START_EVENT
        else f"{trigger.source or 'autopilot'} {trigger.event}"
    )
