"""Jobs that slurmctld holds for running though nothing of them runs are found, and no others."""

from __future__ import annotations

from autopilot.adapters.batch.slurm.job_limbo import (
    UNSEEN_PATIENCE_S,
    VANISHED_PATIENCE_S,
    LimboWatch,
    RunningJob,
    parse_running_jobs,
)

JOB = RunningJob("7", "here", True, "alice")


def test_a_vanished_step() -> None:
    """A job whose batch step was here and is gone is lost when slurmctld still holds it for running after a while."""
    watch = LimboWatch().observe_steps(["7"])
    watch, lost = watch.observe_queue("here", [JOB], [], 10.0)
    assert lost == () and watch.is_suspicious()
    watch, lost = watch.observe_queue("here", [JOB], [], 10.0 + VANISHED_PATIENCE_S)
    assert lost == ("7",)
    watch, lost = watch.observe_queue("here", [], [], 20.0)
    assert lost == () and watch == LimboWatch()


def test_a_job_that_has_not_begun() -> None:
    """A job that was never here may still run its prolog, and is lost only after a long time."""
    watch, lost = LimboWatch().observe_queue("here", [JOB], [], 0.0)
    assert lost == () and not watch.is_suspicious()
    watch, lost = watch.observe_queue("here", [JOB], [], UNSEEN_PATIENCE_S - 1)
    assert lost == ()
    assert watch.observe_queue("here", [JOB], [], UNSEEN_PATIENCE_S)[1] == ("7",)
    assert watch.observe_queue("here", [JOB], ["7"], UNSEEN_PATIENCE_S)[1] == ()


def test_a_late_step_ends_the_suspicion() -> None:
    """A job whose batch step is seen is not missing any more."""
    watch, _ = LimboWatch().observe_queue("here", [JOB], [], 0.0)
    watch = watch.observe_steps(["7"])
    assert watch.missing_since == ()
    assert watch.observe_queue("here", [JOB], ["7"], UNSEEN_PATIENCE_S)[1] == ()


def test_jobs_without_a_batch_step_here() -> None:
    """An allocation may be without a step, and a job of several nodes has its batch step on one of them only."""
    jobs = [RunningJob("8", "here", False), RunningJob("9", "elsewhere", True)]
    watch, _ = LimboWatch().observe_queue("here", jobs, [], 0.0)
    assert watch.observe_queue("here", jobs, [], 10 * UNSEEN_PATIENCE_S)[1] == ()


def test_the_output_of_squeue() -> None:
    """Each line with four words of the right kind is a job; anything else is a tool's chatter."""
    output = (
        "7                   1  here          alice   \n8 0 here bob\nsqueue: error: x\n9 2 here bob\nx 1 here bob\n"
    )
    assert parse_running_jobs(output) == (JOB, RunningJob("8", "here", False, "bob"))
