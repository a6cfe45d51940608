"""autopilot check: every problem of a job spec in one pass, without running anything."""

from __future__ import annotations

import json
import os
from typing import Any, TextIO

import click

from autopilot.spec.outcome import Loaded, Problem, SpecError
from autopilot.spec.stopping import slowest_by_order, stop_time, worst_stop


class Budget(click.ParamType["float"]):
    """A duration as the job spec writes them."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from autopilot.spec.units import duration

        try:
            return duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(name="check", short_help="Check a job spec; exit code 78 when it has problems.")
@click.argument("config")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
@click.option("--stop-budget", type=Budget(), help="Fail when the worst ordered stop takes longer, e.g. 10s.")
@click.option("--compile", "compiles", is_flag=True, help="Write the compiled plan beside CONFIG: starts get quicker.")
@click.option("--simulate", "script", type=click.File(), help="Print the life that SCRIPT leads to, in virtual time.")
@click.option("--seed", type=int, default=0, help="Of what is drawn in a simulation.")
def command(  # noqa: PLR0917 - click
    config: str, output: str, stop_budget: float | None, compiles: bool, script: TextIO | None, seed: int
) -> None:
    """Check the job spec CONFIG ("-": standard input) and print every problem with its place and remedy.

    Nothing is run and nothing is asked over the network. Users and programs that this machine does not have are
    warnings: the spec may be meant for another one.
    """
    from autopilot.spec.loading import load

    loaded: Loaded | None = None
    try:
        loaded = load(config, here=False)
        problems, warnings = _over_budget(loaded, config, stop_budget), loaded.warnings
    except SpecError as error:
        problems, warnings = error.problems, error.warnings
    if loaded is not None and compiles and not problems:
        _compile(config, loaded)
    if loaded is not None and not problems and script is not None:
        from autopilot.cli.simulating import simulate

        simulate(loaded.plan, script, output, seed)
        return
    report = _as_json if output == "json" else _as_text
    click.echo(report(config, loaded, problems, warnings))
    if problems:
        raise SystemExit(os.EX_CONFIG)


def _over_budget(loaded: Loaded, config: str, budget: float | None) -> tuple[Problem, ...]:
    worst = worst_stop(loaded.plan.jobs)
    if budget is None or worst <= budget:
        return ()
    steps = ", then ".join(f"{job.name} {stop_time(job):g} s" for job in slowest_by_order(loaded.plan.jobs))
    message = f"cannot fit into a stop budget of {budget:g} s: the worst ordered stop takes {worst:g} s ({steps})"
    return (Problem(file=config, message=f"{message}; shorten stop.timeout or give the container more time to stop"),)


def _compile(config: str, loaded: Loaded) -> None:
    from autopilot.app import plancache
    from autopilot.spec.plandata import plan_to_data

    try:
        plancache.write(plancache.beside(config), loaded.rendered_text, plan_to_data(loaded.plan))
    except OSError as error:
        raise click.ClickException(f"cannot write {plancache.beside(config)}: {error.strerror}") from None


def _as_text(config: str, loaded: Loaded | None, problems: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> str:
    lines = [str(problem) for problem in problems] + [f"warning: {warning}" for warning in warnings]
    counted = f"{_count(len(problems), 'problem')}, {_count(len(warnings), 'warning')}"
    if loaded is not None:
        jobs = loaded.plan.jobs
        counted += f", {_count(len(jobs), 'job')}, stops within {min(worst_stop(jobs), loaded.plan.stop_timeout):g} s"
    return "\n".join([*lines, f"{config}: {counted}"])


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _as_json(config: str, loaded: Loaded | None, problems: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> str:
    report: dict[str, Any] = {
        "config": config,
        "ok": not problems,
        "problems": [problem.to_data() for problem in problems],
        "warnings": [warning.to_data() for warning in warnings],
    }
    if loaded is not None:
        jobs = [job.name for job in loaded.plan.jobs]
        report |= {"jobs": jobs, "worst_stop": worst_stop(loaded.plan.jobs), "stop_timeout": loaded.plan.stop_timeout}
    return json.dumps(report, indent=2, ensure_ascii=False)
