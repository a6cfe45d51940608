"""Jobs that slurmctld holds for running though nothing of them runs are found, and no others."""

from __future__ import annotations

import pytest

from autopilot.adapters.batch.slurm.job_limbo import (
    UNSEEN_PATIENCE_S,
    VANISHED_PATIENCE_S,
    LimboWatch,
    RunningJob,
    choose_requeue_ids,
    find_requeue_id,
    parse_running_jobs,
)

JOB = RunningJob("7", "here", True, "alice", "7", 3600.0)
AGE_S = 60.0  # of slurmd


def test_a_vanished_step() -> None:
    """A job whose batch step was here and is gone is lost when slurmctld still holds it for running after a while."""
    watch = LimboWatch().observe_steps(["7"])
    watch, lost = watch.observe_queue("here", [JOB], [], 10.0, AGE_S)
    assert lost == () and watch.is_suspicious()
    watch, lost = watch.observe_queue("here", [JOB], [], 10.0 + VANISHED_PATIENCE_S, AGE_S)
    assert lost == ("7",)
    watch, lost = watch.observe_queue("here", [], [], 20.0, AGE_S)
    assert lost == () and watch == LimboWatch()


def test_a_job_that_has_not_begun() -> None:
    """A job that was never here may still run its prolog, and is lost only after a long time."""
    watch, lost = LimboWatch().observe_queue("here", [JOB], [], 0.0, AGE_S)
    assert lost == () and not watch.is_suspicious()
    watch, lost = watch.observe_queue("here", [JOB], [], UNSEEN_PATIENCE_S - 1, AGE_S)
    assert lost == ()
    assert watch.observe_queue("here", [JOB], [], UNSEEN_PATIENCE_S, AGE_S)[1] == ("7",)
    assert watch.observe_queue("here", [JOB], ["7"], UNSEEN_PATIENCE_S, AGE_S)[1] == ()


def test_a_late_step_ends_the_suspicion() -> None:
    """A job whose batch step is seen is not missing any more."""
    watch, _ = LimboWatch().observe_queue("here", [JOB], [], 0.0, AGE_S)
    watch = watch.observe_steps(["7"])
    assert watch.missing_since == ()
    assert watch.observe_queue("here", [JOB], ["7"], UNSEEN_PATIENCE_S, AGE_S)[1] == ()


def test_jobs_without_a_batch_step_here() -> None:
    """An allocation may be without a step, and a job of several nodes has its batch step on one of them only."""
    jobs = [RunningJob("8", "here", False), RunningJob("9", "elsewhere", True)]
    watch, _ = LimboWatch().observe_queue("here", jobs, [], 0.0, AGE_S)
    assert watch.observe_queue("here", jobs, [], 10 * UNSEEN_PATIENCE_S, AGE_S)[1] == ()


@pytest.mark.parametrize("used_s", [None, 0.0, AGE_S, AGE_S + 1])
def test_a_long_prolog(used_s: float | None) -> None:
    """A job that began after slurmd may be without a step for as long as its prolog lasts, unless it had one."""
    young = RunningJob("7", "here", True, "alice", "7", used_s)
    watch, _ = LimboWatch().observe_queue("here", [young], [], 0.0, AGE_S)
    watch, lost = watch.observe_queue("here", [young], [], 10 * UNSEEN_PATIENCE_S, AGE_S)
    assert lost == () and watch == LimboWatch()
    watch = watch.observe_steps(["7"])
    watch, _ = watch.observe_queue("here", [young], [], 0.0, AGE_S)
    assert watch.observe_queue("here", [young], [], VANISHED_PATIENCE_S, AGE_S)[1] == ("7",)


def test_the_output_of_squeue() -> None:
    """Each line with the words of the right kind is a job; anything else is a tool's chatter."""
    output = (
        "7      1  here  alice   7 N/A N/A 1:00:00 \n8 0 here bob 8 N/A N/A 0:07\nsqueue: error: x\n"
        "9 2 here bob 9 N/A N/A 0:07\nx 1 here bob x N/A N/A 0:07\n100 1 here bob 100 7 N/A INVALID\n7 1 here alice\n"
    )
    assert parse_running_jobs(output) == (
        JOB,
        RunningJob("8", "here", False, "bob", "8", 7.0),
        RunningJob("100", "here", True, "bob", "100_7", None),
    )


@pytest.mark.parametrize(
    ("job", "array", "task", "leader", "requeue_id"),
    [
        ("104", "104", "N/A", "N/A", "104"),
        ("105", "100", "3", "N/A", "100_3"),
        ("100", "100", "7", "N/A", "100_7"),  # the last task has the array's own id
        ("100", "100", "[1-3%2]", "N/A", ""),  # tasks that wait: none of them is here
        ("200", "200", "N/A", "200", "200"),
        ("201", "201", "N/A", "200", "200"),  # a component is refused by its own id
    ],
)
def test_the_id_for_a_requeue(job: str, array: str, task: str, leader: str, requeue_id: str) -> None:
    """A job is requeued by an id that means no job beside it, but for the components of one heterogeneous job."""
    assert find_requeue_id(job, array, task, leader) == requeue_id


def test_only_known_jobs_are_requeued() -> None:
    """A job that the queue does not name is not requeued by a guess, and an id is given once."""
    queue = [
        RunningJob("100", "here", True, "", "100_7"),
        RunningJob("200", "here", True, "", "200"),
        RunningJob("201", "here", True, "", "200"),
        RunningJob("300", "here", True, "", ""),
    ]
    assert choose_requeue_ids(queue, ["100", "104", "200", "201", "300"]) == ("100_7", "200")
    assert choose_requeue_ids(queue, ["104"]) == choose_requeue_ids([], ["100"]) == ()
