"""What a spec needs of the machine it runs on: users, groups, programs, files.

`here` says that the spec is to run on this machine. A check elsewhere (a laptop, a pipeline) can only warn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from autopilot.spec.findings import Finding
from autopilot.spec.os_names import is_missing_program, is_unknown_group, is_unknown_user
from autopilot.spec.parsing import KeyPath
from autopilot.spec.spec_model import Job, Spec
from autopilot.spec.time_zones import find_local_zone, find_zone


def check_host(spec: Spec, *, runs_here: bool) -> Iterator[Finding]:
    for index, job in enumerate(spec.jobs):
        path: KeyPath = ("jobs", index)
        if is_unknown_user(job.user):
            yield Finding(
                (*path, "user"), _format_missing_account(f'user "{job.user}"', runs_here), warning=not runs_here
            )
        if is_unknown_group(job.group):
            yield Finding(
                (*path, "group"), _format_missing_account(f'group "{job.group}"', runs_here), warning=not runs_here
            )
        zone = job.when.timezone if job.when is not None else None
        if zone is not None and _is_unknown_zone(zone):
            where = "here; install tzdata in the image" if runs_here else "on this machine"
            message = f'cannot be "{zone}": there is no such time zone {where}, or write a name like "Europe/Berlin"'
            yield Finding((*path, "when", "timezone"), message, warning=not runs_here)
        if not runs_here:  # a start says it each time, also with a compiled plan
            if (
                job.when is not None
                and job.when.cron is not None
                and zone is None
                and (doubt := _explain_missing_local_zone())
            ):
                yield Finding((*path, "when", "cron"), f"is taken as UTC: {doubt}; or set timezone", warning=True)
            yield from _check_files(job, path)


def check_quoted_words(tree: Any, spec: Spec) -> Iterator[Finding]:
    """Commands as one string are split at spaces, so quotes in them reach the program: hardly ever what is meant."""
    for index, job in enumerate(spec.jobs):
        path: KeyPath = ("jobs", index)
        places = [(*path, "exec"), *([(*path, "health", "exec")] if job.health is not None else [])]
        for place in places:
            text = _get_value_at(tree, place)
            if isinstance(text, str) and any(quote in text for quote in "\"'"):
                message = (
                    "holds quotes, which the program will get as they are: a string is split at spaces; write an array"
                )
                yield Finding(place, message, warning=True)


def _is_unknown_zone(zone: str) -> bool:
    try:
        find_zone(zone)
    except LookupError:
        return True
    return False


def _explain_missing_local_zone() -> str | None:
    try:
        find_local_zone()
    except LookupError as error:
        return str(error)
    return None


def _format_missing_account(account: str, runs_here: bool) -> str:
    where = "here; create it in the image or write a numeric id" if runs_here else "on this machine"
    return f"cannot be used: there is no {account} {where}"


def _check_files(job: Job, path: KeyPath) -> Iterator[Finding]:
    commands = [(job.exec, (*path, "exec"))] if job.exec is not None else []
    if job.health is not None and job.health.exec is not None:
        commands.append((job.health.exec, (*path, "health", "exec")))
    for argv, place in commands:
        if is_missing_program(argv, job.env, job.cwd):
            yield Finding(place, f'cannot be run on this machine: there is no program "{argv[0]}"', warning=True)
    if job.env_file is not None and not os.path.exists(job.env_file):
        yield Finding(
            (*path, "env_file"), f'cannot be read on this machine: there is no "{job.env_file}"', warning=True
        )
    if job.cwd is not None and not os.path.isdir(job.cwd):
        yield Finding(
            (*path, "cwd"), f'cannot be entered on this machine: there is no directory "{job.cwd}"', warning=True
        )


def _get_value_at(tree: Any, path: KeyPath) -> Any:
    for step in path:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree
