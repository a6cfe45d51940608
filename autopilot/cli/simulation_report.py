"""Print the life of a job spec under a script in virtual time, for `autopilot check --simulate`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Any, TextIO

import click

from autopilot.adapters.logs.log_messages import describe_event
from autopilot.machines.events import CheckPassed, Event
from autopilot.process.line_buffer import escape_controls
from autopilot.runtime.simulated_world import SimulatedWorld, TooManyEventsError
from autopilot.runtime.simulation_script import ASSUMED_RUN_S, ScriptError, parse_script, run_script
from autopilot.spec.plan import Plan


def simulate(plan: Plan, script: TextIO, output: str, seed: int) -> None:
    """Simulate a plan, and print its timeline.

    Args:
        plan: Plan to follow.
        script: Script of outside events.
        output: `text` or `json`.
        seed: Seed of the random numbers.

    Raises:
        click.UsageError: The script is wrong.
        click.ClickException: The life does not come to an end.
    """
    try:
        scenario = parse_script(script.read(), plan)
        world = run_script(scenario, seed, time.time())
    except ScriptError as error:
        raise click.UsageError(f"{script.name}: {error}") from None
    except TooManyEventsError as error:
        raise click.ClickException(f"cannot finish the simulation: {error}; let something end sooner") from None
    if output == "json":
        click.echo(json.dumps(_build_report(world), indent=1))
        return
    if scenario.assumed_jobs:
        click.echo(
            f"assumed: runs of {', '.join(sorted(scenario.assumed_jobs))} take {ASSUMED_RUN_S:g} s;"
            " `run JOB for ...` changes it"
        )
    for line in _format_lines(world):
        click.echo(escape_controls(line))


def _format_lines(world: SimulatedWorld) -> Iterator[str]:
    """Yield a line for each event that the log would have; repetitions are one line with their number."""
    sentences = [(at, text) for at, event in world.events if (text := _format_event(event)) is not None]
    for text, group in groupby(sentences, key=lambda pair: pair[1]):
        (first, _), *others = group
        again = f" ({len(others)} more until {format_clock(others[-1][0])})" if others else ""
        yield f"{format_clock(first)}  {text}{again}"
    if world.finish is None:
        yield f"{format_clock(world.now)}  still alive: the script ends here"
    else:
        outcome = world.finish.outcome
        yield f"{format_clock(world.now)}  exit {outcome.code}: {outcome.detail}"


def _format_event(event: Event) -> str | None:
    message = describe_event(event)
    if message is None:
        return None
    _, sentence, fields = message
    subject = getattr(event, "job", "") or getattr(event, "watch", "")
    running = f", {fields['running']} running" if "running" in fields else ""
    return f"{f'{subject}: ' if subject else ''}{sentence}{running}"


def _build_report(world: SimulatedWorld) -> dict[str, Any]:
    shown = [(at, event) for at, event in world.events if not isinstance(event, CheckPassed)]
    timeline = [{"at": round(at, 3), "event": type(event).__name__, **asdict(event)} for at, event in shown]
    outcome = asdict(world.finish.outcome) if world.finish is not None else None
    return {"timeline": timeline, "end": round(world.now, 3), "outcome": outcome}


def format_clock(seconds: float) -> str:
    """Format seconds from the start as `+1:02:03.250` (hours, minutes, seconds)."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"+{hours}:{minutes:02d}:{rest:06.3f}"
