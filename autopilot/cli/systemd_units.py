"""Show the jobs of this container as systemd's units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from autopilot.cli.control_client import find_socket_path, follow, get_status, send_request
from autopilot.cli.job_verbs import request_job_verb
from autopilot.process.line_buffer import escape_controls

if TYPE_CHECKING:
    from autopilot.api.messages import JobStatus

CONDOR_UNIT_NAMES = ("condor", "htcondor")  # units of HTCondor's packages
UNIT_SUFFIX = ".service"

UNIT_STATES = {
    "running": ("active", "running"),
    "starting": ("activating", "start"),
    "backoff": ("activating", "auto-restart"),
    "holding": ("deactivating", "stop"),
    "stopping": ("deactivating", "stop-sigterm"),
    "killing": ("deactivating", "stop-sigkill"),
}


class UnitClient:
    """Client of the control socket that knows jobs by the names of units."""

    def __init__(self) -> None:
        self._path = find_socket_path(None)
        self.status = get_status(self._path)
        self.jobs: dict[str, JobStatus] = {job["name"]: job for job in self.status["jobs"]}

    def find_job(self, unit: str) -> JobStatus | None:
        """Return the job of a unit; None when there is no such job."""
        name = unit.removesuffix(UNIT_SUFFIX)
        if name not in self.jobs and name in CONDOR_UNIT_NAMES:
            name = self.status["htcondor"]["job"] or name if "htcondor" in self.status else name
        return self.jobs.get(name)

    def run_verb(self, verb: str, job: str, *, wait: bool) -> JobStatus:
        """Start, stop or restart a job, and return its state after that."""
        return request_job_verb(self._path, verb, job, wait=wait)

    def send_signal(self, job: str, name: str, *, group: bool) -> None:
        """Send a signal to the first process of a job, or to all of its processes."""
        send_request(self._path, "POST", f"/v1/jobs/{quote(job, safe='')}/signal", {"signal": name, "group": group})

    def read_last_lines(self, job: str, count: int) -> Iterable[dict[str, Any]]:
        """Yield the last log lines of a job (`LogRecord`)."""
        return follow(self._path, f"/v1/logs/{quote(job, safe='')}?n={count}&follow=0")

    def reload(self) -> None:
        """Let the supervisor read its job spec again."""
        send_request(self._path, "POST", "/v1/reload", timeout=None)


def get_unit_state(job_status: JobStatus) -> tuple[str, str]:
    """Return the state of a job as systemd's ActiveState and SubState."""
    if job_status["state"] == "done" and job_status["status"] and not job_status["asked"]:
        return "failed", "failed"
    return UNIT_STATES.get(job_status["state"], ("inactive", "dead"))


def format_unit_name(unit: str) -> str:
    """Return the name of a unit with its suffix."""
    return unit if unit.endswith(UNIT_SUFFIX) else unit + UNIT_SUFFIX


def print_error(message: str) -> None:
    """Print a message to standard error, control characters escaped."""
    click.echo(escape_controls(message), err=True)
