"""Submit to the queue of a real pool as an ordinary user, and read its state as the schedd reports it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from lab import pool_settings
from lab.polling import wait_until

JOB_STATUS_NAMES = {
    1: "Idle",
    2: "Running",
    3: "Removed",
    4: "Completed",
    5: "Held",
    6: "TransferringOutput",
    7: "Suspended",
}


class Schedd(ABC):
    """Queue and collector of any kind of pool. The manager is a namespace host or a container."""

    @abstractmethod
    def run_on_manager(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        """Run a command on the manager and return its standard output."""

    def submit(
        self,
        seconds: float = 0,
        *,
        user: str = "alice",
        script: str | None = None,
        inputs: Sequence[str] = (),
        output: str = "",
        settings: str = "",
    ) -> str:
        """Queue a job as an ordinary user and return its id, such as `1.0`.

        Args:
            seconds: duration of the sleep that is the job, unless there is a script.
            user: owner of the job.
            script: shell script to run instead.
            inputs: files of the manager that are sent to the node before the job starts.
            output: name of the user's file for the standard output; "" to throw it away.
            settings: further lines of the submit description.
        """
        words = (script or f"exec sleep {seconds:g}").replace("'", "''").replace('"', '""')
        description = f"""\
executable = /bin/sh
transfer_executable = false
should_transfer_files = YES
arguments = "-c '{words}'"
transfer_input_files = {",".join(inputs)}
request_cpus = 1
request_memory = 32M
request_disk = 1M
log = /home/{user}/jobs.log
{f"output = /home/{user}/{output}" if output else ""}
{settings}
queue
"""
        output = self.run_on_manager("condor_submit", "-terse", "-", user=user, stdin=description)
        return output.split(" - ")[0].strip()

    def get_job_ad(self, job_id: str) -> dict[str, Any]:
        """Return the job's ad from the queue or from the history; {} if the schedd knows no such job."""
        for tool in ("condor_q", "condor_history"):
            output = self.run_on_manager(tool, "-json", job_id, check=False).strip()
            if output and (ads := json.loads(output)):
                return dict(ads[0])
        return {}

    def get_job_status(self, job_id: str) -> str:
        """Return the schedd's status of a job: `Idle`, `Running`, `Completed`, `Held`, `Removed` ..."""
        return JOB_STATUS_NAMES.get(self.get_job_ad(job_id).get("JobStatus", 0), "unknown")

    def count_starts(self, job_id: str) -> int:
        """Return how often a job has been started."""
        return int(self.get_job_ad(job_id).get("NumJobStarts", 0))

    def is_executing(self, job_id: str) -> bool:
        """Return True once the payload has started; `Running` begins earlier, with the shadow."""
        ad = self.get_job_ad(job_id)
        return JOB_STATUS_NAMES.get(ad.get("JobStatus", 0)) == "Running" and "JobCurrentStartExecutingDate" in ad

    def list_slots(self) -> list[dict[str, Any]]:
        """Return the ads of the slots that the collector knows."""
        output = self.run_on_manager("condor_status", "-json", check=False).strip()
        return json.loads(output) if output else []

    def create_token(self, lifetime_s: int | None = None) -> str:
        """Return a new token that allows a worker to join, and nothing else; it expires after `lifetime_s` seconds."""
        rights = ["ADVERTISE_MASTER", "ADVERTISE_STARTD", "READ"]
        authz = [word for right in rights for word in ("-authz", right)]
        lifetime = [] if lifetime_s is None else ["-lifetime", str(lifetime_s)]
        return self.run_on_manager("condor_token_create", "-identity", pool_settings.WORKER_IDENTITY, *authz, *lifetime)

    def is_manager_up(self) -> bool:
        """Return True if the queue answers and the collector knows the negotiator: matches are quick from then on."""
        known = self.run_on_manager(
            "sh", "-c", "condor_q >/dev/null 2>&1 && condor_status -any -af MyType", check=False
        )
        return {"Scheduler", "Negotiator"} <= set(known.split())

    wait_until = staticmethod(wait_until)
