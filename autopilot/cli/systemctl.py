"""What the `systemctl` shim runs: systemctl's verbs, answers and exit codes, for the jobs of this container.

For scripts and people that know no other way. A unit is a job of the same name; `condor` is also the job that the
htcondor section names. Exit codes are systemctl's own: 0; 1 for what failed; of verbs that ask 3 for a job that does
not run and 4 for none of that name; 5 for a verb that acts on no such job; 3 for a reload that a job cannot do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from autopilot.cli.client import Unreachable
from autopilot.cli.jobs import failed
from autopilot.cli.table import span, table
from autopilot.cli.units import Shown, Units, complain, named, state
from autopilot.process.lines import visible

NOT_RUNNING, NOT_APPLICABLE, UNKNOWN, NOT_INSTALLED = 3, 3, 4, 5
SIGHUP = 1
ALIASES = {
    "condrestart": "try-restart",
    "force-reload": "reload-or-restart",
    "reload-or-try-restart": "try-reload-or-restart",
}

Options = dict[str, Any]
Act = Callable[[Units, str, Shown, Options], int]


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
    """What the `systemctl` shim runs: see docs/shims.md."""
    raise SystemExit(run(ALIASES.get(verb, verb), units, options))


def run(verb: str, units: tuple[str, ...], options: Options) -> int:
    """The exit code."""
    try:
        known = Units()
    except Unreachable as error:
        complain(f"{error.message} This container's PID 1 should be autopilot, not systemd.")
        return UNKNOWN if verb in ("status", "is-active", "is-failed", "show") else 1
    if verb == "status" and not units:
        verb = "list-units"
    if verb in WHOLE:
        return WHOLE[verb](known)
    if verb not in EACH or not units:
        complain(f"Name a unit, and one of: {', '.join([*EACH, *WHOLE])}.")
        return 1
    codes = [_one(known, verb, unit, options) for unit in units]
    if verb in ("is-active", "is-failed") and 0 in codes:
        return 0  # one is enough
    return max(codes)


def _one(known: Units, verb: str, unit: str, options: Options) -> int:
    shown = known.find(unit)
    if shown is None:
        return _not_found(verb, unit, options, known)
    try:
        return EACH[verb](known, unit, shown, options)
    except click.ClickException as error:
        complain(f"Failed to {verb} {named(unit)}: {error.message}")
        return 1


def _not_found(verb: str, unit: str, options: Options, known: Units) -> int:
    there = f"the jobs are: {', '.join(known.jobs)}."
    if verb in ("is-active", "is-failed", "is-enabled"):
        _print("not-found" if verb == "is-enabled" else "inactive", options)
        return UNKNOWN
    if verb == "show":
        _properties(
            {"Id": named(unit), "LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead"}, options
        )
        return 0
    if verb == "status":
        complain(f"Unit {named(unit)} could not be found; {there}")
        return UNKNOWN
    if verb.startswith("try-"):
        return 0
    complain(f"Failed to {verb} {named(unit)}: Unit {named(unit)} not found; {there}")
    return 1 if verb in FAIL_ON_UNKNOWN else NOT_INSTALLED


# --- verbs that act ---


def _act(verb: str) -> Act:
    def act(known: Units, unit: str, shown: Shown, options: Options) -> int:
        after = known.act(verb, shown["name"], wait=not options.get("no_block"))
        if verb != "stop" and failed(after):
            last = f"it ended with status {after['status']}"
            complain(f"Job for {named(unit)} failed: {last}. See: autopilot logs {shown['name']}")
            return 1
        return 0

    return act


def _if_active(act: Act) -> Act:
    def maybe(known: Units, unit: str, shown: Shown, options: Options) -> int:
        return act(known, unit, shown, options) if state(shown)[0] == "active" else 0

    return maybe


def _reload(known: Units, unit: str, shown: Shown, options: Options) -> int:
    """SIGHUP, to a process that has said what to do with it: any other would die of it."""
    if state(shown)[0] != "active":
        complain(f"{named(unit)} is not active, cannot reload.")
        return 1
    if not _hears_hangup(shown["pid"]):
        complain(
            f"Failed to reload {named(unit)}: Job type reload is not applicable: its process has no handler for"
            " SIGHUP. Use restart, or reload-or-restart."
        )
        return NOT_APPLICABLE
    known.signal(shown["name"], "SIGHUP", group=False)
    return 0


def _reload_or_restart(known: Units, unit: str, shown: Shown, options: Options) -> int:
    if state(shown)[0] == "active" and _hears_hangup(shown["pid"]):
        return _reload(known, unit, shown, options)
    return _act("restart")(known, unit, shown, options)


def _hears_hangup(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            caught = next(line.split()[1] for line in file if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return False
    return bool(int(caught, 16) & 1 << SIGHUP - 1)


def _kill(known: Units, unit: str, shown: Shown, options: Options) -> int:
    known.signal(shown["name"], options["signal"], group=options["kill_whom"] == "all")
    return 0


# --- verbs that say ---


def _is_active(known: Units, unit: str, shown: Shown, options: Options) -> int:
    active, _ = state(shown)
    _print(active, options)
    return 0 if active == "active" else NOT_RUNNING


def _is_failed(known: Units, unit: str, shown: Shown, options: Options) -> int:
    active, _ = state(shown)
    _print(active, options)
    return 0 if active == "failed" else 1


def _is_enabled(known: Units, unit: str, shown: Shown, options: Options) -> int:
    _print("enabled", options)
    return 0


def _status(known: Units, unit: str, shown: Shown, options: Options) -> int:
    active, sub = state(shown)
    job, since, ago = shown["name"], datetime.fromtimestamp(shown["since"], UTC), span(time.time() - shown["since"])
    dot = {"active": "●", "failed": "x"}.get(active, "○")
    lines = [
        f"{dot} {named(unit)} - job {job} of autopilot",
        "     Loaded: loaded (the job spec; enabled)",
        f"     Active: {active} ({sub}) since {since:%a %Y-%m-%d %H:%M:%S} UTC; {ago} ago",
    ]
    if shown["health"]:
        lines.append(f"     Health: {shown['health']}")
    if shown["pid"]:
        lines.append(f"   Main PID: {shown['pid']}")
    elif shown["status"] is not None:
        lines.append(f"     Status: {shown['status']}")
    if "waits_for" in shown["why"]:
        lines.append(f"      Waits: for {shown['why']['waits_for']}")
    click.echo("\n".join(map(visible, lines)))
    written = [f"{r['time']} {job}: {visible(r['line'])}" for r in known.last_lines(job, options.get("lines", 10))]
    if written:
        click.echo("\n".join(["", *written]))
    return 0 if active == "active" else NOT_RUNNING


def _show(known: Units, unit: str, shown: Shown, options: Options) -> int:
    active, sub = state(shown)
    values = {
        "Id": named(unit),
        "Names": named(unit),
        "LoadState": "loaded",
        "ActiveState": active,
        "SubState": sub,
        "UnitFileState": "enabled",
        "MainPID": str(shown["pid"] or 0),
        "ExecMainStatus": str(shown["status"] or 0),
        "NRestarts": str(shown["restarts"]),
    }
    return _properties(values, options)


def _properties(values: dict[str, str], options: Options) -> int:
    wanted = [name for given in options["properties"] for name in given.split(",")]
    for name, value in values.items():
        if not wanted or name in wanted:
            click.echo(value if options["value"] else f"{name}={value}")
    return 0


# --- what has no meaning here, and the clear answer ---


def _enable(known: Units, unit: str, shown: Shown, options: Options) -> int:
    if not options.get("quiet"):
        complain(f"{named(unit)} is a job of the job spec: it starts with the container, there is nothing to enable.")
    return _act("start")(known, unit, shown, options) if options.get("now") else 0


def _disable(known: Units, unit: str, shown: Shown, options: Options) -> int:
    if options.get("now"):
        _act("stop")(known, unit, shown, options)
    complain(
        f"Cannot disable {named(unit)}: what starts with the container is what the job spec says. For this life:"
        f" systemctl stop {unit}; for good: take the job out of the spec, then systemctl daemon-reload."
    )
    return 1


def _not_here(known: Units) -> int:
    complain("Cannot do this to a container: `autopilot drain` ends it peacefully, `autopilot stop` now.")
    return 1


def _list_units(known: Units) -> int:
    rows = [("UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION")]
    rows += [(named(name), "loaded", *state(shown), f"job {name}") for name, shown in known.jobs.items()]
    for line in table(rows):
        click.echo(line)
    return 0


def _list_unit_files(known: Units) -> int:
    for line in table([("UNIT FILE", "STATE"), *((named(name), "enabled") for name in known.jobs)]):
        click.echo(line)
    return 0


def _daemon_reload(known: Units) -> int:
    try:
        known.reload()
    except click.ClickException as error:
        complain(f"Failed to reload: {error.message}")
        return 1
    return 0


def _is_system_running(known: Units) -> int:
    bad = any(state(shown)[0] == "failed" for shown in known.jobs.values())
    said = "stopping" if known.status["shutdown"] != "up" else "degraded" if bad else "running"
    click.echo(said)
    return 0 if said == "running" else 1


def _nothing(known: Units) -> int:
    return 0


EACH: dict[str, Act] = {
    "start": _act("start"),
    "stop": _act("stop"),
    "restart": _act("restart"),
    "try-restart": _if_active(_act("restart")),
    "reload": _reload,
    "reload-or-restart": _reload_or_restart,
    "try-reload-or-restart": _if_active(_reload_or_restart),
    "kill": _kill,
    "status": _status,
    "show": _show,
    "is-active": _is_active,
    "is-failed": _is_failed,
    "is-enabled": _is_enabled,
    "enable": _enable,
    "reenable": _enable,
    "preset": _enable,
    "unmask": _enable,
    "disable": _disable,
    "mask": _disable,
}
FAIL_ON_UNKNOWN = ("enable", "reenable", "preset", "unmask", "disable", "mask", "kill")
WHOLE: dict[str, Callable[[Units], int]] = {
    "list-units": _list_units,
    "list-unit-files": _list_unit_files,
    "daemon-reload": _daemon_reload,
    "daemon-reexec": _nothing,
    "reset-failed": _nothing,
    "is-system-running": _is_system_running,
    **dict.fromkeys(("poweroff", "halt", "reboot", "exit"), _not_here),
}


def _print(word: str, options: Options) -> None:
    if not options.get("quiet"):
        click.echo(word)
