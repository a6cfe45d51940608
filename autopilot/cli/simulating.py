"""What `autopilot check --simulate` prints: the life of a job spec under a script, in virtual time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Any, TextIO

import click

from autopilot.adapters.narrator import sentence
from autopilot.machines.facts import CheckPassed, Fact
from autopilot.process.lines import visible
from autopilot.runtime.scenario import SHORT, ScriptError, parse, play
from autopilot.runtime.world import Endless, World
from autopilot.spec.plan import Plan


def simulate(plan: Plan, script: TextIO, output: str, seed: int) -> None:
    """Raises UsageError when the script is wrong, ClickException when the life never comes to an end."""
    try:
        scenario = parse(script.read(), plan)
        world = play(scenario, seed, time.time())
    except ScriptError as error:
        raise click.UsageError(f"{script.name}: {error}") from None
    except Endless as error:
        raise click.ClickException(f"stopped looking: {error}; let something end sooner") from None
    if output == "json":
        click.echo(json.dumps(_as_data(world), indent=1))
        return
    if scenario.assumed:
        click.echo(
            f"assumed: runs of {', '.join(sorted(scenario.assumed))} take {SHORT:g} s; `run JOB for ...` says else"
        )
    for line in _lines(world):
        click.echo(visible(line))


def _lines(world: World) -> Iterator[str]:
    """One for each fact that the log would have; the same one again and again only once, with its count."""
    told = [(at, said) for at, fact in world.facts if (said := _told(fact)) is not None]
    for said, group in groupby(told, key=lambda pair: pair[1]):
        (first, _), *others = group
        again = f" ({len(others)} more until {clock(others[-1][0])})" if others else ""
        yield f"{clock(first)}  {said}{again}"
    if world.finish is None:
        yield f"{clock(world.now)}  still alive: the script ends here"
    else:
        outcome = world.finish.outcome
        yield f"{clock(world.now)}  exit {outcome.code}: {outcome.detail}"


def _told(fact: Fact) -> str | None:
    said = sentence(fact)
    if said is None:
        return None
    about = getattr(fact, "job", "") or getattr(fact, "watch", "")
    running = f", {said[2]['running']} running" if "running" in said[2] else ""
    return f"{f'{about}: ' if about else ''}{said[1]}{running}"


def _as_data(world: World) -> dict[str, Any]:
    shown = [(at, fact) for at, fact in world.facts if not isinstance(fact, CheckPassed)]
    timeline = [{"at": round(at, 3), "fact": type(fact).__name__, **asdict(fact)} for at, fact in shown]
    outcome = asdict(world.finish.outcome) if world.finish is not None else None
    return {"timeline": timeline, "end": round(world.now, 3), "outcome": outcome}


def clock(seconds: float) -> str:
    """`+1:02:03.250`: hours, minutes, seconds from the start."""
    minutes, left = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"+{hours}:{minutes:02d}:{left:06.3f}"
