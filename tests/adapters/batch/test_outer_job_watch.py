"""The watch over the batch job's end: the first reading decides, later ones correct it, and failures change nothing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from autopilot.adapters.batch.outer_job_watch import CONDITION, OuterJobError, OuterJobWatch
from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue, OuterEndObserved
from autopilot.runtime.command_runner import CommandResult
from autopilot.spec.plan import Command, Drain, Lifetime, OuterJob

LEFT = OuterJob(command=Command(argv=("left",)), reserve=40.0)
SLURM_ENV = {"SLURM_JOB_ID": "17"}


class Answers:
    """Commands that answer as told; a number is their exit status."""

    def __init__(self, *answers: str | int | None) -> None:
        self.answers = list(answers)
        self.commands: list[tuple[str, ...]] = []

    async def run(self, command: Command, *, timeout: float, name: str) -> CommandResult:
        self.commands.append(command.argv)
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            return CommandResult(answer, "no such thing", False, 0.1)
        return CommandResult(137 if answer is None else 0, answer or "", answer is None, timeout)


class Scene:
    """A watch with its reports."""

    def __init__(
        self, *answers: str | int | None, outer_job: OuterJob = LEFT, env: dict[str, str] | None = None, **plan: Any
    ) -> None:
        self.reports: list[Cue] = []
        self.commands = Answers(*answers)
        lifetime = Lifetime(**{"drain": Drain(), "deadline": 60.0, "grace": 10.0, "within": outer_job, **plan})
        self.watch = OuterJobWatch(
            lifetime, outer_job, commands=self.commands, env=env or {}, report=self.reports.append
        )

    def prepare(self) -> Scene:
        asyncio.run(self.watch.prepare())
        return self

    def update(self) -> list[Cue]:
        del self.reports[:]
        asyncio.run(self.watch.update())
        return self.reports


@pytest.mark.parametrize(
    ("answer", "cause"),
    [(1, "left ended with 1: no such thing"), (None, "has not answered within"), ("soon", "printed 'soon'")],
)
def test_an_unknown_end_needs_another_limit(answer: str | int | None, cause: str) -> None:
    """Without lifetime.max a life whose end is unknown does not begin, and the error has both remedies."""
    with pytest.raises(OuterJobError, match=cause) as caught:
        Scene(answer).prepare()
    assert not caught.value.is_temporary
    assert "lifetime.max" in str(caught.value) and "lifetime.within.exec" in str(caught.value)
    Scene(answer, max=3600.0).prepare()


def test_an_unlimited_job_needs_another_limit() -> None:
    """A batch job without a time limit bounds nothing: lifetime.max has to."""
    with pytest.raises(OuterJobError, match="has no time limit"):
        Scene("unlimited").prepare()
    Scene("unlimited", max=3600.0).prepare()


def test_a_job_that_is_too_short() -> None:
    """A batch job that ends before a drain could is refused as temporary: the next batch job may be longer."""
    with pytest.raises(OuterJobError, match=r"ends in 100 s \(left\).*may take 2m25s") as caught:
        Scene("100").prepare()
    assert caught.value.is_temporary


def test_a_moved_end_is_reported() -> None:
    """An end that has moved is reported, seconds of noise are not, and small steps add up until they are."""
    scene = Scene("1000", "1002", "1500", "1496", "1492").prepare()
    assert scene.update() == []
    (moved,) = scene.update()
    assert isinstance(moved, OuterEndObserved) and moved.seconds == pytest.approx(1500, abs=60)
    assert moved.origin == "left"
    assert scene.update() == []
    (again,) = scene.update()
    assert isinstance(again, OuterEndObserved)


def test_a_failure_keeps_the_last_known_end() -> None:
    """A reading that fails is a condition, reported once, until one succeeds; no end is reported meanwhile."""
    scene = Scene("1000", 1, 1, "1000").prepare()
    (detected,) = scene.update()
    assert isinstance(detected, ConditionDetected) and detected.kind == CONDITION
    assert scene.update() == []
    assert scene.update() == [ConditionResolved(CONDITION)]


def test_slurm_is_asked_by_squeue() -> None:
    """Inside of a Slurm job squeue is asked for the time left, in every partition."""
    scene = Scene("1:00:00", outer_job=OuterJob(), env=SLURM_ENV).prepare()
    assert scene.commands.commands == [("squeue", "--noheader", "--all", "--jobs", "17", "--format", "%L")]


def test_slurm_without_squeue() -> None:
    """Where squeue does not answer, the environment's end counts, but not over one that squeue told later."""
    env = {**SLURM_ENV, "SLURM_JOB_END_TIME": str(int(time.time()) + 3600)}
    scene = Scene(127, 127, "30:00", 1, outer_job=OuterJob(), env=env).prepare()
    assert scene.update() == []
    (moved,) = scene.update()
    assert isinstance(moved, OuterEndObserved) and moved.origin == "squeue"
    (detected,) = scene.update()
    assert isinstance(detected, ConditionDetected)
    with pytest.raises(OuterJobError, match=r"squeue ended with 127.*SLURM_JOB_END_TIME is not set"):
        Scene(127, outer_job=OuterJob(), env=SLURM_ENV).prepare()


def test_htcondor_is_read_from_its_ads(tmp_path: Path) -> None:
    """Inside of an HTCondor job the files that its environment names are read; a missing one is passed over."""
    ad = tmp_path / ".job.ad"
    ad.write_text(f"AllowedJobDuration = 3600\nJobCurrentStartDate = {int(time.time())}\n")
    env = {"_CONDOR_JOB_AD": str(ad), "_CONDOR_MACHINE_AD": str(tmp_path / "none")}
    scene = Scene(outer_job=OuterJob(), env=env).prepare()
    assert scene.update() == []
    ad.write_text(f"AllowedJobDuration = 7200\nJobCurrentStartDate = {int(time.time())}\n")
    (moved,) = scene.update()
    assert isinstance(moved, OuterEndObserved) and moved.origin == "AllowedJobDuration"


def test_a_slot_inside_of_a_slurm_job(tmp_path: Path) -> None:
    """Where both batch systems are around the supervisor, the earlier end counts, and an unknown one does not."""
    ad = tmp_path / ".job.ad"
    ad.write_text(f"AllowedJobDuration = 3600\nJobCurrentStartDate = {int(time.time())}\n")
    env = {**SLURM_ENV, "_CONDOR_JOB_AD": str(ad)}
    scene = Scene("1-00:00:00", "30:00", 1, outer_job=OuterJob(), env=env).prepare()
    (moved,) = scene.update()
    assert isinstance(moved, OuterEndObserved) and moved.origin == "squeue"
    (moved,) = scene.update()
    assert isinstance(moved, OuterEndObserved) and moved.origin == "AllowedJobDuration"


def test_a_clock_that_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An end that is a wall time is nearer when the wall clock is set forward, though its ad is the same."""
    ad = tmp_path / ".job.ad"
    ad.write_text(f"AllowedJobDuration = 7200\nJobCurrentStartDate = {int(time.time())}\n")
    scene = Scene(outer_job=OuterJob(), env={"_CONDOR_JOB_AD": str(ad)}).prepare()
    scene.update()
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 3600)
    (moved,) = scene.update()
    assert isinstance(moved, OuterEndObserved) and moved.seconds == pytest.approx(3600, abs=60)


def test_outside_of_any_batch_job() -> None:
    """Where no batch system started the supervisor, the error says which ones were looked for."""
    with pytest.raises(OuterJobError, match=r"neither Slurm \(SLURM_JOB_ID\) nor HTCondor"):
        Scene(outer_job=OuterJob()).prepare()
