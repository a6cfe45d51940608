"""The real life: an HTCondor pool in namespaces of this machine, the worker's PID 1 the supervisor."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from examples.demo.life import Life
from examples.demo.timeline import Timeline
from lab import settings
from lab.pool import Pool

SPEC = Path(__file__).parents[1] / "worker-node" / "autopilot.json5"
STATE = "/var/lib/autopilot"


class RealLife(Life):
    queue = "schedd"

    def __init__(self, timeline: Timeline, lifetime: float) -> None:
        self._timeline, self._lifetime = timeline, lifetime

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._pool = stack.enter_context(Pool())
            version = self._pool.ask("condor_version").split()[1]
            self._timeline.head(
                f"A real HTCondor {version} in namespaces of this machine: a manager, and a worker whose PID 1 is",
                "autopilot with examples/worker-node/autopilot.json5. Nothing is a stand-in; only time is compressed:",
                f"the node lives {self._lifetime} s where a site says a day.",
            )
            self._timeline.begin()
            self._worker = self._pool.worker(
                ["autopilot", "run", "/etc/autopilot.json5"],
                env={
                    "LIFETIME": f"{self._lifetime}s",
                    "LIFETIME_JITTER": "0s",
                    "AUTOPILOT_STATE": STATE,
                },
                files={"/etc/autopilot.json5": SPEC.read_text()},
                token_path=settings.MOUNTED_TOKEN,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def ready(self) -> bool:
        return bool(self._pool.slots())

    def submit(self, seconds: float) -> str:
        return self._pool.submit(seconds)

    def job_status(self, job: str) -> str:
        return self._pool.job_status(job)

    def draining(self) -> bool:
        """The startd has told the collector: its busy slots retire."""
        return any(slot.get("Activity") == "Retiring" or slot.get("State") == "Drained" for slot in self._pool.slots())

    def free_slot(self) -> bool:
        return any(slot.get("PartitionableSlot") and slot["Cpus"] > 0 for slot in self._pool.slots())

    def log(self) -> str:
        return self._worker.log()

    def exit_code(self) -> int | None:
        return self._worker.exit_code

    def last_words(self) -> str:
        try:
            return self._worker.read(f"{STATE}/last-words.json")
        except FileNotFoundError:
            return ""
