"""Show the state of the jobs and of the lifetime."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from autopilot.amounts import format_count
from autopilot.cli.control_client import find_job, find_socket_path, get_status
from autopilot.cli.job_verbs import complete_job_names
from autopilot.cli.text_table import format_duration, format_table
from autopilot.cli.verb_options import output_option, socket_option
from autopilot.process.line_buffer import escape_controls

if TYPE_CHECKING:
    from autopilot.api.messages import AccessPointStatus, GateStatus, JobStatus, Status, Wait


@click.command()
@click.argument("job", required=False, shell_complete=complete_job_names)
@output_option
@socket_option
def command(job: str | None, output: str, given_socket: str | None) -> None:
    """Show the state of every job, or of JOB: phase, health, pid, restarts, time in this phase, and cause of a wait."""
    status = get_status(find_socket_path(given_socket))
    if job is not None:
        state = find_job(status, job)
        if output == "json":
            click.echo(json.dumps(state, indent=1))
        else:
            _print_jobs([state])
    elif output == "json":
        click.echo(json.dumps(status, indent=1))
    else:
        _print_life(status)
        _print_gates(status["gates"])
        _print_jobs(status["jobs"])


def _print_life(status: Status) -> None:
    life = status["lifetime"]
    line = f"life {status['life'][:8]}: "
    if life["phase"] != "counting":
        line += life["phase"]
    elif life["ends"] is None:
        line += "no time limit"
    else:
        line += f"counting, ends in {format_duration(life['ends'] - time.time())}"
    if life["reason"]:
        line += f" ({life['reason']})"
    if life["deadline"] is not None and life["drain_began"] is not None:
        line += f", deadline in {format_duration(life['deadline'] - time.time())}"
    if _has_payloads(status):
        line += f"; {format_count(len(status['payloads']), 'payload')}"
    if (taken := describe_payloads_taken(status)) is not None:
        line += f"; {taken}"
    click.echo(line)
    if (access_point := status.get("access_point")) is not None:
        click.echo(f"queue of {escape_controls(access_point['name'])}: {format_queue(access_point)}")
    if (bound := describe_bound(status)) is not None:
        click.echo(bound)
    for kind, detail in status["troubles"].items():
        click.echo(f"trouble {kind}: {escape_controls(detail)}")


def _has_payloads(status: Status) -> bool:
    """Return True when a batch system tells of payloads, be there some now or none."""
    return any("payloads" in section for section in status.values() if isinstance(section, dict))


def format_queue(access_point: AccessPointStatus) -> str:
    """Return the queue of an access point in one line, with its drain: `2 running, 1 held; new jobs are refused`."""
    queue = access_point["queue"]
    counts = [f"{count} {state}" for state, count in (queue or {}).items() if count]
    line = ", ".join(counts) or ("no job" if queue is not None else "condor_schedd has not answered")
    return f"{line}; new jobs are refused" if access_point["refusing_jobs"] else line


def describe_payloads_taken(status: Status) -> str | None:
    """Return how many of its payloads the life has taken, as in `1 of 1 payload taken`; None without a limit."""
    life = status["lifetime"]
    if life["payload_limit"] is None:
        return None
    return f"{life['payloads_taken']} of {format_count(life['payload_limit'], 'payload')} taken"


def describe_bound(status: Status) -> str | None:
    """Return until when the batch job around the supervisor bounds the life; None when it does not."""
    outer_job = status["lifetime"]["batch_job"]
    if outer_job is None or outer_job["ends"] is None:
        return None
    clock = time.strftime("%H:%M", time.localtime(outer_job["ends"]))
    left = format_duration(outer_job["ends"] - time.time())
    return f"bounded by the batch job until {clock} (in {left}, from {outer_job['source']})"


def _print_gates(gates: list[GateStatus]) -> None:
    """Print the checks that jobs wait for, or that have failed; an open one needs no line."""
    for gate in gates:
        if gate["state"] in ("checking", "waiting", "failed"):
            lines = gate["answer"].strip().splitlines() or ["no answer yet"]
            wait = f"has not passed for {format_duration(gate['waited'])}"
            click.echo(f"check {gate['name']} before {', '.join(gate['before'])}: {wait}: {escape_controls(lines[-1])}")


def _print_jobs(jobs: list[JobStatus]) -> None:
    rows = [("JOB", "STATE", "HEALTH", "PID", "RESTARTS", "SINCE", ""), *map(_build_row, jobs)]
    for line in format_table(rows):
        click.echo(line)


def _build_row(job: JobStatus) -> tuple[str, ...]:
    return (
        job["name"],
        _format_state(job),
        job["health"] or "-",
        str(job["pid"] or "-"),
        str(job["restarts"]),
        "-" if job["since"] is None else format_duration(time.time() - job["since"]),
        _format_why(job["why"]),
    )


def _format_state(job: JobStatus) -> str:
    """Return the phase of a job, and for one that is over its end: `done`, `failed (127)`, `stopped`, `never ran`."""
    if job["end"] is None:
        return job["state"]
    if job["end"] == "failed":
        return f"failed ({job['status']})"
    return "done" if job["end"] == "succeeded" else job["end"]


def _format_why(why: Wait) -> str:
    parts = [f"waits for {why['waits_for']}"] if "waits_for" in why else []
    if "given_up" in why:
        parts.append(why["given_up"])
    if "until" in why:
        parts.append(f"{format_duration(why['until'] - time.time())} more")
    if "last_check" in why:
        parts.append(f"last check: {escape_controls(why['last_check'].strip().splitlines()[-1])}")
    return ", ".join(parts)
