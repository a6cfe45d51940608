"""Build the environment of jobs, health checks and further commands."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress

from autopilot.spec.env_file import read_env_file
from autopilot.spec.plan import Command, Plan


class JobEnvironment:
    """The supervisor's environment with operators' changes, and the variables that ContainerPilot gives to jobs."""

    def __init__(
        self,
        env: dict[str, str],
        *,
        get_pids: Callable[[], Mapping[str, int]],
        get_addresses: Callable[[], Mapping[str, str]],
    ) -> None:
        """Create the environment.

        Args:
            env: Changed in place by `apply_changes`.
            get_pids: Returns the process ids of running jobs, by job name.
            get_addresses: Returns the addresses of advertised jobs, by job name.
        """
        self._env, self._get_pids, self._get_addresses = env, get_pids, get_addresses

    def build(self) -> dict[str, str]:
        """Return the environment of a process that starts now."""
        addresses = {f"CONTAINERPILOT_{format_env_name(job)}_IP": ip for job, ip in self._get_addresses().items()}
        pids = {f"CONTAINERPILOT_{format_env_name(job)}_PID": str(pid) for job, pid in self._get_pids().items()}
        return {**self._env, "CONTAINERPILOT_PID": str(os.getpid()), **addresses, **pids}

    def apply_changes(self, changes: Mapping[str, str]) -> None:
        """Set variables of processes that start from now on; "" unsets one."""
        for name, value in changes.items():
            self._env.pop(name, None)
            if value:
                self._env[name] = value


def read_batch_job_variables(plan: Plan) -> dict[str, str]:
    """Return the variables that the batch system's main process has from its job: its tools need the same."""
    command = _get_batch_command(plan)
    if command is None:
        return {}
    variables: dict[str, str] = {}
    if command.env_file is not None:
        with suppress(OSError, ValueError):  # the job reports the problem as it starts
            variables |= read_env_file(command.env_file)
    return variables | dict(command.env)


def get_batch_job_user(plan: Plan) -> str | None:
    """Return the user of the batch system's main process, as the job spec names it; None for the supervisor's own."""
    command = _get_batch_command(plan)
    return None if command is None else command.user


def _get_batch_command(plan: Plan) -> Command | None:
    batch = plan.batch
    return next((job.command for job in plan.jobs if batch is not None and job.name == batch.job), None)


def format_env_name(job: str) -> str:
    """Return a job's name as ContainerPilot writes it in variables.

    Upper case, without directory and extension, and each run of other characters as `_`: /usr/bin/app.sh is APP.
    """
    base = job.rstrip("/").rpartition("/")[2]
    _, dot, extension = base.rpartition(".")
    stem = base.replace(dot + extension, "", 1) if dot else base  # the first text like it, as there
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).upper()
