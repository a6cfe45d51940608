"""Run the `systemctl` shim: systemctl's verbs, answers and exit codes, for the jobs of this container.

Scripts and people that use systemctl need no change. A unit is the job of the same name; `condor` is also the job of
the section `htcondor`. Exit codes are systemctl's own: 0 for success and 1 for failure. Verbs that ask exit with 3
for a job that does not run, and with 4 for an unknown job; verbs that act exit with 5 for an unknown job; a reload that
the job does not support exits with 3.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from autopilot.cli.control_client import ControlError, SupervisorUnreachableError
from autopilot.cli.job_verbs import has_failed
from autopilot.cli.systemd_units import UnitClient, format_unit_name, get_unit_state, print_error
from autopilot.cli.text_table import format_duration, format_table
from autopilot.process.line_buffer import escape_controls
from autopilot.process.signal_handling import takes_signal

if TYPE_CHECKING:
    from autopilot.api.messages import JobStatus

NOT_RUNNING_EXIT_CODE, NOT_APPLICABLE_EXIT_CODE, UNKNOWN_EXIT_CODE, NOT_INSTALLED_EXIT_CODE = 3, 3, 4, 5
SIGHUP = 1
ALIASES = {
    "condrestart": "try-restart",
    "force-reload": "reload-or-restart",
    "reload-or-try-restart": "try-reload-or-restart",
}

Options = dict[str, Any]
UnitAction = Callable[[UnitClient, str, "JobStatus", Options], int]


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, add_help_option=True)
@click.argument("verb", default="list-units")
@click.argument("units", nargs=-1)
@click.option("-q", "--quiet", is_flag=True)
@click.option("--no-block", is_flag=True)
@click.option("--now", is_flag=True)
@click.option("-n", "--lines", type=int, default=10)
@click.option("-p", "--property", "properties", multiple=True)
@click.option("--value", is_flag=True)
@click.option("-s", "--signal", default="SIGTERM")
@click.option("--kill-whom", "--kill-who", default="all")
@click.option("-t", "--type", "_type")
@click.option("--state", "_state")
@click.option("-o", "--output", "_output")
@click.option("-a", "--all", "_all", is_flag=True)
@click.option("-f", "--force", "_force", is_flag=True)
@click.option("-l", "--full", "_full", is_flag=True)
@click.option("--no-pager", is_flag=True)
@click.option("--no-legend", is_flag=True)
@click.option("--plain", is_flag=True)
@click.option("--system", is_flag=True)
@click.option("--no-reload", is_flag=True)
@click.option("--no-ask-password", is_flag=True)
def command(verb: str, units: tuple[str, ...], **options: Any) -> None:
    """Act on the jobs of this container as `systemctl` would (docs/command-line.md)."""
    raise SystemExit(run_systemctl(ALIASES.get(verb, verb), units, options))


def run_systemctl(verb: str, units: tuple[str, ...], options: Options) -> int:
    """Run one verb, and return the exit code."""
    try:
        client = UnitClient()
    except SupervisorUnreachableError as error:
        print_error(f"{error} This container's PID 1 should be autopilot, not systemd.")
        return UNKNOWN_EXIT_CODE if verb in ("status", "is-active", "is-failed", "show") else 1
    if verb == "status" and not units:
        verb = "list-units"
    if verb in SYSTEM_VERBS:
        return SYSTEM_VERBS[verb](client)
    if verb not in UNIT_VERBS or not units:
        print_error(f"Name a unit, and one of: {', '.join([*UNIT_VERBS, *SYSTEM_VERBS])}.")
        return 1
    codes = [_run_unit_verb(client, verb, unit, options) for unit in units]
    if verb in ("is-active", "is-failed") and 0 in codes:
        return 0  # one unit in that state is enough
    return max(codes)


def _run_unit_verb(client: UnitClient, verb: str, unit: str, options: Options) -> int:
    job_status = client.find_job(unit)
    if job_status is None:
        return _report_not_found(verb, unit, options, client)
    try:
        return UNIT_VERBS[verb](client, unit, job_status, options)
    except ControlError as error:
        print_error(f"Failed to {verb} {format_unit_name(unit)}: {error}")
        return 1


def _report_not_found(verb: str, unit: str, options: Options, client: UnitClient) -> int:
    known = f"the jobs are: {', '.join(client.jobs)}."
    if verb in ("is-active", "is-failed", "is-enabled"):
        _print_word("not-found" if verb == "is-enabled" else "inactive", options)
        return UNKNOWN_EXIT_CODE
    if verb == "show":
        _print_properties(
            {"Id": format_unit_name(unit), "LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead"},
            options,
        )
        return 0
    if verb == "status":
        print_error(f"Unit {format_unit_name(unit)} could not be found; {known}")
        return UNKNOWN_EXIT_CODE
    if verb.startswith("try-"):
        return 0
    print_error(f"Failed to {verb} {format_unit_name(unit)}: Unit {format_unit_name(unit)} not found; {known}")
    return 1 if verb in VERBS_FAILING_ON_UNKNOWN else NOT_INSTALLED_EXIT_CODE


# --- verbs that act ---


def _build_action(verb: str) -> UnitAction:
    def run_action(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
        after = client.run_verb(verb, job_status["name"], wait=not options.get("no_block"))
        if verb != "stop" and has_failed(after):
            last = f"it ended with status {after['status']}"
            print_error(f"Job for {format_unit_name(unit)} failed: {last}. See: autopilot logs {job_status['name']}")
            return 1
        return 0

    return run_action


def _build_if_active(action: UnitAction) -> UnitAction:
    def run_if_active(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
        return action(client, unit, job_status, options) if get_unit_state(job_status)[0] == "active" else 0

    return run_if_active


def _reload(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    """Send SIGHUP to a process that handles it; another process would die of it."""
    if get_unit_state(job_status)[0] != "active":
        print_error(f"{format_unit_name(unit)} is not active, cannot reload.")
        return 1
    if not _takes_sighup(job_status["pid"]):
        print_error(
            f"Failed to reload {format_unit_name(unit)}: Job type reload is not applicable: its process has no"
            " handler for SIGHUP. Use restart, or reload-or-restart."
        )
        return NOT_APPLICABLE_EXIT_CODE
    client.send_signal(job_status["name"], "SIGHUP", group=False)
    return 0


def _reload_or_restart(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    if get_unit_state(job_status)[0] == "active" and _takes_sighup(job_status["pid"]):
        return _reload(client, unit, job_status, options)
    return _build_action("restart")(client, unit, job_status, options)


def _takes_sighup(pid: int | None) -> bool:
    return pid is not None and takes_signal(pid, SIGHUP)


def _kill_unit(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    client.send_signal(job_status["name"], options["signal"], group=options["kill_whom"] == "all")
    return 0


# --- verbs that ask ---


def _check_active(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    active, _ = get_unit_state(job_status)
    _print_word(active, options)
    return 0 if active == "active" else NOT_RUNNING_EXIT_CODE


def _check_failed(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    active, _ = get_unit_state(job_status)
    _print_word(active, options)
    return 0 if active == "failed" else 1


def _check_enabled(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    _print_word("enabled", options)
    return 0


def _print_status(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    active, sub = get_unit_state(job_status)
    job, now = job_status["name"], time.time()
    since = now if job_status["since"] is None else job_status["since"]
    dot = {"active": "●", "failed": "x"}.get(active, "○")
    lines = [
        f"{dot} {format_unit_name(unit)} - job {job} of autopilot",
        "     Loaded: loaded (the job spec; enabled)",
        f"     Active: {active} ({sub}) since {datetime.fromtimestamp(since, UTC):%a %Y-%m-%d %H:%M:%S} UTC;"
        f" {format_duration(now - since)} ago",
    ]
    if job_status["health"]:
        lines.append(f"     Health: {job_status['health']}")
    if job_status["pid"]:
        lines.append(f"   Main PID: {job_status['pid']}")
    elif job_status["status"] is not None:
        lines.append(f"     Status: {job_status['status']}")
    if "waits_for" in job_status["why"]:
        lines.append(f"      Waits: for {job_status['why']['waits_for']}")
    click.echo("\n".join(map(escape_controls, lines)))
    records = client.read_last_lines(job, options.get("lines", 10))
    lines = [f"{record['time']} {job}: {escape_controls(record['line'])}" for record in records]
    if lines:
        click.echo("\n".join(["", *lines]))
    return 0 if active == "active" else NOT_RUNNING_EXIT_CODE


def _show_properties(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    active, sub = get_unit_state(job_status)
    values = {
        "Id": format_unit_name(unit),
        "Names": format_unit_name(unit),
        "LoadState": "loaded",
        "ActiveState": active,
        "SubState": sub,
        "UnitFileState": "enabled",
        "MainPID": str(job_status["pid"] or 0),
        "ExecMainStatus": str(job_status["status"] or 0),
        "NRestarts": str(job_status["restarts"]),
    }
    return _print_properties(values, options)


def _print_properties(values: dict[str, str], options: Options) -> int:
    wanted = [name for given in options["properties"] for name in given.split(",")]
    for name, value in values.items():
        if not wanted or name in wanted:
            click.echo(value if options["value"] else f"{name}={value}")
    return 0


# --- verbs without a meaning in a container ---


def _enable(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    if not options.get("quiet"):
        print_error(
            f"{format_unit_name(unit)} is a job of the job spec: it starts with the container,"
            " there is nothing to enable."
        )
    return _build_action("start")(client, unit, job_status, options) if options.get("now") else 0


def _disable(client: UnitClient, unit: str, job_status: JobStatus, options: Options) -> int:
    if options.get("now"):
        _build_action("stop")(client, unit, job_status, options)
    print_error(
        f"Cannot disable {format_unit_name(unit)}: the job spec decides which jobs start with the container. For this"
        f" life: systemctl stop {unit}; for good: remove the job from the spec, then systemctl daemon-reload."
    )
    return 1


def _refuse_system_verb(client: UnitClient) -> int:
    print_error("Cannot do this in a container: `autopilot drain` ends it peacefully, `autopilot stop` ends it now.")
    return 1


def _list_units(client: UnitClient) -> int:
    rows = [("UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION")]
    rows += [
        (format_unit_name(name), "loaded", *get_unit_state(state), f"job {name}") for name, state in client.jobs.items()
    ]
    for line in format_table(rows):
        click.echo(line)
    return 0


def _list_unit_files(client: UnitClient) -> int:
    for line in format_table([("UNIT FILE", "STATE"), *((format_unit_name(name), "enabled") for name in client.jobs)]):
        click.echo(line)
    return 0


def _reload_spec(client: UnitClient) -> int:
    try:
        client.reload()
    except ControlError as error:
        print_error(f"Failed to reload: {error}")
        return 1
    return 0


def _check_system_running(client: UnitClient) -> int:
    failed = any(get_unit_state(state)[0] == "failed" for state in client.jobs.values())
    word = "stopping" if client.status["shutdown"] != "up" else "degraded" if failed else "running"
    click.echo(word)
    return 0 if word == "running" else 1


def _do_nothing(client: UnitClient) -> int:
    return 0


UNIT_VERBS: dict[str, UnitAction] = {
    "start": _build_action("start"),
    "stop": _build_action("stop"),
    "restart": _build_action("restart"),
    "try-restart": _build_if_active(_build_action("restart")),
    "reload": _reload,
    "reload-or-restart": _reload_or_restart,
    "try-reload-or-restart": _build_if_active(_reload_or_restart),
    "kill": _kill_unit,
    "status": _print_status,
    "show": _show_properties,
    "is-active": _check_active,
    "is-failed": _check_failed,
    "is-enabled": _check_enabled,
    "enable": _enable,
    "reenable": _enable,
    "preset": _enable,
    "unmask": _enable,
    "disable": _disable,
    "mask": _disable,
}
VERBS_FAILING_ON_UNKNOWN = ("enable", "reenable", "preset", "unmask", "disable", "mask", "kill")
SYSTEM_VERBS: dict[str, Callable[[UnitClient], int]] = {
    "list-units": _list_units,
    "list-unit-files": _list_unit_files,
    "daemon-reload": _reload_spec,
    "daemon-reexec": _do_nothing,
    "reset-failed": _do_nothing,
    "is-system-running": _check_system_running,
    **dict.fromkeys(("poweroff", "halt", "reboot", "exit"), _refuse_system_verb),
}


def _print_word(word: str, options: Options) -> None:
    if not options.get("quiet"):
        click.echo(word)
