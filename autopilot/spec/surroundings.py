"""What a spec needs of the machine it runs on: users, groups, programs, files.

`here` says that the spec is to run on this machine. A check elsewhere (a laptop, a pipeline) can only warn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from autopilot.spec.findings import Finding
from autopilot.spec.model import Job, Spec
from autopilot.spec.parsing import Path
from autopilot.spec.posix import missing_program, unknown_group, unknown_user
from autopilot.spec.zones import local, named


def surroundings(spec: Spec, *, here: bool) -> Iterator[Finding]:
    for index, job in enumerate(spec.jobs):
        path: Path = ("jobs", index)
        if unknown_user(job.user):
            yield Finding((*path, "user"), _nobody(f'user "{job.user}"', here), warning=not here)
        if unknown_group(job.group):
            yield Finding((*path, "group"), _nobody(f'group "{job.group}"', here), warning=not here)
        zone = job.when.timezone if job.when is not None else None
        if zone is not None and _unknown(zone):
            where = "here; install tzdata in the image" if here else "on this machine"
            message = f'cannot be "{zone}": there is no such time zone {where}, or write a name like "Europe/Berlin"'
            yield Finding((*path, "when", "timezone"), message, warning=not here)
        if not here:  # a start says it each time, also with a compiled plan
            if job.when is not None and job.when.cron is not None and zone is None and (doubt := _no_local_zone()):
                yield Finding((*path, "when", "cron"), f"is taken as UTC: {doubt}; or set timezone", warning=True)
            yield from _files(job, path)


def quoted_words(tree: Any, spec: Spec) -> Iterator[Finding]:
    """Commands as one string are split at spaces, so quotes in them reach the program: hardly ever what is meant."""
    for index, job in enumerate(spec.jobs):
        path: Path = ("jobs", index)
        places = [(*path, "exec"), *([(*path, "health", "exec")] if job.health is not None else [])]
        for place in places:
            text = _at(tree, place)
            if isinstance(text, str) and any(quote in text for quote in "\"'"):
                message = (
                    "holds quotes, which the program will get as they are: a string is split at spaces; write an array"
                )
                yield Finding(place, message, warning=True)


def _unknown(zone: str) -> bool:
    try:
        named(zone)
    except LookupError:
        return True
    return False


def _no_local_zone() -> str | None:
    try:
        local()
    except LookupError as error:
        return str(error)
    return None


def _nobody(who: str, here: bool) -> str:
    where = "here; create it in the image or write a numeric id" if here else "on this machine"
    return f"cannot be used: there is no {who} {where}"


def _files(job: Job, path: Path) -> Iterator[Finding]:
    commands = [(job.exec, (*path, "exec"))] if job.exec is not None else []
    if job.health is not None and job.health.exec is not None:
        commands.append((job.health.exec, (*path, "health", "exec")))
    for argv, place in commands:
        if missing_program(argv, job.env, job.cwd):
            yield Finding(place, f'cannot be run on this machine: there is no program "{argv[0]}"', warning=True)
    if job.env_file is not None and not os.path.exists(job.env_file):
        yield Finding(
            (*path, "env_file"), f'cannot be read on this machine: there is no "{job.env_file}"', warning=True
        )
    if job.cwd is not None and not os.path.isdir(job.cwd):
        yield Finding(
            (*path, "cwd"), f'cannot be entered on this machine: there is no directory "{job.cwd}"', warning=True
        )


def _at(tree: Any, path: Path) -> Any:
    for step in path:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree
