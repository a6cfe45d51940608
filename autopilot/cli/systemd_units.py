"""The jobs of this container as systemd's units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import click

from autopilot.cli.control_client import find_socket_path, follow, send_request
from autopilot.cli.job_verbs import request_job_verb
from autopilot.process.line_buffer import escape_controls

JsonObject = dict[str, Any]

CONDOR_UNIT_NAMES = ("condor", "htcondor")  # what HTCondor's packages call their unit
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
    """The jobs, as units."""

    def __init__(self) -> None:
        self._path = find_socket_path(None)
        self.status = send_request(self._path, "GET", "/v1/status")
        self.jobs: dict[str, JsonObject] = {shown["name"]: shown for shown in self.status["jobs"]}

    def find_job(self, unit: str) -> JsonObject | None:
        name = unit.removesuffix(UNIT_SUFFIX)
        if name not in self.jobs and name in CONDOR_UNIT_NAMES:
            name = self.status.get("htcondor", {}).get("job", name)
        return self.jobs.get(name)

    def run_verb(self, verb: str, job: str, *, wait: bool) -> JsonObject:
        return request_job_verb(self._path, verb, job, wait=wait)

    def send_signal(self, job: str, name: str, *, group: bool) -> None:
        send_request(self._path, "POST", f"/v1/jobs/{quote(job, safe='')}/signal", {"signal": name, "group": group})

    def read_last_lines(self, job: str, count: int) -> Iterable[JsonObject]:
        return follow(self._path, f"/v1/logs/{quote(job, safe='')}?n={count}&follow=0")

    def reload(self) -> None:
        send_request(self._path, "POST", "/v1/reload", timeout=None)


def get_unit_state(job_status: JsonObject) -> tuple[str, str]:
    """systemd's ActiveState and SubState."""
    if job_status["state"] == "done" and job_status["status"] and not job_status["asked"]:
        return "failed", "failed"
    return UNIT_STATES.get(job_status["state"], ("inactive", "dead"))


def format_unit_name(unit: str) -> str:
    return unit if unit.endswith(UNIT_SUFFIX) else unit + UNIT_SUFFIX


def print_error(message: str) -> None:
    click.echo(escape_controls(message), err=True)
