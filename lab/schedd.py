"""The queue of a real pool, as an ordinary user submits to it and as the schedd tells of it."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from lab import pool_settings
from lab.lab_errors import LabError

T = TypeVar("T")
BUSY = 3.0
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
    """What every kind of pool offers. Its manager is a namespace host or a container."""

    @abstractmethod
    def run_on_manager(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        """Run a command on the manager and return its standard output."""

    def submit(
        self, seconds: float = 0, *, user: str = "alice", script: str | None = None, inputs: Sequence[str] = ()
    ) -> str:
        """Queue a job that sleeps, or runs a shell script, as an ordinary user. Returns its id, such as `1.0`.

        `inputs`: files of the manager that are sent to the node before the job starts.
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
queue
"""
        said = self.run_on_manager("condor_submit", "-terse", "-", user=user, stdin=description)
        return said.split(" - ")[0].strip()

    def get_job_ad(self, job_id: str) -> dict[str, Any]:
        """What the schedd says of a job: its ad, from the queue or from the history; {} when it knows none."""
        for tool in ("condor_q", "condor_history"):
            said = self.run_on_manager(tool, "-json", job_id, check=False).strip()
            if said and (ads := json.loads(said)):
                return dict(ads[0])
        return {}

    def get_job_status(self, job_id: str) -> str:
        """`Idle`, `Running`, `Completed`, `Held`, `Removed` ..., as the schedd says."""
        return JOB_STATUS_NAMES.get(self.get_job_ad(job_id).get("JobStatus", 0), "unknown")

    def is_executing(self, job_id: str) -> bool:
        """Whether its payload has started; `Running` begins with the shadow, before anything is on the node."""
        ad = self.get_job_ad(job_id)
        return JOB_STATUS_NAMES.get(ad.get("JobStatus", 0)) == "Running" and "JobCurrentStartExecutingDate" in ad

    def list_slots(self) -> list[dict[str, Any]]:
        """The slots the collector knows."""
        said = self.run_on_manager("condor_status", "-json", check=False).strip()
        return json.loads(said) if said else []

    def create_token(self) -> str:
        """A new token with which a worker may join, and do nothing else."""
        rights = ["ADVERTISE_MASTER", "ADVERTISE_STARTD", "READ"]
        authz = [word for right in rights for word in ("-authz", right)]
        return self.run_on_manager("condor_token_create", "-identity", pool_settings.WORKER_IDENTITY, *authz)

    def is_manager_up(self) -> bool:
        """The queue answers and the negotiator is known; before that a first match takes many seconds."""
        known = self.run_on_manager(
            "sh", "-c", "condor_q >/dev/null 2>&1 && condor_status -any -af MyType", check=False
        )
        return {"Scheduler", "Negotiator"} <= set(known.split())

    def wait_until(self, predicate: Callable[[], T], timeout: float, description: str = "") -> T:
        """Ask until the answer is true and return it; else a LabError tells the last answer.

        Args:
            predicate: the question.
            timeout: seconds that are enough on an idle machine; a busy one is given `BUSY` times as many.
            what: the sentence that should become true.
        """
        timeout *= BUSY
        end = time.monotonic() + timeout
        while not (answer := predicate()):
            if time.monotonic() > end:
                raise LabError(f"not within {timeout:g} s: {description or predicate} (last answer: {answer!r})")
            time.sleep(0.05)  # the pool notifies nobody outside it
        return answer
