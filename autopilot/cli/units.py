"""The jobs of this container as systemd's units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import click

from autopilot.cli.client import ask, follow, socket_path
from autopilot.cli.jobs import ask_job
from autopilot.process.lines import visible

Shown = dict[str, Any]

CONDOR = ("condor", "htcondor")  # what HTCondor's packages call their unit
SUFFIX = ".service"

STATES = {
    "running": ("active", "running"),
    "starting": ("activating", "start"),
    "backoff": ("activating", "auto-restart"),
    "holding": ("deactivating", "stop"),
    "stopping": ("deactivating", "stop-sigterm"),
    "killing": ("deactivating", "stop-sigkill"),
}


class Units:
    """The jobs, as units."""

    def __init__(self) -> None:
        self._path = socket_path(None)
        self.status = ask(self._path, "GET", "/v1/status")
        self.jobs: dict[str, Shown] = {shown["name"]: shown for shown in self.status["jobs"]}

    def find(self, unit: str) -> Shown | None:
        name = unit.removesuffix(SUFFIX)
        if name not in self.jobs and name in CONDOR:
            name = self.status.get("htcondor", {}).get("job", name)
        return self.jobs.get(name)

    def act(self, verb: str, job: str, *, wait: bool) -> Shown:
        return ask_job(self._path, verb, job, wait=wait)

    def signal(self, job: str, name: str, *, group: bool) -> None:
        ask(self._path, "POST", f"/v1/jobs/{quote(job, safe='')}/signal", {"signal": name, "group": group})

    def last_lines(self, job: str, count: int) -> Iterable[Shown]:
        return follow(self._path, f"/v1/logs/{quote(job, safe='')}?n={count}&follow=0")

    def reload(self) -> None:
        ask(self._path, "POST", "/v1/reload", limit=None)


def state(shown: Shown) -> tuple[str, str]:
    """systemd's ActiveState and SubState."""
    if shown["state"] == "done" and shown["status"] and not shown["asked"]:
        return "failed", "failed"
    return STATES.get(shown["state"], ("inactive", "dead"))


def named(unit: str) -> str:
    return unit if unit.endswith(SUFFIX) else unit + SUFFIX


def complain(sentence: str) -> None:
    click.echo(visible(sentence), err=True)
