"""Execute the core's actions: at once, and answered with cues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from autopilot.app.check_runner import CheckRunner
from autopilot.app.gate_runner import GateRunner
from autopilot.app.job_launcher import JobLauncher
from autopilot.app.permit_port import Permits
from autopilot.machines import actions, cues

if TYPE_CHECKING:
    from autopilot.adapters.batch.batch_system import BatchSystem


class ActionExecutor:
    """Executes actions by the launcher of jobs, the runners of checks, the permits and the batch system.

    Attributes:
        batch_system: The batch system, once it is attached; None without one.
        finished: Done when the core says Finish; an internal error is set as its exception.
    """

    def __init__(
        self,
        launcher: JobLauncher,
        check_runner: CheckRunner,
        gate_runner: GateRunner,
        *,
        permits: Permits,
        feed: Callable[[cues.Cue], None],
        finished: asyncio.Future[actions.Finish],
    ) -> None:
        """Wire the executor.

        Args:
            launcher: Starts and ends runs of jobs.
            check_runner: Runs health checks.
            gate_runner: Runs checks of gates.
            permits: Limits among hosts.
            feed: Takes cues for the core.
            finished: Future that gets the action Finish.
        """
        self._launcher, self._check_runner, self._gate_runner = launcher, check_runner, gate_runner
        self._permits, self._feed = permits, feed
        self.batch_system: BatchSystem | None = None
        self.finished = finished

    def attach_batch_system(self, batch_system: BatchSystem, main_job: str | None) -> None:
        """Give drains, evictions, checks and the batch system's main job to a batch system whose node is prepared."""
        self.batch_system = self._check_runner.batch_system = batch_system
        self._launcher.attach_batch_system(batch_system, main_job)

    def execute(self, action: actions.Action) -> None:  # noqa: PLR0912 - one arm for each action
        """Execute one action; never waits for its result."""
        match action:
            case actions.Spawn():
                self._launcher.start(action)
            case actions.Signal(job, run, number, group):
                self._launcher.signal(job, run, number, group=group)
            case actions.Reload(job, run):
                self._launcher.reload(job, run)
            case actions.Kill(job, run):
                self._launcher.kill(job, run)
            case actions.RunCheck(job, run, plan):
                self._check_runner.start(job, run, plan)
            case actions.CancelCheck(job):
                self._check_runner.cancel(job)
            case actions.AskGate(gate, attempt, settings):
                self._gate_runner.start(gate, attempt, settings)
            case actions.CancelGate(gate):
                self._gate_runner.cancel(gate)
            case actions.RequestPermit():
                self._permits.request_permit("", lambda known: self._feed(cues.PermitGranted(known)))
            case actions.StartDrain(reason):
                if self.batch_system is None:
                    self._feed(cues.Drained())
                else:
                    self.batch_system.begin_drain(reason)
            case actions.TerminatePayloads() if self.batch_system is not None:
                self.batch_system.soft_stop()
            case actions.KillPayloads() if self.batch_system is not None:
                self.batch_system.hard_stop()
            case actions.EvictPayloads() if self.batch_system is not None:
                self.batch_system.evict()
            case actions.EvictPayloads():
                self._feed(cues.Evicted())
            case actions.Finish() if not self.finished.done():
                self.finished.set_result(action)

    def get_pids(self) -> dict[str, int]:
        """Return the leader's pid of each job that runs now."""
        return self._launcher.get_pids()
