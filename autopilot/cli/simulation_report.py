"""Print the life of a job spec under a script in virtual time, for `autopilot check --simulate`."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict
from typing import Any, TextIO

import click

from autopilot.adapters.logs.log_messages import describe_event
from autopilot.cli.repeat_folding import TimelineLine, fold_repeats
from autopilot.machines.events import CheckPassed, Event, RestartScheduled
from autopilot.process.line_buffer import escape_controls
from autopilot.runtime.simulated_world import SimulatedWorld, TooManyEventsError
from autopilot.runtime.simulation_script import ASSUMED_RUN_S, ScriptError, parse_script, run_script
from autopilot.spec.os_names import format_suggestion
from autopilot.spec.plan import Plan


def simulate(plan: Plan, script: TextIO, output: str, seed: int, only: Collection[str] = ()) -> None:
    """Simulate a plan, and print its timeline.

    Args:
        plan: Plan to follow.
        script: Script of outside events.
        output: `text` or `json`.
        seed: Seed of the random numbers.
        only: Jobs and watches to tell of; empty for everything.

    Raises:
        click.UsageError: The script is wrong, or a job is not in the plan.
        click.ClickException: The life does not come to an end.
    """
    known = [*(job.name for job in plan.jobs), *(watch.name for watch in plan.watches)]
    for name in only:
        if name not in known:
            remedy = format_suggestion(name, known) or f"; there are: {', '.join(known)}"
            raise click.UsageError(f"cannot show only {name}: no job or watch has this name{remedy}")
    try:
        scenario = parse_script(script.read(), plan)
        world = run_script(scenario, seed, time.time())
    except ScriptError as error:
        raise click.UsageError(f"{script.name}: {error}") from None
    except TooManyEventsError as error:
        raise click.ClickException(f"cannot finish the simulation: {error}; let something end sooner") from None
    if output == "json":
        click.echo(json.dumps(_build_report(world, only), indent=1))
        return
    if scenario.assumed_jobs:
        click.echo(
            f"assumed: runs of {', '.join(sorted(scenario.assumed_jobs))} take {ASSUMED_RUN_S:g} s;"
            " `run JOB for ...` changes it"
        )
    for line in _format_lines(world, only):
        click.echo(escape_controls(line))


def _format_lines(world: SimulatedWorld, only: Collection[str]) -> Iterator[str]:
    """Yield a line for each event that the log would have; repetitions are one line with their number."""
    lines = [line for at, event in world.events if (line := _build_line(at, event)) is not None]
    for line in fold_repeats([line for line in lines if not only or line.subject in only]):
        again = ""
        if line.repeats:
            what = f"these {line.block_lines} lines " if line.block_lines > 1 else ""
            again = f" ({what}{line.repeats} more until {format_clock(line.until)})"
        yield f"{format_clock(line.at)}  {line.text}{again}"
    if world.finish is None:
        yield f"{format_clock(world.now)}  still alive: the script ends here"
    else:
        outcome = world.finish.outcome
        yield f"{format_clock(world.now)}  exit {outcome.code}: {outcome.detail}"


def _build_line(at: float, event: Event) -> TimelineLine | None:
    message = describe_event(event)
    if message is None:
        return None
    _, sentence, fields = message
    subject = _get_subject(event)
    running = f", {fields['running']} running" if "running" in fields else ""
    text = f"{f'{subject}: ' if subject else ''}{sentence}{running}"
    return TimelineLine(at, subject, text, "restarts" if isinstance(event, RestartScheduled) else text)


def _get_subject(event: Event) -> str:
    """Return the job or the watch that an event is about; "" for the life."""
    return str(getattr(event, "job", "") or getattr(event, "watch", ""))


def _build_report(world: SimulatedWorld, only: Collection[str]) -> dict[str, Any]:
    shown = [
        (at, event)
        for at, event in world.events
        if not isinstance(event, CheckPassed) and (not only or _get_subject(event) in only)
    ]
    timeline = [{"at": round(at, 3), "event": type(event).__name__, **asdict(event)} for at, event in shown]
    outcome = asdict(world.finish.outcome) if world.finish is not None else None
    return {"timeline": timeline, "end": round(world.now, 3), "outcome": outcome}


def format_clock(seconds: float) -> str:
    """Format seconds from the start as `+1:02:03.250` (hours, minutes, seconds)."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"+{hours}:{minutes:02d}:{rest:06.3f}"
