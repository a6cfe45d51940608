"""Find jobs that slurmctld holds for running here though nothing of them runs: nobody else would notice for minutes.

Pure. A batch job has its `batch` step on its batch host for as long as it runs. When a slurmstepd is killed, slurmd
tells nobody, and the job stays RUNNING in its queue; so does a job of an earlier life of this node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from autopilot.adapters.batch.outer_job_end import parse_slurm_time

VANISHED_PATIENCE_S = 3.0  # from the end of a batch step to the moment when slurmctld must know of it
UNSEEN_PATIENCE_S = 120.0  # for a job of an earlier slurmd: slurmctld itself gives it back meanwhile
CLOCK_MARGIN_S = 2.0  # squeue counts whole seconds
BATCH_STEP = "batch"


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that slurmctld holds for running.

    Attributes:
        job: Its id, also that of one task of an array.
        host: The node of its batch step.
        is_batch: It has a batch script; another one may have no step for a while.
        owner: Its user.
        requeue_id: The id by which slurmctld requeues it: the raw id of an array's task may mean the whole array.
        used_s: Seconds since its begin; None when they are not told.
    """

    job: str
    host: str
    is_batch: bool
    owner: str = ""
    requeue_id: str = ""
    used_s: float | None = None


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
        self,
        node: str,
        running: Iterable[RunningJob],
        jobs_with_batch_step: Iterable[str],
        now: float,
        slurmd_age_s: float,
    ) -> tuple[LimboWatch, tuple[str, ...]]:
        """Take in the controller's jobs of this node.

        Args:
            node: The name of this node.
            running: The jobs that slurmctld holds for running here.
            jobs_with_batch_step: The jobs whose batch step runs here, looked at after slurmctld was asked.
            now: Seconds on any clock that goes on.
            slurmd_age_s: Seconds since slurmd began: a younger job without a step runs its prolog, however long.

        Returns:
            The next watch, and the jobs that are lost. A lost job is told until slurmctld knows of its end.
        """
        present, since = frozenset(jobs_with_batch_step), dict(self.missing_since)
        absent = [
            job.job
            for job in running
            if job.is_batch
            and job.host == node
            and job.job not in present
            and (job.job in self.seen or (job.used_s is not None and job.used_s > slurmd_age_s + CLOCK_MARGIN_S))
        ]
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
        if len(words) != len(QUEUE_FIELDS) or not _is_number(words[0]) or words[1] not in ("0", "1"):
            continue
        job, batch_flag, host, owner, array, task, leader, used = words
        requeue_id = find_requeue_id(job, array, task, leader)
        jobs.append(RunningJob(job, host, batch_flag == "1", owner, requeue_id, parse_slurm_time(used)))
    return tuple(jobs)


def find_requeue_id(job: str, array: str, task: str, leader: str) -> str:
    """Return the id by which `scontrol requeue` means this job and no other.

    The last task of an array has the raw id of the array, which means all its tasks. A component of a heterogeneous job
    is requeued with the others only, by the id of the first one, as at each failure of a node.

    Args:
        job: The raw id (JobID).
        array: The id of the array (ArrayJobID), or the raw id.
        task: The number in the array (ArrayTaskID), or `N/A`.
        leader: The id of the first component (HetJobID), or `N/A`.
    """
    if _is_number(leader):
        return leader
    if _is_number(task) and _is_number(array):
        return f"{array}_{task}"
    return job if task == "N/A" else ""


def choose_requeue_ids(queue: Iterable[RunningJob], jobs: Iterable[str]) -> tuple[str, ...]:
    """Return the ids that requeue these jobs, each once. A job that the queue does not name has none."""
    wanted = set(jobs)
    return tuple(dict.fromkeys(job.requeue_id for job in queue if job.job in wanted and job.requeue_id))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


QUEUE_FIELDS = (
    *("JobID:20", "BatchFlag:3", "BatchHost:260", "UserName:64"),
    *("ArrayJobID:20", "ArrayTaskID:20", "HetJobID:20", "TimeUsed:20"),
)
QUEUE_FORMAT = ",".join(QUEUE_FIELDS)
