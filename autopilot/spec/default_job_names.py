"""Name the jobs that have no name of their own after their programs, as ContainerPilot does.

A name is in the log, in the environment of other jobs and in Consul, so it holds no argument: arguments may be secrets.
ContainerPilot lets several jobs have one name. Here the second job without a name that runs a program is PROGRAM-2.
"""

from __future__ import annotations

from typing import Any

from autopilot.spec.command_words import split_words


def name_unnamed_jobs(tree: Any) -> None:
    """Write a name into each job of a normalized tree that has a command and no name; the tree is changed in place."""
    jobs = tree.get("jobs") if isinstance(tree, dict) else None
    if not isinstance(jobs, list):
        return
    taken = {job["name"] for job in jobs if isinstance(job, dict) and isinstance(job.get("name"), str)}
    for job in jobs:
        if isinstance(job, dict) and job.get("name") is None and (program := _find_program(job.get("exec"))):
            job["name"] = _choose_name(program, taken)
            taken.add(job["name"])


def _find_program(command: Any) -> str:
    """Return the program of a command as it is written; "" for anything that is no command."""
    words = split_words(command) if isinstance(command, str) else command
    return words[0] if isinstance(words, list) and words and isinstance(words[0], str) else ""


def _choose_name(program: str, taken: set[str]) -> str:
    number, name = 1, program
    while name in taken:
        number += 1
        name = f"{program}-{number}"
    return name
