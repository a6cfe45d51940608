"""Check that this machine has the users, groups, time zones, programs and files that a spec names.

`runs_here` is True when the spec is to run on this machine. A check elsewhere (a laptop, a pipeline) can only warn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from autopilot.spec.findings import Finding
from autopilot.spec.key_paths import KeyPath, get_value_at
from autopilot.spec.os_names import describe_missing_program, is_missing_program, is_unknown_group, is_unknown_user
from autopilot.spec.spec_model import Job, Spec
from autopilot.spec.time_zones import find_local_zone, find_zone


def check_host(spec: Spec, *, runs_here: bool) -> Iterator[Finding]:
    """Yield the names in a spec that this machine does not know: errors when it runs here, else warnings."""
    for index, job in enumerate(spec.jobs):
        path: KeyPath = ("jobs", index)
        if is_unknown_user(job.user):
            message = _format_missing_account(f'user "{job.user}"')
            yield Finding((*path, "user"), message, warning=not runs_here)
        if is_unknown_group(job.group):
            message = _format_missing_account(f'group "{job.group}"')
            yield Finding((*path, "group"), message, warning=not runs_here)
        zone = job.when.timezone if job.when is not None else None
        if zone is not None and _is_unknown_zone(zone):
            remedy = 'install tzdata in the image, or write a name like "Europe/Berlin"'
            message = f'cannot be "{zone}": there is no such time zone on this machine; {remedy}'
            yield Finding((*path, "when", "timezone"), message, warning=not runs_here)
        if not runs_here:  # the supervisor logs both at each start, also with a compiled plan
            yield from _check_local_zone(job, path)
            yield from _check_files(job, path)
    if not runs_here:
        from autopilot.spec.machine_checks import check_machine  # `run` finds these out by itself

        yield from check_machine(spec)


def check_quoted_words(tree: Any, spec: Spec) -> Iterator[Finding]:
    """Warn about quotes in a command given as a string: it is split at spaces only, so they reach the program."""
    command_paths: list[KeyPath] = [("checks", index, "exec") for index in range(len(spec.checks))]
    for index in range(len(spec.jobs)):
        command_paths += [("jobs", index, "exec"), ("jobs", index, "health", "exec")]
    for command_path in command_paths:
        text = get_value_at(tree, command_path)
        if isinstance(text, str) and any(quote in text for quote in "\"'"):
            message = "contains quotes, which reach the program: a string is only split at spaces; write an array"
            yield Finding(command_path, message, warning=True)


def _is_unknown_zone(zone: str) -> bool:
    try:
        find_zone(zone)
    except LookupError:
        return True
    return False


def _check_local_zone(job: Job, path: KeyPath) -> Iterator[Finding]:
    if job.when is None or job.when.cron is None or job.when.timezone is not None:
        return
    try:
        find_local_zone()
    except LookupError as error:
        yield Finding((*path, "when", "cron"), f"is taken as UTC: {error}; or set timezone", warning=True)


def _format_missing_account(account: str) -> str:
    return f"cannot be used: there is no {account} on this machine; create it in the image or write a numeric id"


def _check_files(job: Job, path: KeyPath) -> Iterator[Finding]:
    commands = [(job.exec, (*path, "exec"))] if job.exec is not None else []
    if job.health is not None and job.health.exec is not None:
        commands.append((job.health.exec, (*path, "health", "exec")))
    for argv, command_path in commands:
        if is_missing_program(argv, job.env, job.cwd):
            problem = describe_missing_program(argv[0], job.cwd)
            yield Finding(command_path, f"cannot be run on this machine: {problem}", warning=True)
    if job.env_file is not None and not os.path.exists(job.env_file):
        yield Finding(
            (*path, "env_file"), f'cannot be read on this machine: there is no "{job.env_file}"', warning=True
        )
    if job.cwd is not None and not os.path.isdir(job.cwd):
        yield Finding(
            (*path, "cwd"), f'cannot be entered on this machine: there is no directory "{job.cwd}"', warning=True
        )
