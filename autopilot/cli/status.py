"""autopilot status: the jobs, and the life they are in."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from autopilot.cli.client import ask, output_option, socket_option, socket_path


@click.command()
@click.argument("job", required=False)
@output_option
@socket_option
def command(job: str | None, output: str, given_socket: str | None) -> None:
    """Show every job (or one): its state, health, pid, restarts, since when, and what it waits for."""
    answer = ask(socket_path(given_socket), "GET", "/v1/status")
    jobs = [shown for shown in answer["jobs"] if job in (None, shown["name"])]
    if not jobs and job is not None:
        raise click.ClickException(f"there is no job {job!r}")
    if output == "json":
        click.echo(json.dumps(answer if job is None else jobs[0], indent=1))
        return
    if job is None:
        _show_life(answer)
    _show_jobs(jobs)


def _show_life(answer: dict[str, Any]) -> None:
    life = answer["lifetime"]
    line = f"life {answer['life'][:8]}: {life['phase']}"
    if life["ends"] is not None and life["phase"] == "counting":
        line += f", ends in {_span(life['ends'] - time.time())}"
    if life["reason"]:
        line += f" ({life['reason']})"
    if life["deadline"] is not None and life["drain_began"] is not None:
        line += f", deadline in {_span(life['deadline'] - time.time())}"
    click.echo(f"{line}; {len(answer['payloads'])} payloads")
    for kind, detail in answer["troubles"].items():
        click.echo(f"trouble {kind}: {detail}")


def _show_jobs(jobs: list[dict[str, Any]]) -> None:
    rows = [("JOB", "STATE", "HEALTH", "PID", "RESTARTS", "SINCE", ""), *map(_row, jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    return (
        job["name"],
        job["state"],
        job["health"] or "-",
        str(job["pid"] or "-"),
        str(job["restarts"]),
        _span(time.time() - job["since"]),
        _why(job["why"]),
    )


def _why(why: dict[str, Any]) -> str:
    parts = [f"waits for {why['waits_for']}"] if "waits_for" in why else []
    if "until" in why:
        parts.append(f"{_span(why['until'] - time.time())} more")
    if "last_check" in why:
        parts.append(f"last check: {why['last_check'].strip().splitlines()[-1]}")
    return ", ".join(parts)


def _span(seconds: float) -> str:
    """`42s`, `3m20s`, `5h07m`, `2d03h`: what a person reads."""
    whole = max(0, round(seconds))
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
