"""The end of the batch job around a supervisor is read from Slurm, HTCondor and commands, and from nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch import outer_job_end as ends
from autopilot.adapters.batch.htcondor.classads import parse_ad

NOW = 1_800_000_000.0
DAY = 86400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00", 0),
        ("0:45", 45),
        ("5:00", 300),
        ("59:59", 3599),
        ("1:00:00", 3600),
        ("23:59:59", DAY - 1),
        ("1-00:00:00", DAY),
        ("12-03:04:05", 12 * DAY + 3 * 3600 + 4 * 60 + 5),
        ("1-5:00", None),  # Slurm writes the hours beside days
        ("5", None),
        ("UNLIMITED", None),
        ("", None),
        ("-1:00", None),
        ("999999-00:00:00", None),
        ("٣:00", None),
    ],
)
def test_slurm_times(text: str, seconds: float | None) -> None:
    """A time of Slurm is days, hours, minutes and seconds; any other text is none."""
    assert ends.parse_slurm_time(text) == seconds


@pytest.mark.parametrize(
    ("output", "epoch"),
    [
        ("10:00\n", NOW + 600),
        ("2:00:00\n10:00\n", NOW + 600),  # the components of a job: the first end counts
        ("UNLIMITED\n", None),
        ("UNLIMITED\n10:00\n", NOW + 600),
        ("INVALID\n", NOW),  # past its limit, and about to be killed
    ],
)
def test_squeue_output(output: str, epoch: float | None) -> None:
    """The first end of all components of a job counts; `UNLIMITED` is no limit, `INVALID` a limit that has passed."""
    assert ends.parse_squeue_output(output, NOW) == ends.OuterEnd(epoch, "squeue")


@pytest.mark.parametrize("output", ["", "NOT_SET\n", "slurm_load_jobs error: Invalid job id specified\n", "\0" * 500])
def test_squeue_output_without_a_time(output: str) -> None:
    """An answer without a time is not taken for one, and is quoted within bounds."""
    with pytest.raises(ends.UnknownEndError, match="squeue printed") as caught:
        ends.parse_squeue_output(output, NOW)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("env", "job_id"),
    [
        ({"SLURM_JOB_ID": "17"}, "17"),
        ({"SLURM_JOBID": "18"}, "18"),
        ({"SLURM_JOB_ID": "1; rm -rf /"}, None),
        ({"SLURM_JOB_ID": "9" * 13}, None),
        ({}, None),
    ],
)
def test_slurm_job_id(env: dict[str, str], job_id: str | None) -> None:
    """Only a number is the id of Slurm's job."""
    assert ends.find_slurm_job_id(env) == job_id


def test_slurm_environment() -> None:
    """The end of the job's start is taken from the environment as one that may be out of date, and checked."""
    end = ends.parse_slurm_environment({"SLURM_JOB_END_TIME": "1800003600"})
    assert end == ends.OuterEnd(NOW + 3600, "SLURM_JOB_END_TIME", renewed=False)
    for text in ("", "0", "soon", "1e9", "9" * 15):
        with pytest.raises(ends.UnknownEndError):
            ends.parse_slurm_environment({"SLURM_JOB_END_TIME": text})


JOB: dict[str, Any] = {"JobCurrentStartDate": int(NOW)}


@pytest.mark.parametrize(
    ("job_ad", "machine_ad", "epoch", "source"),
    [
        ({**JOB, "AllowedJobDuration": 600}, {}, NOW + 600, "AllowedJobDuration"),
        ({**JOB, "allowedjobduration": 600}, {}, NOW + 600, "AllowedJobDuration"),
        ({"AllowedJobDuration": 600}, {}, NOW + 605, "AllowedJobDuration"),  # from our own start
        ({**JOB, "AllowedExecuteDuration": 500}, {}, NOW + 505, "AllowedExecuteDuration"),
        ({**JOB, "AllowedJobDuration": 600, "AllowedExecuteDuration": 500}, {}, NOW + 505, "AllowedExecuteDuration"),
        ({**JOB, "MaxRuntime": 7200}, {}, NOW + 7200, "MaxRuntime"),
        ({**JOB, "maxWallTime": 60}, {}, NOW + 3600, "maxWallTime"),
        ({**JOB, "AllowedJobDuration": 600}, {"GLIDEIN_ToDie": int(NOW + 300)}, NOW + 300, "GLIDEIN_ToDie"),
        ({}, {"GLIDEIN_ToDie": int(NOW + 300)}, NOW + 300, "GLIDEIN_ToDie"),
        ({**JOB, "AllowedJobDuration": "600", "MaxRuntime": 60}, {}, NOW + 60, "MaxRuntime"),
    ],
)
def test_htcondor_ads(job_ad: dict[str, Any], machine_ad: dict[str, Any], epoch: float, source: str) -> None:
    """The earliest limit of the job's and the machine's ad counts, from the beginning that the ad tells."""
    assert ends.find_htcondor_end(job_ad, machine_ad, NOW + 5) == ends.OuterEnd(epoch, source)


@pytest.mark.parametrize("value", [0, -5, True, "600", 1e300, 1 << 62])
def test_htcondor_ads_with_nonsense(value: object) -> None:
    """A limit that is no plausible number is passed over, and the error names the attributes that were looked for."""
    with pytest.raises(ends.UnknownEndError, match=r"AllowedJobDuration, .*GLIDEIN_ToDie"):
        ends.find_htcondor_end({**JOB, "AllowedJobDuration": value}, {"GLIDEIN_ToDie": value}, NOW)  # type: ignore[dict-item]


def test_an_expression_tells_no_end() -> None:
    """A rule of the queue is an expression, of which no end is known."""
    ad = parse_ad(["JobCurrentStartDate = 1800000000", "PeriodicRemove = time() - JobStartDate > 600"])
    with pytest.raises(ends.UnknownEndError):
        ends.find_htcondor_end(ad, {}, NOW)


@pytest.mark.parametrize(
    ("output", "epoch"), [("90\n", NOW + 90), ("0", NOW), ("12.5", NOW + 12.5), ("Unlimited\n", None)]
)
def test_command_output(output: str, epoch: float | None) -> None:
    """A command prints the seconds that are left, or `unlimited`."""
    assert ends.parse_command_output(output, NOW, "left") == ends.OuterEnd(epoch, "left")


@given(st.text(max_size=300))
def test_any_output_is_an_end_or_unknown(text: str) -> None:
    """No output makes a reading fail in another way than by UnknownEndError, and no end is before now."""
    for parse in (
        lambda: ends.parse_command_output(text, NOW, "left"),
        lambda: ends.parse_squeue_output(text, NOW),
    ):
        try:
            end = parse()
        except ends.UnknownEndError:
            continue
        assert end.epoch is None or NOW <= end.epoch <= NOW + ends.MAX_LEFT_S + 1e10
