"""Run the real node: an HTCondor pool in namespaces of this machine, with the supervisor as the worker's PID 1."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from examples.demo.demo_node import DemoNode
from examples.demo.timeline import Timeline
from lab import pool_settings
from lab.pool import Pool

SPEC_PATH = Path(__file__).parents[1] / "worker-node" / "autopilot.json5"
STATE_PATH = "/var/lib/autopilot"


class RealNode(DemoNode):
    """Worker node of a real HTCondor pool."""

    queue_name = "schedd"

    def __init__(self, timeline: Timeline, lifetime: float) -> None:
        self._timeline, self._lifetime = timeline, lifetime

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._pool = stack.enter_context(Pool())
            version = self._pool.run_on_manager("condor_version").split()[1]
            self._timeline.print_text(
                f"A real HTCondor {version} in namespaces of this machine: a manager, and a worker whose PID 1 is",
                "autopilot with examples/worker-node/autopilot.json5. Nothing is a stand-in; only time is compressed:",
                f"the node lives {self._lifetime} s; sites set a day or more.",
            )
            self._timeline.begin()
            self._worker = self._pool.start_worker(
                ["autopilot", "run", "/etc/autopilot.json5"],
                env={
                    "LIFETIME": f"{self._lifetime}s",
                    "LIFETIME_JITTER": "0s",
                    "AUTOPILOT_STATE": STATE_PATH,
                },
                files={"/etc/autopilot.json5": SPEC_PATH.read_text()},
                token_path=pool_settings.MOUNTED_TOKEN_PATH,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def is_ready(self) -> bool:
        """Return True if the collector knows a slot of the worker."""
        return bool(self._pool.list_slots())

    def submit(self, seconds: float) -> str:
        """Queue a job of so many seconds with condor_submit and return its id."""
        return self._pool.submit(seconds)

    def get_job_status(self, job: str) -> str:
        """Return the schedd's status of a job."""
        return self._pool.get_job_status(job)

    def is_draining(self) -> bool:
        """Return True if the startd has told the collector that its slots retire or are drained."""
        return any(
            slot.get("Activity") == "Retiring" or slot.get("State") == "Drained" for slot in self._pool.list_slots()
        )

    def has_free_slot(self) -> bool:
        """Return True if the partitionable slot has a processor left."""
        return any(slot.get("PartitionableSlot") and slot["Cpus"] > 0 for slot in self._pool.list_slots())

    def read_log(self) -> str:
        """Return the output of the worker's PID 1 so far."""
        return self._worker.read_log()

    def get_exit_code(self) -> int | None:
        """Return the exit code of the worker's PID 1; None while it runs."""
        return self._worker.exit_code

    def read_last_words(self) -> str:
        """Return the text of last-words.json; empty before it exists."""
        try:
            return self._worker.read_file(f"{STATE_PATH}/last-words.json")
        except FileNotFoundError:
            return ""
