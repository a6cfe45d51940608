"""Find the end of the batch job around this supervisor: from answers of Slurm, ads of HTCondor, or a command. Pure.

All of it comes from outside, so each value is checked for its type and its range. A value that is none is passed over:
nothing is known from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from autopilot.adapters.batch.htcondor.classads import Ad, Value
from autopilot.errors import AutopilotError

MAX_LEFT_S = 100 * 365 * 86400.0  # more is no time limit
MAX_EPOCH_S = 253_402_300_799.0  # the end of the year 9999
UNLIMITED_WORDS = ("unlimited", "infinite")

_SLURM_TIME = re.compile(r"(?:(\d{1,5})-)?(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2})", re.ASCII)
_SECONDS = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
_JOB_ID = re.compile(r"\d{1,12}", re.ASCII)

# Limits of a job: the attribute, the seconds of its unit, the beginning that it counts from, and its author.
_DURATIONS = (
    ("AllowedJobDuration", 1, "JobCurrentStartDate"),
    ("AllowedExecuteDuration", 1, "JobCurrentStartExecutingDate"),
    ("MaxRuntime", 1, "JobCurrentStartDate"),
    ("maxWallTime", 60, "JobCurrentStartDate"),
)
_MACHINE_ENDS = ("GLIDEIN_ToDie",)  # moments, in seconds since the epoch


class UnknownEndError(AutopilotError):
    """The end of the batch job is not known: one clause with the reason."""


@dataclass(frozen=True, slots=True)
class OuterEnd:
    """The end of the batch job in seconds since the epoch, None for no limit, and the place from which it is known.

    `renewed` is False for a value of the job's start: one that was renewed since then is better.
    """

    epoch: float | None
    source: str
    renewed: bool = True


def parse_command_output(output: str, now: float, source: str) -> OuterEnd:
    """Return the end that a command of the job spec printed: the seconds left, or `unlimited`.

    Args:
        output: Its output.
        now: Seconds since the epoch.
        source: The command, for people.

    Raises:
        UnknownEndError: It is neither.
    """
    text = output.strip()
    if text.lower() in UNLIMITED_WORDS:
        return OuterEnd(None, source)
    if not _SECONDS.fullmatch(text) or not isfinite(left := float(text)) or left > MAX_LEFT_S:
        raise UnknownEndError(f"{source} printed {_quote(text)} instead of the seconds that are left, or unlimited")
    return OuterEnd(now + left, source)


def find_earliest(ends: Sequence[OuterEnd]) -> OuterEnd:
    """Return the earliest of several ends, which are one at least; one without a limit is the last of all."""
    return min(ends, key=lambda end: (end.epoch is None, end.epoch or 0.0))


# --- Slurm ---


def find_slurm_job_id(env: Mapping[str, str]) -> str | None:
    """Return the id of Slurm's job in which this process runs; None outside of one."""
    job_id = env.get("SLURM_JOB_ID") or env.get("SLURM_JOBID") or ""
    return job_id if _JOB_ID.fullmatch(job_id) else None


def build_squeue_command(job_id: str) -> tuple[str, ...]:
    """Return the command that prints the time that is left of a job, without a heading."""
    return ("squeue", "--noheader", "--all", "--jobs", job_id, "--format", "%L")


def parse_squeue_output(output: str, now: float) -> OuterEnd:
    """Return the end of a job from squeue's `%L`; of several components the first end counts.

    Args:
        output: Lines such as `1-02:03:04`, `5:00`, `UNLIMITED`, or `INVALID` past the limit.
        now: Seconds since the epoch.

    Raises:
        UnknownEndError: No line is such a time.
    """
    ends: list[float] = []
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines:
        if line == "INVALID":
            ends.append(now)
        elif (left := parse_slurm_time(line)) is not None:
            ends.append(now + left)
    if ends:
        return OuterEnd(min(ends), "squeue")
    if lines and all(line.lower() in UNLIMITED_WORDS for line in lines):
        return OuterEnd(None, "squeue")
    raise UnknownEndError(f"squeue printed {_quote(output)} instead of the time that is left")


def parse_slurm_time(text: str) -> float | None:
    """Return the seconds of `[DAYS-][HOURS:]MINUTES:SECONDS`; None for any other text."""
    matched = _SLURM_TIME.fullmatch(text)
    if matched is None or (matched[1] is not None and matched[2] is None):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in matched.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def parse_slurm_environment(env: Mapping[str, str]) -> OuterEnd:
    """Return the end that Slurm (23.02 or newer) put into the job's environment at its start.

    Raises:
        UnknownEndError: There is none.
    """
    text = env.get("SLURM_JOB_END_TIME", "")
    if _SECONDS.fullmatch(text) and 0 < (end := float(text)) <= MAX_EPOCH_S:
        return OuterEnd(end, "SLURM_JOB_END_TIME", renewed=False)
    raise UnknownEndError("SLURM_JOB_END_TIME is not set" if not text else f"SLURM_JOB_END_TIME is {_quote(text)}")


# --- HTCondor ---


def find_htcondor_end(job_ad: Ad, machine_ad: Ad, started: float) -> OuterEnd:
    """Return the earliest end that the ads of an HTCondor job tell.

    A rule such as `periodic_remove` is an expression that the queue evaluates: its end cannot be known here.

    Args:
        job_ad: The job's ad, {} if it cannot be read.
        machine_ad: The machine's ad, {} if it cannot be read.
        started: Seconds since the epoch at which the job began, for limits whose beginning the ad does not tell.

    Raises:
        UnknownEndError: They tell none.
    """
    found = [*_list_job_ends(job_ad, started), *_list_machine_ends(machine_ad)]
    if not found:
        names = ", ".join([*(name for name, _, _ in _DURATIONS), *_MACHINE_ENDS])
        raise UnknownEndError(f"the ads of HTCondor's job and machine have none of {names}")
    epoch, name = min(found)
    return OuterEnd(epoch, name)


def _list_job_ends(ad: Ad, started: float) -> Iterator[tuple[float, str]]:
    values = _fold_names(ad)
    for name, unit_s, began_name in _DURATIONS:
        limit = _get_number(values, name, MAX_LEFT_S / unit_s)
        if limit is not None:
            began = _get_number(values, began_name, MAX_EPOCH_S)
            yield (started if began is None else began) + limit * unit_s, name


def _list_machine_ends(ad: Ad) -> Iterator[tuple[float, str]]:
    values = _fold_names(ad)
    for name in _MACHINE_ENDS:
        if (end := _get_number(values, name, MAX_EPOCH_S)) is not None:
            yield end, name


def _fold_names(ad: Ad) -> dict[str, Value]:
    """Return an ad with its names in lower case: HTCondor does not tell the cases apart."""
    return {name.lower(): value for name, value in ad.items()}


def _get_number(values: Mapping[str, Value], name: str, most: float) -> float | None:
    """Return a number above 0 and up to `most`; None for any other value."""
    value = values.get(name.lower())
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        return None
    return float(value)


def _quote(text: str) -> str:
    return repr(text.strip()[:80])
