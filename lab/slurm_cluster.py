"""Run a real Slurm cluster on this machine without Docker: a controller and dynamic nodes, each in its own namespaces.

    with SlurmCluster() as cluster:
        worker = cluster.start_worker(["autopilot", "run", "/etc/autopilot.json5"], files={...})
        cluster.wait_until(cluster.list_nodes, 20, "the node registers itself")
        job = cluster.submit(5)
        cluster.wait_until(lambda: cluster.get_job_status(job) == "Running", 20)

The statuses of jobs have the names that `lab.pool` uses, so that one test can be about either batch system.
"""

from __future__ import annotations

import re
import secrets
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Self

from lab import slurm_settings
from lab.cache import create_run_folder
from lab.debian_trees import build_condor_tree
from lab.host_network import HostNetwork
from lab.lab_host import Host
from lab.polling import wait_until

# Slurm's state of a job -> the lab's; any other one is told in Slurm's own word
STATUS_NAMES = {
    "PENDING": "Idle",
    "REQUEUED": "Idle",
    "RUNNING": "Running",
    "COMPLETED": "Completed",
    "CANCELLED": "Removed",
    "REQUEUE_HOLD": "Held",
}


class SlurmCluster:
    """Cluster whose controller runs inside the `with` block; `start_worker` adds nodes. All is removed at the end."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(create_run_folder())
            self._munge_key = secrets.token_bytes(128)
            self._network = HostNetwork(stack, folder, build_condor_tree())
            self.manager = self._network.start_manager(self._build_files())
            self.manager.run(slurm_settings.HOST_SETUP_SCRIPT)
            self.manager.run(["setpriv", "--reuid=munge", "--regid=munge", "--init-groups", "munged"])
            self.start_manager()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def workers(self) -> list[Host]:
        """The workers in the order of their start."""
        return self._network.workers

    def _build_files(self) -> dict[str, str | bytes]:
        return {
            slurm_settings.CONFIG_PATH: slurm_settings.SLURM_CONFIG,
            slurm_settings.CGROUP_CONFIG_PATH: slurm_settings.CGROUP_CONFIG,
            slurm_settings.MUNGE_KEY_PATH: self._munge_key,
        }

    # -- the controller ------------------------------------------------------------------------------------------------

    def start_manager(self) -> None:
        """Start slurmctld and wait until it answers."""
        self.manager.run(["slurmctld"])
        self.wait_until(lambda: "UP" in self.run_on_manager("scontrol", "ping", check=False), 60, "slurmctld answers")

    def ensure_manager(self) -> None:
        """Start slurmctld unless it runs."""
        if not self.manager.find_processes("slurmctld"):
            self.start_manager()

    def stop_manager(self) -> None:
        """Stop slurmctld, as an upgrade does: it saves its state. The network stays."""
        self.manager.signal_processes("slurmctld", signal.SIGTERM)
        self.wait_until(lambda: not self.manager.find_processes("slurmctld"), 30, "slurmctld has ended")

    def run_on_manager(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        """Run a command on the manager and return its standard output."""
        return self.manager.run(argv, user=user, stdin=stdin, check=check)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def start_worker(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str | bytes] | None = None,
        configured: bool = True,
        connected: bool = True,
    ) -> Host:
        """Start a worker and return its host.

        Args:
            argv: the worker's PID 1; `autopilot` is this checkout's, copied at the first call.
            env: further variables of its environment.
            files: path inside -> content, written before the start.
            configured: False leaves it without slurm.conf, for a slurmd that asks the controller for it.
            connected: False leaves the network cable unplugged.
        """
        given = self._build_files()
        if not configured:
            given = {slurm_settings.MUNGE_KEY_PATH: self._munge_key}
        # the set-up must come before PID 1's command, which a host of the lab runs as its first
        prelude = ["sh", "-c", f'{slurm_settings.HOST_SETUP_SCRIPT}exec "$@"', "prelude"]
        host = self._network.create_worker([*prelude, *argv], env=env or {}, files={**given, **(files or {})})
        self._network.connect(host, link_up=connected)
        host.start_command()
        return host

    def list_nodes(self) -> dict[str, str]:
        """Return the state of each node that the controller knows, such as `IDLE+DYNAMIC_NORM`, by its name."""
        text = self.run_on_manager("scontrol", "--oneliner", "show", "nodes", check=False)
        return dict(re.findall(r"(?m)^NodeName=(\S+) .*? State=(\S+) ", text))

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def submit(self, seconds: float = 0, *, user: str = "alice", script: str | None = None, options: str = "") -> str:
        """Queue a job as an ordinary user and return its id, such as `1`.

        Args:
            seconds: duration of the sleep that is the job, unless there is a script.
            user: owner of the job.
            script: shell script to run instead.
            options: further lines of the batch script, such as `#SBATCH --no-requeue`.
        """
        text = f"#!/bin/sh\n{options}\n{script or f'exec sleep {seconds:g}'}\n"
        output = self.run_on_manager(
            *("sbatch", "--parsable", "--ntasks=1", "--mem=32M", "--chdir=/tmp", "--output=/dev/null"),
            user=user,
            stdin=text,
        )
        return output.strip()

    def read_job(self, job_id: str) -> dict[str, str]:
        """Return the controller's record of a job, by Slurm's own keys; {} if it knows no such job."""
        text = self.run_on_manager("scontrol", "--oneliner", "show", "job", job_id, check=False)
        return dict(re.findall(r"(\w+(?::\w+)?)=(\S*)", text))

    def get_job_status(self, job_id: str) -> str:
        """Return the controller's status of a job: `Idle`, `Running`, `Completed`, `Held`, `Removed` ..."""
        state = self.read_job(job_id).get("JobState", "unknown")
        return STATUS_NAMES.get(state, state)

    def count_starts(self, job_id: str) -> int:
        """Return how often a job has been started."""
        record = self.read_job(job_id)
        started = record.get("StartTime", "Unknown") != "Unknown" and record.get("JobState") != "PENDING"
        return int(record.get("Restarts", 0)) + started

    def is_executing(self, job_id: str) -> bool:
        """Return True while the job runs on a node."""
        return self.get_job_status(job_id) == "Running"

    def clear(self) -> None:
        """Cancel all jobs and remove all nodes, also those that are gone without a word."""
        for user in slurm_settings.USERS:
            self.run_on_manager("scancel", f"--user={user}", check=False)
        for name in self.list_nodes():
            self.run_on_manager("scontrol", "update", f"nodename={name}", "state=down", "reason=cleared", check=False)
            self.run_on_manager("scontrol", "delete", f"nodename={name}", check=False)

    wait_until = staticmethod(wait_until)
