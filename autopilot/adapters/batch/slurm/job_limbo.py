"""Find jobs that slurmctld holds for running here though nothing of them runs: nobody else would notice for minutes.

Pure. A batch job has its `batch` step on its batch host for as long as it runs. When a slurmstepd is killed, slurmd
tells nobody, and the job stays RUNNING in its queue; so does a job of an earlier life of this node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

VANISHED_PATIENCE_S = 3.0  # from the end of a batch step to the moment when slurmctld must know of it
UNSEEN_PATIENCE_S = 120.0  # for a job that has not begun here: its prolog may take long
BATCH_STEP = "batch"


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that slurmctld holds for running.

    Attributes:
        job: Its id.
        host: The node of its batch step.
        is_batch: It has a batch script; another one may have no step for a while.
        owner: Its user.
    """

    job: str
    host: str
    is_batch: bool
    owner: str = ""


@dataclass(frozen=True, slots=True)
class LimboWatch:
    """Jobs without their batch step, with the moment since when, and the jobs whose step has been here."""

    missing_since: tuple[tuple[str, float], ...] = ()
    seen: frozenset[str] = field(default_factory=frozenset)

    def observe_steps(self, jobs_with_batch_step: Iterable[str]) -> LimboWatch:
        """Return the watch after a look at the steps."""
        present = frozenset(jobs_with_batch_step)
        missing = tuple((job, since) for job, since in self.missing_since if job not in present)
        return replace(self, missing_since=missing, seen=self.seen | present)

    def observe_queue(
        self, node: str, running: Iterable[RunningJob], jobs_with_batch_step: Iterable[str], now: float
    ) -> tuple[LimboWatch, tuple[str, ...]]:
        """Take in the controller's jobs of this node.

        Args:
            node: The name of this node.
            running: The jobs that slurmctld holds for running here.
            jobs_with_batch_step: The jobs whose batch step runs here, looked at after slurmctld was asked.
            now: Seconds on any clock that goes on.

        Returns:
            The next watch, and the jobs that are lost. A lost job is told until slurmctld knows of its end.
        """
        present, since = frozenset(jobs_with_batch_step), dict(self.missing_since)
        absent = [job.job for job in running if job.is_batch and job.host == node and job.job not in present]
        missing = {job: since.get(job, now) for job in absent}
        lost = tuple(
            job
            for job, begun in missing.items()
            if now - begun >= (VANISHED_PATIENCE_S if job in self.seen else UNSEEN_PATIENCE_S)
        )
        seen = frozenset(job for job in self.seen if job in present or job in missing)
        return LimboWatch(tuple(missing.items()), seen | present), lost

    def is_suspicious(self) -> bool:
        """Return True while the end of a batch step is not explained: the queue is asked again soon."""
        return any(job in self.seen for job, _ in self.missing_since)


def parse_running_jobs(output: str) -> tuple[RunningJob, ...]:
    """Return the jobs in the output of squeue with `QUEUE_FORMAT`; lines of another shape are no jobs."""
    jobs = []
    for line in output.splitlines():
        words = line.split()
        if len(words) == 4 and words[0].isascii() and words[0].isdigit() and words[1] in ("0", "1"):
            jobs.append(RunningJob(words[0], words[2], words[1] == "1", words[3]))
    return tuple(jobs)


QUEUE_FORMAT = "JobID:20,BatchFlag:3,BatchHost:260,UserName:64"
