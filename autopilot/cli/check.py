"""Check a job spec: print every problem in one pass, without running anything."""

from __future__ import annotations

import json
import os
from typing import Any, TextIO

import click

from autopilot.amounts import format_count, format_seconds
from autopilot.cli.verb_options import DurationParam, config_argument, output_option
from autopilot.spec.load_result import LoadedSpec, Problem, SpecError
from autopilot.spec.stop_budget import (
    LOG_FILES_S,
    LOG_FLUSH_S,
    compute_stop_time,
    compute_worst_stop_time,
    find_slowest_by_order,
)


@click.command(name="check", short_help="Check a job spec; exit code 78 when it has problems.")
@config_argument
@output_option
@click.option("--stop-budget", type=DurationParam(), help="Fail when the worst ordered stop takes longer, e.g. 10s.")
@click.option("--compile", "compiles", is_flag=True, help="Write the compiled plan beside CONFIG, for quicker starts.")
@click.option("--gates", "asks_gates", is_flag=True, help="Ask every entry of `checks` now, and print its answer.")
@click.option("--simulate", "script", type=click.File(), help="Print the life that SCRIPT leads to, in virtual time.")
@click.option("--seed", type=int, default=0, help="Seed of the random numbers of a simulation.")
@click.option("--only", multiple=True, metavar="JOB", help="Show only this job in a simulation; may be repeated.")
def command(  # noqa: PLR0917 - click
    config: str,
    output: str,
    stop_budget: float | None,
    compiles: bool,
    asks_gates: bool,
    script: TextIO | None,
    seed: int,
    only: tuple[str, ...],
) -> None:
    """Check the job spec CONFIG ("-": standard input), and print every problem with its place and remedy.

    The default of CONFIG is the job spec that `autopilot run` would take.

    Without --gates the check runs no command and uses no network. A user, a program, a library, a file or a right that
    this machine does not have is a warning: the job spec may be meant for another machine.
    """
    from autopilot.spec.spec_loading import load

    loaded: LoadedSpec | None = None
    try:
        loaded = load(config, runs_here=False)
        problems, warnings = _check_stop_budget(loaded, config, stop_budget), loaded.warnings
    except SpecError as error:
        problems, warnings = error.problems, error.warnings
    if loaded is not None and compiles and not problems:
        _write_compiled_plan(config, loaded)
    if loaded is not None and not problems and script is not None:
        from autopilot.cli.simulation_report import simulate

        simulate(loaded.plan, script, output, seed, only)
        return
    if loaded is not None and not problems and asks_gates:
        from autopilot.cli.gate_report import report_gates

        raise SystemExit(report_gates(loaded.plan, output))
    report = _format_json if output == "json" else _format_text
    click.echo(report(config, loaded, problems, warnings))
    if problems:
        raise SystemExit(os.EX_CONFIG)


def _check_stop_budget(loaded: LoadedSpec, config: str, budget: float | None) -> tuple[Problem, ...]:
    flush_s = LOG_FLUSH_S if loaded.plan.logging.forward else 0.0
    files_s = LOG_FILES_S if any(job.log_files for job in loaded.plan.jobs) else 0.0
    worst = compute_worst_stop_time(loaded.plan.jobs) + files_s + flush_s
    if budget is None or worst <= budget:
        return ()
    slowest = find_slowest_by_order(loaded.plan.jobs)
    parts = [f"{job.name} {format_seconds(compute_stop_time(job))}" for job in slowest]
    if files_s:
        parts.append(f"the rest of logging.files {format_seconds(files_s)}")
    if flush_s:
        parts.append(f"the last lines of logging.forward {format_seconds(flush_s)}")
    steps = ", then ".join(parts)
    needed = f"the worst ordered stop takes {format_seconds(worst)} ({steps})"
    message = f"cannot fit into a stop budget of {format_seconds(budget)}: {needed}"
    return (Problem(file=config, message=f"{message}; shorten stop.timeout or give the container more time to stop"),)


def _write_compiled_plan(config: str, loaded: LoadedSpec) -> None:
    from autopilot.app import plan_cache
    from autopilot.spec.plan_data import serialize_plan

    try:
        plan_cache.write(plan_cache.get_path_beside(config), loaded.rendered_text, serialize_plan(loaded.plan))
    except OSError as error:
        raise click.ClickException(f"cannot write {plan_cache.get_path_beside(config)}: {error.strerror}") from None


def _format_text(
    config: str, loaded: LoadedSpec | None, problems: tuple[Problem, ...], warnings: tuple[Problem, ...]
) -> str:
    lines = [str(problem) for problem in problems] + [f"warning: {warning}" for warning in warnings]
    counts = [_format_count(len(problems), "problem"), _format_count(len(warnings), "warning")]
    if loaded is not None:
        jobs = loaded.plan.jobs
        stop_time = min(compute_worst_stop_time(jobs), loaded.plan.stop_timeout)
        counts += [_format_count(len(jobs), "job"), f"stops within {format_seconds(stop_time)}"]
    return "\n".join([*lines, f"{config}: {', '.join(counts)}"])


def _format_count(number: int, noun: str) -> str:
    return format_count(number, noun) if number else f"no {noun}s"


def _format_json(
    config: str, loaded: LoadedSpec | None, problems: tuple[Problem, ...], warnings: tuple[Problem, ...]
) -> str:
    report: dict[str, Any] = {
        "config": config,
        "ok": not problems,
        "problems": [problem.serialize() for problem in problems],
        "warnings": [warning.serialize() for warning in warnings],
    }
    if loaded is not None:
        jobs = [job.name for job in loaded.plan.jobs]
        report |= {
            "jobs": jobs,
            "worst_stop": compute_worst_stop_time(loaded.plan.jobs),
            "stop_timeout": loaded.plan.stop_timeout,
        }
    return json.dumps(report, indent=2, ensure_ascii=False)
