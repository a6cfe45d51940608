"""autopilot status: the jobs, and the life they are in."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from autopilot.cli.control_client import find_socket_path, output_option, send_request, socket_option
from autopilot.cli.job_verbs import complete_job_names
from autopilot.cli.text_table import format_duration, format_table
from autopilot.process.line_buffer import escape_controls


@click.command()
@click.argument("job", required=False, shell_complete=complete_job_names)
@output_option
@socket_option
def command(job: str | None, output: str, given_socket: str | None) -> None:
    """Show every job (or one): its state, health, pid, restarts, since when, and what it waits for."""
    answer = send_request(find_socket_path(given_socket), "GET", "/v1/status")
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
        line += f", ends in {format_duration(life['ends'] - time.time())}"
    if life["reason"]:
        line += f" ({life['reason']})"
    if life["deadline"] is not None and life["drain_began"] is not None:
        line += f", deadline in {format_duration(life['deadline'] - time.time())}"
    click.echo(f"{line}; {len(answer['payloads'])} payloads")
    for kind, detail in answer["troubles"].items():
        click.echo(f"trouble {kind}: {escape_controls(detail)}")


def _show_jobs(jobs: list[dict[str, Any]]) -> None:
    rows = [("JOB", "STATE", "HEALTH", "PID", "RESTARTS", "SINCE", ""), *map(_build_row, jobs)]
    for line in format_table(rows):
        click.echo(line)


def _build_row(job: dict[str, Any]) -> tuple[str, ...]:
    return (
        job["name"],
        job["state"],
        job["health"] or "-",
        str(job["pid"] or "-"),
        str(job["restarts"]),
        format_duration(time.time() - job["since"]),
        _format_why(job["why"]),
    )


def _format_why(why: dict[str, Any]) -> str:
    parts = [f"waits for {why['waits_for']}"] if "waits_for" in why else []
    if "until" in why:
        parts.append(f"{format_duration(why['until'] - time.time())} more")
    if "last_check" in why:
        parts.append(f"last check: {escape_controls(why['last_check'].strip().splitlines()[-1])}")
    return ", ".join(parts)
